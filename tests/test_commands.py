"""What an operator reads who types a command: `marconi`, and alembic's hint."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg2

from marconi_api.processes.embedded.cluster import EmbeddedPostgres
from tests.running_service import wait_until


def marconi(*arguments: str, **environment: str) -> Any:
    return subprocess.run(
        [sys.executable, '-m', 'marconi_api.commands', *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


def test_it_tells_its_version() -> None:
    assert marconi('--version').stdout == f'marconi {version("marconi-api")}\n'


def test_the_programs_of_the_embedded_postgresql_are_found(postgres: EmbeddedPostgres) -> None:
    data_dir = str(postgres.state_dir)

    programs = marconi('paths', 'programs', MARCONI_DATA_DIR=data_dir).stdout.strip()
    everything = marconi('paths', MARCONI_DATA_DIR=data_dir).stdout

    version_of = subprocess.run(
        [f'{programs}/pg_dump', '--version'], capture_output=True, text=True
    )
    assert (postgres.data / 'PG_VERSION').read_text().strip() in version_of.stdout
    assert f'data: {data_dir}\nprograms: {programs}\n' in everything


def test_where_no_postgresql_has_run_its_programs_are_not_known(tmp_path: Path) -> None:
    done = marconi('paths', 'programs', MARCONI_DATA_DIR=str(tmp_path))

    assert (done.returncode, done.stdout) == (1, '')
    assert re.fullmatch(r'marconi: found no PostgreSQL that has run on .*\n', done.stderr)
    assert marconi('paths', MARCONI_DATA_DIR=str(tmp_path)).stdout.endswith(f'data: {tmp_path}\n')


def test_a_janitor_that_may_not_connect_says_so_in_one_line(postgres: EmbeddedPostgres) -> None:
    url = postgres.url.replace('marconi@', 'nobody:secret@')

    done = marconi('expire', MARCONI_DATABASE_URL=url)

    assert done.returncode == 1
    assert re.fullmatch(r'marconi: cannot reach .*role "nobody" does not exist\n', done.stderr)
    assert 'secret' not in done.stderr


def test_a_janitor_without_a_schema_says_so_in_one_line(postgres: EmbeddedPostgres) -> None:
    url = postgres.url.replace('/marconi?', '/postgres?')

    done = marconi('expire', '--forever', MARCONI_DATABASE_URL=url)

    assert done.returncode == 1
    assert re.fullmatch(r'marconi: the schema of .* is not made yet, .*\n', done.stderr)


def test_a_round_that_the_database_refuses_ends_without_a_traceback(
    postgres: EmbeddedPostgres,
) -> None:
    locker = psycopg2.connect(postgres.url.replace('+psycopg2', ''))
    locker.cursor().execute('LOCK TABLE queues')

    done = marconi('expire', MARCONI_DATABASE_URL=postgres.url)
    locker.close()

    assert re.search('due to (lock|statement) timeout', done.stderr)
    assert 'Traceback' not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last == 'marconi: the database could not be used: see the log above'


def test_a_setting_that_is_unknown_is_named_in_one_line(tmp_path: Path) -> None:
    settings = tmp_path / 'settings.py'
    settings.write_text("limits = {'max_verdict': 1}")

    done = marconi('expire', MARCONI_CONFIG=str(settings))

    assert done.returncode == 1
    assert re.fullmatch(r'marconi: .*limits\.max_verdict is not a setting: .*\n', done.stderr)


def test_ctrl_c_ends_a_janitor_without_a_traceback(postgres: EmbeddedPostgres) -> None:
    before = connections(postgres)
    janitor = subprocess.Popen(
        [sys.executable, '-m', 'marconi_api.commands', 'expire', '--forever'],
        env=os.environ | {'MARCONI_DATABASE_URL': postgres.url},
        stderr=subprocess.PIPE,
        text=True,
        # A shell lets what it starts in the background ignore Ctrl-C, these tests for instance.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    wait_until(lambda: connections(postgres) > before)

    janitor.send_signal(signal.SIGINT)

    assert janitor.communicate(timeout=60)[1] == ''
    assert janitor.returncode == 128 + signal.SIGINT


def connections(postgres: EmbeddedPostgres) -> int:
    """How many of Marconi's there are."""
    with contextlib.closing(psycopg2.connect(postgres.url.replace('+psycopg2', ''))) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'marconi'")
        return int(cursor.fetchall()[0][0])
