"""Where a scan for claimable messages may start, as this process remembers it.

While an old snapshot is open (a dump, a forgotten transaction) PostgreSQL keeps the index
entries of deleted messages, and a scan from the lowest key walks them all: 30 ms after a
hundred thousand. A mark says below which key nothing is left to find. A mark that is too low only
costs time. A mark that is too high would hide messages. These are the reasons why none is:

*Fresh messages* (``held_until`` null), by id. A claim reports the lowest fresh id that its
snapshot holds. What the snapshot does not hold was posted by a transaction that was not
finished then, so its id is not below the snapshot's oldest unfinished transaction; and no
message becomes fresh again.

*Returned messages*, by ``held_until``, then by id. A statement that writes a ``held_until`` first
takes its transaction's id, then reads the clock, and writes that time or a later one
(transitions.py). So let a claim have begun at time t and got the transaction id x. A statement
that writes a ``held_until`` below t read the clock before t, and so has an id below x. When all
transactions below x have finished, a snapshot taken then holds every ``held_until`` below t that
will ever be. How long a claim or a delay lasts does not matter: it may be no time at all. A
claim that takes nothing has no transaction id, unless it asks for one; it does so once a
second, else the mark of a queue that is only polled would stay where it is.

*A look that is cut short.* A claim looks at a bounded number of messages, in the order of the
key. Of what lies between its start and the last message it looked at, it has seen all that its
snapshot holds; so where nothing of that can be claimed, the last one takes the place of the
first claimable one in both arguments. The look must have started at the mark, or below it: one
that went on from where an earlier look ended knows nothing of what lies between, since its
snapshot may hold more there than that of the earlier look. It proves nothing.

*What was handed out too often* cannot be claimed where the queue sets a limit. For each limit
there are marks of their own, which pass such messages over: ``claim_count`` falls only when
``held_until`` is written anew, and so the argument holds for them, too.

*The clock* must not go back: what is written then may lie below a time that was proved before.
So each statement is told the latest time that any statement of this process has seen. Where
its own time is earlier, it disregards the mark for returned messages, and its report drops all
marks. (A step back that nobody notices until the clock is past that time again costs minutes:
marks step back, see below.)

Rollbacks change nothing: a plain read still finds what others have changed but not
committed. A lapse is known beforehand: its time lies above the mark until it is due. An expired
message stays so: whoever prolongs its life holds it, and then ``held_until`` is written, too.
"""

import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NamedTuple

from marconi_api.model.postgres.prepared import OwnText
from marconi_api.model.postgres.tables import POSITION_BITS

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

_MOST_QUEUES = 10_000
_ASK_EVERY = 1.0
_STEP_BACK_EVERY = 60.0
_STEPS = 10


class Place(NamedTuple):
    """A place in the order in which messages return: by ``held_until``, then by id."""

    held_until: datetime
    id: int


_BEFORE_ALL = Place(LONG_AGO, 0)


class _Values(NamedTuple):
    fresh_id: int = 0
    held_until: datetime = LONG_AGO
    held_id: int = 0
    #: The latest of the database's times that was known when this was learned. A statement
    #: whose own time is earlier disregards the place.
    known_time: datetime = LONG_AGO


class LowWaterMark(_Values):
    """Nothing claimable has a lower id (fresh) or an earlier place (returned)."""

    @property
    def held(self) -> Place:
        """The place below which no returned message can be claimed."""
        return Place(self.held_until, self.held_id)

    def or_later(self, fresh_id: int, held: Place, known_time: datetime) -> 'LowWaterMark':
        """This mark, with each part moved to the given value where that lies further on."""
        own_fresh_id, own_held_until, own_held_id, own_known_time = self
        if held <= (own_held_until, own_held_id):
            held = Place(own_held_until, own_held_id)
        return LowWaterMark(
            own_fresh_id if own_fresh_id > fresh_id else fresh_id,
            *held,
            own_known_time if own_known_time > known_time else known_time,
        )

    @property
    def for_a_claim(self) -> dict[str, Any]:
        """The mark as parameters of a statement that takes messages."""
        fresh_id, held_until, held_id, known_time = self
        return {
            'fresh_mark': fresh_id,
            'held_mark': held_until,
            'held_mark_id': held_id,
            'known_time': known_time,
        }

    @cached_property
    def parameters(self) -> Mapping[str, Any]:
        """The mark as parameters of other statements, with its times as text.

        They are cached, as many pages may be read from one mark.
        """
        return {
            **self.for_a_claim,
            'held_mark': OwnText(self.held_until),
            'known_time': OwnText(self.known_time),
        }


_NO_MARK = LowWaterMark()


class Start(NamedTuple):
    """Where a statement starts to scan, and what was known when it set out."""

    mark: LowWaterMark
    #: The latest of the database's times that was known, of whatever queue.
    known_time: datetime
    #: Whether the statement is to ask for a transaction id, if it has none.
    asks: bool
    #: Counts how often all marks were dropped.
    generation: int


