"""The address on which the API listens, and the socket there."""

import contextlib
import errno
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from marconi_api.processes.failures import ServiceError
from marconi_api.processes.signals import StopRequest

# A killed predecessor takes a while to be gone from its port.
PORT_TIMEOUT = 5.0
POLL_INTERVAL = 0.05

# The longest queue of connections that wait to be accepted; a burst of more is refused.
LISTEN_QUEUE = 4096


@dataclass(frozen=True)
class Address:
    """Where the API listens."""

    host: str
    port: int
    family: int = socket.AF_INET

    def __str__(self) -> str:
        host = f'[{self.host}]' if self.family == socket.AF_INET6 else self.host
        return f'{host}:{self.port}'

    @property
    def reachable_host(self) -> str:
        """A host to connect to, also where we listen on every interface."""
        return {'0.0.0.0': '127.0.0.1', '::': '::1'}.get(self.host, self.host)


class Place(NamedTuple):
    """A host and a port, as they are set."""

    host: str
    port: str

    @classmethod
    def of(cls, address: str) -> 'Place':
        """Those in ``host:port``; a port alone is one of this machine, which others do not reach."""
        host, _, port = address.rpartition(':')
        return cls(host.removeprefix('[').removesuffix(']') or '127.0.0.1', port)


class Listener:
    """The socket at which clients connect; it is bound from the start, and closed until uwsgi runs.

    This process opens the socket, so that uwsgi need not be root for a port below 1024.
    """

    def __init__(
        self, server: Any, stop: StopRequest, set_by: tuple[str, str] = ('HOST', 'PORT')
    ) -> None:
        """Take the address in the settings; port 0 becomes a free one.

        A predecessor that was killed a moment ago may still have it.

        :param server: has ``host`` and ``port``, which are set by the variables ``set_by``
        """
        self._shown = f'{server.host}:{server.port}'
        self._set_by = ' or '.join(dict.fromkeys(set_by))
        family, name = _looked_up(server.host, server.port, set_by)
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        # Allows the port even if a former service closed connections on it a moment ago.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        deadline = time.monotonic() + PORT_TIMEOUT
        while not self._bind(name, may_fail=time.monotonic() < deadline):
            if stop.wait(POLL_INTERVAL):
                break
        host, port = self._socket.getsockname()[:2]
        self.address = Address(host, port, family)

    def fileno(self) -> int:
        """The descriptor, for a child to inherit."""
        return self._socket.fileno()

    def open(self) -> None:
        """Let clients connect; they wait until their connection is accepted."""
        try:
            self._socket.listen(longest_listen_queue())
        except OSError as error:
            raise self._refusal(error) from None

    def refuse(self) -> None:
        """Let no further client connect, also where a child has inherited it."""
        # It is not connected, or closed already.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self.close()

    def close(self) -> None:
        """Close it here; a child that has inherited it goes on."""
        self._socket.close()

    def _bind(self, name: Any, may_fail: bool) -> bool:
        try:
            self._socket.bind(name)
        except OSError as error:
            if may_fail and error.errno == errno.EADDRINUSE:
                return False
            self.close()
            raise self._refusal(error) from None
        return True

    def _refusal(self, error: OSError) -> ServiceError:
        return ServiceError(
            f'cannot listen on {self._shown}: {error.strerror}: change {self._set_by}'
        )


def _looked_up(host: str, port: str, set_by: tuple[str, str]) -> tuple[int, Any]:
    """The family of an address, and the address as ``bind`` takes it."""
    try:
        number = int(port)
        if not 0 <= number <= 65535:
            raise ValueError
        found = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except ValueError:
        raise ServiceError(f'{port} is not a port number: change {set_by[1]}') from None
    except OSError:
        raise ServiceError(f'{host} is not the address of a machine: change {set_by[0]}') from None
    family, _, _, _, name = found[0]
    return family, name


def longest_listen_queue() -> int:
    """How many connections may wait to be accepted; a burst of more is refused."""
    # uwsgi refuses to start with more than the system grants.
    try:
        return min(LISTEN_QUEUE, int(Path('/proc/sys/net/core/somaxconn').read_text()))
    except OSError:
        return 128
