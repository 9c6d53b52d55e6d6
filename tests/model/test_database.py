"""The connection: what breaks is said, what may be repeated is, what may not is not."""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest

from marconi_api import model
from marconi_api.errors import Fault, StorageUnavailable
from marconi_api.model import QueueKey
from marconi_api.model.postgres.database import Database
from marconi_api.model.postgres.prepared import Prepared
from marconi_api.model.postgres.tables import POSITION_BITS
from tests.model.conftest import ids
from tests.running_service import wait_until


def kill_sessions_of_the_service(sql):
    pids = [
        pid for (pid,) in sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'marconi'")
    ]
    sql('SELECT pg_terminate_backend(pid) FROM unnest(%s) AS pid', pids)
    wait_until(lambda: not sql('SELECT FROM pg_stat_activity WHERE pid = ANY (%s)', pids))


def test_a_connection_that_broke_while_idle_is_replaced_before_anything_is_sent(queue, post, sql):
    kill_sessions_of_the_service(sql)
    # PostgreSQL forgets a session before it closes the session's socket.
    wait_until(lambda: model.store.database.thread.connection.arrivals(0))

    assert len(post(1)) == 1


def test_a_read_whose_connection_breaks_is_repeated(queue, sql, session):
    marker = "SELECT pg_sleep(0.2), 'a read'"

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(model.store.database.rows, marker, {}, repeatable=True)
        wait_until_running(sql, marker)
        kill_sessions_of_the_service(sql)

        assert reading.result()[0][1] == 'a read'


def test_a_write_whose_connection_breaks_is_not_repeated(queue, sql):
    """Nobody knows whether it was done; only the client can tell whether twice is harm."""
    marker = "SELECT pg_sleep(5), 'a write'"

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(model.store.database.rows, marker, {})
        wait_until_running(sql, marker)
        kill_sessions_of_the_service(sql)

        with pytest.raises(StorageUnavailable):
            writing.result()


def test_a_statement_that_takes_too_long_is_given_up(postgres):
    database = Database(postgres.url, connect_timeout=2, statement_timeout=0.05)

    with pytest.raises(StorageUnavailable):
        database.rows('SELECT pg_sleep(10)', {})

    assert database.rows('SELECT 1', {}) == [(1,)]
    database.close()


def test_a_database_out_of_reach_is_said_to_be(tmp_path):
    database = Database(f'postgresql+psycopg2://u@/d?host={tmp_path}', 2, 5)

    with pytest.raises(StorageUnavailable):
        database.rows('SELECT 1', {}, repeatable=True)


def test_a_transaction_that_fails_leaves_nothing_and_the_connection_usable(queue, sql):
    with contextlib.suppress(RuntimeError), model.store.database.transaction() as run:
        run('DELETE FROM id_epoch', {})
        raise RuntimeError

    assert sql('SELECT count(*) FROM id_epoch') == [(1,)]
    assert model.store.database.rows('SELECT 1', {}) == [(1,)]


def test_what_a_transaction_calls_is_a_part_of_it(queue, sql):
    database, inner = model.store.database, QueueKey.of('project', 'inner')

    def create_and_fail():
        with database.transaction():
            model.store.queues.create(inner)
            assert model.store.queues.exists(inner)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        create_and_fail()

    assert not model.store.queues.exists(inner)
    with database.transaction() as run:
        model.store.queues.create(inner)
        assert sql('SELECT count(*) FROM queues') == [(1,)]
        assert run('SELECT count(*) FROM queues', {}) == [(2,)]
    assert sql('SELECT count(*) FROM queues') == [(2,)]


def test_each_thread_has_a_connection_of_its_own(queue):
    meeting = threading.Barrier(4)

    def my_session(_):
        meeting.wait()
        return model.store.database.rows('SELECT pg_backend_pid()', {})[0][0]

    with ThreadPoolExecutor(4) as pool:
        sessions = set(pool.map(my_session, range(4)))

    assert len(sessions) == 4


def test_a_connection_is_kept_between_statements(queue):
    [first, second] = (model.store.database.rows('SELECT pg_backend_pid()', {}) for _ in range(2))

    assert first == second


def test_statements_run_in_autocommit(queue, post, sql):
    post(1)

    assert sql(
        'SELECT count(*) FROM pg_stat_activity'
        " WHERE application_name = 'marconi' AND state LIKE 'idle in transaction%'"
    ) == [(0,)]


