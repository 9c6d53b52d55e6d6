"""What a thread does whose PostgreSQL is silent, read-only, ended or full."""

import logging
import multiprocessing
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from marconi_api.errors import StorageUnavailable
from marconi_api.model.postgres.counted import CountRepeats
from marconi_api.model.postgres.database import Database
from marconi_api.processes import schema
from marconi_api.processes.embedded.cluster import EmbeddedPostgres
from tests.conftest import Sql
from tests.running_service import wait_until

# Seconds after which a test would say that it waits for ever.
FOR_EVER = 30


@pytest.fixture
def connect() -> Iterator[Callable[..., Database]]:
    """Opens databases with connections of their own, and little patience."""
    opened = []

    def open_database(url: str, connect_timeout: float = 1, statement_timeout: float = 1) -> Any:
        opened.append(Database(url, connect_timeout, statement_timeout))
        return opened[-1]

    yield open_database
    for database in opened:
        database.close()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and says nothing, as a proxy without its server does."""
    with socket.create_server(('127.0.0.1', 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture(scope='module')
def spare() -> Iterator[EmbeddedPostgres]:
    """A second PostgreSQL, which waits for its disk."""
    with tempfile.TemporaryDirectory(prefix='marconi-test-') as directory:
        os.chmod(directory, 0o755)
        server = EmbeddedPostgres(
            Path(directory, 'postgres'),
            options=('fsync=on', 'commit_siblings=0'),
            durable=False,
            programs_dir=os.environ.get('MARCONI_TEST_PROGRAMS_DIR') or None,
        )
        server.start()
        try:
            schema.upgrade(server.url)
            yield server
        finally:
            server.stop()


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A process that does not run."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def in_time(call: Callable[..., Any], *arguments: Any) -> Any:
    """What the call returns or raises, unless it waits for ever."""
    pool = ThreadPoolExecutor(1)
    try:
        return pool.submit(call, *arguments).result(FOR_EVER)
    finally:
        pool.shutdown(wait=False)


# ---------------------------------------------------------------- silent


@pytest.mark.parametrize('repeatable', [True, False])
def test_a_server_that_hangs_amid_a_statement_is_given_up(
    postgres: EmbeddedPostgres, connect: Any, repeatable: bool
) -> None:
    database = connect(postgres.url)

    def ask_it_frozen() -> None:
        [(pid,)] = database.rows('SELECT pg_backend_pid()', {})
        with frozen(pid), pytest.raises(StorageUnavailable):
            database.rows('SELECT 1', {}, repeatable=repeatable)
        assert database.rows('SELECT pg_backend_pid()', {}) != [(pid,)]
        database.close()

    in_time(ask_it_frozen)


def test_a_server_that_hangs_amid_a_transaction_is_given_up(
    postgres: EmbeddedPostgres, connect: Any
) -> None:
    database = connect(postgres.url)

    def ask_it_frozen() -> None:
        [(pid,)] = database.rows('SELECT pg_backend_pid()', {})
        with (
            pytest.raises(StorageUnavailable),
            database.transaction() as run,
            frozen(pid),
        ):
            run('SELECT 1', {})
        database.close()

    in_time(ask_it_frozen)


def test_a_process_that_was_forked_watches_its_own_connections(
    postgres: EmbeddedPostgres, connect: Any
) -> None:
    connect(postgres.url).rows('SELECT 1', {})

    def ask_it_frozen() -> None:
        database = connect(postgres.url)
        [(pid,)] = database.rows('SELECT pg_backend_pid()', {})
        with frozen(pid), pytest.raises(StorageUnavailable):
            database.rows('SELECT 1', {})

    child = multiprocessing.get_context('fork').Process(target=ask_it_frozen)
    child.start()
    child.join(FOR_EVER)

    assert child.exitcode == 0


def test_a_thread_that_has_ended_leaves_no_descriptor(
    postgres: EmbeddedPostgres, connect: Any
) -> None:
    database = connect(postgres.url)

    def descriptors_after_threads(count: int) -> int:
        for _ in range(count):
            with ThreadPoolExecutor(1) as pool:
                pool.submit(database.rows, 'SELECT 1', {}).result()
        return len(os.listdir('/dev/fd'))

    # The watch lets go of what it looked at within a moment.
    fewest = descriptors_after_threads(1)
    descriptors_after_threads(5)

    wait_until(lambda: len(os.listdir('/dev/fd')) <= fewest)


def test_a_server_that_hangs_when_it_is_connected_to_is_given_up(
    connect: Any, silent_port: int
) -> None:
    database = connect(f'postgresql+psycopg2://marconi@127.0.0.1:{silent_port}/marconi')

    with pytest.raises(StorageUnavailable):
        in_time(database.rows, 'SELECT 1', {}, True)


def test_the_host_after_a_silent_one_is_found(
    postgres: EmbeddedPostgres, connect: Any, silent_port: int
) -> None:
    socket_dir = postgres.url.partition('?host=')[2]
    database = connect(
        f'postgresql+psycopg2://marconi@/marconi?host=127.0.0.1,{socket_dir}&port={silent_port},5432'
    )

    assert in_time(database.rows, 'SELECT 1', {}) == [(1,)]


def test_while_a_server_is_silent_one_thread_asks_and_the_others_do_not_wait_for_it(
    connect: Any, silent_port: int
) -> None:
    """Else requests would wait in line for threads, longer than their clients do."""
    database = connect(f'postgresql+psycopg2://marconi@127.0.0.1:{silent_port}/marconi')
    with pytest.raises(StorageUnavailable):
        database.rows('SELECT 1', {})

    with ThreadPoolExecutor(2) as pool:
        asking = pool.submit(database.rows, 'SELECT 1', {})
        while not database._asking.locked():
            pass
        with pytest.raises(StorageUnavailable):
            pool.submit(database.rows, 'SELECT 1', {}).result()
        assert not asking.done()


def test_a_server_that_answers_again_is_asked_by_all_threads(
    postgres: EmbeddedPostgres, connect: Any
) -> None:
    database = connect(postgres.url)
    [(pid,)] = database.rows('SELECT pg_backend_pid()', {})
    with frozen(pid), pytest.raises(StorageUnavailable):
        database.rows('SELECT 1', {})

    database.rows('SELECT 1', {})

    assert not database.is_silent


# ---------------------------------------------------------------- read-only


@pytest.fixture
def turn_read_only(spare: EmbeddedPostgres) -> Iterator[Callable[[], None]]:
    """Lets the second PostgreSQL refuse all writes, without closing its connections."""
    administrator = Sql(f'{spare.url}&options=-cdefault_transaction_read_only%3Doff')

    def set_to(value: str) -> None:
        administrator(f'ALTER SYSTEM SET default_transaction_read_only = {value}')
        administrator('SELECT pg_reload_conf()')
        # Who connects from now on is told so; those who are connected are told when they ask.
        wait_until(lambda: _of_new_session(spare) == value)

    yield lambda: set_to('on')
    set_to('off')
    administrator.connection.close()


def _of_new_session(server: EmbeddedPostgres) -> str:
    session = Sql(server.url)
    [(value,)] = session('SHOW default_transaction_read_only')
    session.connection.close()
    return str(value)


@pytest.fixture
def hosts(spare: EmbeddedPostgres, postgres: EmbeddedPostgres) -> str:
    """A URL that names both PostgreSQLs, the second one first."""
    return f'{spare.url},{postgres.url.partition("?host=")[2]}'


WRITE = "INSERT INTO claims VALUES (1, gen_random_uuid(), now(), now(), 1, '{}')"


def test_a_write_that_a_server_refuses_as_it_is_read_only_goes_to_another_host(
    hosts: str, connect: Any, turn_read_only: Any
) -> None:
    database = connect(hosts)
    database.rows(WRITE, {})
    turn_read_only()

    database.rows(WRITE, {})


def test_a_transaction_goes_to_another_host_when_its_server_turned_read_only(
    hosts: str, connect: Any, turn_read_only: Any
) -> None:
    database = connect(hosts)
    database.rows(WRITE, {})
    turn_read_only()

    with database.transaction() as run:
        run(WRITE, {})


def test_a_server_that_is_read_only_and_alone_is_not_writable(
    spare: EmbeddedPostgres, connect: Any, turn_read_only: Any
) -> None:
    database = connect(spare.url)
    database.check_writable()
    turn_read_only()

    with pytest.raises(StorageUnavailable):
        database.check_writable()


# ---------------------------------------------------------------- ended


def test_a_write_whose_session_is_ended_is_not_repeated_as_it_may_be_done(
    spare: EmbeddedPostgres, connect: Any
) -> None:
    """PostgreSQL says that the session was ended, and has committed the statement."""
    database, sql = connect(spare.url, statement_timeout=10), Sql(spare.url)
    sql('CREATE TABLE written (number int)')

    def end_it_when_it_writes(pid: int, is_over: threading.Event) -> None:
        while not is_over.is_set():
            sql(
                'SELECT pg_terminate_backend(pid) FROM pg_stat_activity'
                ' WHERE pid = %s AND backend_xid IS NOT NULL'
                " AND xact_start < clock_timestamp() - interval '30 ms'",
                pid,
            )

    def write(number: int) -> bool:
        # The commit takes that many microseconds.
        database.rows('SET commit_delay = 100000; SET log_min_duration_statement = 0', {})
        [(pid,)] = database.rows('SELECT pg_backend_pid()', {})
        is_over = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(end_it_when_it_writes, pid, is_over)
            try:
                database.rows(f'INSERT INTO written VALUES ({number})', {})
            except StorageUnavailable:
                return False
            finally:
                is_over.set()
        return True

    def is_stored(number: int) -> bool:
        return sql('SELECT 1 FROM written WHERE number = %s', number) != []

    outcomes = set()
    for number in range(50):
        outcomes.add((write(number), is_stored(number)))
        if (False, True) in outcomes:
            break

    assert (False, True) in outcomes
    assert (True, False) not in outcomes
    assert sql('SELECT number FROM written GROUP BY number HAVING count(*) > 1') == []
    sql('DROP TABLE written')
    sql.connection.close()


def test_a_connection_that_is_closed_at_its_first_word_is_said_to_be_out_of_reach(
    connect: Any,
) -> None:
    with socket.create_server(('127.0.0.1', 0)) as listener, ThreadPoolExecutor(1) as pool:

        def hang_up() -> None:
            for _ in range(3):
                listener.accept()[0].close()

        hanging_up = pool.submit(hang_up)
        database = connect(
            f'postgresql+psycopg2://marconi@127.0.0.1:{listener.getsockname()[1]}/marconi'
        )
        with pytest.raises(StorageUnavailable):
            database.rows('SELECT 1', {})
        hanging_up.result(FOR_EVER)


# ---------------------------------------------------------------- the log


def test_a_warning_that_comes_again_is_not_written_again(
    connect: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = connect(f'postgresql+psycopg2://u@/d?host={tmp_path}')

    for _ in range(3):
        with pytest.raises(StorageUnavailable):
            database.rows('SELECT 1', {})

    assert [record.name for record in caplog.records] == ['marconi_api.model.postgres.database']


def _record(at: float, text: str = 'the storage is gone') -> logging.LogRecord:
    record = logging.LogRecord('x', logging.WARNING, 'x.py', 1, 'storage: %s', (text,), None)
    record.created = at
    return record


def test_a_warning_that_still_comes_after_a_minute_says_how_often_it_came() -> None:
    count = CountRepeats()
    for second in (0, 1, 2):
        count.filter(_record(at=second))
    late = _record(at=61)

    assert count.filter(late)

    assert late.getMessage() == 'storage: the storage is gone\n(and 2 times more in 61 seconds)'


def test_another_warning_is_written_at_once() -> None:
    count = CountRepeats()
    count.filter(_record(at=0))

    assert count.filter(_record(at=1, text='the disk is full'))


def test_texts_that_never_come_again_do_not_fill_the_memory() -> None:
    count = CountRepeats()

    for number in range(1000):
        count.filter(_record(at=0, text=str(number)))

    assert len(count._seen) <= 100
