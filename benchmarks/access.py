"""What do tokens, quotas and rates cost?

Marconi's WSGI callable is called directly, in one thread, on a real PostgreSQL that keeps what it
stores: in trusted mode, in token mode, and in token mode with all quotas and rates on, which are
never reached. Requests are "post 1" and "claim 10", of version 2, with bodies of 1 KiB. The three
take turns, a request each. Figures are medians of the CPU time that a request takes in Marconi's own
process, in microseconds: none of them asks the database more than another, and what other programs
do hardly shows. A ratio is that of the rates that this time alone would allow, so 1 is as quick; with
the time that the database takes, all are closer to 1.

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
        self._header = {'HTTP_AUTHORIZATION': f'Bearer {token}'} if token else {}
        self._queue = Queue('v2', f'access-{name}')

    def timed(self, kind: str) -> float:
        """The seconds of CPU time that a request takes."""
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

    def _call(self, request: Any) -> float:
        # Actions use the store of the process; there is one for each mode.
        model.store = self._store
        content = request.body.encode()
        given = {**environ(request), **self._header, 'wsgi.input': io.BytesIO(content)}
        statuses: list[str] = []
        started = time.thread_time()
        b''.join(self._app(given, lambda status, *_: statuses.append(status)))
        took = time.thread_time() - started
        if not statuses[0].startswith('2'):
            raise SystemExit(f'{request.path}: {statuses[0]}')
        return took


def ask(plan: Plan) -> Answer:
    """Measure, and say what came of it."""
    rounds = plan.choose(5000, 300)
    answer = Answer('access', __doc__ or '')
    table = Table(['request', 'trusted', 'token', 'with limits', 'token/trusted', 'limits/token'])
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
            table.rows.append(
                [
                    kind,
                    *(f'{seconds * 1e6:.0f}' for seconds in times),
                    f'{times[0] / times[1]:.3f}',
                    f'{times[1] / times[2]:.3f}',
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
    for name, seconds in zip(tokens, times, strict=True):
        table.rows.append([name, f'{seconds * 1e6:.0f}', f'{seconds / times[0]:.3f}'])
    return table


def _refused(mode: Mode, token: str, _kind: str) -> float:
    return mode.refused(token)


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


def _in_turns(calls: Sequence[Callable[[str], float]], kind: str, rounds: int) -> list[float]:
    """The median time of each, once all are warm; who begins changes with each round."""
    times: list[list[float]] = [[] for _ in calls]
    for number in range(-WARM_UP, rounds):
        for place in range(len(calls)):
            which = (number + place) % len(calls)
            took = calls[which](kind)
            if number >= 0:
                times[which].append(took)
    return [statistics.median(found) for found in times]
