"""Sends answers over many connections at once, without waiting for one that does not read."""

import os
import select
import time
from collections.abc import Callable
from typing import NamedTuple

# Seconds without progress after which an answer is given up.
PATIENCE = 20.0

#: Bytes of answers that are kept for clients that read slowly. Beyond that, the answer that was kept
#: for longest is broken off.
MOST_KEPT = 64 * 2**20


class _Left(NamedTuple):
    """What is still to be sent, until when, and whether the connection is closed then."""

    content: memoryview
    deadline: float
    is_last: bool


class Writer:
    """Sends bytes over connections as they take them, and closes each that is done.

    :param poll: tells of the descriptors that take more
    :param on_end: called with each descriptor once it is closed, and whether all was sent
    :param most_kept: bytes that are kept at once
    """

    def __init__(
        self,
        poll: select.epoll,
        on_end: Callable[[int, bool], None],
        most_kept: int = MOST_KEPT,
    ) -> None:
        self._poll = poll
        self._on_end = on_end
        self._most_kept = most_kept
        self._kept = 0
        # In the order in which they came.
        self._left: dict[int, _Left] = {}

    def __contains__(self, descriptor: int) -> bool:
        return descriptor in self._left

    def __len__(self) -> int:
        return len(self._left)

    def send(self, descriptor: int, content: bytes | memoryview, is_last: bool = True) -> None:
        """Send all of ``content``; the connection must be registered with ``poll`` already.

        :param is_last: whether the connection is closed afterwards; else more may be sent
        """
        os.set_blocking(descriptor, False)
        before = self._left.get(descriptor)
        if before is None:
            self._write_or_keep(descriptor, memoryview(content), is_last)
        else:
            # Behind what the connection did not take yet.
            whole = memoryview(bytes(before.content) + bytes(content))
            self._keep(descriptor, before._replace(content=whole, is_last=is_last))

    def go_on(self, descriptor: int) -> None:
        """Send more of what is left: the connection takes it, or is broken."""
        before = self._left[descriptor]
        self._write_or_keep(descriptor, before.content, before.is_last)

    def give_up(self, now: float) -> None:
        """Close the connections that took nothing for too long."""
        for descriptor, left in list(self._left.items()):
            if left.deadline <= now:
                self._end(descriptor, False)

    def _write_or_keep(self, descriptor: int, content: memoryview, is_last: bool) -> None:
        left = self._write(descriptor, content)
        if left is None:
            self._end(descriptor, False)
        elif left:
            if descriptor not in self._left:
                self._poll.modify(descriptor, select.EPOLLOUT)
            self._keep(descriptor, _Left(left, time.monotonic() + PATIENCE, is_last))
        elif is_last:
            self._end(descriptor, True)
        elif descriptor in self._left:
            self._forget(descriptor)
            self._poll.modify(descriptor, 0)

    def _write(self, descriptor: int, content: memoryview) -> memoryview | None:
        """Write as much as the connection takes; returns what is left, None if it is broken."""
        try:
            return content[os.write(descriptor, content) :]
        except BlockingIOError:
            return content
        except OSError:
            return None

    def _keep(self, descriptor: int, left: _Left) -> None:
        before = self._left.get(descriptor)
        self._kept += len(left.content) - (len(before.content) if before else 0)
        self._left[descriptor] = left
        while self._kept > self._most_kept and len(self._left) > 1:
            self._end(next(iter(self._left)), False)

    def _forget(self, descriptor: int) -> None:
        if left := self._left.pop(descriptor, None):
            self._kept -= len(left.content)

    def _end(self, descriptor: int, is_sent: bool) -> None:
        self._forget(descriptor)
        self._poll.unregister(descriptor)
        os.close(descriptor)
        self._on_end(descriptor, is_sent)
