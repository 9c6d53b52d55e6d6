"""`marconi serve` as an operator meets it: real processes, real signals, real HTTP."""

import contextlib
import ctypes
import errno
import http.client
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from marconi_api.processes import schema
from marconi_api.processes.embedded.cluster import LONGEST_LOG, EmbeddedPostgres, running_url
from marconi_api.processes.embedded.server_user import ServerUser
from marconi_api.processes.supervisor import MOST_DESCRIPTORS
from marconi_api.processes.web_server import HEADERS_TIMEOUT
from tests.directories import open_directory
from tests.processes import is_gone, name_of, shown
from tests.running_service import (
    DEADLINE,
    HEADERS,
    UNFINISHED,
    Service,
    Start,
    postmaster,
    put_prepared_data,
    refused,
    request,
    services,
    wait_until,
)

as_root = pytest.mark.skipif(os.geteuid() != 0, reason='only root becomes another user')

#: The number of the system call that shares another process's file descriptor.
PIDFD_GETFD = 438


@pytest.fixture
def start() -> Iterator[Start]:
    with services() as start:
        yield start


@pytest.fixture
def start_anew() -> Iterator[Start]:
    """Starts a service on a data directory that is not there yet."""
    with services(prepared=False) as start:
        yield start


@pytest.fixture(scope='module')
def service() -> Iterator[Service]:
    """A service for the tests that leave it as it was; its data directory is made by its start.

    It was allowed few descriptors at once, and many if it asks for them.
    """
    with services(prepared=False) as start:
        service = start()
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE, (256, hard))
        yield service.wait_until_ready()


@pytest.fixture
def connection(service: Service) -> Iterator[http.client.HTTPConnection]:
    with contextlib.closing(service.connect()) as connection:
        yield connection


# How it speaks HTTP.


def test_it_is_healthy_when_it_says_that_it_is_ready(service: Service) -> None:
    assert service.request('GET', '/v1/health') == (204, b'')


def test_an_answer_without_a_body_keeps_the_connection(
    connection: http.client.HTTPConnection,
) -> None:
    request(connection, 'GET', '/v1/health')
    first = connection.sock.getsockname()

    request(connection, 'GET', '/v1/health')

    assert connection.sock.getsockname() == first


def test_a_location_is_a_path(connection: http.client.HTTPConnection) -> None:
    connection.request('PUT', '/v1/queues/located', headers=HEADERS)
    response = connection.getresponse()
    response.read()

    assert response.headers['Location'] == '/v1/queues/located'


def test_a_body_that_is_too_large_is_refused_on_a_connection_that_stays(
    connection: http.client.HTTPConnection,
) -> None:
    body = '[{"ttl": 300, "body": "%s"}]' % ('x' * 266_240)
    status, _ = request(connection, 'POST', '/v1/queues/large/messages', body)
    first = connection.sock.getsockname()

    after = request(connection, 'GET', '/v1/health')

    assert status == 400
    assert after == (204, b'')
    assert connection.sock.getsockname() == first


@pytest.mark.parametrize('size', [30_000, 70_000, 200_000])
def test_large_bodies_are_stored_again_and_again(
    connection: http.client.HTTPConnection, size: int
) -> None:
    request(connection, 'PUT', '/v1/queues/large')
    body = json.dumps([{'ttl': 300, 'body': 'x' * size}])

    answers = [request(connection, 'POST', '/v1/queues/large/messages', body) for _ in range(50)]

    assert {status for status, _ in answers} == {201}


def test_a_chunked_body_is_answered_and_poisons_nothing(service: Service) -> None:
    with socket.create_connection(('127.0.0.1', service.port), timeout=DEADLINE) as client:
        client.sendall(
            b'POST /v1/queues/chunked/messages HTTP/1.1\r\nHost: test\r\n'
            b'Client-ID: 3381af92-2b9e-11e3-b191-71861300734c\r\n'
            b'Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n'
            b'2\r\n[]\r\n0\r\n\r\n'
        )
        answer = b''
        # The connection may be closed with an error, as part of the body was not read.
        with contextlib.suppress(ConnectionResetError):
            while data := client.recv(65536):
                answer += data

    assert answer.startswith(b'HTTP/1.1 400 ')
    assert answer.count(b'HTTP/1.1') == 1


