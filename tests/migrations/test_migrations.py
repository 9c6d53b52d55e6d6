"""The schema goes up, down and up again, and is what tables.py says."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest

from marconi_api import model
from marconi_api.model.postgres.database import Database
from marconi_api.model.postgres.tables import metadata
from marconi_api.processes.embedded.cluster import EmbeddedPostgres
from marconi_api.processes.installation import OPERATOR_FILES


@pytest.fixture
def url(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A database of its own, empty."""
    administration = psycopg2.connect(postgres.url.replace('+psycopg2', ''))
    administration.autocommit = True
    with administration.cursor() as cursor:
        cursor.execute('DROP DATABASE IF EXISTS upgrades WITH (FORCE)')
        cursor.execute('CREATE DATABASE upgrades')
    yield postgres.url.replace('/marconi?', '/upgrades?')
    administration.close()


@pytest.fixture
def alembic(url: str) -> Any:
    """Types alembic commands as a DBA would, in the project's root; returns the output."""

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, '-m', 'alembic', *arguments],
            cwd=OPERATOR_FILES,
            env=os.environ | {'MARCONI_DATABASE_URL': url},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def connection(url: str) -> Iterator[Any]:
    opened = psycopg2.connect(url.replace('+psycopg2', ''))
    opened.autocommit = True
    yield opened
    opened.close()


def tables(connection: Any) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {name for (name,) in cursor.fetchall()} - {'alembic_version'}


def test_up_down_and_up_again_with_data_in_it(alembic, url, connection):
    alembic('upgrade', 'head')
    assert tables(connection) == set(metadata.tables)
    store_something(url)

    alembic('downgrade', 'base')
    assert tables(connection) == set()

    alembic('upgrade', 'head')
    assert tables(connection) == set(metadata.tables)
    store_something(url)


def store_something(url):
    database = Database(url, connect_timeout=2, statement_timeout=5)
    queues = model.Queues(database)
    queue = model.QueueKey.of('', 'jobs')
    assert queues.create(queue)
    messages = model.Messages(
        database,
        model.LowWaterMarks(),
        queues,
        model.KnownAttributes(database),
        model.ReadyListeners(),
        model.ReadyListeners(),
    )
    message = model.NewMessage('1', ttl=60, delay=0)
    assert messages.post(queue, '3381af92-2b9e-11e3-b191-71861300734c', [message])
    database.close()


def test_tables_and_migrations_are_alike(alembic):
    alembic('upgrade', 'head')

    assert 'No new upgrade operations detected' in alembic('check')


def test_current_and_history_tell_where_the_database_is(alembic):
    alembic('upgrade', 'head')

    assert '(head)' in alembic('current')
    assert '0001' in alembic('history')


def test_the_sql_can_be_reviewed_and_run_by_hand(alembic, connection):
    script = alembic('upgrade', 'head', '--sql')

    with connection.cursor() as cursor:
        cursor.execute(script)

    assert tables(connection) == set(metadata.tables)
    assert 'No new upgrade operations detected' in alembic('check')


def test_a_migration_that_meets_a_lock_gives_up_soon_and_changes_nothing(alembic, connection, url):
    alembic('upgrade', 'head')
    with connection.cursor() as cursor:
        cursor.execute('BEGIN; LOCK TABLE accounts IN ACCESS SHARE MODE')
        refused = subprocess.run(
            [sys.executable, '-m', 'alembic', 'downgrade', 'base'],
            cwd=OPERATOR_FILES,
            env=os.environ | {'MARCONI_DATABASE_URL': url},
            capture_output=True,
            text=True,
        )
        cursor.execute('COMMIT')

    last = refused.stdout.splitlines()[-1]
    assert re.fullmatch('FAILED: cannot use .*: .* due to lock timeout', last)
    assert refused.stderr == ''
    assert tables(connection) == set(metadata.tables)


def test_each_step_is_told_in_one_line(alembic):
    assert re.fullmatch('(schema upgraded to [0-9]{4}: .+\n)+', alembic('upgrade', 'head'))
    assert re.fullmatch(
        'schema is at [0-9]{4} already: nothing to do\n', alembic('upgrade', 'head')
    )
    assert re.fullmatch('(schema downgraded from [0-9]{4}: .+\n)+', alembic('downgrade', 'base'))
    assert re.fullmatch('schema marked as 0001\n', alembic('stamp', '0001'))


def test_a_database_that_does_not_let_in_is_told_in_one_line(url):
    refused = subprocess.run(
        [sys.executable, '-m', 'alembic', 'upgrade', 'head'],
        cwd=OPERATOR_FILES,
        env=os.environ | {'MARCONI_DATABASE_URL': url.replace('marconi@', 'nobody:secret@')},
        capture_output=True,
        text=True,
    )

    assert refused.returncode != 0
    assert re.fullmatch(
        r'FAILED: cannot reach .*role "nobody" does not exist\n', refused.stdout + refused.stderr
    )
    assert 'secret' not in refused.stdout


def test_settings_that_cannot_be_used_are_told_in_one_line(tmp_path):
    (tmp_path / 'settings.py').write_text("limits = {'max_verdict': 1}")

    refused = subprocess.run(
        [sys.executable, '-m', 'alembic', 'current'],
        cwd=OPERATOR_FILES,
        env=os.environ | {'MARCONI_CONFIG': str(tmp_path / 'settings.py')},
        capture_output=True,
        text=True,
    )

    assert refused.returncode != 0
    assert re.fullmatch(
        'FAILED: .*limits.max_verdict is not a setting: .*\n', refused.stdout + refused.stderr
    )
