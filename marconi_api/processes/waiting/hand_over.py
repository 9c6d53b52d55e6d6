"""What workers send to the waiting room: requests that have to wait, and wakes.

Each goes as one message over a socket of packets (SOCK_SEQPACKET). A request is sent together with the
descriptor of its connection to the router, over which the room answers. A request whose body is still
to come, and the rest of a large answer whose client reads slowly, are handed over in the same way.
"""

import contextlib
import json
import os
import socket
import struct
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from marconi_api.model import QueueKey
from marconi_api.model.replies import place_of
from marconi_api.processes.answers import Answer
from marconi_api.processes.bodies import Unfinished
from marconi_api.processes.waiting.wake_map import WakeMap
from marconi_api.wire.waiting import LOOKED, STREAM, WAIT, AskedClaim, Looked

#: Variables of the environment: the room's directory, which holds its socket and its map.
DIRECTORY = 'MARCONI_WAITING'
#: The address at which the service listens: host and port.
ADDRESS = 'MARCONI_ADDRESS'
SOCKET = 'waiting.sock'
MAP = 'waiting.map'
JOURNAL = 'waiting.journal'

#: Bytes of the longest message; the system grants some 200,000.
LONGEST = 196608

# The half second for which a worker waits for a room that is busy, as a timeval.
_PATIENCE = struct.pack('ll', 0, 500_000)

_WAKE = struct.Struct('<cqI')
_PARK = struct.Struct('<cII')
_HEAD = struct.Struct('<cI')
_IS_WAKE, _IS_PARK, _IS_ANSWER, _IS_UNFINISHED = b'W', b'P', b'A', b'U'


class Parked(NamedTuple):
    """A request that has to wait.

    Times are those of ``time.monotonic()``, which all processes of a machine share.
    """

    #: The texts of its WSGI environment.
    environ: dict[str, str]
    body: bytes
    #: The answer that it gets if it finds nothing in time.
    otherwise: Answer
    queues: tuple[int, ...]
    takes: bool
    is_untold: bool
    project: str
    #: How many requests of that project may wait; None for as many as the room takes.
    most_waiters: int | None
    seconds: int
    #: When its last look began.
    tried_at: float
    #: The id after which the stream begins that it asks for; None: it asks for one answer.
    stream: str | None
    #: The id of the message to which it awaits a reply; None: it waits for messages of its queues.
    awaited: int | None
    #: The claim that a post may make for it; None: it has to look by itself.
    claim: AskedClaim | None


def waits(environ: Mapping[str, Any]) -> bool:
    """Whether a request, now that it was run, waits: it found nothing, and is ready to wait."""
    looked: Looked | None = environ.get(LOOKED)
    return looked is not None and not looked.found and bool(environ.get(WAIT))


def parked_of(environ: Mapping[str, Any], answer: Answer, began: float) -> Parked:
    """A request that was run, as one that waits.

    :param answer: what it gets if it finds nothing in time
    :param began: when it was run
    """
    looked: Looked = environ[LOOKED]
    return Parked(
        environ=texts_of(environ),
        body=looked.body,
        otherwise=answer,
        queues=looked.queues,
        takes=looked.takes,
        is_untold=looked.is_untold,
        project=looked.project,
        most_waiters=looked.most_waiters,
        seconds=environ[WAIT],
        tried_at=began,
        stream=environ.get(STREAM),
        awaited=looked.awaited,
        claim=looked.claim,
    )


def texts_of(environ: Mapping[str, Any]) -> dict[str, str]:
    """The members of a WSGI environment that another process can use."""
    return {name: value for name, value in environ.items() if type(value) is str}


