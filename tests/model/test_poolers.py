"""Behind a pooler that shares connections: what was set once is gone, what was prepared is lost."""

import logging
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from marconi_api.model.postgres.database import Database
from marconi_api.model.postgres.prepared import Prepared
from marconi_api.processes.embedded.cluster import EmbeddedPostgres
from tests import pooler

pytestmark = pytest.mark.skipif(not pooler.PROGRAM, reason='pgbouncer is not installed')

SETTINGS = {
    'statement_timeout': '3s',
    'lock_timeout': '3s',
    'idle_in_transaction_session_timeout': '3s',
    'enable_seqscan': 'off',
    'enable_bitmapscan': 'off',
    'enable_sort': 'off',
    'jit': 'off',
    'TimeZone': 'UTC',
    'transaction_isolation': 'read committed',
    'work_mem': '8MB',
}
IGNORES = 'ignore_startup_parameters = options'


@pytest.fixture
def connect(postgres: EmbeddedPostgres, app: Any) -> Iterator[Callable[..., Database]]:
    """Opens databases through a PgBouncer whose settings have further lines."""
    opened: list[Any] = []

    def through(further: str, options: str = '') -> Database:
        # Its socket's path may have 107 bytes.
        directory = tempfile.TemporaryDirectory(prefix='marconi-pooler-', dir='/tmp')
        running = pooler.pgbouncer(postgres.url, Path(directory.name), further)
        database = Database(running.__enter__() + options, 2, 3)
        opened.append((database, running, directory))
        return database

    yield through
    for database, running, directory in opened:
        database.close()
        running.__exit__(None, None, None)
        directory.cleanup()


@pytest.mark.parametrize('further', ['', IGNORES], ids=['refuses options', 'ignores options'])
def test_settings_hold_for_each_statement(connect: Any, further: str) -> None:
    database = connect(further, '&options=-cwork_mem%3D8MB')

    for name, value in SETTINGS.items():
        assert database.rows(f'SHOW {name}', {}) == [(value,)]


def test_settings_hold_in_a_transaction(connect: Any) -> None:
    database = connect(IGNORES)

    with database.transaction() as run:
        assert run('SHOW statement_timeout', {}) == [('3s',)]


def test_settings_hold_where_something_is_called_before_the_commit(connect: Any) -> None:
    database = connect(IGNORES)
    seen: list[Any] = []

    database.rows('SHOW statement_timeout', {}, before_commit=seen.append)
    assert seen == [[('3s',)]]


def test_others_do_not_get_the_settings(connect: Any, postgres: EmbeddedPostgres) -> None:
    database = connect(IGNORES)
    database.rows('SELECT 1', {})

    connection = database.thread.connection
    connection.settings = ''

    assert database.rows('SHOW statement_timeout', {}) == [('0',)]


def test_the_isolation_level_is_its_own(connect: Any, sql: Any) -> None:
    sql('ALTER DATABASE marconi SET default_transaction_isolation = serializable')
    try:
        database = connect(IGNORES)
        assert database.rows('SHOW transaction_isolation', {}) == [('read committed',)]
        with database.transaction() as run:
            assert run('SHOW transaction_isolation', {}) == [('read committed',)]
    finally:
        sql('ALTER DATABASE marconi RESET default_transaction_isolation')


def ask_from_many_threads(database: Database) -> list[Any]:
    statement = Prepared('SELECT %(number)s::int')

    def ask(number: int) -> Any:
        return database.rows(statement, {'number': number})[0][0]

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(ask, range(200)))


def test_nothing_is_prepared_where_settings_do_not_arrive(connect: Any, sql: Any) -> None:
    assert ask_from_many_threads(connect(IGNORES)) == list(range(200))


def test_statements_that_get_lost_are_no_longer_prepared(
    connect: Any, sql: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A pooler may pass settings on, and keep nothing that is prepared."""
    sql("ALTER DATABASE marconi SET marconi.options = 'arrived'")
    try:
        database = connect(IGNORES)
        assert ask_from_many_threads(database) == list(range(200))
    finally:
        sql('ALTER DATABASE marconi RESET marconi.options')

    assert [r.levelno for r in caplog.records if 'none is prepared' in r.getMessage()] == [
        logging.WARNING
    ]
