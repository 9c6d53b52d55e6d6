"""What holds for all commands, with a hostile eye."""

import contextlib
import functools
import re
import signal
import socket
import subprocess
import sys

import psycopg2
import pytest

from marconi_api import model
from marconi_api.commands.command_line import _COMMANDS
from marconi_api.model import QueueKey
from marconi_api.processes.installation import CHECKOUT
from tests.commands.conftest import COMMAND, environment
from tests.running_service import services, wait_until


def is_refused(done, exit_code):
    """Whether it said what is wrong in one line, and nothing else."""
    lines = done.stderr.splitlines()
    assert 'Traceback' not in done.stderr
    return (done.returncode, done.stdout, len(lines)) == (exit_code, '', 1)


@pytest.mark.parametrize('command', _COMMANDS)
def test_help_has_an_example(marconi, command):
    done = marconi(command, '--help')

    assert (done.returncode, done.stderr) == (0, '')
    assert command in ('serve', 'expire') or 'For example: ' in done.stdout


def test_the_page_describes_each_command():
    page = (CHECKOUT / 'docs' / 'commands.md').read_text()

    assert [command for command in _COMMANDS if f'marconi {command}' not in page] == []


@pytest.mark.parametrize(
    'arguments',
    [
        [],
        ['nonsense'],
        ['show'],
        ['show', 'jobs', 'more'],
        ['peek', 'jobs', '--limit', '0'],
        ['peek', 'jobs', '--limit', '9' * 5000],
        ['peek', 'jobs', '--limit', '٣'],
        ['peek', 'jobs', '--stat', 'ready'],
        ['peek', 'jobs', '--state', 'nonsense'],
        ['queues', '--project', 'acme', '--all-projects'],
    ],
    ids=lambda arguments: ' '.join(arguments)[:40] or 'nothing',
)
def test_wrong_use_is_one_line_and_exit_code_2(marconi, arguments):
    assert is_refused(marconi(*arguments), 2)


@pytest.mark.parametrize(
    'name',
    ['', "';--", '../jobs', 'café', '\x1b[2J\n', 'x' * 65],
    ids=ascii,
)
def test_a_name_that_no_queue_can_have_is_wrong_use(marconi, name):
    done = marconi('show', name)

    assert is_refused(done, 2)
    assert 'The name of a queue must have 1 to 64 of the characters' in done.stderr


@pytest.mark.parametrize('name', ['..', '--', '--help', 'x' * 64])
def test_a_queue_may_have_an_odd_name(marconi, name):
    model.store.queues.create(QueueKey.of('acme', name))

    done = marconi('show', '--project', 'acme', '--', name)

    assert done.stdout.startswith(f'queue     {name}\n')


@pytest.mark.parametrize('name', ['..', '-x'])
def test_over_http_too(marconi, service_url, name):
    model.store.queues.create(QueueKey.of('acme', name))

    done = marconi('show', '--project', 'acme', '--url', service_url, '--', name)

    assert done.stdout.startswith(f'queue     {name}\n')


@pytest.mark.parametrize('project', ['a,b', '\x1b\n', 'x' * 257], ids=ascii)
def test_a_project_that_no_client_can_name_is_wrong_use(marconi, service_url, project):
    assert is_refused(marconi('show', 'jobs', '--project', project), 2)
    assert is_refused(marconi('show', 'jobs', '--project', project, '--url', service_url), 2)


def test_an_argument_that_is_not_text_is_wrong_use(marconi):
    done = subprocess.run(
        [*COMMAND, 'show', b'\xff\xfe'], env=environment(), capture_output=True, text=True
    )

    assert is_refused(done, 2)


@pytest.mark.parametrize(
    'url',
    ['nonsense', 'ftp://host', 'http://', 'http://h:port', 'http://me:secret@h', 'http://h?q'],
)
def test_a_url_that_cannot_be_one_is_wrong_use(marconi, url):
    done = marconi('queues', '--url', url)

    assert is_refused(done, 2)
    assert 'secret' not in done.stderr


def test_a_token_that_no_header_can_hold_is_wrong_use_and_is_not_shown(marconi):
    done = marconi('queues', '--url', 'http://127.0.0.1:1', MARCONI_TOKEN='secret\nX-Roles: admin')

    assert is_refused(done, 2)
    assert 'secret' not in done.stderr


def test_a_service_that_is_not_there_is_one_line(marconi):
    done = marconi('queues', '--url', 'http://127.0.0.1:1')

    assert is_refused(done, 1)
    assert done.stderr == 'marconi: cannot reach http://127.0.0.1:1: Connection refused\n'


