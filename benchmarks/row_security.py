"""What would row-level security in the database cost?

Marconi keeps projects apart by the conditions of its statements. PostgreSQL could be a second lock:
policies by which a session sees the rows of one project only. Each statement then has to say which
project that is, as requests of all projects share the connections, and the rows of messages and
claims, which know their queue and not their project, are compared with the queues of the project.

The application is called directly, in one thread, on two databases of one PostgreSQL: as it is, and
as a role for which these policies hold, with `set_config` before each statement. The two take turns,
a request each. Figures are medians in microseconds of the whole time, the database's included, but
not what both wait for the disk (`synchronous_commit` is off).
"""

import contextlib
import io
import statistics
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

from sqlalchemy import URL, make_url

from benchmarks.filling import make_queues
from benchmarks.in_process import application, environ
from benchmarks.operations import PROJECT, Queue, Request
from benchmarks.plan import Plan
from benchmarks.report import Answer, Table
from benchmarks.service import connect, running_service
from marconi_api import model
from marconi_api.model.postgres.prepared import Prepared
from marconi_api.processes import schema

WARM_UP = 200

_QUEUE = Queue('v2', 'locked')


_OF_THE_PROJECT = "project = current_setting('marconi.project', true)"
_POLICIES = '; '.join(
    f'ALTER TABLE {table} ENABLE ROW LEVEL SECURITY; CREATE POLICY project ON {table} USING ({condition})'
    for table, condition in (
        ('queues', _OF_THE_PROJECT),
        *(
            (table, f'EXISTS (SELECT FROM queues q WHERE q.queue_id = {table}.queue_id)')
            for table in ('messages', 'message_states', 'claims', 'idempotency_keys')
        ),
    )
)


class Database:
    """The application on a database.

    :param options: those of its sessions
    :param prefix: what each statement begins with
    """

    def __init__(self, url: URL, options: str, prefix: str) -> None:
        # For the disk both wait as long.
        options = f'-c synchronous_commit=off {options}'
        self._prefix = prefix
        self._app = application(_text(url.update_query_dict({'options': options})))
        self._store = model.store

    def timed(self, kind: str) -> float:
        """The seconds that a request takes."""
        with self._in_force():
            if kind == 'claim 10':
                self._call(_QUEUE.post(10))
                return self._call(_QUEUE.claim(10))
            return self._call(_QUEUE.post(1))

    @contextlib.contextmanager
    def _in_force(self) -> Iterator[None]:
        # Actions use the store of the process; there is one for each database.
        model.store = self._store
        if not self._prefix:
            yield
            return
        native = Prepared.execution

        def prefixed(statement: Prepared, *given: Any) -> str:
            return self._prefix + native(statement, *given)

        with mock.patch.object(Prepared, 'execution', prefixed):
            yield

    def _call(self, request: Request) -> float:
        given = {**environ(request), 'wsgi.input': io.BytesIO(request.body.encode())}
        statuses: list[str] = []
        started = time.perf_counter()
        b''.join(self._app(given, lambda status, *_: statuses.append(status)))
        took = time.perf_counter() - started
        if not statuses[0].startswith('2'):
            raise SystemExit(f'{request.path}: {statuses[0]}')
        return took


def ask(plan: Plan) -> Answer:
    """Measure, and say what came of it."""
    rounds = plan.choose(3000, 300)
    answer = Answer('row_security', __doc__ or '')
    table = Table(['request', 'as it is', 'with policies', 'ratio of the rates'])
    with running_service() as service:
        databases = [
            Database(_made(service.url, 'plain', ''), '', ''),
            Database(
                _made(service.url, 'locked', _POLICIES),
                '-c role=tenants',
                f"SELECT set_config('marconi.project', '{PROJECT}', true); ",
            ),
        ]
        for kind in ('post 1', 'claim 10'):
            plain, locked = _in_turns(databases, kind, rounds)
            table.rows.append(
                [kind, f'{plain * 1e6:.0f}', f'{locked * 1e6:.0f}', f'{plain / locked:.3f}']
            )
    answer.tables.append(table)
    return answer


def _made(url: str, name: str, policies: str) -> URL:
    """A database beside the service's, which nobody else uses, with a queue."""
    with contextlib.closing(connect(url)) as owner, owner.cursor() as cursor:
        cursor.execute(f'CREATE DATABASE {name}')
        cursor.execute("SELECT count(*) FROM pg_roles WHERE rolname = 'tenants'")
        if cursor.fetchall() == [(0,)]:
            cursor.execute('CREATE ROLE tenants LOGIN')
    made = make_url(url).set(database=name)
    schema.upgrade(_text(made))
    with contextlib.closing(connect(_text(made))) as owner, owner.cursor() as cursor:
        make_queues(owner, [_QUEUE.name])
        cursor.execute(
            'GRANT ALL ON ALL TABLES IN SCHEMA public TO tenants;'
            f'GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO tenants; {policies}'
        )
    return made


def _text(url: URL) -> str:
    return url.render_as_string(hide_password=False)


def _in_turns(databases: list[Database], kind: str, rounds: int) -> list[float]:
    """The median time of each, once all are warm; who begins changes with each round."""
    times: list[list[float]] = [[] for _ in databases]
    for number in range(-WARM_UP, rounds):
        for place in range(len(databases)):
            which = (number + place) % len(databases)
            took = databases[which].timed(kind)
            if number >= 0:
                times[which].append(took)
    return [statistics.median(found) for found in times]
