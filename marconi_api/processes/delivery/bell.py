"""How a process that stores messages tells those that deliver: by a datagram with the queue's id.

A bell only saves time: the next look at all subscriptions finds what was not heard.
"""

import contextlib
import os
import socket
import struct
from collections.abc import Mapping
from pathlib import Path

from marconi_api.model import QueueKey
from marconi_api.processes.waiting.hand_over import DIRECTORY

#: Variables of the environment: how many processes of the service deliver; for each of these its place
#: among them, and the UUID by which it owns subscriptions.
PROCESSES = 'MARCONI_DELIVERY_PROCESSES'
PLACE = 'MARCONI_DELIVERY_PLACE'
OWNER = 'MARCONI_DELIVERY_OWNER'

_MESSAGE = struct.Struct('<q')


def path_of(directory: Path, place: int) -> Path:
    """The socket of the process at that place."""
    return directory / f'delivery-{place}.sock'


class Bell:
    """Rings at the processes of this service that deliver.

    :param directory: that of the waiting room
    :param count: how many such processes there are
    """

    def __init__(self, directory: Path, count: int) -> None:
        self._paths = [str(path_of(directory, place)) for place in range(count)]
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def ring(self, queue: QueueKey, _: int) -> None:
        """Tell that there is something to deliver; a listener for ``became_deliverable``.

        The queue's id chooses the process that is told. So that process comes to own the subscriptions
        of the queue.
        """
        # The process may have ended, or its socket may be full.
        with contextlib.suppress(OSError):
            path = self._paths[queue.id % len(self._paths)]
            self._socket.sendto(_MESSAGE.pack(queue.id), path)

    def close(self) -> None:
        """Ring no more."""
        self._socket.close()


def bell_of(environment: Mapping[str, str]) -> Bell | None:
    """The bell of the service; None where nobody delivers."""
    directory, count = environment.get(DIRECTORY), int(environment.get(PROCESSES) or 0)
    return Bell(Path(directory), count) if directory and count else None


class Ear:
    """Hears what is rung.

    :param path: see :func:`path_of`
    """

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(str(path))

    def fileno(self) -> int:
        """The descriptor of the socket, which becomes readable when somebody rings."""
        return self._socket.fileno()

    def heard(self) -> set[int]:
        """The ids of the queues for which somebody rang since the last call."""
        queues = set()
        with contextlib.suppress(BlockingIOError):
            while message := os.read(self._socket.fileno(), _MESSAGE.size):
                queues.add(_MESSAGE.unpack(message)[0])
        return queues

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()
