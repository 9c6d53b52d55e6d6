"""The queues of a campaign, and its clients: who does what to which of them."""

from faults import roles, specialists
from faults.roles import Hand
from faults.world import Queue

QUEUES = [
    Queue('acme', 'work'),
    Queue('acme', 'old'),
    Queue('acme', 'few', most_claims=3, dead_letters='dead'),
    Queue('acme', 'parking', most_claims=1),
    Queue('acme', 'brief'),
    Queue('acme', 'pops'),
    Queue('acme', 'log', is_drained=False),
    Queue('acme', 'slow'),
    Queue('acme', 'bulk'),
    # Nobody asks it again and again.
    Queue('acme', 'waited'),
    Queue('acme', 'news', has_webhook=True),
    Queue('other', 'work'),
    Queue('acme', 'turns.fifo', is_fifo=True),
    Queue('acme', 'lines.fifo', most_claims=3, dead_letters='dead.fifo', is_fifo=True),
    Queue('acme', 'asks'),
    Queue('acme', 'events'),
    Queue('acme', 'copies-a', copies_from='events', copy=1),
    Queue('acme', 'copies-b', copies_from='events', copy=2),
    Queue('acme', 'again', most_claims=1, dead_letters='again-dead', counts_anew=True),
    Queue('acme', 'kicked', most_claims=1, counts_anew=True),
    Queue('acme', 'purged'),
    # After those from which it gets dead letters.
    Queue('acme', 'dead'),
    Queue('acme', 'dead.fifo', is_fifo=True),
    Queue('acme', 'again-dead', counts_anew=True),
]

HANDS = [
    Hand('producer-a', roles.produce, ('acme/work', 'acme/few', 'acme/parking', 'acme/pops')),
    Hand('producer-b', roles.produce, ('acme/work', 'other/work', 'acme/log', 'acme/brief')),
    Hand('producer-c', roles.produce, ('acme/log', 'acme/few', 'acme/work', 'acme/slow')),
    Hand('producer-e', roles.produce, ('acme/news', 'acme/log')),
    Hand('producer-f', roles.produce, ('acme/waited',), pause=3),
    Hand('producer-d', roles.produce, ('acme/old', 'acme/log'), version='v1'),
    Hand('producer-g', roles.produce, ('acme/bulk',), sizes=(roles.BULK,)),
    Hand('producer-h', roles.produce, ('acme/bulk',), sizes=(20, roles.BULK)),
    Hand('consumer-a', roles.consume, ('acme/work', 'acme/few')),
    Hand('consumer-b', roles.consume, ('acme/work', 'acme/parking')),
    Hand('consumer-c', roles.consume, ('acme/few', 'acme/dead', 'acme/work')),
    Hand('consumer-d', roles.consume, ('other/work',)),
    Hand('consumer-e', roles.consume, ('acme/old',), version='v1'),
    Hand('consumer-f', roles.consume, ('acme/brief',), pause=3),
    Hand('consumer-g', roles.consume, ('acme/news',)),
    Hand('consumer-h', roles.consume_bulk, ('acme/bulk',)),
    Hand('consumer-i', roles.consume_bulk, ('acme/bulk',)),
    Hand('straggler', roles.straggle, ('acme/slow',)),
    Hand('waiter-a', roles.consume, ('acme/work', 'acme/few'), wait=6),
    Hand('waiter-b', roles.consume, ('acme/old',), version='v1', wait=6),
    Hand('waiter-c', roles.consume, ('other/work',), wait=6),
    Hand('waiter-d', roles.consume, ('acme/waited',), wait=8, is_direct=True),
    Hand('popper-a', roles.pop, ('acme/pops',)),
    Hand('popper-b', roles.pop, ('acme/pops',), wait=6),
    Hand('reader-a', roles.read, ('acme/work',)),
    Hand('reader-b', roles.read, ('acme/few',)),
    Hand('reader-c', roles.read_ready, ('acme/log',)),
    Hand('reader-d', roles.read_ready, ('acme/log',), version='v1'),
    Hand('follower', roles.follow, ('acme/log',)),
    Hand('producer-i', specialists.send_in_turn, ('acme/turns.fifo',)),
    Hand('producer-j', specialists.send_in_turn, ('acme/turns.fifo', 'acme/lines.fifo')),
    Hand('producer-k', specialists.send_by_sqs, ('acme/turns.fifo',)),
    Hand('producer-l', specialists.ask, ('acme/asks',)),
    Hand('producer-m', roles.produce, ('acme/events',), pause=0.2),
    Hand('producer-n', roles.produce, ('acme/again', 'acme/kicked'), pause=0.3, sizes=(5, 20)),
    Hand('producer-o', roles.produce, ('acme/purged',), pause=0.3, sizes=(5, 20)),
    Hand('consumer-j', roles.consume, ('acme/turns.fifo', 'acme/lines.fifo')),
    Hand('consumer-k', roles.consume, ('acme/lines.fifo', 'acme/dead.fifo')),
    Hand('consumer-l', specialists.consume_by_sqs, ('acme/turns.fifo',), wait=2),
    Hand('consumer-m', specialists.answer, ('acme/asks',), wait=3),
    Hand('consumer-n', roles.consume, ('acme/events', 'acme/copies-a', 'acme/copies-b')),
    Hand('consumer-o', specialists.fail, ('acme/again', 'acme/kicked')),
    Hand('consumer-p', specialists.fail, ('acme/again-dead',), pause=1),
    Hand('consumer-q', roles.consume, ('acme/purged',), pause=1),
    Hand('consumer-r', specialists.hold, ('acme/purged',)),
    Hand('reader-e', roles.read, ('acme/purged',)),
    Hand('tidier', specialists.tidy, ('acme/again-dead', 'acme/kicked', 'acme/purged')),
]

#: The roles, by what those do who play them.
PRODUCERS = (*('produce', 'send_in_turn', 'send_by_sqs', 'ask', 'tidy'),)
CONSUMERS = (
    *('consume', 'consume_bulk', 'straggle', 'pop', 'consume_by_sqs', 'answer', 'fail', 'hold'),
)
READERS = ('read', 'read_ready', 'follow')
