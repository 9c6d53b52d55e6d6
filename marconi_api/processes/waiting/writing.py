"""Sends answers without waiting for clients, each with a deadline."""

import os
import select
import time
from collections.abc import Callable
from typing import NamedTuple

# Seconds in which a router must have taken an answer.
PATIENCE = 20.0


class _Left(NamedTuple):
    """What is still to be sent, until when, and whether the connection is closed then."""

    content: memoryview
    deadline: float
    is_last: bool


class Writer:
    """Sends bytes over connections as they take them, and closes each that is done.

    :param poll: tells of the descriptors that take more
    :param on_end: called with each descriptor once it is closed, and whether all was sent
    """

    def __init__(self, poll: select.epoll, on_end: Callable[[int, bool], None]) -> None:
        self._poll = poll
        self._on_end = on_end
        self._left: dict[int, _Left] = {}

    def __contains__(self, descriptor: int) -> bool:
        return descriptor in self._left

    def __len__(self) -> int:
        return len(self._left)

    def send(self, descriptor: int, content: bytes, is_last: bool = True) -> None:
        """Send all of it; then close the connection, of which ``poll`` knows already.

        :param is_last: whether it is closed; else more may be sent
        """
        os.set_blocking(descriptor, False)
        before = self._left.get(descriptor)
        if before is None:
            self._send(descriptor, memoryview(content), is_last)
        else:
            # Behind what the connection did not take yet.
            whole = memoryview(bytes(before.content) + content)
            self._left[descriptor] = before._replace(content=whole, is_last=is_last)

    def go_on(self, descriptor: int) -> None:
        """Send more of what is left: the connection takes it, or is broken."""
        before = self._left.pop(descriptor)
        self._send(descriptor, before.content, before.is_last, before)

    def give_up(self, now: float) -> None:
        """End those that took nothing for too long."""
        for descriptor, left in list(self._left.items()):
            if left.deadline <= now:
                del self._left[descriptor]
                self._end(descriptor, False)

    def _send(
        self, descriptor: int, content: memoryview, is_last: bool, before: '_Left | None' = None
    ) -> None:
        left = self._write(descriptor, content)
        if left is None:
            self._end(descriptor, False)
        elif left:
            is_slow = before is not None and is_last
            deadline = before.deadline if before and is_slow else time.monotonic() + PATIENCE
            self._left[descriptor] = _Left(left, deadline, is_last)
            self._poll.modify(descriptor, select.EPOLLOUT)
        elif is_last:
            self._end(descriptor, True)
        elif before:
            self._poll.modify(descriptor, 0)

    def _write(self, descriptor: int, content: memoryview) -> memoryview | None:
        """What is left of it; None if the connection is broken."""
        try:
            return content[os.write(descriptor, content) :]
        except BlockingIOError:
            return content
        except OSError:
            return None

    def _end(self, descriptor: int, is_sent: bool) -> None:
        self._poll.unregister(descriptor)
        os.close(descriptor)
        self._on_end(descriptor, is_sent)