class RoomConnection:
    """A process's connection to the room, for all its threads.

    :param directory: the room's
    """

    def __init__(self, directory: Path) -> None:
        self._path = str(directory / SOCKET)
        self._map = WakeMap(directory / MAP)
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._owner = 0

    def wake(self, queue: QueueKey, count: int) -> None:
        """Tell the room that so many messages became ready, if anybody may wait for them.

        It does not wait for a busy room: the room's next sweep finds what could not be told.
        """
        self._wake(queue.id, count)

    def wake_askers(self, messages: Collection[int]) -> None:
        """Tell the room which messages are gone, if anybody may await replies to them."""
        for message in messages:
            self._wake(place_of(message), 1)

    def _wake(self, place: int, count: int) -> None:
        if self._map.is_waited_for(place):
            message = _WAKE.pack(_IS_WAKE, place, min(count, 2**32 - 1))
            self._send(message, (), socket.MSG_DONTWAIT)

    def park(self, parked: Parked, descriptor: int) -> bool:
        """Hand over a request with its connection; False if the room cannot take it."""
        described = parked._asdict() | {
            'body': None,
            'otherwise': [parked.otherwise.status, parked.otherwise.headers],
        }
        head = json.dumps(described).encode()
        size = _PARK.pack(_IS_PARK, len(head), len(parked.body))
        message = b''.join((size, head, parked.body, parked.otherwise.body))
        if len(message) > LONGEST:
            return False
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack('i', descriptor))
        return self._send(message, (rights,), 0)

    def deliver(self, content: memoryview, descriptor: int) -> bool:
        """Have the rest of an answer sent over a connection; False if the room cannot take it."""
        # Handed over in shared memory, since it is longer than a message may be.
        with contextlib.suppress(OSError, AttributeError), _in_memory(content) as file:
            descriptors = struct.pack('ii', descriptor, file.fileno())
            return self._send(_IS_ANSWER, ((socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors),), 0)
        return False

    def finish(self, unfinished: Unfinished, descriptor: int) -> bool:
        """Have a request served once its body has arrived; False if the room cannot take it."""
        answer = unfinished.answer
        described = {
            'environ': unfinished.environ,
            'missing': unfinished.missing,
            'began': unfinished.began,
            'answer': answer and [answer.status, answer.headers, answer.body.decode('latin-1')],
        }
        head = json.dumps(described).encode()
        message = _HEAD.pack(_IS_UNFINISHED, len(head)) + head
        descriptors = [descriptor]
        with contextlib.suppress(OSError, AttributeError), contextlib.ExitStack() as opened:
            if len(message) + len(unfinished.received) <= LONGEST:
                message += unfinished.received
            else:
                file = opened.enter_context(_in_memory(memoryview(unfinished.received)))
                descriptors.append(file.fileno())
            given = struct.pack(f'{len(descriptors)}i', *descriptors)
            return self._send(message, ((socket.SOL_SOCKET, socket.SCM_RIGHTS, given),), 0)
        return False

    def _send(self, message: bytes, ancillary: Any, flags: int) -> bool:
        for _ in range(2):
            try:
                connection = self._connected()
            except OSError:
                # There is no room at the moment.
                return False
            try:
                connection.sendmsg([message], ancillary, flags)
                return True
            except BlockingIOError:
                return False
            except OSError:
                # The room was started anew.
                self._drop(connection)
        return False

    def _connected(self) -> socket.socket:
        with self._lock:
            # After a fork, this process does not use its parent's connection.
            if self._socket is None or self._owner != os.getpid():
                connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                # By the system: Python's own time-out would wait where MSG_DONTWAIT must not.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _PATIENCE)
                connection.connect(self._path)
                self._socket, self._owner = connection, os.getpid()
            return self._socket

    def _drop(self, connection: socket.socket) -> None:
        with self._lock:
            # The socket is not closed here: another thread may be sending over it, and its descriptor's
            # number could come to mean another file.
            if self._socket is connection:
                self._socket = None


def connection_of(environment: Mapping[str, str]) -> RoomConnection | None:
    """The connection to the room that the service has; None where it has none."""
    directory = environment.get(DIRECTORY)
    # Another server, or a test, may run the application without a room.
    with contextlib.suppress(OSError):
        return RoomConnection(Path(directory)) if directory else None
    return None


def _in_memory(content: memoryview) -> BinaryIO:
    """An unnamed file with this content.

    :raises AttributeError: where the system has no such files
    """
    file = os.fdopen(os.memfd_create('answer'), 'r+b', buffering=0)
    while content:
        content = content[file.write(content) :]
    return file


def is_answer(message: memoryview) -> bool:
    """Whether the rest of an answer comes with a message, as the second descriptor."""
    return message[:1] == _IS_ANSWER


def unfinished_in(message: memoryview) -> Unfinished | None:
    """The request in a message whose body is still to come; None if the message is another one.

    What was received of a large body comes in a file of its own, as the second descriptor.
    """
    if message[:1] != _IS_UNFINISHED:
        return None
    _, head_size = _HEAD.unpack_from(message)
    end = _HEAD.size + head_size
    described = json.loads(bytes(message[_HEAD.size : end]))
    if described['answer']:
        status, headers, body = described['answer']
        fields = [(name, value) for name, value in headers]
        described['answer'] = Answer(status, fields, body.encode('latin-1'))
    return Unfinished(received=bytes(message[end:]), **described)


def wake_in(message: memoryview) -> tuple[int, int] | None:
    """The queue's id and the number of messages of a wake; None if the message is not a wake."""
    if message[:1] != _IS_WAKE:
        return None
    _, queue_id, count = _WAKE.unpack(message)
    return queue_id, count


def parked_in(message: memoryview) -> Parked:
    """The request in a message."""
    _, head_size, body_size = _PARK.unpack_from(message)
    start = _PARK.size
    described = json.loads(bytes(message[start : start + head_size]))
    start += head_size
    status, headers = described['otherwise']
    return Parked(
        **described
        | {
            'body': bytes(message[start : start + body_size]),
            'queues': tuple(described['queues']),
            'claim': described['claim'] and AskedClaim(*described['claim']),
            'otherwise': Answer(
                status,
                [(name, value) for name, value in headers],
                bytes(message[start + body_size :]),
            ),
        }
    )
