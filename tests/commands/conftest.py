"""Commands as their user types them: the real program, in a process of its own."""

import contextlib
import os
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

import psycopg2
import pytest

from marconi_api import model
from marconi_api.commands import command_line
from marconi_api.model import NewMessage, QueueKey
from marconi_api.processes import schema
from marconi_api.processes.embedded.cluster import EmbeddedPostgres
from tests.running_service import services

CLIENT = '3381af92-2b9e-11e3-b191-71861300734c'

#: Types a command: ``marconi('show', 'jobs')``; environment by keyword, ``stdin`` is its input.
Marconi = Callable[..., 'subprocess.CompletedProcess[str]']

COMMAND = [sys.executable, '-m', 'marconi_api.commands']


def environment(**changes: str) -> dict[str, str]:
    """What commands find, but for what whoever runs the tests has set of ours."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith('MARCONI')}
    return clean | changes


@pytest.fixture
def marconi(postgres: EmbeddedPostgres, app: Any) -> Marconi:
    """On a database without queues."""

    def run(*arguments: str, stdin: str = '', **changes: str) -> Any:
        given = environment(**{'MARCONI_DATABASE_URL': postgres.url} | changes)
        if all(name.startswith('MARCONI') for name in changes):
            return _run_forked(arguments, given, stdin)
        return subprocess.run(
            [*COMMAND, *arguments],
            env=given,
            input=stdin,
            capture_output=True,
            text=True,
        )

    return run


@pytest.fixture(params=['database', 'http'])
def way(request: Any) -> list[str]:
    """What says whether a command goes to the database, or to a service."""
    if request.param == 'database':
        return []
    return ['--url', request.getfixturevalue('service_url')]


def _run_forked(
    arguments: Sequence[str], given: dict[str, str], stdin: str
) -> 'subprocess.CompletedProcess[str]':
    """Run a command in a fork of the tests' process, which has imported all that it needs.

    A Python of its own would import for 0.7 s. What depends on one is tested by ``COMMAND``.
    """
    with (
        tempfile.TemporaryFile('w+') as sent,
        tempfile.TemporaryFile('w+') as output,
        tempfile.TemporaryFile('w+') as errors,
    ):
        sent.write(stdin)
        sent.seek(0)
        child = os.fork()
        if child == 0:
            _become_command(arguments, given, (sent, output, errors))
        _, status = os.waitpid(child, 0)
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(
            [*arguments], os.waitstatus_to_exitcode(status), output.read(), errors.read()
        )


def _become_command(
    arguments: Sequence[str], given: dict[str, str], streams: Sequence[IO[str]]
) -> NoReturn:
    code = 70
    # Its connections are the parent's, too, which would be closed with it.
    kept = model.store
    try:
        warnings.resetwarnings()
        for number, stream in enumerate(streams):
            os.dup2(stream.fileno(), number)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, 'w'), open(2, 'w')  # noqa: SIM115
        os.environ.clear()
        os.environ.update(given)
        code = command_line.run([*arguments])
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(code if kept else 70)


@pytest.fixture
def queue(app: Any) -> QueueKey:
    """A queue that exists, and is empty."""
    key = QueueKey.of('acme', 'jobs')
    model.store.queues.create(key)
    return key


@pytest.fixture
def post(queue: QueueKey) -> Callable[..., list[str]]:
    """Posts messages with these bodies; returns their ids."""

    def post_messages(*bodies: str, to: QueueKey = queue, ttl: int = 300) -> list[str]:
        return model.store.messages.post(to, CLIENT, [NewMessage(body, ttl, 0) for body in bodies])

    return post_messages


@pytest.fixture(scope='module')
def service_url(postgres: EmbeddedPostgres, wsgi_app: Any) -> Iterator[str]:
    """A running service on the same database; its janitor works on what the tests of the file store."""
    with a_service(postgres.url) as url:
        yield url


@contextlib.contextmanager
def a_service(database_url: str) -> Iterator[str]:
    """The URL of a service that runs on a database until the end of the block."""
    with services() as start:
        service = start(MARCONI_DATABASE_URL=database_url).wait_until_ready()
        yield f'http://127.0.0.1:{service.port}'


@pytest.fixture
def other_database(postgres: EmbeddedPostgres) -> Iterator[str]:
    """The URL of a database of its own, with the schema."""
    with contextlib.closing(psycopg2.connect(postgres.url.replace('+psycopg2', ''))) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute('DROP DATABASE IF EXISTS other WITH (FORCE)')
        cursor.execute('CREATE DATABASE other')
        url = postgres.url.replace('/marconi?', '/other?')
        schema.upgrade(url)
        yield url
        cursor.execute('DROP DATABASE other WITH (FORCE)')


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that other users may enter, which pytest's own may not be."""
    with tempfile.TemporaryDirectory(prefix='marconi-test-') as path:
        os.chmod(path, 0o755)
        yield Path(path)
