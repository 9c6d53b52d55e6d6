"""What do tokens, quotas and rates cost?

Marconi's WSGI callable is called directly, in one thread, on a real PostgreSQL that keeps what it
stores: in trusted mode, in token mode, and in token mode with all quotas and rates on, which are
never reached. Requests are "post 1" and "claim 10", of version 2, with bodies of 1 KiB. The three
take turns, a request each. Figures are medians of the CPU time that a request takes, in microseconds:
in Marconi's own process, and with the backend's of PostgreSQL. What other programs do hardly shows in
them. A ratio is that of the rates which that time allows, so 1 is as quick; over HTTP, with the time
of the web server and of the client, all are closer to 1.

The second table tells what a wrong token costs, from the request to the 401: the median time in
microseconds, in which the database's share is included, and its ratio to that of an unknown token. A
guesser learns nothing of why a token is wrong if they are alike. No token is remembered there.
"""

import contextlib
import io
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psycopg2
from pecan.configuration import conf_from_file

from benchmarks.in_process import environ
from benchmarks.operations import PROJECT, Queue
from benchmarks.plan import Plan
from benchmarks.report import Answer, Table
from benchmarks.service import running_service
from marconi_api import model
from marconi_api.app import setup_app
from marconi_api.processes.installation import OPERATOR_FILES

#: What nobody reaches here.
ENOUGH = 10**9

#: Calls before those that count.
WARM_UP = 200


class Mode:
    """The application in a mode, with a store of its own, and a queue.

    :param limits: whether all quotas and rates are on
    :param access: further settings of the section ``access``
    """

    def __init__(
        self, url: str, name: str, token: str | None, limits: bool = False, **access: int
    ) -> None:
        config = conf_from_file(str(OPERATOR_FILES / 'config.py'))
        config.database.url = url
        config.logging = {'version': 1, 'disable_existing_loggers': False}
        config.access.mode = 'token' if token else 'trusted'
        config.access.update(access)
        if limits:
            for section, setting in (
                *(('quota', name) for name in ('queues', 'messages', 'bytes')),
                *(('rate', name) for name in ('requests', 'messages')),
            ):
                config[section][setting] = ENOUGH
        self._app = setup_app(config)
        self._store = model.store
        [(pid,)] = self._store.database.rows('SELECT pg_backend_pid()', {})
        # The first number is the time in which the backend ran, in nanoseconds.
        self._backend = Path(f'/proc/{pid}/schedstat')
        self._header = {'HTTP_AUTHORIZATION': f'Bearer {token}'} if token else {}
        self._queue = Queue('v2', f'access-{name}')

    def timed(self, kind: str) -> tuple[float, float]:
        """The seconds of CPU time that a request takes: of this process, and of the backend, too."""
        request = self._queue.claim(10) if kind == 'claim 10' else self._queue.post(1)
        if kind == 'claim 10':
            self._call(self._queue.post(10))
        return self._call(request)

    def refused(self, token: str) -> float:
        """The seconds that it takes to refuse a request with a wrong token."""
        model.store = self._store
        given = environ(self._queue.post(1)) | {'HTTP_AUTHORIZATION': f'Bearer {token}'}
        statuses: list[str] = []
        started = time.perf_counter()
        b''.join(self._app(given, lambda status, *_: statuses.append(status)))
        took = time.perf_counter() - started
        if not statuses[0].startswith('401'):
            raise SystemExit(f'a wrong token: {statuses[0]}')
        return took

    def _backend_seconds(self) -> float:
        return int(self._backend.read_text().split()[0]) / 1e9

    def _call(self, request: Any) -> tuple[float, float]:
        # Actions use the store of the process; there is one for each mode.
        model.store = self._store
        content = request.body.encode()
        given = {**environ(request), **self._header, 'wsgi.input': io.BytesIO(content)}
        statuses: list[str] = []
        backend = self._backend_seconds()
        started = time.thread_time()
        b''.join(self._app(given, lambda status, *_: statuses.append(status)))
        own = time.thread_time() - started
        both = own + self._backend_seconds() - backend
        if not statuses[0].startswith('2'):
            raise SystemExit(f'{request.path}: {statuses[0]}')
        return own, both


