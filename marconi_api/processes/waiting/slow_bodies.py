"""Reads the bodies of slow clients, many at once and without a thread."""

import os
import select
import time
from collections.abc import Callable

from marconi_api.processes.bodies import Unfinished

#: Seconds without a byte after which a body is given up.
PATIENCE = 30.0

#: Bytes of bodies that are kept at once. Beyond that, the request that came first is refused.
MOST_KEPT = 64 * 2**20

#: Seconds between two looks at what has arrived, and how many clients are read from in a look. So clients
#: that send a byte at a time take a tenth of the room's time at most.
PAUSE = 0.01
MOST_READ = 100

_AT_ONCE = 65536


# Bytes that a request takes beside its body.
_OVERHEAD = 4096


class _Body:
    __slots__ = ('deadline', 'missing', 'received', 'unfinished')

    def __init__(self, unfinished: Unfinished) -> None:
        self.unfinished = unfinished
        #: Nothing is kept of a body that nobody will read.
        self.received = bytearray(b'' if unfinished.answer else unfinished.received)
        self.missing = unfinished.missing
        self.deadline = time.monotonic() + PATIENCE

    @property
    def size(self) -> int:
        return len(self.received) + _OVERHEAD

    def add(self, part: bytes) -> None:
        self.missing -= len(part)
        self.deadline = time.monotonic() + PATIENCE
        if not self.unfinished.answer:
            self.received += part


class SlowBodies:
    """Reads what is missing of bodies, and tells of each request whose body is whole.

    :param on_whole: called with the request, its connection and its body
    :param on_late: called with the request and its connection if it sends nothing, and with whether it
        was given up for others' sake
    :param most_kept: bytes that are kept at once
    """

    def __init__(
        self,
        on_whole: Callable[[Unfinished, int, bytes], None],
        on_late: Callable[[Unfinished, int, bool], None],
        most_kept: int = MOST_KEPT,
    ) -> None:
        self._poll = select.epoll()
        self._on_whole = on_whole
        self._on_late = on_late
        self._most_kept = most_kept
        self._kept = 0
        # In the order in which they came.
        self._bodies: dict[int, _Body] = {}

    def __len__(self) -> int:
        return len(self._bodies)

    def take(self, unfinished: Unfinished, descriptor: int) -> None:
        """Read the rest of a request's body from its connection."""
        os.set_blocking(descriptor, False)
        self._bodies[descriptor] = body = _Body(unfinished)
        self._poll.register(descriptor, select.EPOLLIN)
        self._keep(body.size)

    def read(self) -> None:
        """Read what has arrived, of as many bodies as may be read from at once."""
        for descriptor, _ in self._poll.poll(0, MOST_READ):
            # One may have been given up for another.
            if descriptor in self._bodies:
                self._read(descriptor)

    def _read(self, descriptor: int) -> None:
        body = self._bodies[descriptor]
        try:
            part = os.read(descriptor, min(body.missing, _AT_ONCE))
        except BlockingIOError:
            return
        except OSError:
            part = b''
        if not part:
            self._forget(descriptor)
            os.close(descriptor)
            return
        before = body.size
        body.add(part)
        if body.missing:
            self._keep(body.size - before)
            return
        self._kept += body.size - before
        self._forget(descriptor)
        self._on_whole(body.unfinished, descriptor, bytes(body.received))

    def give_up(self, now: float) -> None:
        """Give up those whose clients sent nothing for too long."""
        for descriptor, body in list(self._bodies.items()):
            if body.deadline <= now:
                self._forget(descriptor)
                self._on_late(body.unfinished, descriptor, False)

    def give_up_all(self) -> None:
        """Give up all of them, since the service stops."""
        while self._bodies:
            self._give_up_first()

    def _keep(self, size: int) -> None:
        self._kept += size
        while self._kept > self._most_kept:
            self._give_up_first()

    def _give_up_first(self) -> None:
        descriptor, body = next(iter(self._bodies.items()))
        self._forget(descriptor)
        self._on_late(body.unfinished, descriptor, True)

    def _forget(self, descriptor: int) -> None:
        """Keep nothing of a body; the connection stays open, and is not watched any more."""
        body = self._bodies.pop(descriptor)
        self._kept -= body.size
        self._poll.unregister(descriptor)