class TestRestoredDump:
    """A dump is restored into a cluster whose transactions count from the start again."""

    @pytest.fixture
    def restored(self, queue, post, sql):
        """What a restore looks like: ids from far ahead, written for another cluster."""
        ahead = 10**9 << POSITION_BITS
        post(1)
        sql(f'UPDATE messages SET id = id + {ahead}')
        sql(f'UPDATE message_states SET id = id + {ahead}')
        sql('UPDATE id_epoch SET cluster = 42')
        model.store.database.close()
        yield queue
        sql('UPDATE id_epoch SET base = 0')
        model.store.database.close()

    def test_new_messages_come_after_the_restored_ones(self, restored, post, claim):
        [new] = post(1)
        [old, listed] = ids(model.store.messages.page(restored, None, 10))

        assert listed == new > old
        assert ids(claim()) == [old, new]

    def test_new_queues_take_messages(self, restored, post):
        model.store.queues.delete(restored)
        model.store.queues.create(restored)

        posted = post(1)

        assert ids(model.store.messages.page(restored, None, 10)) == posted

    def test_all_connections_agree(self, restored, post):
        def post_and_hang_up(_):
            [message] = post(1)
            model.store.database.close()
            return message

        with ThreadPoolExecutor(4) as pool:
            posted = list(pool.map(post_and_hang_up, range(8)))

        assert set(posted) < set(ids(model.store.messages.page(restored, None, 20)))

    @pytest.mark.parametrize('cluster', ['another', 'this one, as a clone of it would say'])
    def test_a_post_that_would_lie_below_its_queue_is_renumbered(self, queue, post, sql, cluster):
        """Else it would be answered 201, and never be seen."""
        sql(f'UPDATE queues SET floor = {10**9 << POSITION_BITS}')
        if cluster == 'another':
            sql('UPDATE id_epoch SET cluster = 42')
            model.store.database.close()

        posted = post(1)

        assert ids(model.store.messages.page(queue, None, 10)) == posted
        sql('UPDATE id_epoch SET base = 0')
        model.store.database.close()


def test_there_is_one_epoch(queue, sql):
    """Data restored into a schema that is in use fails, instead of mixing two epochs."""
    with pytest.raises(psycopg2.errors.UniqueViolation):
        sql('INSERT INTO id_epoch (cluster, base) VALUES (7, 0)')


def test_options_of_the_url_are_kept(postgres):
    url = f'{postgres.url}&options=-cwork_mem%3D8MB'
    database = Database(url, connect_timeout=2, statement_timeout=5)

    assert database.rows('SHOW work_mem', {}) == [('8MB',)]
    assert database.rows('SHOW statement_timeout', {}) == [('5s',)]
    database.close()


def test_the_isolation_level_is_its_own(postgres, sql):
    """Another default of the database's would make claims fail instead of passing rows over."""
    sql('ALTER DATABASE marconi SET default_transaction_isolation = serializable')
    try:
        database = Database(postgres.url, connect_timeout=2, statement_timeout=5)
        assert database.rows('SHOW transaction_isolation', {}) == [('read committed',)]
        database.close()
    finally:
        sql('ALTER DATABASE marconi RESET default_transaction_isolation')


def test_deadlocked_statements_are_tried_again(queue, post, sql, session):
    first, second = post(2)
    other = session()
    other.execute("SET deadlock_timeout = '1 min'")
    other.execute('SELECT FROM message_states WHERE id = %s FOR UPDATE', [int(second, 16)])

    with ThreadPoolExecutor(1) as pool:
        deleting = pool.submit(model.store.messages.delete_many, queue, [first, second])
        with psycopg2.connect(sql.connection.dsn) as waiting, waiting.cursor() as looker:
            for _ in range(1000):
                looker.execute('SELECT count(*) FROM pg_locks WHERE NOT granted')
                if looker.fetchone()[0]:
                    break
        other.execute('SELECT FROM message_states WHERE id = %s FOR UPDATE', [int(first, 16)])
        other.connection.commit()
        deleting.result()

    assert model.store.queues.stats(queue).free == 0


def wait_until_running(sql, statement):
    for _ in range(1000):
        if sql(
            'SELECT 1 FROM pg_stat_activity WHERE state = %s AND query = %s', 'active', statement
        ):
            return
    pytest.fail('the statement never started')


# ---------------------------------------------------------------- prepared statements