class Seen(NamedTuple):
    """What a claim's statement saw that had started at its mark, apart from what it took."""

    #: The lowest id, at or above the mark, at which a fresh message may be: that of the first
    #: one, or of the last message looked at if the look was cut short. None: there is none.
    first_fresh: int | None
    #: The first place, at or above the mark, at which a returned message may be; likewise.
    first_held: Place | None
    #: The statement's time.
    now: datetime
    #: The oldest transaction that was not finished, numbered as message ids are.
    oldest_unfinished: int
    #: The statement's own transaction, numbered likewise; None if it has none.
    transaction: int | None


class _Horizon(NamedTuple):
    """What will prove a mark: once all transactions below ``transaction`` have ended.

    A snapshot taken then holds every place below ``place`` that there will ever be.
    """

    place: Place
    transaction: int


@dataclass
class _Memory:
    mark: LowWaterMark = field(default_factory=LowWaterMark)
    pending: _Horizon | None = None
    confirmed: _Horizon | None = None
    past: deque[LowWaterMark] = field(default_factory=lambda: deque([LowWaterMark()] * _STEPS))
    stepped_back_at: float = field(default_factory=time.monotonic)
    asked_at: float = -math.inf

    def asks(self) -> bool:
        """Whether a statement should ask for a transaction id now, as a horizon to come."""
        if self.pending or time.monotonic() - self.asked_at < _ASK_EVERY:
            return False
        self.asked_at = time.monotonic()
        return True

    def learn(self, seen: Seen) -> None:
        """Raise the mark as far as ``seen`` alone proves."""
        first_fresh, first_held, now, oldest_unfinished, transaction = seen
        if self.pending and oldest_unfinished > self.pending.transaction:
            self.confirmed, self.pending = self.pending, None
        if self.pending is None and transaction is not None:
            self.pending = _Horizon(Place(now, 0), transaction)

        fresh_id = oldest_unfinished << POSITION_BITS
        if first_fresh is not None and first_fresh < fresh_id:
            fresh_id = first_fresh
        held = _BEFORE_ALL
        # Threads report in any order: an older snapshot must not use a horizon that only
        # a later one has confirmed.
        if self.confirmed and oldest_unfinished > self.confirmed.transaction:
            held = min(first_held or Place(now, 0), self.confirmed.place)
        self.mark = self.mark.or_later(fresh_id, held, now)

    def step_back(self) -> None:
        """Return once a minute to the mark of ten minutes ago.

        So if a mark were too high by an error that nobody foresaw, messages would be late by minutes,
        but none would be lost.
        """
        if time.monotonic() - self.stepped_back_at >= _STEP_BACK_EVERY:
            self.stepped_back_at = time.monotonic()
            self.past.append(self.mark)
            self.mark = self.past.popleft()._replace(known_time=self.mark.known_time)


class LowWaterMarks:
    """The marks of the queues that this process claimed from lately; safe among threads.

    A queue has one mark for messages that are alive. It has another one for each limit on the count of
    claims with which it was claimed from, for messages that may be claimed within that limit.
    """

    def __init__(self) -> None:
        self._memories: OrderedDict[tuple[int, int | None], _Memory] = OrderedDict()
        self._lock = threading.Lock()
        self._generation = 0
        self._known_time = LONG_AGO

    def mark(self, queue_id: int) -> LowWaterMark:
        """Where a statement may start in a queue; call this once the connection is made.

        A new connection drops all marks.
        """
        # One look at one tuple needs no lock.
        memory = self._memories.get((queue_id, None))
        return _NO_MARK if memory is None else memory.mark

    def start(self, queue_id: int, limit: int | None = None, may_ask: bool = False) -> Start:
        """Where a statement starts that will report what it saw, by :meth:`learn`.

        :param limit: how often a message may be claimed, if the statement has such a limit
        :param may_ask: whether the statement can ask for a transaction id, and tells it
        """
        with self._lock:
            memory = self._memories.get((queue_id, limit))
            if memory is None:
                return Start(_NO_MARK, self._known_time, may_ask, self._generation)
            return Start(memory.mark, self._known_time, may_ask and memory.asks(), self._generation)

    def forget(self) -> None:
        """Drop all marks: after a reconnect the database may be another one, or back in time."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        self._memories.clear()
        self._generation += 1
        self._known_time = LONG_AGO

    def learn(self, queue_id: int, start: Start, seen: Seen, limit: int | None = None) -> None:
        """Move a mark by what a statement saw that started from ``start``."""
        with self._lock:
            if start.generation != self._generation:
                return
            # A clock that was set back makes all times worthless. (That others have learned
            # later times meanwhile is another matter, and common.)
            if seen.now < start.known_time:
                self._forget()
                return
            self._known_time = max(self._known_time, seen.now)
            key = queue_id, limit
            memory = self._memories.get(key)
            if memory is None:
                memory = self._memories[key] = _Memory()
            self._memories.move_to_end(key)
            memory.learn(seen)
            memory.step_back()
            if len(self._memories) > _MOST_QUEUES:
                self._memories.popitem(last=False)
