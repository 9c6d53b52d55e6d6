"""What do the shortcuts of the model save?

Marconi writes the values of its statements itself, and leaves only texts to psycopg2 (`prepared.py`).
It remembers up to where the messages of a queue are handled (`low_water_marks.py`), so that no claim
looks at those again. Here the application is called with each of these, and without: then psycopg2
writes all values, and each claim starts at the first message of a queue of which 20,000 were deleted
while a transaction is open that could still see them, such as that of a backup.

The application is called directly, in one thread; both ways take turns, a request each. Figures are
medians in microseconds of CPU time, that of PostgreSQL included; bodies have 1 KiB.
"""

import contextlib
from collections.abc import Mapping
from typing import Any
from unittest import mock

from benchmarks.filling import fill, make_queues
from benchmarks.in_process import application
from benchmarks.operations import KIBIBYTE, Queue
from benchmarks.plan import Plan
from benchmarks.report import Answer, Table
from benchmarks.service import connect, running_service
from benchmarks.turns import Contender, Took, in_turns
from marconi_api import model
from marconi_api.model.postgres.connection import Connection
from marconi_api.model.postgres.prepared import Prepared

_QUEUE = Queue('v2', 'shortcuts')
_HANDLED = 20_000


def ask(plan: Plan) -> Answer:
    """Measure, and say what came of it."""
    rounds = plan.choose(3000, 300)
    table = Table(['request', 'shortcut', 'with', 'without', 'without / with'])
    with running_service() as service:
        contender = Contender(application(service.url))

        def post(count: int) -> Took:
            return contender.call(_QUEUE.post(count))

        def claim() -> Took:
            post(10)
            return contender.call(_QUEUE.claim(10))

        def claim_from_the_start() -> Took:
            model.store.low_water_marks.forget()
            return claim()

        def by_psycopg2(count: int) -> Took:
            with mock.patch.object(Prepared, 'execution', _written_by_psycopg2):
                return post(count)

        with contextlib.closing(connect(service.url)) as owner:
            make_queues(owner, [_QUEUE.name])
            for count in (1, 10):
                own, native = in_turns([lambda: post(count), lambda: by_psycopg2(count)], rounds)  # noqa: B023
                _add(table, f'post {count}', 'values written by Marconi', own, native)
            fill(owner, _QUEUE.name, _HANDLED, KIBIBYTE)
            with contextlib.closing(connect(service.url)) as looking_back:
                looking_back.autocommit = False
                looking_back.set_session(isolation_level='REPEATABLE READ')
                with looking_back.cursor() as cursor:
                    cursor.execute('SELECT FROM message_states LIMIT 1')
                with owner.cursor() as cursor:
                    cursor.execute('DELETE FROM message_states; DELETE FROM messages')
                marked, unmarked = in_turns([claim, claim_from_the_start], rounds // 10)
            _add(table, 'claim 10', 'low-water marks', marked, unmarked)
    return Answer('shortcuts', __doc__ or '', [table])


def _written_by_psycopg2(
    statement: Prepared, parameters: Mapping[str, Any], connection: Connection
) -> str:
    given = [parameters[name] for name in statement._parameters]
    with connection.cursor() as cursor:
        written: bytes = cursor.mogrify(statement._calls, given)
    return written.decode()


def _add(table: Table, request: str, shortcut: str, own: Took, without: Took) -> None:
    times = [took.with_backend for took in (own, without)]
    table.rows.append(
        [
            *(request, shortcut),
            *(f'{seconds * 1e6:.0f}' for seconds in times),
            f'{times[1] / times[0]:.2f}',
        ]
    )
