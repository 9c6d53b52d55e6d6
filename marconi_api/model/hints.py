"""Where a scan for claimable messages may start, as this process remembers it.

While an old snapshot is open (a dump, a forgotten transaction) PostgreSQL keeps the index
entries of deleted messages, and a scan from the lowest key walks them all: 30 ms after a
hundred thousand. A hint says below which key nothing is left to find. It is only ever an
economy: a hint that is too low costs time. It must never be too high, and isn't:

*Fresh messages* (``held_until`` null), by id. A claim reports the lowest fresh id that its
snapshot holds. What the snapshot does not hold was posted by a transaction that was not
finished then, so its id is not below the snapshot's oldest unfinished transaction; and no
message becomes fresh again.

*Returned messages*, by ``held_until``. Who writes a ``held_until`` in the past or present
asks for a transaction id first and reads the clock after it. So let a claim have begun at
time t and got the transaction id x: whoever read the clock before t has an id below x, and
when all those have finished, a snapshot taken then holds every ``held_until`` up to t that
will ever be. Claims themselves write times further ahead than a statement may take.

Rollbacks change nothing: a plain read still finds what others have changed but not
committed. A lapse is known beforehand: its time lies above the hint until it is due.
"""

import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from marconi_api.model.tables import POSITION_BITS

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

_MOST_QUEUES = 10_000
_STEP_BACK_EVERY = 60.0
_STEPS = 10


class Hint(NamedTuple):
    """Nothing claimable has a lower id (fresh) or an earlier ``held_until`` (returned)."""

    fresh_id: int = 0
    held_until: datetime = LONG_AGO

    @property
    def parameters(self) -> dict[str, Any]:
        """The hint, for a statement."""
        return {'fresh_hint': self.fresh_id, 'held_hint': self.held_until}


_NO_HINT = Hint()


class Start(NamedTuple):
    """Where a statement starts to scan, and what was known when it set out."""

    hint: Hint
    #: The latest of the database's times that was known.
    known_time: datetime
    #: Counts how often all hints were dropped.
    generation: int


class Seen(NamedTuple):
    """What a claim's statement saw, apart from the messages it took."""

    #: The lowest id of a fresh message at or above the hint; None if there was none.
    first_fresh: int | None
    #: The earliest ``held_until`` of a returned message at or above the hint.
    first_held: datetime | None
    #: The statement's time.
    now: datetime
    #: The oldest transaction that was not finished, numbered as message ids are.
    oldest_unfinished: int
    #: The statement's own transaction, numbered likewise; None if it took nothing.
    transaction: int | None


class _Horizon(NamedTuple):
    """Who has seen every transaction below ``transaction`` end, has seen all up to ``time``."""

    time: datetime
    transaction: int


@dataclass
class _Memory:
    hint: Hint = field(default_factory=Hint)
    pending: _Horizon | None = None
    confirmed: _Horizon | None = None
    past: deque[Hint] = field(default_factory=lambda: deque([Hint()] * _STEPS))
    stepped_back_at: float = field(default_factory=time.monotonic)

    @property
    def known_time(self) -> datetime:
        """The latest of the database's times in here."""
        horizons = [horizon.time for horizon in (self.pending, self.confirmed) if horizon]
        return max(self.hint.held_until, *horizons) if horizons else self.hint.held_until

    def learn(self, seen: Seen) -> None:
        """Raise the hint as far as ``seen`` alone proves."""
        if self.pending and seen.oldest_unfinished > self.pending.transaction:
            self.confirmed, self.pending = self.pending, None
        if self.pending is None and seen.transaction is not None:
            self.pending = _Horizon(seen.now, seen.transaction)

        fresh_id = seen.oldest_unfinished << POSITION_BITS
        if seen.first_fresh is not None:
            fresh_id = min(fresh_id, seen.first_fresh)
        held_until = self.hint.held_until
        # Threads report in any order: an older snapshot must not use a horizon that only
        # a later one has confirmed.
        if self.confirmed and seen.oldest_unfinished > self.confirmed.transaction:
            held_until = min(seen.first_held or seen.now, self.confirmed.time)
        self.hint = Hint(max(self.hint.fresh_id, fresh_id), max(self.hint.held_until, held_until))

    def step_back(self) -> None:
        """Each minute return to the hint of ten minutes ago.

        An error that nobody foresaw then costs minutes, never a message.
        """
        if time.monotonic() - self.stepped_back_at >= _STEP_BACK_EVERY:
            self.stepped_back_at = time.monotonic()
            self.past.append(self.hint)
            self.hint = self.past.popleft()


class Hints:
    """The hints of the queues that this process claimed from lately; safe among threads."""

    def __init__(self) -> None:
        self._memories: OrderedDict[int, _Memory] = OrderedDict()
        self._lock = threading.Lock()
        self._generation = 0

    def hint(self, queue_id: int) -> Hint:
        """Where a statement may start in a queue; to be asked when its connection stands."""
        # One look at one tuple needs no lock.
        memory = self._memories.get(queue_id)
        return _NO_HINT if memory is None else memory.hint

    def start(self, queue_id: int) -> Start:
        """The same, for a statement that will tell what it saw."""
        with self._lock:
            memory = self._memories.get(queue_id)
            if memory is None:
                return Start(_NO_HINT, LONG_AGO, self._generation)
            return Start(memory.hint, memory.known_time, self._generation)

    def forget(self) -> None:
        """Drop all: after a reconnect the database may be another, or back in time."""
        with self._lock:
            self._memories.clear()
            self._generation += 1

    def learn(self, queue_id: int, start: Start, seen: Seen) -> None:
        """Move a queue's hint by what a claim saw that had set out from ``start``."""
        with self._lock:
            if start.generation != self._generation:
                return
            memory = self._memories.get(queue_id)
            # A clock that was set back makes all times worthless. (That others have learned
            # later times meanwhile is another matter, and common.)
            if memory is None or seen.now < start.known_time:
                memory = self._memories[queue_id] = _Memory()
            self._memories.move_to_end(queue_id)
            memory.learn(seen)
            memory.step_back()
            if len(self._memories) > _MOST_QUEUES:
                self._memories.popitem(last=False)
