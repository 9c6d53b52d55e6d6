"""Which transaction holds lists back, and when the log tells of it."""

import psycopg2
import pytest

from marconi_api import model
from marconi_api.model.read_horizon import Holder, holder
from marconi_api.processes.metrics.looking import TOLD_AFTER, TOLD_AGAIN, Horizon

LONG = TOLD_AFTER + 1


@pytest.fixture
def writer(app, postgres):
    """A session with a transaction that has an id."""
    connection = psycopg2.connect(
        postgres.url.replace('+psycopg2', ''), application_name='forgotten'
    )
    with connection.cursor() as cursor:
        cursor.execute('SELECT pg_current_xact_id()')
    yield connection
    connection.close()


def test_nobody_holds_lists_back(app):
    assert holder(model.store.database) is None


def test_the_writer_that_holds_lists_back_is_named(writer):
    found = holder(model.store.database)

    assert found.pid == writer.get_backend_pid()
    assert 0 <= found.seconds < 60
    assert found.told.startswith('forgotten, ')
    writer.rollback()
    assert holder(model.store.database) is None


def test_of_several_the_oldest_is_named(writer, postgres):
    later = psycopg2.connect(postgres.url.replace('+psycopg2', ''))
    with later.cursor() as cursor:
        cursor.execute('SELECT pg_current_xact_id()')

    assert holder(model.store.database).pid == writer.get_backend_pid()

    later.close()


def test_who_holds_lists_back_for_long_is_told_with_process_and_age(caplog):
    horizon = Horizon(lambda: 1000.0)

    assert horizon.seconds(Holder(7, 4711, LONG, 'psql, bob')) == LONG

    assert 'PostgreSQL process 4711 (psql, bob)' in caplog.text
    assert f'for so long: {LONG:.0f} s' in caplog.text


def test_the_log_repeats_that_after_a_while(caplog):
    times = iter([1000.0, 1001.0, 1000.0 + TOLD_AGAIN])
    horizon = Horizon(lambda: next(times))

    for _ in range(3):
        horizon.seconds(Holder(7, 4711, LONG, ''))

    assert len(caplog.records) == 2


def test_a_short_transaction_is_not_told(caplog):
    Horizon().seconds(Holder(7, 4711, 1.0, ''))

    assert caplog.text == ''


def test_where_postgresql_shows_no_age_it_counts_from_the_first_sight():
    times = iter([1000.0, 1010.0, 1020.0, 1030.0])
    horizon = Horizon(lambda: next(times))
    horizon.seconds(Holder(7, 4711, None, ''))

    assert horizon.seconds(Holder(7, 4711, None, '')) == 10
    assert horizon.seconds(Holder(8, 4711, None, '')) == 0
    assert horizon.seconds(None) == 0
