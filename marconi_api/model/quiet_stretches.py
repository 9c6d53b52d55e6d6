"""Where the janitor need not look for a while: stretches of queues in which nothing dies.

The janitor learns of such stretches only by its own looks. An index of expiry times would cost each
post and each claim an entry.
"""

import time
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field

#: Seconds after which a stretch is looked at again in any case. A message may die there earlier than
#: the last look could tell: a dead letter may have come there with its old id, or a parked message,
#: which did not expire, may have been kicked.
LONGEST = 600


@dataclass(frozen=True, slots=True)
class _Stretch:
    """The messages with ids above ``after``, up to ``last``."""

    after: int
    last: int
    #: A time of ``time.monotonic()`` before which no message of the stretch dies.
    until: float


@dataclass(slots=True)
class _QueueMemory:
    floor: int
    #: In order, without overlaps.
    stretches: list[_Stretch] = field(default_factory=list)


class QuietStretches:
    """The stretches that are known, by queue."""

    def __init__(self) -> None:
        self._queues: dict[int, _QueueMemory] = {}

    @property
    def queues(self) -> list[int]:
        """The queues of which anything is known."""
        return list(self._queues)

    def keep(self, floors: Mapping[int, int]) -> None:
        """Forget the queues that are gone, or have another floor than when they were looked at."""
        self._queues = {
            queue_id: memory
            for queue_id, memory in self._queues.items()
            if floors.get(queue_id) == memory.floor
        }

    def forget(self) -> None:
        """Forget all."""
        self._queues.clear()

    def remember(self, queue_id: int, floor: int, after: int, last: int, seconds: float) -> None:
        """Nothing above ``after``, up to ``last``, dies within so many seconds."""
        stretch = _Stretch(after, last, time.monotonic() + seconds)
        memory = self._queues.setdefault(queue_id, _QueueMemory(floor))
        apart = [s for s in memory.stretches if s.last <= after or last <= s.after]
        memory.stretches = sorted([*apart, stretch], key=_after)

    def end_of(self, queue_id: int, place: int) -> int:
        """How far one can go on from ``place`` without a look."""
        memory = self._queues.get(queue_id)
        now = time.monotonic()
        while memory:
            index = bisect_right(memory.stretches, place, key=_after) - 1
            if index < 0:
                break
            stretch = memory.stretches[index]
            if stretch.until <= now or stretch.last <= place:
                break
            place = stretch.last
        return place


def _after(stretch: _Stretch) -> int:
    return stretch.after