def test_a_body_that_would_fill_the_disk_is_cut_off(service: Service) -> None:
    with socket.create_connection(('127.0.0.1', service.port), timeout=DEADLINE) as client:
        client.sendall(UNFINISHED.replace(b'Length: 100', b'Length: 1000000000'))

        # 256 KiB are allowed. Some MiB lie between client and service that the latter need not read.
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            client.sendall(bytes(2**27))

    assert service.request('GET', '/v1/health') == (204, b'')


def test_headers_may_be_large(service: Service) -> None:
    with contextlib.closing(service.connect()) as connection:
        connection.request('GET', '/v1/health', headers={'X-Large': 'x' * 16_384})
        response = connection.getresponse()

    assert response.status == 204


def test_the_end_of_a_large_answer_does_not_wait_for_the_client(service: Service) -> None:
    """It would, for 40 ms, if the router's connections did not inherit this from its socket."""
    with socket_of_the_router(service) as listening:
        assert listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def socket_of_the_router(service: Service) -> socket.socket:
    """The socket at which uwsgi accepts clients, as uwsgi itself has it."""
    for pid in service.named('marconi-uwsgi'):
        for link in Path(f'/proc/{pid}/fd').iterdir():
            if link.is_socket():
                found = socket.socket(fileno=shared_descriptor(pid, int(link.name)))
                if (
                    found.family == socket.AF_INET
                    and found.getsockname()[1] == service.port
                    and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                ):
                    return found
                found.close()
    raise AssertionError('nobody listens')


def shared_descriptor(pid: int, descriptor: int) -> int:
    process = os.pidfd_open(pid)
    shared = int(ctypes.CDLL(None, use_errno=True).syscall(PIDFD_GETFD, process, descriptor, 0))
    error = ctypes.get_errno()
    os.close(process)
    # As in a container: then the socket cannot be looked at. Any other error is a failure.
    if shared < 0 and error in (errno.EPERM, errno.ENOSYS):
        pytest.skip('this system lets no process share the descriptors of another')
    assert shared >= 0, os.strerror(error)
    return shared


def test_idle_and_slow_clients_do_not_keep_others_waiting(service: Service) -> None:
    with contextlib.ExitStack() as clients:
        for _ in range(200):
            idle = clients.enter_context(contextlib.closing(service.connect()))
            request(idle, 'GET', '/v1/health')
        for started in (b'GET /v1/health HTTP/1.1\r\nHo', UNFINISHED):
            for _ in range(50):
                slow = socket.create_connection(('127.0.0.1', service.port))
                clients.enter_context(slow).sendall(started)
        before = time.monotonic()

        answer = service.request('GET', '/v1/health')

        assert answer == (204, b'')
        # When the slow ones are given up.
        assert time.monotonic() - before < HEADERS_TIMEOUT


# The key with which it signs URLs.


def test_a_pre_signed_url_works_after_a_restart_without_a_key_set(start: Start) -> None:
    service = start().wait_until_ready()
    in_project = {**HEADERS, 'X-Project-Id': 'acme'}
    status, answer = _request(service, 'POST', '/v2/queues/jobs/share', in_project, '{}')
    assert status == 200
    shared = json.loads(answer)
    signed = in_project | {
        'URL-Signature': shared['signature'],
        'URL-Expires': shared['expires'],
        'URL-Methods': ','.join(shared['methods']),
        'URL-Paths': ','.join(shared['paths']),
    }
    service.end(signal.SIGTERM)
    again = start().wait_until_ready()

    opened, _ = _request(again, 'GET', '/v2/queues/jobs/messages', signed)
    forged, _ = _request(
        again, 'GET', '/v2/queues/jobs/messages', signed | {'URL-Signature': 'f' * 64}
    )
    _, err = again.end(signal.SIGTERM)

    key = service.data_dir / 'signing.key'
    assert (opened, forged) == (200, 404)
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.read_text().strip() not in err


