"""Answers that are larger than what a connection takes at once.

uwsgi would write such an answer in the worker's thread, and wait up to four seconds for each part. So
eight clients that do not read would stop a service of eight threads. Here a thread waits for a tenth of
a second. Then it hands the rest to the waiting room, which writes without waiting.
"""

import os
import select
import time

from marconi_api.processes.answers import Answer
from marconi_api.processes.waiting.hand_over import RoomConnection

#: Bytes of an answer that a UNIX socket takes at once; it holds 200 KB with what the kernel adds.
FITS = 65536

# Seconds that a thread gives a client that reads.
PATIENCE = 0.1

# Seconds without progress after which a service without a waiting room gives up, as uwsgi does.
LONGEST_SILENCE = 4.0


def send(descriptor: int, answer: Answer, room: RoomConnection | None) -> None:
    """Send an answer, or have the waiting room send the rest of it.

    :param descriptor: the connection's
    :param room: None: there is no waiting room, and the whole answer is sent here
    """
    left = _write(descriptor, memoryview(answer.content), time.monotonic() + PATIENCE)
    if left and not (room and room.deliver(left, descriptor)):
        _write(descriptor, left)


def _write(descriptor: int, content: memoryview, deadline: float | None = None) -> memoryview:
    """Write to the connection; returns what is left at the deadline, or nothing if the client went.

    Without a deadline it gives up after ``LONGEST_SILENCE`` seconds without progress.
    """
    os.set_blocking(descriptor, False)
    writable = select.poll()
    writable.register(descriptor, select.POLLOUT)
    while content:
        try:
            content = content[os.write(descriptor, content) :]
        except BlockingIOError:
            wait = LONGEST_SILENCE if deadline is None else deadline - time.monotonic()
            if wait <= 0 or not writable.poll(1000 * wait):
                return content
        except OSError:
            return content[:0]
    return content
