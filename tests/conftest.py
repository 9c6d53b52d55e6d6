"""A real PostgreSQL for every test process, and the real application on it.

The server is embedded, without fsync, and made anew for each test process. Every test
starts with empty tables. Time passes by ``age``, which moves rows back.
"""

import gc
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import psycopg2.extensions
import pytest
from pecan.configuration import conf_from_file
from webtest import TestApp

from marconi_api import limits, model
from marconi_api.app import setup_app
from marconi_api.model import minutes
from marconi_api.processes import installation, schema
from marconi_api.processes.embedded.cluster import EmbeddedPostgres
from tests import pooler
from tests.directories import open_directory
from tests.running_service import wait_until

# The same examples everywhere, so that nobody's build fails by chance; who wants to look
# further sets HYPOTHESIS_PROFILE=search.
hypothesis.settings.register_profile(
    'ci', derandomize=True, deadline=None, database=None, max_examples=150
)
hypothesis.settings.register_profile(
    'search', derandomize=False, deadline=None, database=None, max_examples=5000
)
hypothesis.settings.load_profile(os.environ.get('HYPOTHESIS_PROFILE', 'ci'))

# The files that take longest, longest first: begun last, one of them would run alone while the other
# processes have nothing left to do.
LONGEST_FIRST = (
    'test_serve.py',
    'test_operating.py',
    'test_rolling_restart.py',
    'test_release_before.py',
    'test_embedded.py',
    'test_clients.py',
    'test_sqs_clients.py',
    'test_keystone.py',
    'test_gone.py',
    'test_sources.py',
    'test_fronts.py',
    'test_browser.py',
    'test_console_in_browser.py',
    'test_claimants.py',
    'test_claimants_survive.py',
    'test_chaos.py',
    'test_delivery_chaos.py',
    'test_delivery_process.py',
    'test_once_over_services.py',
    'test_waiting_behind_a_pooler.py',
    'test_metrics.py',
    'test_waiting.py',
    'test_streams.py',
    'test_moving.py',
    'test_redrives_survive.py',
    'test_access_log.py',
    'test_boto3.py',
    'test_hostile_values.py',
    'test_packaging.py',
    'test_readme.py',
    'test_migrations.py',
    'test_worker.py',
    'test_kill.py',
    'test_kill_database.py',
    'test_other_languages.py',
    'test_first_steps.py',
    'test_site.py',
    'test_against_a_model.py',
    'test_numbering.py',
    'test_every_route.py',
    'test_front.py',
    'test_eventing_document.py',
    'test_schemathesis.py',
    'test_storage_failure.py',
    'test_office.py',
    'test_producer.py',
    'test_commands.py',
    'test_revocation.py',
    'test_tracing.py',
    'test_overloaded_service.py',
)

TABLES = (
    *('queues', 'messages', 'message_states', 'message_groups', 'claims', 'idempotency_keys'),
    *('subscriptions', 'subscription_owners', 'deliveries', 'delivery_attempts'),
    *('requests', 'tokens', 'project_limits', 'accounts'),
    *('redrives', 'audit', 'queue_minutes'),
)

TRUNCATE_ALL = f'TRUNCATE {", ".join(TABLES)}'
DELETE_ALL = ';'.join(f'DELETE FROM {table}' for table in TABLES)

# Bytes in all of them together, with rows that were deleted.
MUCH = 2**20


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring the tests into the order in which their files are begun."""
    places = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture(scope='session', autouse=True)
def limits_in_force() -> None:
    """Those of config.py, which the model goes by, also where there is no application."""
    limits.init_limits(conf_from_file(str(installation.OPERATOR_FILES / 'config.py')).limits)


# The PostgreSQL of this test process, once there is one.
_POSTGRES = pytest.StashKey[EmbeddedPostgres]()


@pytest.fixture(scope='module', autouse=True)
def nobody_else_is_connected(pytestconfig: pytest.Config) -> Iterator[None]:
    """Once the tests of a file are over, no process that they started has a session left.

    A janitor that outlived them would lock rows, move messages and remove what is old in the midst of
    later tests.
    """
    yield
    server = pytestconfig.stash.get(_POSTGRES, None)
    # A pooler has sessions for as long as there are tests.
    if server is None or os.environ.get('MARCONI_TEST_POOLER'):
        return
    sql = Sql(server.url)
    try:
        wait_until(lambda: not _sessions_of_others(sql))
    except AssertionError:
        pytest.fail(f'a process of these tests is still connected: {_sessions_of_others(sql)}')
    finally:
        sql.connection.close()


def _sessions_of_others(sql: 'Sql') -> list[tuple[Any, ...]]:
    """Those that are none of this process's: who has them, and what they did last."""
    ours = [
        found.info.backend_pid
        for found in gc.get_objects()
        if issubclass(type(found), psycopg2.extensions.connection) and not found.closed
    ]
    return sql(
        'SELECT datname, application_name, query FROM pg_stat_activity'
        " WHERE backend_type = 'client backend' AND pid <> ALL (%s)",
        ours,
    )