def test_a_key_that_cannot_be_kept_is_told_in_one_line(start: Start) -> None:
    with open_directory() as directory:
        data_dir = directory / 'state'
        put_prepared_data(data_dir)
        (data_dir / 'signing.key').mkdir()

        line = refused(start(data_dir))

    assert f'cannot keep a key for signed URLs: Is a directory: {data_dir}' in line
    assert 'set MARCONI_SIGNING_KEYS' in line


def test_on_a_database_that_is_named_urls_are_signed_only_with_a_key_that_is_set(
    postgres: EmbeddedPostgres, start: Start
) -> None:
    service = start(MARCONI_DATABASE_URL=postgres.url).wait_until_ready()
    in_project = {**HEADERS, 'X-Project-Id': 'acme'}

    status, answer = _request(service, 'POST', '/v2/queues/jobs/share', in_project, '{}')

    assert status == 400
    assert b'MARCONI_SIGNING_KEYS' in answer
    assert not service.data_dir.exists()


def _request(
    service: Service, method: str, path: str, headers: dict[str, str], body: str | None = None
) -> tuple[int, bytes]:
    with contextlib.closing(service.connect()) as connection:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()


# What it says when it cannot run.


def test_a_second_one_on_the_same_data_is_told_so(service: Service, start: Start) -> None:
    second = start(service.data_dir)

    assert f'another Marconi already runs on {service.data_dir}' in refused(second)
    assert service.request('GET', '/v1/health') == (204, b'')


def test_a_port_that_is_taken_is_named(service: Service, start: Start) -> None:
    line = refused(start(PORT=str(service.port)))

    assert f'cannot listen on 127.0.0.1:{service.port}: Address already in use' in line


@pytest.mark.parametrize('port', ['no', '65536', '-1'])
def test_a_malformed_port_is_refused(start: Start, port: str) -> None:
    assert f'{port} is not a port number: change PORT' in refused(start(PORT=port))


def test_a_database_out_of_reach_is_named_without_its_password(start: Start) -> None:
    line = refused(start(MARCONI_DATABASE_URL='postgres://me:secret@127.0.0.1:1/marconi'))

    assert 'cannot reach postgresql://me:***@127.0.0.1:1/marconi: ' in line
    assert 'secret' not in line


@pytest.mark.parametrize('url', ['nonsense', 'mysql://localhost/marconi', 'sqlite:///marconi'])
def test_another_kind_of_database_is_refused(start: Start, url: str) -> None:
    assert 'postgresql' in refused(start(MARCONI_DATABASE_URL=url)).lower()


def test_settings_that_cannot_be_read_are_named(start: Start) -> None:
    with tempfile.NamedTemporaryFile('w', suffix='.py') as settings:
        settings.write('server = {')
        settings.flush()

        line = refused(start(MARCONI_CONFIG=settings.name))

    assert f'cannot read the settings in {settings.name}: SyntaxError' in line


def test_contradictory_limits_are_named(start: Start) -> None:
    with tempfile.NamedTemporaryFile('w', suffix='.py') as settings:
        settings.write("limits = {'default_claim_ttl': 50}")
        settings.flush()

        line = refused(start(MARCONI_CONFIG=settings.name))

    assert 'limits.min_claim_ttl (60) must not be above limits.default_claim_ttl (50)' in line


def test_a_schema_that_is_behind_is_brought_up_by_the_command_in_the_line(
    postgres: EmbeddedPostgres, start: Start
) -> None:
    url = _new_database(postgres, 'behind')
    _, command = refused(start(MARCONI_DATABASE_URL=url)).split(': run  ')

    subprocess.run(command, shell=True, check=True)

    service = start(MARCONI_DATABASE_URL=url).wait_until_ready()
    assert service.request('GET', '/v1/health') == (204, b'')


