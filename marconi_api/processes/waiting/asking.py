"""Runs requests, in threads: all that the waiting room asks of the database."""

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from io import BytesIO
from queue import SimpleQueue
from typing import Any, NamedTuple

from marconi_api.model import Claim
from marconi_api.processes.answers import Answer, applied, finished
from marconi_api.processes.bodies import Unfinished
from marconi_api.processes.observers import Observers
from marconi_api.processes.waiting.hand_over import Parked, parked_of, waits
from marconi_api.wire.tracing import TOLD, Told
from marconi_api.wire.waiting import GIVEN, LOOKED, Looked

Application = Callable[..., Any]


class Reply(NamedTuple):
    """What a request came to."""

    answer: Answer
    #: None: it did not come to look, as it was refused or there was no storage.
    looked: Looked | None
    #: The messages that it was given.
    told: Sequence[Told] = ()

    @property
    def is_nothing(self) -> bool:
        """Whether it found nothing, and may wait on."""
        return self.looked is not None and not self.looked.found

    @property
    def is_unavailable(self) -> bool:
        """Whether there was no storage at the moment."""
        return self.answer.status.startswith('503')


def ask(
    application: Application, parked: Parked, given: Callable[[], Claim | None] | None = None
) -> Reply:
    """Run a request again.

    :param given: waits for the claim that a post makes for it; it returns None if the post makes none
    """
    environ = _environment(parked.environ, parked.body)
    if given is not None:
        environ[GIVEN] = given
    answer = _run(application, environ)
    return Reply(answer, environ.get(LOOKED), environ[TOLD])


def begin(
    application: Application, unfinished: Unfinished, body: bytes, observers: Observers
) -> tuple[Reply, Parked | None]:
    """Run a request for the first time, as its body has arrived.

    :returns: what it came to; and the request as one that waits, if it waits
    """
    environ = _environment(unfinished.environ, body)
    observers.begin(environ)
    answer = _run(application, environ)
    parked = None
    if waits(environ):
        observers.note(environ)
        parked = parked_of(environ, answer, unfinished.began)
    else:
        observers.end(environ, answer.status, unfinished.began)
    return Reply(answer, environ.get(LOOKED)), parked


def _environment(texts: dict[str, str], body: bytes) -> dict[str, Any]:
    environ: dict[str, Any] = {
        **texts,
        TOLD: [],
        'wsgi.version': (1, 0),
        'wsgi.url_scheme': 'http',
        'wsgi.input': BytesIO(body),
        'wsgi.errors': _Nowhere(),
        'wsgi.multithread': True,
        'wsgi.multiprocess': True,
        'wsgi.run_once': False,
        'CONTENT_LENGTH': str(len(body)) if body else '',
    }
    if not body:
        del environ['CONTENT_LENGTH']
    return environ


def _run(application: Application, environ: dict[str, Any]) -> Answer:
    # A body in chunks was put together.
    chunked = environ.pop('HTTP_TRANSFER_ENCODING', None)
    started: list[Any] = []

    def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> None:
        started[:] = status, headers

    body = b''.join(application(environ, start))
    status, headers = started
    headers = finished(status, headers, environ, is_last=chunked is not None)
    return Answer(status, [*headers, *applied(environ)], body)


class _Nowhere:
    """Takes what an application writes about errors: ours writes to the log."""

    def write(self, text: str) -> None:
        """Drop it."""

    def flush(self) -> None:
        """Have nothing to send on."""


class Threads:
    """Threads that do one piece of work after the other, and tell a loop that waits in poll.

    :param count: how many
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._work: SimpleQueue[tuple[Callable[[], Any], Callable[[Any], None]]]
        self._work = SimpleQueue()
        self._done: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._open = 0
        for number in range(count):
            threading.Thread(target=self._run, name=f'asking-{number}', daemon=True).start()

    def fileno(self) -> int:
        """Can be read when work is done."""
        return self._reader

    @property
    def is_any_free(self) -> bool:
        """Whether one of them has nothing to do."""
        return self._open < self._count

    @property
    def open(self) -> int:
        """How much is to be done, or is being done."""
        return self._open

    def do(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Have work done, and ``then`` called by :meth:`collect` with what it returned or raised."""
        self._open += 1
        self._work.put((work, then))

    def collect(self) -> None:
        """Make the calls for what was done."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 4096)
        while self._done:
            then, result = self._done.popleft()
            self._open -= 1
            then(result)

    def _run(self) -> None:
        while True:
            work, then = self._work.get()
            try:
                result = work()
            except Exception as error:
                result = error
            self._done.append((then, result))
            with contextlib.suppress(BlockingIOError):
                os.write(self._writer, b'.')
