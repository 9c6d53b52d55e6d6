"""Queues to work on, below the wire."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import psycopg2
import pytest

from marconi_api import model
from marconi_api.embedded import EmbeddedPostgres
from marconi_api.model import QueueKey

CLIENT = '3381af92-2b9e-11e3-b191-71861300734c'
OTHER_CLIENT = '30387f00-3972-11e3-8f6c-8b1a5c1d3f2e'


@pytest.fixture
def queue(app: Any) -> QueueKey:
    """A queue that exists, and is empty."""
    key = QueueKey.of('project', 'jobs')
    model.queues.create(key)
    return key


@pytest.fixture
def post(queue: QueueKey) -> Callable[..., list[str]]:
    """Posts messages whose bodies are numbered through; returns their ids."""
    numbers = count()

    def post_messages(
        how_many: int = 1, ttl: int = 300, to: QueueKey = queue, client: str = CLIENT
    ) -> list[str]:
        bodies = [str(next(numbers)) for _ in range(how_many)]
        return model.messages.post(to, client, [ttl] * how_many, bodies)

    return post_messages


@pytest.fixture
def claim(queue: QueueKey) -> Callable[..., Any]:
    """Claims messages, with room for all that a test posts."""

    def claim_messages(limit: int = 20, ttl: int = 60, grace: int = 60) -> Any:
        return model.claims.create(queue, ttl, grace, limit)

    return claim_messages


@pytest.fixture
def session(postgres: EmbeddedPostgres) -> Iterator[Callable[[], Any]]:
    """Opens further sessions, for what others do in transactions that take their time."""
    opened = []

    def open_session() -> Any:
        connection = psycopg2.connect(postgres.url.replace('+psycopg2', ''))
        opened.append(connection)
        return connection.cursor()

    yield open_session
    for connection in opened:
        connection.close()


def ids(messages: Any) -> list[str]:
    """The ids of a claim's or a page's messages."""
    return [message.id for message in getattr(messages, 'messages', messages)]
