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
from collections.abc import Iterator
from typing import Any
from unittest import mock

from sqlalchemy import URL, make_url

from benchmarks.filling import make_queues
from benchmarks.in_process import application
from benchmarks.operations import PROJECT, Queue
from benchmarks.plan import Plan
from benchmarks.report import Answer, Table
from benchmarks.service import connect, running_service
from benchmarks.turns import Contender, Took, in_turns
from marconi_api.model.postgres.prepared import Prepared
from marconi_api.processes import schema

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
        url = url.update_query_dict({'options': options})
        self._contender = Contender(application(_text(url)))

    def post(self) -> Took:
        """Post a message."""
        with self._in_force():
            return self._contender.call(_QUEUE.post(1))

    def claim(self) -> Took:
        """Claim ten, which are posted before."""
        with self._in_force():
            self._contender.call(_QUEUE.post(10))
            return self._contender.call(_QUEUE.claim(10))

    @contextlib.contextmanager
    def _in_force(self) -> Iterator[None]:
        if not self._prefix:
            yield
            return
        native = Prepared.execution

        def prefixed(statement: Prepared, *given: Any) -> str:
            return self._prefix + native(statement, *given)

        with mock.patch.object(Prepared, 'execution', prefixed):
            yield


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
        for kind, calls in (
            ('post 1', [database.post for database in databases]),
            ('claim 10', [database.claim for database in databases]),
        ):
            plain, locked = (took.elapsed for took in in_turns(calls, rounds))
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
