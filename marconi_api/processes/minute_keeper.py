"""Writes down what happens in each minute of each queue, for the plots of the console."""

import logging
import threading
import time
from pathlib import Path

from marconi_api.errors import StorageUnavailable
from marconi_api.model import Store
from marconi_api.model.depths import DepthWalk
from marconi_api.processes.tallies import MOST_QUEUES, read_all

log = logging.getLogger(__name__)

# Seconds after the end of a minute at which it is read, and between two looks at the clock.
_GRACE = 2.0
_LOOK_EVERY = 2.0

# After a step the walk rests for so many times as long as the step took: it takes 2.5 % of the time
# of one connection. A round takes a minute at least.
_RESTS = 40
_ROUND = 60.0


class MinuteKeeper:
    """Writes in a thread of its own, in one process of each service.

    What the processes of this service counted it writes itself. What the queues hold is written by
    the service whose janitor is at work.

    :param directory: of the files of this service's processes; None: there are none
    """

    def __init__(self, store: Store, directory: Path | None) -> None:
        self._store = store
        self._directory = directory
        self._written = _minute_before(time.time())
        self._walk = DepthWalk(store.database, MOST_QUEUES)
        #: The queues that held something at the end of the last round; None: that is not known.
        self._filled: set[int] | None = None
        self._step_at = 0.0

    def run_forever(self, stop: threading.Event | None = None) -> None:
        """Write until ``stop`` is set."""
        stop = stop or threading.Event()
        while not stop.is_set():
            try:
                self.write_traffic(time.time())
                if time.monotonic() >= self._step_at:
                    self._step_at = time.monotonic() + self.step()
            except StorageUnavailable:
                # The log has it. What could not be written is missing from the plots.
                self._step_at = time.monotonic() + _ROUND
            except Exception:
                log.exception('the minutes of the queues could not be written down')
                self._step_at = time.monotonic() + _ROUND
            stop.wait(min(_LOOK_EVERY, max(0.0, self._step_at - time.monotonic())))

    def write_traffic(self, now: float) -> None:
        """Write down the last minute that is over, unless that was done.

        It is tried once: a minute that is missing is better than one that is counted twice.
        """
        minute = _minute_before(now - _GRACE)
        if self._directory is None or minute <= self._written:
            return
        self._written = minute
        if counts := read_all(self._directory, minute):
            self._store.minutes.add(minute, counts)

    def step(self) -> float:
        """Go a step on the walk over what the queues hold; return for how many seconds to rest."""
        if not self._store.janitor.has_turn:
            self._filled = None
            return _LOOK_EVERY
        began = time.monotonic()
        is_end = self._walk.step()
        if is_end:
            self._write_held()
        rest = _RESTS * (time.monotonic() - began)
        return max(rest, _ROUND) if is_end else rest

    def _write_held(self) -> None:
        depths = self._walk.depths
        assert depths is not None
        minutes = self._store.minutes
        before = minutes.filled_lately() if self._filled is None else self._filled
        self._filled = minutes.note_held(depths.queues, before)
        minutes.remove_old()


def _minute_before(now: float) -> int:
    return int(now // 60) - 1
