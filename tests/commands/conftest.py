"""Commands as their user types them: the real program, in a process of its own."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from marconi_api import model
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
        return subprocess.run(
            [*COMMAND, *arguments],
            env=environment(**{'MARCONI_DATABASE_URL': postgres.url} | changes),
            input=stdin,
            capture_output=True,
            text=True,
        )

    return run


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


@pytest.fixture(scope='session')
def service_url(postgres: EmbeddedPostgres, wsgi_app: Any) -> Iterator[str]:
    """A running service on the same database."""
    with services() as start:
        service = start(MARCONI_DATABASE_URL=postgres.url).wait_until_ready()
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
