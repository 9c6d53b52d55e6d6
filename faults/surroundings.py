"""What must be known of a run besides what happened to one message, to judge that."""

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from faults.groups import out_of_line
from faults.log import DONE, NEVER, UNKNOWN, Call
from faults.world import World


class Wait(NamedTuple):
    """A request that waited for long: from when, up to when, and whose it was."""

    began: float
    ended: float
    who: str


class Purge(NamedTuple):
    """A purge of a queue's messages: from when, up to when it was carried out, whose it was, and whether it was."""

    began: float
    ended: float
    who: str
    is_done: bool


class Reader:
    """A reader that follows the marker of a queue: what it came to, page by page."""

    def __init__(self, who: str, queue: str) -> None:
        self.who = who
        self.queue = queue
        #: What its pages leave out, such as messages that are claimed.
        self.sees_all = False
        self._reached = array('Q')
        self._ended = array('d')
        self._last = -1

    def note(self, call: Call) -> Iterator[str]:
        """Take its next page; what is wrong with the order of it."""
        self.sees_all = call.given['sees_all']
        before = self._last
        for id, _ in call.answer['messages']:
            place = int(id, 16)
            if place <= self._last:
                yield f'{self.who} was shown {id} after {self._last:016x}'
            self._last = max(self._last, place)
        if self._last > before:
            self._reached.append(self._last)
            self._ended.append(call.ended)

    def passed(self, id: str) -> float | None:
        """When the page ended in which the reader passed the place; None if it has not come to it."""
        page = bisect_left(self._reached, int(id, 16))
        return self._ended[page] if page < len(self._reached) else None


class Surroundings:
    """Of all calls, what does not belong to a single message."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.queues = world.by_key()
        #: By queue, when calls began that may have taken some of its messages unseen.
        self._unseen_claims: dict[str, list[float]] = defaultdict(list)
        #: By queue, how many messages may have been popped unseen.
        self.unseen_pops: Counter[str] = Counter()
        self.readers: dict[str, list[Reader]] = defaultdict(list)
        self.waits: dict[str, list[Wait]] = defaultdict(list)
        self.purges: dict[str, list[Purge]] = defaultdict(list)
        self.accidents: list[tuple[float, float, str]] = []
        #: By client, when it was paused: from, and up to.
        self._pauses: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self.calls: Counter[tuple[str, str]] = Counter()
        #: By what happened, how many processes or sessions it befell.
        self.happened: Counter[str] = Counter()
        self.kept: Counter[tuple[str, str]] = Counter()
        self.statistics: list[Call] = []
        #: If the database went back to what it was: from when, up to when that can have been.
        self.past: tuple[float, float] | None = None
        #: What is wrong with the order of pages, with when it was seen.
        self.misordered: list[tuple[float, str]] = []
        #: The same of what claims of FIFO queues were given.
        self.out_of_line: list[tuple[float, str]] = []
        self.answers_500: list[Call] = []
        self.ended = 0.0
        self._readers: dict[tuple[str, str], Reader] = {}

    def note(self, call: Call) -> None:
        """Learn from a call. Those of one process come in the order of their ends."""
        if call.kind not in ('kept', 'restored', 'remained'):
            self.calls[call.kind, call.outcome] += 1
        if call.answer.get('status') == 500:
            self.answers_500.append(call)
        if call.ended < NEVER:
            self.ended = max(self.ended, call.ended)
        note = getattr(self, f'_note_{call.kind}', None)
        if note is not None:
            note(call)

    def finish(self) -> None:
        """Be ready for questions, once all calls are noted."""
        for moments in self._unseen_claims.values():
            moments.sort()
        for waits in self.waits.values():
            waits.sort()

    def unseen_claims(self, queue: str, after: float, before: float) -> int:
        """How many calls may have claimed a message of the queue unseen in that time.

        One that began earlier may have been carried out later, but only for as long as a service
        takes a request for one that is under way.
        """
        moments = self._unseen_claims[queue]
        return bisect_right(moments, before) - bisect_left(moments, after - _LONGEST_CALL)

    def was_paused(self, wait: Wait) -> bool:
        """Whether the client that waited was paused meanwhile."""
        pauses = self._pauses[wait.who.partition(' ')[0]]
        return any(began <= wait.ended and wait.began <= ended for began, ended in pauses)

    def is_calm(self, began: float, ended: float) -> bool:
        """Whether no accident can be why a request waited in that time."""
        recovery = self.world.recovery
        return not any(
            accident_began <= ended and began <= accident_ended + recovery
            for accident_began, accident_ended, _ in self.accidents
        )

    def _note_claim(self, call: Call) -> None:
        if call.outcome == UNKNOWN:
            for queue in call.given['queues']:
                self._unseen_claims[queue].append(call.began)
        self._note_wait(call, call.given['queues'])
        for _, _, messages in call.answer.get('claims', ()):
            places = [place for _, _, _, *rest in messages for place in rest if place]
            self.out_of_line += [(call.ended, why) for why in out_of_line(places)]

    def _note_pop(self, call: Call) -> None:
        if call.outcome == UNKNOWN:
            self.unseen_pops[call.given['queue']] += call.given['limit']
            self._unseen_claims[call.given['queue']].append(call.began)
        self._note_wait(call, [call.given['queue']])

    def _note_wait(self, call: Call, queues: list[str]) -> None:
        patience = self.world.patience
        if call.answer.get('waited') and patience < call.ended - call.began < NEVER / 2:
            for queue in queues:
                self.waits[queue].append(Wait(call.began, call.ended, f'{call.who} #{call.number}'))

    def _note_read(self, call: Call) -> None:
        if call.outcome != DONE:
            return
        key = call.who, call.given['queue']
        if key not in self._readers:
            self._readers[key] = reader = Reader(*key)
            self.readers[reader.queue].append(reader)
        self.misordered += [(call.ended, why) for why in self._readers[key].note(call)]

    def _note_kept(self, call: Call) -> None:
        self.kept[call.given['queue'], call.given['state']] += 1

    def _note_purge(self, call: Call) -> None:
        if call.outcome in (DONE, UNKNOWN):
            who = f'{call.who} #{call.number}'
            purge = Purge(call.began, call.ended, who, call.outcome == DONE)
            self.purges[call.given['queue']].append(purge)

    def _note_past(self, call: Call) -> None:
        self.past = call.given['since'], call.given['until']

    def _note_stats(self, call: Call) -> None:
        if call.outcome == DONE:
            self.statistics.append(call)

    def _note_paused(self, call: Call) -> None:
        self._pauses[call.given['client']].append(
            (call.began, call.began + call.given['seconds'] + 1)
        )

    def _note_accident(self, call: Call) -> None:
        # One that is not over befell somebody, for all that is known.
        self.happened[call.given['what']] += call.answer.get('befallen', 1)
        if call.given['stops_service']:
            ended = call.ended if call.ended < NEVER else call.began
            self.accidents.append((call.began, ended, call.given['what']))


_LONGEST_CALL = 60.0
