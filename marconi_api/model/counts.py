"""Counts of many rows, which must not keep the threads and the database from everybody else."""

import threading
import time
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, TypeVar

from marconi_api.errors import CountUnderWay

#: Seconds that a count takes at most if its result is not used again.
QUICK = 0.1

#: A result is used again for this many times as long as the counting took. So counting takes at most
#: a tenth of the time, however often clients ask for the same count.
TIMES_AS_LONG = 10

#: Seconds for which a request waits for another request's count. Its thread serves nobody meanwhile.
LONGEST_WAIT = 0.5

Result = TypeVar('Result')


class _Remembered(NamedTuple):
    result: Any
    #: By time.monotonic().
    until: float


class Counts:
    """Lets one count run at a time in this process, and uses again the result of a slow one.

    A count reads every row, so its time grows with their number: 0.1 s for a million messages on
    an idle machine. Only the result of a count that took longer than QUICK is remembered, for ten
    times as long as the count took. So a request gets the exact figures of a small queue. The figures
    of a large one are at most eleven times as old as a count takes: requests that wait while the
    queue is counted share the result.
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
                # The count for which this request waited may have been the same one.
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
            # Only one count runs at a time, and a result is good for ten times as long as its count
            # took. So few results are good at once.
            still_good = {
                key: known for key, known in self._remembered.items() if ended < known.until
            }
            self._remembered = {**still_good, what: counted}
        return counted
