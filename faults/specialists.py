"""What further processes of a campaign do: FIFO queues, by two doors, requests and replies, redrives, kicks, purges."""

from faults.client import Held
from faults.numbers import first_number
from faults.roles import BULK, DELAYS, TERMS, Work, be_killed, leave, renew_and_delete, verdict_on
from faults.sqs_client import MOST_AT_ONCE, SqsClient

#: Groups of a FIFO queue.
_GROUPS = 8
_SIZES = (1, 1, 2, 5, 10)
#: The FIFO queue whose messages are known by their bodies, not by deduplication ids.
_BY_BODY = '/lines.fifo'

# Seconds for which an asker waits for a reply at a time, and how often it does.
_WAIT, _LOOKS = 3, 6


def send_in_turn(work: Work) -> None:
    """Post to groups of a FIFO queue, and post some of it once more."""
    post, chance = 0, work.chance
    while work.goes_on:
        post += 1
        queue = chance.choice(work.hand.queues)
        first = first_number(work.number, post)
        groups = _some_groups(work)
        delay = chance.choice(DELAYS) if chance.random() < 0.05 else 0
        has_id = not queue.endswith(_BY_BODY)
        outcome = work.client.post_in_groups(queue, first, groups, delay, has_id)
        if outcome == 'done' and chance.random() < 0.2:
            # By then some of it may have been handed out, and deleted.
            work.rest(chance.choice((0, 0, 1)))
            work.client.repeat_in_groups(queue, first, groups, delay, has_id)
        work.rest(chance.uniform(0, 0.2))


def send_by_sqs(work: Work) -> None:
    """The same by SQS."""
    post, chance = 0, work.chance
    [queue] = work.hand.queues
    door = SqsClient(work.client, queue)
    while work.goes_on:
        post += 1
        first, groups = first_number(work.number, post), _some_groups(work)
        if door.send(first, groups) == 'done' and chance.random() < 0.2:
            door.send_again(first, groups)
        work.rest(chance.uniform(0, 0.2))


def _some_groups(work: Work) -> list[str]:
    count = work.chance.choice(_SIZES)
    return [f'group-{work.chance.randrange(_GROUPS)}' for _ in range(count)]


def consume_by_sqs(work: Work) -> None:
    """Receive messages by SQS, and delete them: in time, too late, or not."""
    chance = work.chance
    [queue] = work.hand.queues
    door = SqsClient(work.client, queue)
    while work.goes_on:
        visibility = chance.choice(TERMS)
        messages = door.receive(MOST_AT_ONCE, visibility, work.hand.wait)
        fate = chance.random()
        if not messages:
            work.rest(0 if work.hand.wait else chance.uniform(0, 0.1))
        elif fate < 0.85:
            door.delete(messages)
        elif fate < 0.93:
            work.rest(visibility + chance.choice((-0.05, 0.02, 0.3)))
            door.delete(messages)


def ask(work: Work) -> None:
    """Post a message that asks for a reply, and look until there is one."""
    post, chance = 0, work.chance
    [queue] = work.hand.queues
    while work.goes_on:
        post += 1
        number = first_number(work.number, post)
        id, has_ended = work.client.request(queue, number, _WAIT, chance.random() < 0.7)
        for _ in range(_LOOKS if id else 0):
            if has_ended or not work.goes_on:
                break
            has_ended = work.client.look(queue, id, number, _WAIT)
        if has_ended and id:
            # It is told as often as one looks.
            work.client.look(queue, id, number)
        work.rest(chance.uniform(0, 0.05))


def answer(work: Work) -> None:
    """Claim messages that ask, and reply to most of them: one by one, or to all with one verdict each."""
    chance, replies = work.chance, 0
    while work.goes_on:
        ttl = chance.choice(TERMS)
        messages = work.client.claim(
            work.hand.queues, chance.choice((1, 3)), ttl, wait=work.hand.wait
        )
        fate = chance.random()
        for message in messages or ():
            replies += 1
            # No two replies are the same.
            text = f'{work.client.log.name} {replies} to {message[2]:x}'
            if fate < 0.6:
                work.client.reply(message, text)
            elif fate < 0.8:
                work.client.judge([(message, 'delete', 0)], text)
            elif fate < 0.9:
                work.client.judge([(message, *verdict_on(work))])
            elif fate < 0.95:
                # Its claim has lapsed by then, or nearly.
                work.rest(ttl + chance.choice((-0.05, 0.02, 0.3)))
                work.client.reply(message, text)
            elif fate < 0.96:
                be_killed(work, [message], ttl)


def hold(work: Work) -> None:
    """Claim messages, and delete them after seconds."""
    while work.goes_on:
        ttl = min(TERMS)
        if messages := work.client.claim(work.hand.queues, 5, ttl):
            renew_and_delete(work, messages, ttl)
        else:
            work.rest(0.1)


def fail(work: Work) -> None:
    """Claim messages, and seldom delete them: so most are put away."""
    chance = work.chance
    while work.goes_on:
        messages = work.client.claim([chance.choice(work.hand.queues)], BULK, min(TERMS)) or []
        chance.choices((_release, leave, _delete), weights=(60, 15, 25))[0](work, messages, 0)
        work.rest(chance.uniform(0, 0.2) + work.hand.pause)


def _release(work: Work, messages: list[Held], ttl: int) -> None:
    if messages:
        work.client.judge([(message, 'release', 0) for message in messages])


def _delete(work: Work, messages: list[Held], ttl: int) -> None:
    if messages:
        work.client.judge([(message, 'delete', 0) for message in messages])


def tidy(work: Work) -> None:
    """Do now and then what administrators do: redrive dead letters, kick parked messages, purge a queue."""
    dead, parking, purged = work.hand.queues
    while work.goes_on:
        work.rest(work.chance.uniform(0.3, 1.2))
        work.chance.choice(
            (
                lambda: work.client.redrive(dead),
                lambda: work.client.kick(parking, 50),
                lambda: work.client.purge(purged),
            )
        )()
