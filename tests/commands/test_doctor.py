"""`marconi doctor`: what is wrong around a service is found, and what is right is not."""

import contextlib
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from marconi_api.processes import checkup, schema
from marconi_api.processes.checkup import NOTE, PROBLEM
from marconi_api.processes.embedded.cluster import EmbeddedPostgres
from marconi_api.processes.settings import read_settings


@pytest.fixture(scope='module')
def server() -> Any:
    """A PostgreSQL as it should be."""
    with tempfile.TemporaryDirectory(prefix='marconi-test-') as path:
        os.chmod(path, 0o755)
        started = EmbeddedPostgres(
            Path(path, 'postgres'),
            options=('max_prepared_transactions=2', 'idle_in_transaction_session_timeout=5min'),
        )
        started.start()
        try:
            schema.upgrade(started.url)
            yield started
        finally:
            started.stop()


@pytest.fixture
def sql_there(server):
    """A session on it."""
    with contextlib.closing(psycopg2.connect(server.url.replace('+psycopg2', ''))) as connection:
        connection.autocommit = True
        yield connection.cursor().execute


@pytest.fixture
def found(server):
    """What is found there: the levels and texts of a subject."""

    def look(subject, url=server.url):
        settings = read_settings()
        return [
            (finding.level, finding.text, finding.advice)
            for finding in checkup.examine(settings, url)
            if finding.subject == subject
        ]

    return look


def test_where_all_is_well_the_exit_code_is_0(marconi, server, sql_there):
    sql_there('UPDATE janitor SET round_at = now()')

    done = marconi('doctor', MARCONI_DATABASE_URL=server.url)

    assert (done.returncode, done.stderr) == (0, '')
    assert [line for line in done.stdout.splitlines() if not line.startswith('ok ')] == []


def test_a_problem_is_exit_code_1_and_says_what_to_do(marconi, postgres):
    done = marconi('doctor')
    as_json = marconi('doctor', '--json')

    # The database of the tests is a fast one.
    assert done.returncode == 1
    assert 'problem  durability: fsync is off' in done.stdout
    assert '-> set fsync = on in PostgreSQL' in done.stdout
    assert as_json.returncode == 1
    assert [
        finding['text'].partition(' ')[0]
        for finding in json.loads(as_json.stdout)
        if finding['subject'] == 'durability'
    ] == ['fsync', 'full_page_writes', 'synchronous_commit']


def test_a_database_that_is_not_there_is_one_line(marconi):
    done = marconi('doctor', MARCONI_DATABASE_URL='postgresql://me:secret@127.0.0.1:1/marconi')

    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert 'secret' not in done.stdout + done.stderr


def test_an_old_schema_is_a_problem(found, sql_there):
    sql_there('CREATE TABLE kept AS TABLE alembic_version')
    sql_there("UPDATE alembic_version SET version_num = '0001'")
    try:
        [(level, text, advice)] = found('schema')
    finally:
        sql_there('UPDATE alembic_version SET version_num = (SELECT version_num FROM kept)')
        sql_there('DROP TABLE kept')

    assert (level, advice) == (PROBLEM, 'see marconi migrate')
    assert 'is at revision 0001' in text


def test_a_transaction_that_writes_and_stays_open_is_a_problem(found, server, monkeypatch):
    monkeypatch.setattr(checkup, '_WRITING_TRANSACTION', 0)
    with contextlib.closing(psycopg2.connect(server.url.replace('+psycopg2', ''))) as forgotten:
        forgotten.cursor().execute('SELECT pg_current_xact_id()')
        [(level, text, advice)] = found('transactions')
        pid = forgotten.info.backend_pid

    assert level == PROBLEM
    assert 'idle in transaction: lists show no message that was posted since' in text
    assert f'pg_terminate_backend({pid})' in advice


