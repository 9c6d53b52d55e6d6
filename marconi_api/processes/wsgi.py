"""The WSGI application that uwsgi serves: Pecan's, adapted to uwsgi's router.

The router keeps the clients' connections, so that no idle client occupies a worker (see web_server.py).
It looks at headers only, so this module completes the headers of answers, takes bodies as they arrive,
and puts together bodies in chunks.
"""

import contextlib
import gc
import logging
import mmap
import os
import select
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

from pecan import load_app

from marconi_api import model
from marconi_api.controllers.root import DOORS
from marconi_api.controllers.service.probes import DRAINING
from marconi_api.processes.answers import Answer, Headers, applied, finished, head_of
from marconi_api.processes.bodies import OVERSIZE_READ, Arrivals, Unfinished, arriving
from marconi_api.processes.children import name_process
from marconi_api.processes.delivery.bell import bell_of
from marconi_api.processes.large_answers import FITS
from marconi_api.processes.large_answers import send as send_large
from marconi_api.processes.metrics.meters import meters_of
from marconi_api.processes.observers import Observers
from marconi_api.processes.overload import Overload, State
from marconi_api.processes.settings import read_settings
from marconi_api.processes.sock_diag import Backlog, open_sock_diag
from marconi_api.processes.tallies import tally_of
from marconi_api.processes.tracing import Tracer, tracer_of
from marconi_api.processes.waiting.borrowing import RoomsClaimants
from marconi_api.processes.waiting.hand_over import (
    DIRECTORY,
    RoomConnection,
    connection_of,
    parked_of,
    texts_of,
    waits,
)
from marconi_api.wire.doors import largest_body
from marconi_api.wire.failures import BodyTooSlow, MalformedRequest, TooManySlowBodies
from marconi_api.wire.framing import NEXT_CHUNK, PROTOCOLS, UNFINISHED, UNRELIABLE
from marconi_api.wire.overload import REFUSED
from marconi_api.wire.waiting import LOOKED

try:
    import uwsgi
except ImportError:
    # Any other WSGI server, or a test.
    uwsgi = None

log = logging.getLogger(__name__)

# Seconds that a worker lives on after its last answer, so that the router can pass that on.
LINGER = 0.5

# Seconds for which a thread waits for the rest of a body while there is no waiting room: about as long as
# a room takes to start anew.
WITHOUT_ROOM = 2.0

# Seconds in which a body in chunks must have arrived: a thread waits for it, as uwsgi puts it together.
CHUNKS_TIMEOUT = 10.0

