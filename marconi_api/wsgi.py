"""What uwsgi serves: the Pecan application, with the manners that uwsgi's routers need.

The routers keep the clients' connections, so that neither an idle nor a slow one occupies
a worker (see service.py). They look at headers only, and rely on a few things here.
"""

import contextlib
import os
import resource
import socket
import stat
import time
from collections.abc import Callable, Iterable
from typing import Any

from pecan import load_app

from marconi_api.children import name_process
from marconi_api.settings import read_settings

try:
    import uwsgi
except ImportError:
    # Any other WSGI server, or a test.
    uwsgi = None

# Bytes read at once of what the application left of a body.
DRAINED_AT_ONCE = 65536

# Seconds that a worker outlives its last answer, so that the routers can pass it on.
LINGER = 0.5

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class BehindRouters:
    """A WSGI application that treats the routers of uwsgi as they want to be treated."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._last_answer = 0.0

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer one request."""

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            # The http router closes the connection after an answer without a length, and takes
            # no account of 204, which by RFC 9110 should have none. All clients that we
            # know of read 204 as empty whatever its headers say.
            if status.startswith('204') and not _has_length(headers):
                headers = [*headers, ('Content-Length', '0')]
            return start_response(status, headers, *exc_info)

        try:
            return self._application(environ, start)
        finally:
            _drain(environ)
            self._last_answer = time.monotonic()

    def linger(self) -> None:
        """Wait until the routers have surely passed on the last answer of this worker.

        uwsgi's master kills the routers as soon as the workers have ended: without this,
        the tail of a large answer was lost in half of the trials.
        """
        time.sleep(max(0.0, self._last_answer + LINGER - time.monotonic()))


def _has_length(headers: list[tuple[str, str]]) -> bool:
    return any(name.lower() == 'content-length' for name, _ in headers)


def _drain(environ: dict[str, Any]) -> None:
    """Read what is left of the body, so that the connection stays usable.

    The client would otherwise be cut off while it still sends, and might never see the
    answer that refuses its body.
    """
    if not environ.get('CONTENT_LENGTH'):
        return
    body = environ['wsgi.input']
    # A client that went away, or that stopped sending, raises OSError.
    with contextlib.suppress(OSError):
        while body.read(DRAINED_AT_ONCE):
            pass


def _become_worker() -> None:
    name_process('marconi-worker')
    # A worker keeps no bodies, but the log may be a file.
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def _answer_without_delay() -> None:
    """Have each part of an answer sent at once.

    Else the end of one that is longer than the router's buffer waits until the client has
    acknowledged the rest, which it puts off for 40 ms. uwsgi has no option for its router's
    sockets, but they inherit this one from the socket that listens. The master has opened that
    when it loads this file, and starts the router later.
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
    return found.family != socket.AF_UNIX and bool(
        found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    )


application = BehindRouters(load_app(read_settings().to_dict()))
if uwsgi is not None:
    # The master's, and the routers', which it starts later. uwsgi's own option for names
    # has no effect as a Python module, as which we have it.
    name_process('marconi-uwsgi')
    _answer_without_delay()
    uwsgi.atexit = application.linger
    uwsgi.post_fork_hook = _become_worker