@pytest.fixture(scope='session')
def postgres(pytestconfig: pytest.Config) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL of this test process's own, its schema up to date."""
    with open_directory() as directory:
        server = EmbeddedPostgres(
            directory / 'postgres',
            options=(
                *('fsync=off', 'synchronous_commit=off', 'full_page_writes=off'),
                # Its ANALYZE is a transaction, and lists show nothing that was posted since that began.
                'autovacuum_naptime=1d',
            ),
            durable=False,
            programs_dir=os.environ.get('MARCONI_TEST_PROGRAMS_DIR') or None,
        )
        server.start()
        pytestconfig.stash[_POSTGRES] = server
        try:
            schema.upgrade(server.url)
            yield server
        finally:
            del pytestconfig.stash[_POSTGRES]
            server.stop()


@pytest.fixture(scope='session')
def database_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    """How the application reaches PostgreSQL: with MARCONI_TEST_POOLER set through a PgBouncer."""
    if not os.environ.get('MARCONI_TEST_POOLER'):
        yield postgres.url
        return
    # Its socket's path may have 107 bytes.
    with (
        tempfile.TemporaryDirectory(prefix='marconi-pooler-', dir='/tmp') as directory,
        pooler.pgbouncer(postgres.url, Path(directory)) as url,
    ):
        yield url


@pytest.fixture(scope='session')
def wsgi_app(database_url: str) -> Any:
    """The application, as uwsgi would serve it."""
    config = conf_from_file(str(installation.OPERATOR_FILES / 'config.py'))
    config.database.url = database_url
    # pytest has the log.
    config.logging = {'version': 1, 'disable_existing_loggers': False}
    return setup_app(config)


class Sql:
    """Runs SQL beside the application: ``sql(statement, *parameters)`` returns the rows."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg2.connect(url.replace('+psycopg2', ''))
        self.connection.autocommit = True

    def __call__(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def is_as_new(self) -> bool:
        """Whether it works, and nothing is left of what was set in it."""
        try:
            self.connection.rollback()
            self.connection.autocommit = True
            self('DISCARD ALL')
        except psycopg2.Error:
            self.connection.close()
            return False
        return True


@pytest.fixture(scope='session')
def _sessions() -> Iterator[list[Sql]]:
    """The last one that :func:`sql` opened, as a test can mostly go on with it."""
    opened: list[Sql] = []
    yield opened
    for session in opened:
        session.connection.close()


@pytest.fixture
def sql(postgres: EmbeddedPostgres, wsgi_app: Any, _sessions: list[Sql]) -> Sql:
    """A session beside those of the application."""
    if not (_sessions and _sessions[0].is_as_new()):
        _sessions[:] = [Sql(postgres.url)]
    return _sessions[0]


@pytest.fixture
def empty_tables(sql: Sql) -> None:
    """No table of clients has a row.

    Where there are few rows, DELETE takes a tenth of the time of TRUNCATE, after which each session
    would plan all of its statements anew.
    """
    sizes = '+'.join(f"pg_relation_size('{table}')" for table in TABLES)
    [(size,)] = sql(f'SELECT {sizes}')
    if size > MUCH:
        sql(TRUNCATE_ALL)
    else:
        sql(DELETE_ALL)


@pytest.fixture
def app(wsgi_app: Any, empty_tables: None) -> TestApp:
    """The application over an empty database; speaks HTTP without a socket."""
    model.store.low_water_marks.forget()
    # Of the queues that other tests had under these names.
    model.store.messages._attributes._known.clear()
    return TestApp(wsgi_app, lint=False)


@pytest.fixture
def amid_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last minute of queues that is shown stays the same for half a minute."""
    # What the clock shows less this, and a minute, lies half a minute after a minute's begin.
    monkeypatch.setattr(minutes, 'WRITTEN_WITHIN', 10 + (time.time() - 40) % 60)


@pytest.fixture
def age(sql: Any) -> Any:
    """Lets time pass: ``age(61)`` makes everything stored 61 seconds older."""

    def pass_by(seconds: float) -> None:
        by = f"interval '{seconds} seconds'"
        sql(f'UPDATE messages SET created_at = created_at - {by}')
        sql(f'UPDATE idempotency_keys SET expires_at = expires_at - {by}')
        sql(f'UPDATE message_groups SET available_at = available_at - {by}')
        sql(
            f'UPDATE message_states SET held_until = held_until - {by},'
            f' expires_at = expires_at - {by}, first_received_at = first_received_at - {by}'
        )
        sql(f'UPDATE queues SET purged_at = purged_at - {by}')
        sql(f'UPDATE requests SET ended_at = ended_at - {by}, kept_until = kept_until - {by}')
        sql(f'UPDATE subscriptions SET expires_at = expires_at - {by}')
        sql(f'UPDATE deliveries SET expires_at = expires_at - {by}, due_at = due_at - {by}')
        sql(f'UPDATE claims SET started_at = started_at - {by}, expires_at = expires_at - {by}')
        # Rows that move back in time pass below the marks, as real rows never do.
        model.store.low_water_marks.forget()

    return pass_by