def test_a_server_that_is_too_old_is_refused(
    postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    # There is no old server to be had, so ours is made to count as one.
    monkeypatch.setattr(schema, 'OLDEST_POSTGRESQL', 99)

    with pytest.raises(schema.SchemaError, match=r'is PostgreSQL \d+: Marconi needs 99 or newer'):
        schema.check(postgres.url)


# How it ends.


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_the_requests_in_flight_are_answered(start: Start, number: int) -> None:
    service = start().wait_until_ready()
    processes = service.processes()
    answers: list[tuple[int, bytes]] = []

    with _held_up(service, answers):
        service.process.send_signal(number)
        # Time enough to end, if it did not wait.
        time.sleep(0.5)
        assert service.process.poll() is None
    out, err = service.end()

    assert answers == [(201, b'')]
    assert (service.process.returncode, out) == (0, '')
    assert 'Traceback' not in err
    assert all(is_gone(pid) for pid in processes)


def test_a_client_that_keeps_a_connection_is_told_before_it_ends(start: Start) -> None:
    service = start().wait_until_ready()
    with contextlib.closing(service.connect()) as connection:
        request(connection, 'GET', '/v1/health')
        service.process.send_signal(signal.SIGTERM)

        closes = False
        while not closes:
            connection.request('GET', '/v1/health')
            response = connection.getresponse()
            response.read()
            assert response.status == 204
            closes = response.headers.get('Connection') == 'close'
    with pytest.raises(ConnectionRefusedError):
        service.request('GET', '/v1/health')
    service.end()

    assert service.process.returncode == 0


def test_it_is_not_ready_for_a_while_before_it_stops(start: Start, tmp_path: Path) -> None:
    """And a file that changes one setting is enough."""
    settings = tmp_path / 'settings.py'
    settings.write_text("server = {'drain_seconds': 3}")
    service = start(MARCONI_CONFIG=str(settings)).wait_until_ready()
    settings.chmod(0o644)
    assert service.request('GET', '/readyz')[0] == 200

    service.process.send_signal(signal.SIGTERM)
    wait_until(lambda: service.request('GET', '/readyz')[0] == 503)

    assert json.loads(service.request('GET', '/readyz')[1]) == {
        'ready': False,
        'reasons': ['The service is about to stop.'],
    }
    assert service.request('GET', '/livez')[0] == 200
    assert service.request('PUT', '/v1/queues/late')[0] == 201
    service.end()
    assert service.process.returncode == 0


def test_repeated_signals_leave_no_process_behind(start: Start) -> None:
    service = start().wait_until_ready()
    processes = service.processes()

    for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
        service.process.send_signal(number)
        time.sleep(0.05)
    service.end()

    assert service.process.returncode == 0
    assert all(is_gone(pid) for pid in processes)
    assert running_url(service.data_dir) is None


def test_a_hangup_does_not_stop_it(service: Service) -> None:
    service.process.send_signal(signal.SIGHUP)
    # It may be asked anything as soon as it has seen the signal, and before.
    answer = service.request('GET', '/v1/health')

    assert answer == (204, b'')
    wait_until(lambda: 'SIGHUP is ignored: restart Marconi' in service.err.read_text())
    assert service.request('GET', '/v1/health') == (204, b'')


def test_a_hangup_of_its_terminal_stops_it(start: Start) -> None:
    terminal, stdin = os.openpty()
    service = start(stdin=stdin).wait_until_ready()

    service.end(signal.SIGHUP)

    os.close(terminal)
    os.close(stdin)
    assert service.process.returncode == 0


@pytest.fixture(scope='module')
def ended() -> Iterator[Service]:
    """A service that has stopped; it could not open many files."""
    with services() as start:
        service = start()
        resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE, (256, 1024))
        service.wait_until_ready().end(signal.SIGTERM)
        yield service


def test_it_says_where_the_data_lie_and_which_postgresql_has_them(ended: Service) -> None:
    err = ended.err.read_text()

    assert re.search(rf'PostgreSQL \d+\.\d+ keeps the data in {ended.data_dir}\n', err)
    assert f'Marconi has stopped; the data stay in {ended.data_dir}\n' in err


def test_its_processes_have_names(service: Service) -> None:
    names = map(name_of, service.processes())

    assert {'marconi', 'marconi-janitor', 'marconi-uwsgi', 'marconi-worker'} <= set(names)


def test_a_signal_during_the_start_leaves_nothing_behind(start_anew: Start) -> None:
    service = start_anew()
    wait_until(lambda: running_url(service.data_dir) is not None)

    out, _ = service.end(signal.SIGTERM)

    assert (service.process.returncode, out) == (0, '')
    assert running_url(service.data_dir) is None


