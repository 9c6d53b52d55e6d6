"""What is to be done later, in the order of time."""

import heapq
import itertools
from collections.abc import Callable
from math import inf


class Timers:
    """Calls that are due at times of ``time.monotonic()``. Nothing is called twice."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._count = itertools.count()

    def at(self, time: float, call: Callable[..., None], *arguments: object) -> None:
        """Call ``call`` at that time, or soon after."""
        heapq.heappush(self._heap, (time, next(self._count), call, arguments))

    @property
    def next_at(self) -> float:
        """When the next call is due."""
        return self._heap[0][0] if self._heap else inf

    def run(self, now: float) -> None:
        """Make the calls that are due."""
        while self._heap and self._heap[0][0] <= now:
            _, _, call, arguments = heapq.heappop(self._heap)
            call(*arguments)
