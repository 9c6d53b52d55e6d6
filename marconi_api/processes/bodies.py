"""Bodies of requests, as a worker gets them from uwsgi's router.

The router passes on the head of a request at once, and the body as it comes. A thread that waited for a
slow client's body would be lost to all others. So a worker takes what has arrived, waits for
``GRACE`` seconds at most, and then gives the request to the waiting room, which reads on without a thread.
"""

import os
import select
import threading
import time
from typing import Any, NamedTuple

from marconi_api.processes.answers import Answer

#: Seconds that a thread waits for the rest of a body. Many clients send head and body one after the
#: other, so the rest is there a moment later. What is waited for here takes a thread, as a request does.
GRACE = 0.01

#: The rest of a body that is too large is read if it is at most so many times as large as allowed. Of a
#: larger one no more is read: its connection is closed, and its client might not see the answer.
OVERSIZE_READ = 4

# Bytes that uwsgi may have read together with the head: the size of its buffer.
_MOST_BUFFERED = 65536

_AT_ONCE = 262144


class Unfinished(NamedTuple):
    """A request whose body has not arrived as a whole."""

    #: The texts of its WSGI environment.
    environ: dict[str, str]
    received: bytes
    #: Bytes that are still to come.
    missing: int
    #: When it came, by ``time.monotonic()``.
    began: float
    #: What it gets once its body has arrived, whatever that holds; None: it is run then.
    answer: Answer | None = None


class Arrivals:
    """Takes what has arrived of bodies, without waiting; for all threads of a worker."""

    def __init__(self) -> None:
        self._own = threading.local()

    def take(self, source: Any, descriptor: int, length: int) -> bytes:
        """The body as far as it arrives within ``GRACE`` seconds.

        :param source: uwsgi's ``wsgi.input``, of which nothing was read yet
        :param descriptor: the connection to the router
        :param length: bytes of the whole body
        """
        received = self._buffered(source, descriptor, min(length, _MOST_BUFFERED))
        if len(received) == length:
            return received
        return received + arriving(descriptor, length - len(received), GRACE)

    def _buffered(self, source: Any, descriptor: int, at_most: int) -> bytes:
        """What uwsgi has read of a body together with the head.

        uwsgi does not tell how much that is, and would wait for more when it is asked for it. So
        meanwhile its descriptor leads to a file of zeros: what it lacks it reads from there, and the place
        in the file says how much that was. The place belongs to this thread's file alone.
        """
        zeros = self._zeros()
        connection = os.dup(descriptor)
        try:
            os.dup2(zeros, descriptor, inheritable=False)
            content: bytes = source.read(at_most)
        finally:
            os.dup2(connection, descriptor, inheritable=False)
            os.close(connection)
        lacking = os.lseek(zeros, 0, os.SEEK_CUR)
        if lacking:
            os.lseek(zeros, 0, os.SEEK_SET)
            return content[:-lacking]
        return content

    def _zeros(self) -> int:
        zeros: int | None = getattr(self._own, 'zeros', None)
        if zeros is None:
            zeros = self._own.zeros = os.memfd_create('zeros')
            os.truncate(zeros, _MOST_BUFFERED)
        return zeros


def arriving(descriptor: int, missing: int, seconds: float) -> bytes:
    """What arrives over a connection in so many seconds, and at most what is missing."""
    parts = []
    readable = select.poll()
    readable.register(descriptor, select.POLLIN)
    deadline = time.monotonic() + seconds
    while missing and readable.poll(max(0.0, deadline - time.monotonic()) * 1000):
        try:
            part = os.read(descriptor, min(missing, _AT_ONCE))
        except OSError:
            part = b''
        if not part:
            # The client went, as whoever reads the rest sees.
            break
        parts.append(part)
        missing -= len(part)
    return b''.join(parts)
