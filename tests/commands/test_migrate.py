"""`marconi migrate`."""

import contextlib
import json

import psycopg2
import pytest

from marconi_api.processes import schema


@pytest.fixture
def run_sql(other_database):
    """Runs SQL on the database that is to be brought up."""
    with contextlib.closing(psycopg2.connect(other_database.replace('+psycopg2', ''))) as opened:
        opened.autocommit = True
        yield lambda statements: opened.cursor().execute(statements)


@pytest.fixture
def empty(run_sql, other_database):
    """The URL of a database without a schema."""
    run_sql('DROP SCHEMA public CASCADE; CREATE SCHEMA public')
    return other_database


def test_a_current_schema_is_told(marconi, other_database):
    done = marconi('migrate', MARCONI_DATABASE_URL=other_database)

    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout.endswith(', the newest.\n')


def test_what_is_to_be_done_is_told_and_nothing_is_changed(marconi, empty):
    done = marconi('migrate', MARCONI_DATABASE_URL=empty)

    assert (done.returncode, done.stderr) == (1, '')
    first, second, *_, last = done.stdout.splitlines()
    assert first.startswith('The schema is not made yet; revision ')
    assert second.startswith('  0001  ')
    assert last == 'marconi migrate --yes does it; --sql shows the SQL.'
    assert schema.status(empty).present is None


def test_yes_brings_the_schema_up(marconi, empty):
    done = marconi('migrate', '--yes', '--json', MARCONI_DATABASE_URL=empty)

    schema.check(empty)
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert (told['present'], told['pending']) == (told['newest'], [])
    assert done.stderr.startswith('schema upgraded to 0001: ')


def test_the_sql_that_is_printed_does_the_same(marconi, empty, run_sql):
    done = marconi('migrate', '--sql', MARCONI_DATABASE_URL=empty)

    assert (done.returncode, done.stderr) == (0, '')
    assert schema.status(empty).present is None
    run_sql(done.stdout)
    schema.check(empty)


def test_the_sql_of_an_older_schema_starts_where_it_is(marconi, other_database, run_sql):
    run_sql("UPDATE alembic_version SET version_num = '0004'")

    done = marconi('migrate', '--sql', MARCONI_DATABASE_URL=other_database)

    assert 'Running upgrade 0004 -> 0005' in done.stdout
    assert '0003' not in done.stdout


def test_a_schema_that_is_newer_is_one_line(marconi, other_database, run_sql):
    run_sql("UPDATE alembic_version SET version_num = 'future'")

    for arguments in ([], ['--yes'], ['--sql']):
        done = marconi('migrate', *arguments, MARCONI_DATABASE_URL=other_database)

        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, '', 1)
        assert 'it is newer, so upgrade Marconi' in done.stderr


def test_a_migration_that_cannot_have_its_lock_is_one_line(marconi, empty, other_database):
    with contextlib.closing(psycopg2.connect(empty.replace('+psycopg2', ''))) as locker:
        locker.cursor().execute('CREATE TABLE queues ()')

        done = marconi('migrate', '--yes', MARCONI_DATABASE_URL=empty)

    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, '', 1)
    assert 'Traceback' not in done.stderr


@pytest.mark.parametrize('arguments', [['--yes', '--sql'], ['jobs']])
def test_wrong_use_is_one_line(marconi, arguments):
    done = marconi('migrate', *arguments)

    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, '', 1)
