"""``/livez`` and ``/readyz`` (docs/operating.md, The probe)."""

import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from webtest import TestApp

from marconi_api.controllers.service.probes import DRAINING
from marconi_api.model.postgres.tables import REVISION
from marconi_api.processes.embedded.cluster import EmbeddedPostgres
from tests.conftest import Sql
from tests.running_service import wait_until

from ..client import Api


def reason(api: Api) -> str:
    """The one reason for which it is not ready."""
    response = api.get('/readyz')
    assert response.status_int == 503
    assert response.headers['Retry-After'] == '1'
    assert response.json['ready'] is False
    [said] = response.json['reasons']
    return str(said)


def is_ready(api: Api) -> bool:
    return bool(api.get('/readyz').status_int == 200)


@pytest.fixture
def revision(sql: Sql) -> Iterator[Any]:
    """Sets the revision that the schema says it has."""
    yield lambda number: sql('UPDATE alembic_version SET version_num = %s', number)
    sql('UPDATE alembic_version SET version_num = %s', REVISION)


def test_a_service_that_works_is_live_and_ready(api: Api) -> None:
    assert api.get('/livez').json == {'live': True}
    assert api.get('/readyz').json == {'ready': True, 'reasons': []}


def test_a_service_without_its_storage_is_live_but_not_ready(
    mortal_api: Api, other_postgres: EmbeddedPostgres
) -> None:
    assert is_ready(mortal_api)
    other_postgres.stop()

    assert reason(mortal_api) == 'PostgreSQL is out of reach.'
    assert mortal_api.get('/livez').status_int == 200

    other_postgres.start()
    assert is_ready(mortal_api)


def test_the_reason_names_no_host_and_no_user(api_without_storage: Api) -> None:
    assert reason(api_without_storage) == 'PostgreSQL is out of reach.'


def test_a_storage_that_takes_no_changes_is_not_ready(
    mortal_api: Api, other_postgres: EmbeddedPostgres
) -> None:
    administrator = Sql(f'{other_postgres.url}&options=-cdefault_transaction_read_only%3Doff')

    def make_read_only(value: str) -> None:
        administrator(f'ALTER SYSTEM SET default_transaction_read_only = {value}')
        administrator('SELECT pg_reload_conf()')

    make_read_only('on')
    try:
        wait_until(lambda: not is_ready(mortal_api))

        assert reason(mortal_api) == 'PostgreSQL takes no changes: it is read-only.'
    finally:
        make_read_only('off')
    wait_until(lambda: is_ready(mortal_api))
    administrator.connection.close()


def test_a_storage_that_hangs_is_told(mortal_api: Api, other_postgres: EmbeddedPostgres) -> None:
    assert is_ready(mortal_api)
    [backend] = _backends(other_postgres)
    os.kill(backend, signal.SIGSTOP)

    try:
        assert reason(mortal_api) == 'PostgreSQL does not answer.'
        assert mortal_api.get('/livez').status_int == 200
    finally:
        os.kill(backend, signal.SIGCONT)
    wait_until(lambda: is_ready(mortal_api))


def test_a_probe_that_hangs_does_not_hold_further_ones(api: Api, sql: Sql) -> None:
    said: list[str] = []
    first = threading.Thread(target=lambda: said.append(reason(api)))
    sql('BEGIN; LOCK TABLE queues')
    try:
        first.start()
        wait_until(lambda: _is_blocked(sql))

        assert reason(api) == 'PostgreSQL has not answered another probe for 1 s.'
        assert api.get('/livez').status_int == 200
        first.join()
    finally:
        sql('ROLLBACK')

    assert said == ['PostgreSQL does not answer.']
    assert is_ready(api)


def _is_blocked(sql: Sql) -> bool:
    return sql('SELECT 1 FROM pg_locks WHERE NOT granted') != []


def _backends(server: EmbeddedPostgres) -> list[int]:
    """The processes of PostgreSQL that serve sessions of Marconi."""
    session = Sql(server.url)
    rows = session("SELECT pid FROM pg_stat_activity WHERE application_name = 'marconi'")
    session.connection.close()
    return [pid for (pid,) in rows]


def test_a_schema_that_is_older_than_the_code_is_not_ready(api: Api, revision: Any) -> None:
    revision('0001')

    assert reason(api) == (
        f'The schema of the database is at revision 0001, but {REVISION} is needed:'
        ' upgrade the schema.'
    )


def test_a_schema_that_is_newer_than_the_code_is_ready(api: Api, revision: Any) -> None:
    revision('9999')

    assert is_ready(api)


def test_a_service_that_drains_is_not_ready_but_answers_all_else(app: TestApp) -> None:
    environ = {DRAINING: True}

    response = app.get('/readyz', extra_environ=environ, expect_errors=True)

    assert response.json == {'ready': False, 'reasons': ['The service is about to stop.']}
    assert app.get('/livez', extra_environ=environ).status_int == 200
    assert app.get('/v1/health', extra_environ=environ).status_int == 204
