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
from functools import partial

import psycopg2
from pecan.configuration import conf_from_file

from benchmarks.operations import PROJECT, Queue
from benchmarks.plan import Plan
from benchmarks.report import Answer, Table
from benchmarks.service import running_service
from benchmarks.turns import Contender, Took, in_turns
from marconi_api import model
from marconi_api.app import setup_app
from marconi_api.processes.installation import OPERATOR_FILES

#: What nobody reaches here.
ENOUGH = 10**9


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
        header = {'HTTP_AUTHORIZATION': f'Bearer {token}'} if token else {}
        self._contender = Contender(setup_app(config), header)
        self._queue = Queue('v2', f'access-{name}')

    def post(self) -> Took:
        """Post a message."""
        return self._contender.call(self._queue.post(1))

    def claim(self) -> Took:
        """Claim ten, which are posted before."""
        self._contender.call(self._queue.post(10))
        return self._contender.call(self._queue.claim(10))

    def refused(self, token: str) -> Took:
        """Post with a wrong token."""
        given = {'HTTP_AUTHORIZATION': f'Bearer {token}'}
        return self._contender.call(self._queue.post(1), '401', **given)


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
        for kind, calls in (
            ('post 1', [mode.post for mode in modes]),
            ('claim 10', [mode.claim for mode in modes]),
        ):
            found = in_turns(calls, rounds)
            for whose, times in (
                ('Marconi', [took.own for took in found]),
                ('Marconi and PostgreSQL', [took.with_backend for took in found]),
            ):
                in_trust, by_token, limited = times
                table.rows.append(
                    [
                        kind,
                        whose,
                        *(f'{seconds * 1e6:.0f}' for seconds in times),
                        f'{in_trust / by_token:.3f}',
                        f'{by_token / limited:.3f}',
                    ]
                )
        refusals = _refusals(service.url, rounds)
    answer.tables += [table, refusals]
    return answer


def _refusals(url: str, rounds: int) -> Table:
    forgetful = Mode(url, 'wrong', 'none', cache_seconds=0, failures_before_delay=0)
    tokens = _wrong_tokens(url)
    found = in_turns([partial(forgetful.refused, token) for token in tokens.values()], rounds)
    table = Table(['wrong token', 'time', 'time/unknown'])
    for name, took in zip(tokens, found, strict=True):
        ratio = took.elapsed / found[0].elapsed
        table.rows.append([name, f'{took.elapsed * 1e6:.0f}', f'{ratio:.3f}'])
    return table


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