def ask(plan: Plan) -> Answer:
    """Measure, and say what came of it."""
    rounds = plan.choose(5000, 300)
    answer = Answer('access', __doc__ or '')
    table = Table(
        [
            'request',
            'CPU time of',
            'trusted',
            'token',
            'with limits',
            'token/trusted',
            'limits/token',
        ]
    )
    with running_service() as service:
        trusted = Mode(service.url, 'trusted', None)
        token = model.store.tokens.create(PROJECT, 'admin').text
        modes = [
            trusted,
            Mode(service.url, 'token', token),
            Mode(service.url, 'limits', token, limits=True),
        ]
        for kind in ('post 1', 'claim 10'):
            times = _in_turns([mode.timed for mode in modes], kind, rounds)
            for place, whose in enumerate(('Marconi', 'Marconi and PostgreSQL')):
                trusted_time, token_time, limited_time = (found[place] for found in times)
                table.rows.append(
                    [
                        kind,
                        whose,
                        *(f'{found[place] * 1e6:.0f}' for found in times),
                        f'{trusted_time / token_time:.3f}',
                        f'{token_time / limited_time:.3f}',
                    ]
                )
        refusals = _refusals(service.url, rounds)
    answer.tables += [table, refusals]
    return answer


def _refusals(url: str, rounds: int) -> Table:
    forgetful = Mode(url, 'wrong', 'none', cache_seconds=0, failures_before_delay=0)
    tokens = _wrong_tokens(url)
    calls = [partial(_refused, forgetful, token) for token in tokens.values()]
    times = _in_turns(calls, 'wrong token', rounds)
    table = Table(['wrong token', 'time', 'time/unknown'])
    [of_an_unknown] = times[0]
    for name, [seconds] in zip(tokens, times, strict=True):
        table.rows.append([name, f'{seconds * 1e6:.0f}', f'{seconds / of_an_unknown:.3f}'])
    return table


def _refused(mode: Mode, token: str, _kind: str) -> tuple[float]:
    return (mode.refused(token),)


def _wrong_tokens(url: str) -> dict[str, str]:
    """A token of each kind that lets nobody in."""
    tokens = model.store.tokens
    unknown, expired, revoked, other_secret, valid = (
        tokens.create(PROJECT, 'admin', expires_in=3600) for _ in range(5)
    )
    tokens.revoke(revoked.token.id)
    with contextlib.closing(psycopg2.connect(url.replace('+psycopg2', ''))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute('DELETE FROM tokens WHERE id = %s', (unknown.token.id,))
            cursor.execute(
                "UPDATE tokens SET expires_at = now() - interval '1 h' WHERE id = %s",
                (expired.token.id,),
            )
            cursor.execute(
                'UPDATE tokens SET secret_sha256 = %s WHERE id = %s',
                (b'x' * 32, other_secret.token.id),
            )
    return {
        'unknown': unknown.text,
        'expired': expired.text,
        'revoked': revoked.text,
        'with another secret': other_secret.text,
        'with a typing error': valid.text[:-1] + ('a' if valid.text[-1] != 'a' else 'b'),
        'malformed': 'secret',
    }


def _in_turns(
    calls: Sequence[Callable[[str], tuple[float, ...]]], kind: str, rounds: int
) -> list[list[float]]:
    """The median times of each, once all are warm; who begins changes with each round."""
    times: list[list[tuple[float, ...]]] = [[] for _ in calls]
    for number in range(-WARM_UP, rounds):
        for place in range(len(calls)):
            which = (number + place) % len(calls)
            took = calls[which](kind)
            if number >= 0:
                times[which].append(took)
    return [[*map(statistics.median, zip(*found, strict=True))] for found in times]