def test_a_start_waits_for_a_port_that_becomes_free(start: Start) -> None:
    with socket.create_server(('127.0.0.1', 0)) as predecessor:
        port = predecessor.getsockname()[1]
        service = start(PORT=str(port))
        # Time enough to give up, if it did not wait.
        time.sleep(1.5)
        assert service.process.poll() is None

    assert service.wait_until_ready().port == port


@pytest.mark.slow
def test_a_killed_service_leaves_its_port_though_requests_are_in_flight(start: Start) -> None:
    service = start().wait_until_ready()
    answers: list[tuple[int, bytes]] = []

    with _held_up(service, answers):
        service.end(signal.SIGKILL)
        wait_until(lambda: not _listens(service.port))
    again = start(PORT=str(service.port)).wait_until_ready()

    assert answers == []
    assert again.port == service.port


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(('127.0.0.1', port)) == 0


def test_the_limit_on_descriptors_is_raised(service: Service) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    limits = [text for pid in service.processes() if (text := shown(pid, 'limits'))]
    raised = rf'Max open files +{min(hard, MOST_DESCRIPTORS)} '
    assert limits
    assert all(re.search(raised, text) for text in limits)


def test_an_operator_is_told_of_a_limit_on_descriptors_that_is_low(ended: Service) -> None:
    said = 'only 1024 descriptors may be open, for about 512 clients at once'

    assert said in ended.err.read_text()


# What ends unasked.


def test_a_killed_janitor_is_replaced(service: Service) -> None:
    wait_until(lambda: service.named('marconi-janitor') != [])
    [janitor] = service.named('marconi-janitor')

    os.kill(janitor, signal.SIGKILL)
    wait_until(lambda: service.named('marconi-janitor') not in ([], [janitor]))

    said = 'the janitor has ended by signal 9; it is started again'
    assert said in service.err.read_text()


def test_a_killed_postgresql_is_started_again(service: Service) -> None:
    service.request('PUT', '/v1/queues/kept')

    os.kill(postmaster(service), signal.SIGKILL)
    wait_until(lambda: 'PostgreSQL was ended by signal 9' in service.err.read_text())

    wait_until(lambda: service.request('GET', '/v1/queues/kept')[0] == 204)


def test_a_postgresql_that_cannot_start_is_tried_again_until_it_can(service: Service) -> None:
    service.request('PUT', '/v1/queues/kept')
    control = service.data_dir / 'data' / 'global' / 'pg_control'

    control.rename(control.with_name('away'))
    os.kill(postmaster(service), signal.SIGKILL)
    log = service.data_dir / 'log'
    wait_until(lambda: log.read_text().count('could not find the database system') > 1)
    control.with_name('away').rename(control)

    wait_until(lambda: service.request('GET', '/v1/queues/kept')[0] == 204)


def test_it_can_be_stopped_while_its_postgresql_cannot_start(start: Start) -> None:
    service = start().wait_until_ready()
    (service.data_dir / 'data' / 'global' / 'pg_control').unlink()

    os.kill(postmaster(service), signal.SIGKILL)
    log = service.data_dir / 'log'
    wait_until(lambda: 'could not find the database system' in log.read_text())
    service.end(signal.SIGTERM)

    assert service.process.returncode == 0


def test_the_log_of_postgresql_is_kept_short_while_it_runs(service: Service) -> None:
    log = service.data_dir / 'log'
    with log.open('ab') as file:
        file.truncate(LONGEST_LOG + 1)

    wait_until(lambda: log.stat().st_size <= LONGEST_LOG)

    assert service.request('GET', '/v1/health') == (204, b'')


# As whom it runs.


def test_a_user_that_does_not_exist_is_refused(start: Start) -> None:
    line = refused(start(MARCONI_USER='marconi-nobody-knows'))

    assert 'there is no user marconi-nobody-knows: add it, or change MARCONI_USER' in line