@pytest.mark.parametrize(
    'answer',
    [
        b'',
        b'nonsense\r\n\r\n',
        b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]',
        b'HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n[]',
        b'HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n',
        b'HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n',
        b'HTTP/1.1 500 Oops\r\nContent-Length: 7\r\n\r\n<html>\x1b',
    ],
)
def test_a_service_that_is_not_marconi_is_one_line(marconi, answer):
    with socket.create_server(('127.0.0.1', 0)) as listener:
        port = listener.getsockname()[1]
        command = subprocess.Popen(
            [*COMMAND, 'queues', '--url', f'http://127.0.0.1:{port}'],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        client, _ = listener.accept()
        with client:
            client.recv(65536)
            client.sendall(answer)
        out, err = command.communicate(timeout=60)

    assert is_refused(subprocess.CompletedProcess([], command.returncode, out, err), 1)


def test_the_token_is_sent_as_a_bearer_of_it(marconi):
    with socket.create_server(('127.0.0.1', 0)) as listener:
        command = subprocess.Popen(
            [*COMMAND, 'queues', '--url', f'http://127.0.0.1:{listener.getsockname()[1]}/prefix/'],
            env=environment(MARCONI_TOKEN='secret'),
            stderr=subprocess.PIPE,
        )
        client, _ = listener.accept()
        with client:
            request = client.recv(65536)
        command.communicate(timeout=60)

    assert request.startswith(b'GET /prefix/v2/queues ')
    assert b'\r\nAuthorization: Bearer secret\r\n' in request
    assert b'X-Project-Id' not in request


@pytest.mark.parametrize(
    ('url', 'said'),
    [
        ('postgresql://me@127.0.0.1:1/marconi', 'cannot reach .* Connection refused'),
        ('postgresql://me:secret@h:x/marconi', 'write it as postgresql://'),
        ('sqlite://', 'is not PostgreSQL'),
        ('nonsense', 'write it as postgresql://'),
    ],
)
def test_a_database_that_is_not_there_is_one_line(marconi, url, said):
    done = marconi('queues', MARCONI_DATABASE_URL=url)

    assert is_refused(done, 1)
    assert re.search(said, done.stderr)
    assert 'secret' not in done.stderr


def test_a_wrong_user_is_one_line(marconi, postgres):
    url = postgres.url.replace('marconi@', 'nobody:secret@')

    done = marconi('queues', MARCONI_DATABASE_URL=url)

    assert is_refused(done, 1)
    assert 'role "nobody" does not exist' in done.stderr
    assert 'secret' not in done.stderr


def test_an_old_schema_is_one_line_that_says_what_to_run(marconi, other_database):
    with contextlib.closing(psycopg2.connect(other_database.replace('+psycopg2', ''))) as other:
        other.autocommit = True
        other.cursor().execute("UPDATE alembic_version SET version_num = '0001'")

    done = marconi('queues', MARCONI_DATABASE_URL=other_database)

    assert is_refused(done, 1)
    assert 'is at revision 0001, but revision ' in done.stderr
    assert 'run ' in done.stderr


def test_no_database_at_all_is_one_line(marconi, tmp_path):
    done = marconi('queues', MARCONI_DATABASE_URL='', MARCONI_DATA_DIR=str(tmp_path))

    assert is_refused(done, 1)


def test_settings_that_cannot_be_used_are_one_line(marconi, tmp_path):
    settings = tmp_path / 'settings.py'
    settings.write_text('limits = {')

    assert is_refused(marconi('queues', MARCONI_CONFIG=str(settings)), 1)


def test_what_the_database_says_amid_the_work_is_one_line(marconi, queue, postgres):
    with contextlib.closing(psycopg2.connect(postgres.url.replace('+psycopg2', ''))) as locker:
        locker.cursor().execute('LOCK TABLE message_states')

        done = marconi('queues', '--project', 'acme')

    assert is_refused(done, 1)
    assert 'due to' in done.stderr


def test_a_closed_pipe_is_not_an_error(marconi, postgres, queue):
    for number in range(200):
        model.store.queues.create(QueueKey.of('acme', f'{"x" * 50}-{number}'))
    command = f'{" ".join(COMMAND)} queues --project acme --limit 1000; echo $? >&2'

    done = subprocess.run(
        f'({command}) | head -1',
        shell=True,
        env=environment(MARCONI_DATABASE_URL=postgres.url),
        capture_output=True,
        text=True,
    )

    assert done.stdout.startswith('QUEUE')
    assert done.stderr == '0\n'


@pytest.mark.parametrize('closed', ['>&-', '2>&-', '<&-'])
def test_a_stream_that_is_closed_is_not_an_error(postgres, queue, closed):
    done = subprocess.run(
        f'{" ".join(COMMAND)} queues --project acme {closed}',
        shell=True,
        env=environment(MARCONI_DATABASE_URL=postgres.url),
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stderr) == (0, '')


def test_a_full_disk_is_one_line(postgres, queue):
    done = subprocess.run(
        f'{" ".join(COMMAND)} queues --project acme >/dev/full',
        shell=True,
        env=environment(MARCONI_DATABASE_URL=postgres.url),
        capture_output=True,
        text=True,
    )

    assert is_refused(done, 1)
    assert 'No space left on device' in done.stderr


def test_what_the_terminal_cannot_show_is_written_as_an_escape(marconi, queue, post):
    post('"\u2603"')

    done = marconi('peek', 'jobs', '--project', 'acme', '--json', PYTHONIOENCODING='ascii')

    assert (done.returncode, done.stderr) == (0, '')
    assert '"\\u2603"' in done.stdout


def test_ctrl_c_is_exit_code_130_without_a_word(marconi, other_database):
    # A database on which nothing but this command works.
    with contextlib.closing(psycopg2.connect(other_database.replace('+psycopg2', ''))) as locker:
        locker.cursor().execute('LOCK TABLE message_states')
        command = subprocess.Popen(
            [*COMMAND, 'queues', '--project', 'acme'],
            env=environment(MARCONI_DATABASE_URL=other_database),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )
        wait_until(lambda: is_waiting(other_database))
        command.send_signal(signal.SIGINT)
        out, err = command.communicate(timeout=60)

        assert is_waiting(other_database)
    assert (command.returncode, out, err) == (128 + signal.SIGINT, '', '')


def is_waiting(database):
    """Whether a statement waits for a lock there, and has not come to its timeout."""
    with contextlib.closing(psycopg2.connect(database.replace('+psycopg2', ''))) as connection:
        cursor = connection.cursor()
        cursor.execute(
            "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            ' AND datname = current_database()'
        )
        return bool(cursor.fetchall())


@pytest.mark.parametrize('milliseconds', [1, 100, 400])
def test_ctrl_c_at_the_start_shows_no_traceback(milliseconds):
    """Whenever it comes after Python itself has started."""
    program = (
        'import signal; from marconi_api.commands import main; '
        f'signal.setitimer(signal.ITIMER_REAL, {milliseconds / 1000}); '
        'signal.signal(signal.SIGALRM, signal.default_int_handler); '
        "raise SystemExit(main(['queues', '--url', 'http://127.0.0.1:1']))"
    )

    done = subprocess.run(
        [sys.executable, '-c', program],
        cwd=CHECKOUT,
        env=environment(),
        capture_output=True,
        text=True,
    )

    assert done.returncode in (1, 128 + signal.SIGINT)
    assert 'Traceback' not in done.stderr


def test_a_wrong_password_is_one_line_and_is_not_shown(marconi, postgres):
    rules = postgres.data / 'pg_hba.conf'
    before = rules.read_text()
    with contextlib.closing(psycopg2.connect(postgres.url.replace('+psycopg2', ''))) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute("CREATE ROLE locked LOGIN PASSWORD 'right'")
        rules.write_text(f'local all locked scram-sha-256\n{before}')
        cursor.execute('SELECT pg_reload_conf()')
        try:
            url = postgres.url.replace('marconi@', 'locked:wr0ng@')
            done = marconi('queues', MARCONI_DATABASE_URL=url)
        finally:
            rules.write_text(before)
            cursor.execute('SELECT pg_reload_conf()')
            cursor.execute('DROP ROLE locked')

    assert is_refused(done, 1)
    assert 'password authentication failed for user "locked"' in done.stderr
    assert 'wr0ng' not in done.stderr


def test_a_token_gets_in_where_tokens_do_and_a_wrong_one_does_not(marconi, postgres, queue):
    token = model.store.tokens.create('acme', 'admin').text
    with services() as start:
        service = start(MARCONI_DATABASE_URL=postgres.url, MARCONI_ACCESS='token')
        url = f'http://127.0.0.1:{service.wait_until_ready().port}'

        done = marconi('queues', '--url', url, '--json', MARCONI_TOKEN=token)
        missing = marconi('show', 'none', '--url', url, '--token', token)
        others = [
            marconi('queues', '--url', url, MARCONI_TOKEN=sent)
            for sent in ('', token[:-1], 'nonsense')
        ]

    assert '"name":"jobs"' in done.stdout
    assert is_refused(missing, 1)
    for refused in others:
        assert is_refused(refused, 1)
        assert 'set MARCONI_TOKEN to a token' in refused.stderr
        assert token[:-1] not in refused.stderr
