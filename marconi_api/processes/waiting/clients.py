"""Whether a client is still there: the kernel is asked for the state of its TCP connection.

uwsgi's router does not watch a client while it waits for an answer, and so does not close
the connection that the room has. Linux tells the state of any TCP connection to any process
(see sock_diag.py), in 3 us. Elsewhere all clients count as being there.
"""

import contextlib
import errno
import ipaddress
import logging
import math
import socket
import struct
import time
from typing import NamedTuple

from marconi_api.processes import sock_diag

log = logging.getLogger(__name__)

_ESTABLISHED = 1

# After the head, inet_diag_req_v2 up to the ports, the addresses, and the rest: any interface, no cookie.
_ASKED = struct.Struct('=BBBBI')
_REST = struct.pack('=III', 0, 0xFFFFFFFF, 0xFFFFFFFF)
_STATES = 0xFFFFFFFF
_LENGTH = sock_diag.HEAD.size + _ASKED.size + 48
# Where a reply tells the family, the state, and the ports and addresses.
_FAMILY, _STATE, _PORTS, _LOCAL, _REMOTE = 16, 17, 20, 24, 40

# Seconds between two looks at all connections, by which local addresses are learned: at least, and
# as a multiple of what a look takes.
_LEARN_EVERY = 0.05
_LEARN_SHARE = 20
_MOST_ADDRESSES = 64


class Client(NamedTuple):
    """What asks the kernel for a client's connection; nothing, where that is gone."""

    question: bytes


_GONE = Client(b'')


class Clients:
    """Asks for the clients of one service.

    :param host: the address at which it listens, which may be that of any interface
    :param port: at which it listens
    """

    def __init__(self, host: str, port: int) -> None:
        self._port = port
        listens_at = ipaddress.ip_address(host)
        self._is_any = listens_at.is_unspecified
        self._addresses = [] if self._is_any else [listens_at.packed]
        # Whether the ports' bytes are swapped, and whether what we know of connections is right.
        self._is_swapped = True
        self._has_found = False
        self._learn_at = -math.inf
        self._socket = sock_diag.open_sock_diag()
        if self._socket is None or not self._answers():
            self._socket = None
            log.warning(
                'clients that go away while they wait are not noticed: the system does not tell '
                '(no NETLINK_SOCK_DIAG)'
            )

    def find(self, address: str, port: str) -> Client | None:
        """The client with this address; None if it is not known, or not yet."""
        if self._socket is None:
            return None
        try:
            remote = _packed(address)
            number = int(port)
            swapped = int.from_bytes(number.to_bytes(2, 'little'), 'big')
        except (ValueError, OverflowError):
            return None
        if found := self._found(remote, number, swapped):
            return found
        if self._is_any:
            if not self._learn(len(remote)):
                return None
            if found := self._found(remote, number, swapped):
                return found
        return _GONE if self._has_found else None

    def _found(self, remote: bytes, number: int, swapped: int) -> Client | None:
        # The router hands over the bytes of the port in the wrong order.
        for is_swapped in (self._is_swapped, not self._is_swapped):
            for local in self._addresses:
                if len(local) != len(remote):
                    continue
                client = Client(self._question(remote, swapped if is_swapped else number, local))
                if self.is_there(client):
                    self._is_swapped, self._has_found = is_swapped, True
                    return client
        return None

    def is_there(self, client: Client) -> bool:
        """Whether the client's connection is established, in both directions."""
        if client is _GONE:
            return False
        assert self._socket is not None
        try:
            self._socket.send(client.question)
            reply = self._socket.recv(512)
        except OSError:
            # The kernel is short of memory; the client counts as being there.
            return True
        # If there is no such connection, the kernel may answer with the socket that listens.
        return bool(reply[4] == sock_diag.BY_FAMILY and reply[_STATE] == _ESTABLISHED)

    def _question(
        self, remote: bytes, port: int, local: bytes, flags: int = sock_diag.REQUEST
    ) -> bytes:
        family = socket.AF_INET if len(remote) == 4 else socket.AF_INET6
        return b''.join(
            (
                sock_diag.HEAD.pack(_LENGTH, sock_diag.BY_FAMILY, flags, 0, 0),
                _ASKED.pack(family, socket.IPPROTO_TCP, 0, 0, _STATES),
                struct.pack('!HH', self._port, port),
                local.ljust(16, b'\0'),
                remote.ljust(16, b'\0'),
                _REST,
            )
        )

    def _answers(self) -> bool:
        """Whether the kernel answers such questions: some sandboxes refuse them."""
        assert self._socket is not None
        try:
            self._socket.send(self._question(bytes(4), 0, bytes(4)))
            reply = self._socket.recv(512)
        except OSError:
            return False
        if reply[4] == sock_diag.ERROR:
            [number] = struct.unpack_from('=i', reply, sock_diag.HEAD.size)
            return int(number) == -errno.ENOENT
        return True

    def _learn(self, size: int) -> bool:
        """Learn the addresses of this machine at which clients connected, unless that was just done.

        The router does not tell at which address a client connected.
        """
        now = time.monotonic()
        if now < self._learn_at:
            return False
        with contextlib.suppress(OSError):
            self._look_at_all(size)
        took = time.monotonic() - now
        self._learn_at = now + max(_LEARN_EVERY, _LEARN_SHARE * took)
        del self._addresses[_MOST_ADDRESSES:]
        return True

    def _look_at_all(self, size: int) -> None:
        assert self._socket is not None
        port = struct.pack('!H', self._port)
        # A socket of its own, so that answers to a look that was given up do not meet the next question.
        asking = sock_diag.open_sock_diag()
        assert asking is not None
        with asking:
            asking.send(
                self._question(bytes(size), 0, bytes(size), sock_diag.REQUEST | sock_diag.DUMP)
            )
            while True:
                replies = memoryview(asking.recv(65536))
                while len(replies) >= sock_diag.HEAD.size:
                    length, kind, _, _, _ = sock_diag.HEAD.unpack_from(replies)
                    if kind != sock_diag.BY_FAMILY:
                        return
                    local = bytes(replies[_LOCAL : _LOCAL + size])
                    if (
                        replies[_PORTS : _PORTS + 2] == port
                        and any(replies[_REMOTE : _REMOTE + size])
                        and local not in self._addresses
                    ):
                        self._addresses.append(local)
                    replies = replies[(length + 3) & ~3 :]


def _packed(address: str) -> bytes:
    return ipaddress.ip_address(address.partition('%')[0]).packed
