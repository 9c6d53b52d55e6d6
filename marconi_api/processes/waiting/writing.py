"""Sends answers without waiting for clients, each with a deadline."""

import os
import select
import time
from collections.abc import Callable

# Seconds in which a router must have taken an answer.
PATIENCE = 20.0


class Writer:
    """Sends bytes over connections as they take them, and closes each that is done.

    :param poll: tells of the descriptors that take more
    :param on_end: called with each descriptor once it is closed, and whether all was sent
    """

    def __init__(self, poll: select.epoll, on_end: Callable[[int, bool], None]) -> None:
        self._poll = poll
        self._on_end = on_end
        self._left: dict[int, tuple[memoryview, float]] = {}

    def __contains__(self, descriptor: int) -> bool:
        return descriptor in self._left

    def __len__(self) -> int:
        return len(self._left)

    def send(self, descriptor: int, content: bytes) -> None:
        """Send all of it, then close the connection, of which ``poll`` knows already."""
        os.set_blocking(descriptor, False)
        left = self._write(descriptor, memoryview(content))
        if left is None:
            self._end(descriptor, False)
        elif not left:
            self._end(descriptor, True)
        else:
            self._left[descriptor] = left, time.monotonic() + PATIENCE
            self._poll.modify(descriptor, select.EPOLLOUT)

    def go_on(self, descriptor: int) -> None:
        """Send more of what is left: the connection takes it, or is broken."""
        before, deadline = self._left[descriptor]
        left = self._write(descriptor, before)
        if left:
            self._left[descriptor] = left, deadline
        else:
            del self._left[descriptor]
            self._end(descriptor, left is not None)

    def give_up(self, now: float) -> None:
        """End those whose time is over."""
        for descriptor, (_, deadline) in list(self._left.items()):
            if deadline <= now:
                del self._left[descriptor]
                self._end(descriptor, False)

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
