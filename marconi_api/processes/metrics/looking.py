"""What the exporter learns from the database: at times of its own, however often it is scraped."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from marconi_api.errors import StorageUnavailable
from marconi_api.model import Store
from marconi_api.model.depths import Depths, DepthWalk
from marconi_api.model.read_horizon import Holder, holder
from marconi_api.model.webhooks import WebhookCounts

log = logging.getLogger(__name__)

# After a step the walk rests for so many times as long as the step took: it takes 5 % of the time
# of one connection.
RESTS = 20

# Seconds for which a transaction may hold lists back before the log tells of it, and seconds
# between two lines about the same one.
TOLD_AFTER = 30.0
TOLD_AGAIN = 300.0


@dataclass(frozen=True)
class Signs:
    """How the database and its janitor are; what is not known is None."""

    #: Whether it answered when it was last asked.
    is_up: bool = False
    #: Seconds since the janitor began its last round, and for how long lists are held back.
    janitor: float | None = None
    horizon: float | None = None
    webhooks: WebhookCounts | None = None


class Looking:
    """Looks again and again, in a thread.

    :param interval: seconds between two looks, and between two rounds of the walk, at least
    :param most: see :class:`DepthWalk`
    """

    def __init__(self, store: Store, interval: float, most: int) -> None:
        self._store = store
        self._interval = interval
        self._walk = DepthWalk(store.database, most)
        self._horizon = Horizon()
        self.signs = Signs()

    @property
    def depths(self) -> Depths | None:
        """What the last round came to; None before its end."""
        return self._walk.depths

    def start(self) -> None:
        """Look until the process ends."""
        threading.Thread(target=self._run, name='looking', daemon=True).start()

    def _run(self) -> None:
        look_at = step_at = 0.0
        while True:
            try:
                if time.monotonic() >= look_at:
                    look_at = time.monotonic() + self._interval
                    self.look()
                if time.monotonic() >= step_at:
                    step_at = time.monotonic() + self._interval
                    step_at = time.monotonic() + self.step()
            except Exception:
                # What is told is not known any more, and the next look may succeed.
                self.signs = Signs()
                log.exception('the figures for the metrics could not be looked up')
            time.sleep(max(0.0, min(look_at, step_at) - time.monotonic()))

    def look(self) -> None:
        """Learn the signs."""
        try:
            janitor = self._store.janitor.seconds_since_last_round()
            found = holder(self._store.database)
            webhooks = self._store.webhooks.counts()
        except StorageUnavailable:
            # The log has it.
            self.signs = Signs()
        else:
            self.signs = Signs(True, janitor, self._horizon.seconds(found), webhooks)

    def step(self) -> float:
        """Go a step; return for how many seconds to rest."""
        began = time.monotonic()
        try:
            is_end = self._walk.step()
        except StorageUnavailable:
            is_end = True
        rest = RESTS * (time.monotonic() - began)
        return max(rest, self._interval) if is_end else rest


class Horizon:
    """For how long one transaction has held lists back, and a line in the log if that is long.

    :param now: gives seconds, as ``time.monotonic``
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._transaction: Any = None
        self._since = self._told_at = 0.0

    def seconds(self, found: Holder | None) -> float:
        """For how long lists have been held back; 0 if they are not."""
        now = self._now()
        if found is None:
            self._transaction = None
            return 0.0
        if found.transaction != self._transaction:
            self._transaction, self._since = found.transaction, now
            self._told_at = now - TOLD_AGAIN
        # Where PostgreSQL does not show since when, from the first time it was seen.
        seconds = now - self._since if found.seconds is None else found.seconds
        if seconds >= TOLD_AFTER and now >= self._told_at + TOLD_AGAIN:
            self._told_at = now
            log.warning(
                'lists show nothing that was posted since a transaction began that has been open '
                'for so long: %d s, PostgreSQL process %s (%s): end it',
                *(seconds, found.pid or 'none', found.told or 'of somebody else'),
            )
        return seconds