# Seconds for which such a body does not count as slow. Each body arrives a moment after its head, even
# if the client sent both at once.
CHUNKS_GRACE = 0.1

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class BehindRouter:
    """A WSGI application that adapts another one to uwsgi's router.

    :param threads: how many requests are answered at once; half of them may be waiting for the
        rest of a body in chunks, or of another one while there is no waiting room
    :param farewell: two bytes. The first is not 0 once connections are about to be closed; the second
        is not 0 once the service drains, which is some time before.
    :param room: the waiting room; None: no request waits, and none with a slow body is served
    :param observers: told of each request
    :param overload: says which requests are too many; None: none are
    """

    def __init__(
        self,
        application: Application,
        threads: int,
        farewell: bytes | mmap.mmap,
        room: RoomConnection | None,
        observers: Observers | None = None,
        overload: Overload | None = None,
    ) -> None:
        self._application = application
        self._farewell = farewell
        self._room = room
        #: Told of each request; None if there are none.
        self.observers = observers or None
        self.overload = overload
        self._waiting = threading.BoundedSemaphore(max(1, threads // 2))
        self._arrivals = Arrivals()
        self._last_answer = 0.0

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer one request."""
        said: tuple[str, Headers, tuple[Any, ...]] = '500', [], ()
        began = time.monotonic()
        if self.overload and (refused := self.overload.refused_at(began, self._last_answer)):
            environ[REFUSED] = refused
        missing = 0
        if uwsgi is not None and (length := environ.get('CONTENT_LENGTH')):
            missing = self._take_body(environ, length)
            if missing and self._finish_elsewhere(environ, missing, began):
                return []
            if UNFINISHED in environ:
                missing = self._finish_here(environ, missing)
        if self._farewell[1]:
            environ[DRAINING] = True
        if self.observers is not None:
            self.observers.begin(environ)

        def start(status: str, headers: Headers, *exc_info: Any) -> Any:
            nonlocal said
            headers = finished(status, headers, environ, bool(self._farewell[0]))
            said = status, headers, exc_info

        try:
            if uwsgi is None or 'HTTP_TRANSFER_ENCODING' not in environ:
                body = self._application(environ, start)
            else:
                with contextlib.closing(Chunks(self._waiting)) as chunks:
                    environ[NEXT_CHUNK] = chunks.next
                    body = self._application(environ, start)
            status, headers, exc_info = said
            if missing and UNRELIABLE not in environ:
                # The client still sends, and might never see an answer that came before its end.
                answer = Answer(status, headers, b''.join(body))
                late = Unfinished({}, b'', missing, began, answer)
                if self._room and self._room.finish(late, uwsgi.connection_fd()):
                    return []
                body = [answer.body]
            elif LOOKED in environ and self._room:
                answer = Answer(status, headers, b''.join(body))
                return self._answer_or_park(environ, start_response, answer, began)
            return self._send(environ, start_response, status, headers, body, *exc_info)
        finally:
            if self.observers is not None:
                self.observers.end(environ, said[0], began)
            self._last_answer = time.monotonic()

    def _take_body(self, environ: dict[str, Any], length: str) -> int:
        """Take what has arrived of the body; returns how many bytes are missing.

        A body whose length is not known is not taken: its request is refused.
        """
        if not (length.isascii() and length.isdigit()) or not (size := int(length)):
            environ['wsgi.input'] = BytesIO()
            return 0
        received = self._arrivals.take(environ['wsgi.input'], uwsgi.connection_fd(), size)
        environ['wsgi.input'] = BytesIO(received)
        return size - len(received)

    def _finish_elsewhere(self, environ: dict[str, Any], missing: int, began: float) -> bool:
        """Have the waiting room read the rest of a body, and run the request.

        :returns: False if it cannot, or the body is too large; the application then refuses the request
        """
        received: bytes = environ['wsgi.input'].getvalue()
        size, largest = len(received) + missing, largest_body(environ, DOORS)
        if size > largest:
            if size > OVERSIZE_READ * largest:
                environ[UNRELIABLE] = True
            return False
        late = Unfinished(texts_of(environ), received, missing, began)
        if self._room and self._room.finish(late, uwsgi.connection_fd()):
            return True
        environ[UNFINISHED] = True
        return False

    def _finish_here(self, environ: dict[str, Any], missing: int) -> int:
        """Wait for the rest of a body, as there is no waiting room; returns how much is missing then.

        At most half of the threads wait so.
        """
        if self._waiting.acquire(blocking=False):
            try:
                more = arriving(uwsgi.connection_fd(), missing, WITHOUT_ROOM)
            finally:
                self._waiting.release()
            environ['wsgi.input'] = BytesIO(environ['wsgi.input'].getvalue() + more)
            missing -= len(more)
        if not missing:
            del environ[UNFINISHED]
        return missing

    def _answer_or_park(
        self,
        environ: dict[str, Any],
        start_response: Callable[..., Any],
        answer: Answer,
        began: float,
    ) -> Iterable[bytes]:
        """The answer of a request that may wait; empty if the request was handed to the waiting room.

        For an empty one uwsgi sends nothing, and closes its own copy of the connection.
        """
        headers = answer.headers
        answer = answer._replace(headers=[*headers, *applied(environ)])
        if waits(environ) and not self._farewell[0]:
            assert self._room is not None
            if self.observers is not None:
                self.observers.note(environ)
            parked = parked_of(environ, answer, began)
            if self._room.park(parked, uwsgi.connection_fd()):
                return []
            if self.observers is not None:
                self.observers.forget(environ)
            # Without Preference-Applied the client sees that it did not wait.
            answer = answer._replace(headers=headers)
        return self._send(environ, start_response, answer.status, answer.headers, [answer.body])

    def _send(
        self,
        environ: dict[str, Any],
        start_response: Callable[..., Any],
        status: str,
        headers: Headers,
        body: Iterable[bytes],
        *exc_info: Any,
    ) -> Iterable[bytes]:
        """What uwsgi is to send of an answer; nothing of a large one, which is sent here."""
        if uwsgi is not None and type(body) is list and sum(map(len, body)) > FITS:
            answer = Answer(status, headers, b''.join(body))
            send_large(uwsgi.connection_fd(), answer, self._room)
            return []
        if environ['SERVER_PROTOCOL'] in PROTOCOLS:
            start_response(status, headers, *exc_info)
            return body
        return [head_of(status, headers), *body]

    def linger(self) -> None:
        """Wait until the router has surely passed on the last answer of this worker.

        uwsgi's master kills the router as soon as the workers have ended: without this,
        the tail of a large answer was lost in half of the trials.
        """
        time.sleep(max(0.0, self._last_answer + LINGER - time.monotonic()))


class Chunks:
    """Reads a body in chunks from the client, by uwsgi, within ``CHUNKS_TIMEOUT``.

    :param waiting: a semaphore with as many places as threads may wait for slow bodies
    """

    def __init__(self, waiting: threading.BoundedSemaphore) -> None:
        self._waiting = waiting
        self._is_waiting = False
        self._free_until = time.monotonic() + CHUNKS_GRACE
        self._deadline = time.monotonic() + CHUNKS_TIMEOUT

    def next(self) -> bytes:
        """The next chunk; b'' is the end.

        :raises MalformedRequest: if the chunk is not well formed, or the client has gone
        :raises BodyTooSlow: if the body has not arrived in time
        :raises TooManySlowBodies: if the body is slow, and too many threads wait for slow ones
        """
        is_open = True
        while True:
            _reset_errno()
            try:
                chunk: bytes | None = uwsgi.chunked_read_nb()
            except OSError:
                is_open, chunk = False, None
            if chunk is not None:
                return chunk
            if not is_open:
                raise MalformedRequest('A chunk of the body is not well formed, or too large.')
            is_open = self._wait()

    def close(self) -> None:
        """Let another one wait."""
        if self._is_waiting:
            self._waiting.release()

    def _wait(self) -> bool:
        """Wait until there is more to read; False if there never will be."""
        seen = self._look(self._free_until)
        if not seen and not self._is_waiting:
            if not self._waiting.acquire(blocking=False):
                raise TooManySlowBodies
            self._is_waiting = True
        seen = seen or self._look(self._deadline)
        if not seen:
            raise BodyTooSlow(CHUNKS_TIMEOUT)
        return not seen & select.POLLHUP

    def _look(self, until: float) -> int:
        """What happens to the connection until then; 0 is nothing."""
        poll = select.poll()
        poll.register(uwsgi.connection_fd(), select.POLLIN)
        events = poll.poll(max(0.0, until - time.monotonic()) * 1000)
        return events[0][1] if events else 0


def _reset_errno() -> None:
    # By errno uwsgi tells a chunk that is still to come from one that is not well formed. In the latter
    # case it does not set errno, which then has the value of an earlier call.
    with contextlib.suppress(OSError):
        os.close(-1)


def _become_worker() -> None:
    name_process('marconi-worker')
    tally_of(os.environ, uwsgi.worker_id())
    global _tracer
    _tracer = tracer_of(_settings)
    observers = Observers(
        _settings.server.access_log, meters_of(os.environ, uwsgi.worker_id()), _tracer
    )
    application.observers = observers or None
    application.overload = _overload()


def _overload() -> Overload | None:
    """What tells that this worker is overloaded; None if nothing is to be refused, or cannot be."""
    server = _settings.server
    backlog = _backlog() if server.longest_backlog_wait else None
    if backlog is None:
        return None
    if backlog.length() is None and uwsgi.worker_id() == 1:
        log.warning(
            'no request is refused, however many come: the system does not tell how many wait'
            ' (no NETLINK_SOCK_DIAG for Unix sockets)'
        )
    return Overload(
        backlog.length,
        server.processes,
        server.threads,
        float(server.longest_backlog_wait),
        _overload_state,
    )


def _backlog() -> Backlog | None:
    """The backlog of the socket at which the router connects to the workers."""
    for descriptor in _descriptors():
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                with socket.socket(fileno=os.dup(descriptor)) as found:
                    if found.family == socket.AF_UNIX and _listens(found):
                        return Backlog(descriptor, open_sock_diag())
    return None


def _end_worker() -> None:
    application.linger()
    if _tracer is not None:
        _tracer.close()


def _answer_without_delay() -> None:
    """Have each part of an answer sent at once.

    Otherwise the end of an answer that is longer than the router's buffer waits until the client has
    acknowledged the rest, which clients put off for 40 ms. uwsgi has no option for its router's sockets,
    but they inherit TCP_NODELAY from the socket that listens. The master has opened that socket when it
    loads this file, and starts the router later.
    """
    for descriptor in _descriptors():
        # That of the list itself is closed by now.
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                with socket.socket(fileno=os.dup(descriptor)) as found:
                    if _listens_for_clients(found):
                        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _descriptors() -> list[int]:
    try:
        return [int(name) for name in os.listdir('/dev/fd')]
    except OSError:
        # A bare system without it: answers are correct, if not as quick.
        return []


def _listens_for_clients(found: socket.socket) -> bool:
    return found.family != socket.AF_UNIX and _listens(found)


def _listens(found: socket.socket) -> bool:
    return bool(found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def _farewell() -> bytes | mmap.mmap:
    """What web_server.py writes to when it stops, as all workers see it at once."""
    path = os.environ.get('MARCONI_FAREWELL')
    if path is None:
        return b'\0\0'
    with open(path, 'rb') as file:
        return mmap.mmap(file.fileno(), 2, access=mmap.ACCESS_READ)


# Made in the master, so that all workers share it.
_overload_state = State.shared()
# A worker's own, as a thread of it sends spans.
_tracer: Tracer | None = None
_settings = read_settings()
_application = load_app(_settings.to_dict())
_room = connection_of(os.environ) if uwsgi else None
if _room is not None:
    model.store.became_ready.append(_room.wake)
    model.store.ended.append(_room.wake_askers)
    model.store.messages.claimants = RoomsClaimants(
        Path(os.environ[DIRECTORY]), model.store.claims.undo
    )
if _bell := bell_of(os.environ) if uwsgi else None:
    model.store.became_deliverable.append(_bell.ring)
application = BehindRouter(
    _application,
    threads=int(uwsgi.opt.get('threads', 1)) if uwsgi else 1,
    farewell=_farewell(),
    room=_room,
    observers=Observers(_settings.server.access_log),
)
if uwsgi is not None:
    # What is loaded by now stays as long as the process. The collector need not look through it, which
    # took some 60 ms of a request now and then, nor copy its memory for each worker.
    gc.collect()
    gc.freeze()
    # The master's, and the router's, which it starts later. uwsgi's own option for names
    # has no effect as a Python module, as which we have it.
    name_process('marconi-uwsgi')
    _answer_without_delay()
    uwsgi.atexit = _end_worker
    uwsgi.post_fork_hook = _become_worker
