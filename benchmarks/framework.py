"""Is the framework the bottleneck?

Marconi's WSGI callable is called directly, in one thread, as uwsgi would call it. All of it is
real (routing, hooks, checks of headers and bodies, the repositories, JSON) but for the store:
each statement is answered at once with the rows that a real database gave it the first time.
Beside it stand other frameworks with a handler that checks nothing and stores nothing; they are
sent the very bytes of our "post 1". Rounds are interleaved; figures are requests a second.
"""

import contextlib
import io
import itertools
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any
from unittest import mock

from benchmarks.in_process import application, call, environ
from benchmarks.measured import in_rounds
from benchmarks.operations import Queue, Request, claimed
from benchmarks.plan import Plan
from benchmarks.report import Answer, Chart, Table
from benchmarks.service import running_service
from marconi_api import model

#: A message of about the size that the founders measured with.
MESSAGE = {'event': 'resize', 'image': 'b1946ac92492d234', 'sizes': [64, 256, 1024]}


#: Calls before those that count.
WARM_UP = 100


class Remembering:
    """``Database.rows`` that asks once for each statement, and then always gives that answer."""

    def __init__(self, rows: Callable[..., list[Any]]) -> None:
        self._rows = rows
        self._known: dict[str, list[Any]] = {}

    def __call__(self, statement: str, parameters: Any, repeatable: bool = False) -> list[Any]:
        """The rows; parameters are made as if they were sent."""
        given = parameters() if callable(parameters) else parameters
        if statement not in self._known:
            self._known[statement] = self._rows(statement, given, repeatable)
        return self._known[statement]


class Calls:
    """One request to a WSGI callable, over and over."""

    def __init__(self, app: Any, request: Request) -> None:
        self._app = app
        self._environ = environ(request)
        self._content = request.body.encode()
        self._store: AbstractContextManager[Any] = contextlib.nullcontext()
        self.status = ''

    def without_store(self) -> 'Calls':
        """From now on only the first call asks the store."""
        rows = Remembering(model.store.database.rows)
        self._store = mock.patch.object(model.store.database, 'rows', rows)
        return self

    def _start_response(self, status: str, headers: Any, exc_info: Any = None) -> None:
        self.status = status

    def __call__(self) -> bytes:
        """Make one call."""
        given = {**self._environ, 'wsgi.input': io.BytesIO(self._content)}
        return b''.join(self._app(given, self._start_response))

    def rate(self, seconds: float) -> float:
        """Calls a second."""
        with self._store:
            reply = self()
            # Each claim has an id of its own.
            if len(reply) != len(self()) or not self.status.startswith('2'):
                raise SystemExit(f'{self._environ["PATH_INFO"]}: {self.status} {reply!r}')
            for _ in range(WARM_UP):
                self()
            started = now = time.perf_counter()
            for count in itertools.count(1):
                self()
                now = time.perf_counter()
                if now - started > seconds:
                    return count / (now - started)
        raise AssertionError('unreachable')


def our_requests(app: Any, version: str) -> dict[str, Request]:
    """The requests to measure, by name; there are messages to claim and to look at."""
    queue = Queue(version, f'framework-{version}', MESSAGE)
    for request in (queue.make(), queue.post(20), queue.post(20)):
        call(app, request)
    message, claim = claimed(call(app, queue.claim(1))[1])[0]
    return {
        'post 1': queue.post(1),
        'post 10': queue.post(10),
        'list 10': queue.list(10),
        'claim 10': queue.claim(10),
        'delete 1': queue.delete_one(message, claim),
    }


def ask(plan: Plan) -> Answer:
    """Measure, and say what came of it."""
    # Not needed by those who only want our requests.
    from benchmarks import contenders

    with running_service() as service:
        app = application(service.url)
        calls = {
            ('Marconi', f'{version} {name}'): Calls(app, request).without_store()
            for version in ('v1', 'v2')
            for name, request in our_requests(app, version).items()
        }
        the_post = Queue('v1', 'fizz', MESSAGE).post(1)
        theirs = Request('POST', '/queues/fizz/messages?limit=5', the_post.body)
        for name, other in contenders.applications().items():
            calls[name, 'a body'] = Calls(other, theirs)
        seconds = plan.choose(full=1.0, quick=0.05)
        rates = in_rounds(
            plan.choose(full=7, quick=2),
            {name: partial(found.rate, seconds) for name, found in calls.items()},
        )
        model.store.database.close()

    bare = {
        name.split()[0]: rate
        for (name, _), rate in rates.items()
        if name.startswith(('Flask', 'Bottle'))
    }
    table = Table(['callable', 'request', 'a second', 'of bare Flask', 'of bare Bottle'])
    for (name, request), rate in rates.items():
        table.rows.append([name, request, rate, rate / bare['Flask'], rate / bare['Bottle']])
    ours = {request: rate for (name, request), rate in rates.items() if name == 'Marconi'}
    others = {name: rate for (name, _), rate in rates.items() if name != 'Marconi'}
    return Answer(
        'framework',
        __doc__,
        [table],
        [
            Chart(
                'Calls of the WSGI callable', 'requests a second', {'a second': {**ours, **others}}
            )
        ],
        [
            'The goal for our post 1 is 2 times bare Flask (at the least 1.1) and 0.6 times bare '
            'Bottle (0.35).'
        ],
    )
