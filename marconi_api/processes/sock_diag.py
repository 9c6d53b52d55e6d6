"""What Linux tells of sockets: NETLINK_SOCK_DIAG, see sock_diag(7).

Any process may ask for the sockets of its network namespace. Some sandboxes refuse it, and other systems
do not have it.
"""

import contextlib
import os
import socket
import struct

REQUEST, DUMP = 1, 0x300
BY_FAMILY = 20
ERROR = 2

#: nlmsghdr, with which each message begins: length, type, flags, sequence, port.
HEAD = struct.Struct('=IHHII')

_NETLINK_SOCK_DIAG = 4

# unix_diag_req: family, protocol, padding, states, inode, what to show, and the cookie, here of any socket.
_OF_UNIX_SOCKET = struct.Struct('=BBHIIIII')
_ANY_STATE = _ANY_COOKIE = 0xFFFFFFFF
_SHOW_QUEUE_LENGTHS = 0x10
# A reply has 16 bytes of unix_diag_msg after its head, and then attributes: length, type, value. The first
# one is UNIX_DIAG_RQLEN. Its first number is that of the connections that wait, if the socket listens.
_REPLY = struct.Struct('=HHI')
_QUEUE_LENGTHS = 4


def open_sock_diag() -> socket.socket | None:
    """A socket at which the kernel is asked, a question at a time; None if the system has none."""
    with contextlib.suppress(OSError, AttributeError):
        asking = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG)
        asking.settimeout(1.0)
        return asking
    return None


class Backlog:
    """The connections that wait at a listening Unix socket until they are accepted.

    The kernel looks for the socket among all Unix sockets of the system. That takes it some 10 us, and
    70 us for each thousand of them.

    :param descriptor: of the socket
    :param asking: of :func:`open_sock_diag`
    """

    def __init__(self, descriptor: int, asking: socket.socket | None) -> None:
        self._question = HEAD.pack(
            HEAD.size + _OF_UNIX_SOCKET.size, BY_FAMILY, REQUEST, 0, 0
        ) + _OF_UNIX_SOCKET.pack(
            socket.AF_UNIX,
            *(0, 0, _ANY_STATE),
            os.fstat(descriptor).st_ino,
            _SHOW_QUEUE_LENGTHS,
            *(_ANY_COOKIE, _ANY_COOKIE),
        )
        self._socket = asking

    def length(self) -> int | None:
        """How many connections wait; None if the system does not tell. One thread may ask at a time."""
        if self._socket is None:
            return None
        try:
            self._socket.send(self._question)
            reply = self._socket.recv(512)
        except OSError:
            return None
        if HEAD.unpack_from(reply)[1] != BY_FAMILY:
            return None
        _, kind, waiting = _REPLY.unpack_from(reply, HEAD.size + 16)
        return int(waiting) if kind == _QUEUE_LENGTHS else None