@as_root
def test_as_root_requests_are_answered_by_the_user_of_postgresql(service: Service) -> None:
    owner = (service.data_dir / 'data').stat().st_uid
    if not ServerUser.for_cluster(service.data_dir / 'data').can_read([sys.executable]):
        # As where Python is installed in root's home: nothing of ours is at fault.
        pytest.skip('this Python lies where a plain user cannot read it')
    request_of_200_kb = json.dumps([{'ttl': 300, 'body': 'x' * 200_000}])
    service.request('PUT', '/v1/queues/large')

    status, _ = service.request('POST', '/v1/queues/large/messages', request_of_200_kb)

    users = {
        pid: int(found[1])
        for pid in service.processes()
        if (found := re.search(r'^Uid:\s+(\d+)', shown(pid, 'status'), re.M))
    }
    assert status == 201
    assert users.pop(service.process.pid) == 0
    assert set(users.values()) == {owner}


# After kill -9.


@pytest.mark.slow
@pytest.mark.parametrize('victim', ['postgres', 'uwsgi', 'all'])
def test_every_post_that_was_answered_survives_kill_9_while_posting(
    start: Start, victim: str
) -> None:
    service = start().wait_until_ready()
    service.request('PUT', '/v1/queues/kept')
    kept: list[str] = []
    posters = [
        threading.Thread(target=_post_until_it_breaks, args=(service, kept, number))
        for number in range(4)
    ]
    for poster in posters:
        poster.start()
    wait_until(lambda: len(kept) > 200)

    for pid in _victims(service, victim):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for poster in posters:
        poster.join()
    service.end(signal.SIGKILL)
    again = start().wait_until_ready()

    with contextlib.closing(again.connect()) as connection:
        for location in kept:
            status, _ = request(connection, 'GET', location)
            assert status == 200, location


def _post_until_it_breaks(service: Service, kept: list[str], number: int) -> None:
    """Post on one connection, noting what was answered 201, until something else comes."""
    message = json.dumps([{'ttl': 3600, 'body': number}])
    broken = contextlib.suppress(OSError, http.client.HTTPException)
    with broken, contextlib.closing(service.connect()) as connection:
        while True:
            status, body = request(connection, 'POST', '/v1/queues/kept/messages', message)
            if status != 201:
                return
            kept.append(json.loads(body)['resources'][0])


def _victims(service: Service, name: str) -> list[int]:
    processes = service.processes()
    if name == 'all':
        return processes
    return [pid for pid in processes if name in shown(pid, 'cmdline')]


@pytest.mark.slow
def test_a_server_that_a_killed_service_left_is_taken_over_and_stopped(start: Start) -> None:
    service = start().wait_until_ready()
    *children, _ = processes = service.processes()[1:]
    assert running_url(service.data_dir)

    service.end(signal.SIGKILL)
    # uwsgi and the janitor end with it; PostgreSQL goes on.
    again = start().wait_until_ready()
    again.end(signal.SIGTERM)

    assert children
    wait_until(lambda: all(is_gone(pid) for pid in processes))
    assert running_url(service.data_dir) is None


@contextlib.contextmanager
def _held_up(service: Service, answers: list[tuple[int, bytes]]) -> Iterator[None]:
    """A request that is being worked on for as long as the block lasts."""

    def put() -> None:
        # There is no answer if the service is killed.
        with contextlib.suppress(OSError, http.client.HTTPException):
            answers.append(service.request('PUT', '/v1/queues/held'))

    url = running_url(service.data_dir)
    assert url
    with contextlib.closing(psycopg2.connect(url.replace('+psycopg2', ''))) as connection:
        cursor = connection.cursor()
        cursor.execute('LOCK TABLE queues')
        client = threading.Thread(target=put)
        client.start()
        # Its own statement: the janitor may wait for the table as well.
        waiting = (
            'SELECT count(*) FROM pg_stat_activity'
            " WHERE wait_event_type = 'Lock' AND query LIKE '%''held''%'"
        )
        wait_until(lambda: _execute(url, waiting) == [(1,)])
        yield
        connection.rollback()
        client.join(DEADLINE)


def _new_database(postgres: EmbeddedPostgres, name: str) -> str:
    _execute(postgres.url, f'DROP DATABASE IF EXISTS {name}')
    _execute(postgres.url, f'CREATE DATABASE {name}')
    return postgres.url.replace('/marconi?', f'/{name}?')


def _execute(url: str, statement: str) -> list[tuple[object, ...]]:
    with contextlib.closing(psycopg2.connect(url.replace('+psycopg2', ''))) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []
