"""What a process knows of a subscription that it owns: what is under way, and what to send next."""

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from marconi_api.model.deliveries import Delivery, Owned, Read, SubscriptionKey
from marconi_api.model.retry_schedule import DEFAULT, RetrySchedule, schedule_of
from marconi_api.model.subscription_options import RANGES

# Seconds between first attempts at a subscriber whose last attempt failed: the least and the most.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0

#: Above all ids of messages.
_ABOVE_ALL = 2**63 - 1


class Courier:
    """One subscription, and its deliveries that were read.

    A subscriber that fails gets few first attempts until one of its deliveries succeeds. So deliveries
    that were never tried wait, and do not use up their attempts.
    """

    def __init__(self, key: SubscriptionKey) -> None:
        self.key = key
        #: The subscription as it was last found; None as long as this process does not own it.
        self.owned: Owned | None = None
        self.options: Mapping[str, Any] = {}
        self.schedule: RetrySchedule = DEFAULT
        self._until = 0.0
        self._seen = 0
        # The ids of deliveries that were read and whose outcome is not stored yet.
        self._taken: dict[int, bool] = {}
        # Whether some of them were dropped since the last read began; that read is then not complete.
        self._was_dropped = False
        self._waiting: deque[Delivery] = deque()
        self._under_way = 0
        self._pause = 0.0
        self._next_first_attempt = 0.0
        #: Whether there may be something to read.
        self.has_news = False
        #: The task that reads, while there is something to read.
        self.reader: asyncio.Task[None] | None = None
        self.is_confirming = False
        self._has_changed = asyncio.Event()

    # ------------------------------------------------------------ the subscription

    def renew(self, owned: Owned, until: float) -> None:
        """Note that this process owns the subscription until ``until``, of ``time.monotonic()``."""
        before, self.owned, self._until = self.owned, owned, until
        if before is None or (before.options, before.metadata) != (owned.options, owned.metadata):
            self.options = _object(owned.options)
            self.schedule = schedule_of(self.options, _object(owned.metadata))

    @property
    def is_ours(self) -> bool:
        """Whether no other process can own the subscription now."""
        return time.monotonic() < self._until

    @property
    def is_ours_for_long(self) -> bool:
        """Whether no other process can own the subscription for some more seconds."""
        return time.monotonic() + 2 < self._until

    @property
    def is_active(self) -> bool:
        """Whether its deliveries are to be sent."""
        return self.owned is not None and self.owned.is_active

    def give_up(self) -> None:
        """Send nothing more of the subscription until :meth:`renew` is called."""
        self._until = 0.0
        self._forget_waiting()

    @property
    def timeout(self) -> int:
        """Seconds that a call may take."""
        return self._number('_timeout')

    @property
    def most_under_way(self) -> int:
        """How many calls may be under way at once."""
        return self._number('_max_in_flight')

    def _number(self, name: str) -> int:
        value = self.options.get(name)
        default = RANGES[name].default
        assert default is not None
        return value if type(value) is int else default

    # ------------------------------------------------------------ its deliveries

    @property
    def after(self) -> int:
        """The id up to which all fresh deliveries were seen and none is under way."""
        return min(self._seen, min(self._taken, default=_ABOVE_ALL)) - 1

    @property
    def taken(self) -> list[int]:
        """The ids of what is under way."""
        return list(self._taken)

    def begin_read(self) -> tuple[int, int]:
        """How many deliveries to read now: of those that are due again, and of fresh ones."""
        self._was_dropped = False
        room = 2 * self.most_under_way - len(self._waiting)
        return room, min(room, self._most_first_attempts())

    def _most_first_attempts(self) -> int:
        if not self._pause:
            return 2 * self.most_under_way
        may = time.monotonic() >= self._next_first_attempt and not any(self._taken.values())
        return int(may)

    def put(self, read: Read) -> list[Delivery]:
        """Take the deliveries that were read.

        :returns: those that are not sent, as their message has expired or is gone
        """
        if not self._was_dropped:
            self._seen = max(self._seen, read.horizon)
        over = []
        for delivery in read.deliveries:
            self._taken[delivery.message_id] = delivery.is_fresh
            if delivery.has_expired or delivery.body is None:
                over.append(delivery)
            else:
                self._waiting.append(delivery)
        return over

    def next(self) -> Delivery | None:
        """The next delivery to send, which counts as under way from now on; None if there is none."""
        if not (self._waiting and self.is_ours and self._under_way < self.most_under_way):
            if not self.is_ours:
                self._forget_waiting()
            return None
        self._under_way += 1
        return self._waiting.popleft()

    def note_end(self, has_succeeded: bool | None) -> None:
        """Note that a call has ended.

        :param has_succeeded: None: the call says nothing about the subscriber
        """
        self._under_way -= 1
        if has_succeeded:
            self._pause = 0.0
        elif has_succeeded is not None:
            self._pause = min(max(2 * self._pause, _FIRST_PAUSE), _LONGEST_PAUSE)
            self._next_first_attempt = time.monotonic() + self._pause
            self._forget_waiting(only_fresh=True)
        self._has_changed.set()

    @property
    def pause(self) -> float:
        """Seconds until the next first attempt, if the subscriber fails."""
        return self._pause

    def note_settled(self, message_id: int) -> None:
        """Note that the outcome of a delivery is stored."""
        self._taken.pop(message_id, None)
        self._has_changed.set()

    def has_been_idle_for(self, seconds: float) -> bool:
        """Whether no delivery was under way for so long."""
        is_busy = self._taken or self.reader or self.is_confirming
        return not is_busy and time.monotonic() > self._until + seconds

    async def wait_for_room(self) -> None:
        """Return when more should be read."""
        while len(self._waiting) > self.most_under_way // 2:
            self._has_changed.clear()
            await self._has_changed.wait()

    def _forget_waiting(self, only_fresh: bool = False) -> None:
        """Drop deliveries that were read and not sent; they are read again later."""
        kept: deque[Delivery] = deque()
        for delivery in self._waiting:
            if only_fresh and not delivery.is_fresh:
                kept.append(delivery)
            else:
                del self._taken[delivery.message_id]
                self._seen = min(self._seen, delivery.message_id)
                self._was_dropped = True
        self._waiting = kept
        self._has_changed.set()


@lru_cache(1024)
def _object(text: str) -> Mapping[str, Any]:
    """The members of a JSON object."""
    return _decode(text)


_decode = msgspec.json.Decoder(dict[str, Any]).decode
