"""Counts of many rows, which must not keep the threads and the database from everybody else."""

import threading
import time
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, TypeVar

from marconi_api.errors import CountUnderWay

#: Seconds that a count takes at most if its result is not used again.
QUICK = 0.1

#: For how many times as long as the counting took its result is used again. So to count takes
# at most a tenth of the time, however often the same is asked.
TIMES_AS_LONG = 10

#: Seconds for which a request waits for the count of another. Its thread serves nobody meanwhile.
LONGEST_WAIT = 0.5

Result = TypeVar('Result')


class _Remembered(NamedTuple):
    result: Any
    #: By time.monotonic().
    until: float


class Counts:
    """Lets one count run at a time in this process, and uses again the result of a slow one.

    A count reads every row, so its time grows with their number: 0.1 s for a million messages on
    an idle machine. Only what took longer than QUICK is remembered, for ten times as long as it
    took. So of a small queue each request gets the exact figures of its moment. Of a large one it
    gets figures that are at most eleven times as old as counting takes: requests that wait while
    it is counted share its result.
    """

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._remembered: dict[Hashable, _Remembered] = {}

    def of(self, what: Hashable, count: Callable[[], Result]) -> Result:
        """What ``count`` returns now, or returned for ``what`` a short time ago.

        :raises CountUnderWay: if another count does not end within half a second
        """
        known = self._known(what)
        if known is None:
            if not self._turn.acquire(timeout=LONGEST_WAIT):
                raise CountUnderWay
            try:
                # The count that was waited for may have been this one.
                known = self._known(what) or self._count(what, count)
            finally:
                self._turn.release()
        result: Result = known.result
        return result

    def _known(self, what: Hashable) -> _Remembered | None:
        known = self._remembered.get(what)
        return known if known and time.monotonic() < known.until else None

    def _count(self, what: Hashable, count: Callable[[], Any]) -> _Remembered:
        started = time.monotonic()
        result = count()
        ended = time.monotonic()
        took = ended - started
        counted = _Remembered(result, ended + TIMES_AS_LONG * took)
        if took > QUICK:
            # Others are over by the time that a few are made, so these stay few.
            still_good = {
                key: known for key, known in self._remembered.items() if ended < known.until
            }
            self._remembered = {**still_good, what: counted}
        return counted