def prepared_by(database):
    return database.rows("SELECT name FROM pg_prepared_statements WHERE name LIKE 'marconi%%'", {})


@pytest.fixture
def connect(postgres):
    """Opens databases with connections of their own."""
    opened = []

    def open_database(**settings):
        opened.append(Database(postgres.url, 2, 5, **settings))
        return opened[-1]

    yield open_database
    for database in opened:
        database.close()


def test_a_connection_plans_a_statement_once(queue, connect):
    database, statement = connect(), Prepared('SELECT %(a)s::int + %(b)s::int + %(a)s::int')

    sums = [database.rows(statement, {'a': a, 'b': 10}) for a in (1, 2, 3)]

    assert sums == [[(12,)], [(14,)], [(16,)]]
    assert len(prepared_by(database)) == 1


def test_parts_of_a_statement_are_one_transaction(queue, connect, sql):
    database = connect()
    twice = Prepared(
        'INSERT INTO claims VALUES (%(q)s, %(id)s::uuid, now(), now(), 1, ARRAY[1::bigint]);'
        'SELECT %(no_uuid)s::uuid'
    )
    given = {'q': 1, 'id': '11111111-2222-4333-8444-555555555555', 'no_uuid': 'x'}

    with pytest.raises(Fault):
        database.rows(twice, given)

    assert sql('SELECT * FROM claims') == []


@pytest.mark.parametrize(
    'statement', ['SELECT 2147483648::int', "SELECT 'x'::uuid", "SELECT now() + '999999 years'"]
)
def test_a_value_that_postgresql_refuses_is_a_fault_and_no_outage(queue, connect, statement):
    database = connect()

    with pytest.raises(Fault):
        database.rows(statement, {})
    with pytest.raises(Fault), database.transaction() as run:
        run(statement, {})

    assert database.rows('SELECT 1', {}) == [(1,)]


def test_a_statement_whose_plan_is_lost_is_run_over_a_new_connection(queue, connect):
    database, statement = connect(), Prepared('SELECT %(a)s::int')
    database.rows(statement, {'a': 1})
    database.rows('DEALLOCATE ALL', {})

    assert database.rows(statement, {'a': 2}) == [(2,)]


def test_a_statement_whose_table_has_changed_is_planned_anew(queue, connect, sql):
    database, statement = connect(), Prepared('SELECT * FROM changing')
    sql('CREATE TABLE changing AS SELECT 1 AS a')
    try:
        assert database.rows(statement, {}) == [(1,)]
        sql('ALTER TABLE changing ADD COLUMN b int DEFAULT 2')

        assert database.rows(statement, {}) == [(1, 2)]
    finally:
        sql('DROP TABLE changing')


def test_behind_a_pooler_nothing_is_prepared(queue, connect):
    database = connect(prepares=False)

    assert database.rows(Prepared('SELECT %(a)s::int'), {'a': 1}) == [(1,)]

    assert prepared_by(database) == []


STORE = "UPDATE queues SET metadata = '[1]' RETURNING metadata"


def test_what_is_called_before_the_commit_can_prevent_it(queue, sql):
    def fail(rows):
        raise RuntimeError(rows)

    with pytest.raises(RuntimeError, match='1'):
        model.store.database.rows(STORE, {}, before_commit=fail)

    assert sql('SELECT metadata FROM queues') == [('{}',)]
    assert model.store.database.rows(STORE, {}) == [('[1]',)]


@pytest.mark.parametrize('prepares', [True, False])
def test_what_is_called_before_the_commit_is_called_once_with_the_rows(
    queue, connect, sql, prepares
):
    """Though the statement is run again, as its plan was lost."""
    database = connect(prepares=prepares)
    statement = Prepared(STORE)
    database.rows(statement, {})
    database.rows('DEALLOCATE ALL', {})
    seen = []

    assert database.rows(statement, {}, before_commit=seen.append) == [('[1]',)]
    assert seen == [[('[1]',)]]


def test_a_base_that_could_not_be_raised_leaves_the_connection_usable(queue, session, connect):
    database = connect()
    database.rows('SELECT 1', {})
    database.rows("SET lock_timeout = '100ms'", {})
    other = session()
    other.execute('SELECT FROM id_epoch FOR UPDATE')

    with pytest.raises(StorageUnavailable):
        database.raise_base()

    other.execute('COMMIT')
    assert database.rows('SELECT 1', {}) == [(1,)]
