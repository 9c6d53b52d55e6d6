"""Contenders that answer one request after the other in this process, each timed by itself.

They take turns with each request, so that all meet the same moods of the machine.
"""

import io
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.in_process import environ
from benchmarks.operations import Request
from marconi_api import model

#: Calls before those that count.
WARM_UP = 200


class Took(NamedTuple):
    """What a request took, in seconds."""

    #: From the call to the answer.
    elapsed: float
    #: CPU time of this process.
    own: float
    #: The same, and that of PostgreSQL's backend.
    with_backend: float


class Contender:
    """Marconi's WSGI callable, and the store that it was set up with.

    :param header: members of the WSGI environment, beside those of each request
    """

    def __init__(self, app: Any, header: Mapping[str, str] | None = None) -> None:
        self._app = app
        self._header = header or {}
        self._store = model.store
        [(pid,)] = self._store.database.rows('SELECT pg_backend_pid()', {})
        # The first number is the time in which the backend ran, in nanoseconds.
        self._backend = Path(f'/proc/{pid}/schedstat')

    def call(self, request: Request, status: str = '2', **header: str) -> Took:
        """Send a request.

        :param status: with which its status must begin
        :param header: further members of the WSGI environment
        """
        # Actions use the store of the process; each contender has its own.
        model.store = self._store
        body = {'wsgi.input': io.BytesIO(request.body.encode())}
        given = {**environ(request), **self._header, **header, **body}
        statuses: list[str] = []
        backend, started, own = self._backend_seconds(), time.perf_counter(), time.thread_time()
        b''.join(self._app(given, lambda status, *_: statuses.append(status)))
        own = time.thread_time() - own
        elapsed = time.perf_counter() - started
        if not statuses[0].startswith(status):
            raise SystemExit(f'{request.path}: {statuses[0]}')
        return Took(elapsed, own, own + self._backend_seconds() - backend)

    def _backend_seconds(self) -> float:
        return int(self._backend.read_text().split()[0]) / 1e9


def in_turns(calls: Sequence[Callable[[], Took]], rounds: int) -> list[Took]:
    """The medians of each, once all are warm; who begins changes with each round."""
    times: list[list[Took]] = [[] for _ in calls]
    for number in range(-WARM_UP, rounds):
        for place in range(len(calls)):
            which = (number + place) % len(calls)
            took = calls[which]()
            if number >= 0:
                times[which].append(took)
    return [Took(*map(statistics.median, zip(*found, strict=True))) for found in times]