def test_a_snapshot_that_stays_open_is_a_problem(found, server, monkeypatch):
    monkeypatch.setattr(checkup, '_OLD_SNAPSHOT', 0)
    with contextlib.closing(psycopg2.connect(server.url.replace('+psycopg2', ''))) as forgotten:
        forgotten.set_session(isolation_level='REPEATABLE READ')
        forgotten.cursor().execute('SELECT 1')
        [(level, text, _)] = found('transactions')

    assert level == PROBLEM
    assert 'rows that were deleted since cannot be removed' in text


def test_a_young_transaction_is_none(found, server):
    with contextlib.closing(psycopg2.connect(server.url.replace('+psycopg2', ''))) as working:
        working.cursor().execute('SELECT pg_current_xact_id()')

        assert [level for level, _, _ in found('transactions')] == ['ok']


def test_a_prepared_transaction_is_a_problem(found, sql_there, monkeypatch):
    monkeypatch.setattr(checkup, '_WRITING_TRANSACTION', 0)
    sql_there("BEGIN; SELECT pg_current_xact_id(); PREPARE TRANSACTION 'it''s lost'")
    try:
        [(level, text, advice)] = found('prepared transactions')
    finally:
        sql_there("ROLLBACK PREPARED 'it''s lost'")

    assert (level, 'it' in text) == (PROBLEM, True)
    assert 'ROLLBACK PREPARED' in advice


def test_a_replication_slot_without_a_standby_is_found(found, sql_there, monkeypatch):
    sql_there("SELECT pg_create_physical_replication_slot('forgotten', true)")
    try:
        [(level, _, _)] = found('replication slots')
        monkeypatch.setattr(checkup, '_RETAINED_WAL', -1)
        [(level_of_much, _, advice)] = found('replication slots')
    finally:
        sql_there("SELECT pg_drop_replication_slot('forgotten')")

    assert (level, level_of_much) == (NOTE, PROBLEM)
    assert "pg_drop_replication_slot('forgotten')" in advice


def test_a_table_without_autovacuum_is_a_problem(found, sql_there):
    sql_there('ALTER TABLE message_states SET (autovacuum_enabled = false)')
    try:
        [(level, _, advice)] = found('autovacuum')
    finally:
        sql_there('ALTER TABLE message_states RESET (autovacuum_enabled)')

    assert (level, advice) == (PROBLEM, 'ALTER TABLE message_states RESET (autovacuum_enabled)')


def test_a_database_that_allows_too_few_connections_is_a_problem(found, sql_there):
    sql_there('ALTER DATABASE marconi CONNECTION LIMIT 3')
    try:
        [(level, text, _)] = found('connections')
    finally:
        sql_there('ALTER DATABASE marconi CONNECTION LIMIT -1')

    assert level == PROBLEM
    assert 'the service needs 10, and its database may have 3' in text


def test_clocks_that_differ_are_a_problem(found, monkeypatch):
    true_time = time.time
    monkeypatch.setattr(time, 'time', lambda: true_time() + 100)

    [(level, text, _)] = found('clock')

    assert level == PROBLEM
    assert 'behind that of this machine' in text


def test_a_disk_that_is_nearly_full_is_a_problem(found, monkeypatch):
    monkeypatch.setattr(checkup, '_FREE_SPACE', 2**70)
    monkeypatch.setattr(checkup, '_FREE_SHARE', 2)

    [(level, text, _)] = found('disk')

    assert level == PROBLEM
    assert 'posts fail when it is full' in text


def test_sessions_that_cannot_be_looked_into_are_told(found, server, sql_there):
    sql_there('CREATE ROLE plain LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO plain')
    try:
        url = server.url.replace('marconi@', 'plain@')
        findings = found('transactions', url)
        disk = found('disk', url)
    finally:
        sql_there('DROP OWNED BY plain; DROP ROLE plain')

    assert [level for level, _, _ in findings] == [NOTE]
    assert 'GRANT pg_read_all_stats' in findings[0][2]
    assert [level for level, _, _ in disk] == [NOTE]
