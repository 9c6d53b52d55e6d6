"""Whether all that a run's logs tell can be true together: one pass over all messages.

The logs are turned into events of messages, which are sorted on disk; then each message is judged by
itself (``judges``). What concerns several messages is judged on the way: the order of pages, batches,
ids, statistics.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from faults import world
from faults.events import Event, Sorted, events_of, line_of, posts_in
from faults.groups import group_of
from faults.judges import JUDGES, Fault, overtaken
from faults.log import DONE, NEVER, Call, calls
from faults.message import Message
from faults.surroundings import Surroundings

#: What can be wrong besides the verdicts of the judges.
FURTHER = (
    *('batch half-stored', 'id given twice', 'misordered or repeated for a reader'),
    *('overtaken in its group', 'statistics differ', 'answered 500'),
)
VERDICTS = (*JUDGES, *FURTHER)
#: What is known only once the database has been read in the end.
OF_THE_END = (
    *('lost', 'withheld', 'webhook never delivered', 'batch half-stored', 'statistics differ'),
)


class Finding(NamedTuple):
    """A fault, and the history that shows it."""

    verdict: str
    fault: Fault
    history: list[str]


class Report:
    """What a check has found."""

    def __init__(self) -> None:
        self.messages = 0
        self.acknowledged = 0
        #: Acknowledged ones that were there, until the database went back to what it was before.
        self.given_up = 0
        #: The highest id of all.
        self.last_id = ''
        self.found: Counter[str] = Counter()
        #: Of each verdict the fault that was seen first.
        self.first: dict[str, Finding] = {}
        self.surroundings: Surroundings

    def add(self, verdict: str, fault: Fault, history: list[str]) -> None:
        """Count a fault, and keep it if it is the first of its kind."""
        self.found[verdict] += 1
        if verdict not in self.first or fault.at < self.first[verdict].fault.at:
            self.first[verdict] = Finding(verdict, fault, history)

    @property
    def is_good(self) -> bool:
        """Whether nothing was wrong."""
        return not self.found

    @property
    def worst(self) -> Finding | None:
        """The fault that was seen first of all."""
        return min(self.first.values(), key=lambda finding: finding.fault.at, default=None)

    def lines(self) -> Iterator[str]:
        """The report: what was looked at, what was wrong, and the history of the first bad message."""
        surroundings = self.surroundings
        asked = surroundings.calls
        kinds = defaultdict(list)
        for (kind, outcome), count in sorted(asked.items()):
            kinds[kind].append(f'{count} {outcome}')
        yield '; '.join(f'{kind}: {", ".join(counts)}' for kind, counts in kinds.items())
        happened = sorted(surroundings.happened.items())
        yield '; '.join(f'{what}: {count}' for what, count in happened)
        yield f'{self.messages} messages, {self.acknowledged} of them acknowledged'
        if surroundings.past:
            yield f'{self.given_up} of them were not there any more once the database went back'
        for verdict in VERDICTS:
            yield f'{self.found[verdict]:7} {verdict}'
        if self.worst:
            yield f'The first: {self.worst.verdict}: {self.worst.fault.why}'
            yield from self.worst.history


def check(folder: Path, until: float = NEVER, former_id: str = '') -> Report:
    """Judge the run of which ``folder`` has the logs.

    :param until: up to which moment; before the end, ``OF_THE_END`` means nothing
    :param former_id: the highest one that was given out before the run
    """
    report = Report()
    report.surroundings = surroundings = Surroundings(world.read(folder))
    with Sorted(folder) as events, Sorted(folder) as ids, Sorted(folder) as in_groups:
        for path in sorted(folder.glob('*.log')):
            for call in calls(path, until):
                surroundings.note(call)
                for number, event in events_of(call):
                    events.write(line_of(number, event))
        surroundings.finish()
        for post in posts_in(events.lines()):
            messages = [Message(number, told, surroundings) for number, told in post]
            _judge_ages(messages, former_id, report)
            _judge_post(messages, report)
            for message in messages:
                for id in message.ids:
                    ids.write(b'%s %016x\n' % (id.encode(), message.number))
                for line in _lines_in_groups(message):
                    in_groups.write(line)
        _judge_ids(ids.lines(), report)
        _judge_groups(in_groups.lines(), report)
    _judge_the_rest(surroundings, report)
    return report


def _judge_post(messages: list[Message], report: Report) -> None:
    """Judge the messages of a post, each by itself and all together."""
    for message in messages:
        report.messages += 1
        is_acknowledged = any(
            event.kind == 'post' and event.outcome == DONE for event in message.events
        )
        report.acknowledged += is_acknowledged
        report.given_up += is_acknowledged and bool(message.kept) and not message.remained
        for verdict, judge in JUDGES.items():
            for fault in judge(message):
                report.add(verdict, fault, history(message, fault.at))
    missing = [message for message in messages if not message.was_stored]
    if len(missing) in (0, len(messages)):
        return
    for message in missing:
        # That an acknowledged one is missing is a loss, or it was never looked at.
        if message.post and message.post.outcome != DONE and not _may_be_gone_unseen(message):
            other = next(other for other in messages if other.was_stored)
            fault = Fault(message.surroundings.ended, f'{other.number:x} of its post was stored')
            lines = history(other, NEVER)
            report.add('batch half-stored', fault, [*history(message, NEVER), *lines])


def _may_be_gone_unseen(message: Message) -> bool:
    assert message.post
    surroundings = message.surroundings
    return bool(
        surroundings.unseen_pops[message.post.queue] or message.purges
    ) or message.may_be_expired(surroundings.ended)


def _judge_ages(messages: list[Message], former_id: str, report: Report) -> None:
    """See that no message got an id that an earlier one may have had."""
    for message in messages:
        for event in message.events:
            if event.kind == 'post' and event.id and event.id <= former_id:
                fault = Fault(event.ended, f'its id {event.id} is not above {former_id}, which was')
                report.add('id given twice', fault, history(message, event.ended))


def _judge_ids(lines: IO[bytes], report: Report) -> None:
    """See that each id belongs to one message; they come sorted by id."""
    of_last = ''
    for line in lines:
        id, number = line.decode().split()
        if id == report.last_id and number != of_last:
            fault = Fault(0, f'{id} is the id of the messages {of_last} and {number}')
            report.add('id given twice', fault, [])
        report.last_id, of_last = id, number


def _lines_in_groups(message: Message) -> Iterator[bytes]:
    """A line for each place that the message had, which is sorted by queue, group and number."""
    for queue, place in {(sight.queue, sight.note) for sight in message.sights if sight.note}:
        told = msgspec.json.encode((message.number, message.events))
        yield b'%s\t%s\t%s\n' % (queue.encode(), place.encode(), told)


def _judge_groups(lines: IO[bytes], report: Report) -> None:
    """See that no message of a FIFO queue was handed out before another one of its group."""
    decode = msgspec.json.Decoder(tuple[int, list[Event]]).decode
    split = (line.split(b'\t', 2) for line in lines)
    placed = ((queue.decode(), place.decode(), decode(told)) for queue, place, told in split)
    for (queue, _), group in groupby(placed, lambda it: (it[0], group_of(it[1]))):
        messages = ((place, Message(*told, report.surroundings)) for _, place, told in group)
        for fault, concerned in overtaken(queue, messages):
            lines_of_both = [line for message in concerned for line in history(message, fault.at)]
            report.add('overtaken in its group', fault, lines_of_both)


def _judge_the_rest(surroundings: Surroundings, report: Report) -> None:
    for at, why in surroundings.misordered:
        report.add('misordered or repeated for a reader', Fault(at, why), [])
    for at, why in surroundings.out_of_line:
        report.add('overtaken in its group', Fault(at, why), [])
    for call in surroundings.answers_500:
        report.add('answered 500', Fault(call.ended, f'{call.who} #{call.number}'), [str(call)])
    for call in surroundings.statistics:
        _judge_statistics(call, surroundings, report)


def _judge_statistics(call: Call, surroundings: Surroundings, report: Report) -> None:
    queue, told = call.given['queue'], call.answer['told']
    counted = {
        'free': surroundings.kept[queue, 'ready'] + surroundings.kept[queue, 'delayed'],
        'claimed': surroundings.kept[queue, 'claimed'],
        'parked': surroundings.kept[queue, 'parked'],
    }
    wrong = {name: told[name] for name in counted if name in told and told[name] != counted[name]}
    if wrong:
        fault = Fault(call.ended, f'{queue} tells {wrong}, where the database has {counted}')
        report.add('statistics differ', fault, [])


def history(message: Message, until: float) -> list[str]:
    """The events of a message up to then, a line each; times are seconds since the first."""
    start = message.events[0].began
    shown = [event for event in message.events if event.began <= until]
    return [f'  message {message.number:x}', *(_line(event, start) for event in shown)]


def _line(event: Event, start: float) -> str:
    ended = '  (no end)' if event.ended >= NEVER else f'{event.ended - start:10.4f}'
    more = [event.queue, event.id, event.claim and f'claim {event.claim}', _terms(event, start)]
    what = ' '.join(filter(None, more))
    return f'  {event.began - start:10.4f} {ended}  {event.who:20} {event.kind:8}{event.outcome:8}{what}'


def _terms(event: Event, start: float) -> str:
    if event.kind == 'kept':
        held = f' until {event.seconds - start:.4f}' if event.seconds else ''
        return f'handed out {event.times} times{held}'
    delay = 'delay' if event.kind in ('post', 'release') else 'ttl'
    count = f'count {event.times}' if event.kind == 'claim' and event.times else ''
    return ' '.join(filter(None, (f'{delay} {event.seconds:g}' if event.seconds else '', count)))
