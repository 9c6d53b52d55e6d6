"""Queues to work on, below the wire."""

import contextlib
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import psycopg2
import pytest
from psycopg2.errors import DeadlockDetected

from marconi_api import model
from marconi_api.model import NewMessage, QueueKey
from marconi_api.model.postgres.tables import public_id
from marconi_api.processes.embedded.cluster import EmbeddedPostgres
from tests.conftest import TRUNCATE_ALL

CLIENT = '3381af92-2b9e-11e3-b191-71861300734c'
OTHER_CLIENT = '30387f00-3972-11e3-8f6c-8b1a5c1d3f2e'


@pytest.fixture
def empty_tables(sql: Any) -> None:
    """Tables without pages: plans and what is read depend on what was in them before."""
    # The last statement of the test before may still run, and hold what this waits for.
    for _ in range(3):
        with contextlib.suppress(DeadlockDetected):
            sql(TRUNCATE_ALL)
            return
    sql(TRUNCATE_ALL)


@pytest.fixture
def deadlocks(postgres: EmbeddedPostgres) -> Callable[[], int]:
    """Counts the deadlocks so far, by the server's log: its statistics tell of them late."""
    return lambda: postgres.log.read_bytes().count(b'deadlock detected')


@pytest.fixture
def queue(app: Any) -> QueueKey:
    """A queue that exists, and is empty."""
    key = QueueKey.of('project', 'jobs')
    model.store.queues.create(key)
    return key


@pytest.fixture
def post(queue: QueueKey) -> Callable[..., list[str]]:
    """Posts messages whose bodies are numbered through; returns their ids."""
    numbers = count()

    def post_messages(
        how_many: int = 1, ttl: int = 300, to: QueueKey = queue, client: str = CLIENT
    ) -> list[str]:
        messages = [NewMessage(str(next(numbers)), ttl, 0) for _ in range(how_many)]
        return model.store.messages.post(to, client, messages)

    return post_messages


@pytest.fixture
def claim(queue: QueueKey) -> Callable[..., Any]:
    """Claims messages, with room for all that a test posts."""

    def claim_messages(limit: int = 20, ttl: int = 60, grace: int = 60) -> Any:
        return model.store.claims.create(queue, ttl, grace, limit)

    return claim_messages


@pytest.fixture
def fill(queue: QueueKey, sql: Any) -> Callable[..., list[str]]:
    """Puts thousands of messages behind those there are, each state as SQL; returns their ids.

    ``g`` counts them from 1 in the expressions.
    """

    def fill_queue(
        how_many: int,
        held_until: str = 'NULL',
        expires_at: str = "now() + interval '1 day'",
        client: str = CLIENT,
        claim_count: int = 0,
    ) -> list[str]:
        # Ids that were given out: from that of a transaction of now on, and some are used up.
        [(transaction,)] = sql('SELECT pg_current_xact_id()::text::bigint')
        first = (transaction + model.store.database.base) << 14
        for _ in range(how_many // 2**14 + 2):
            sql('SELECT pg_current_xact_id()')
        sql(
            f"""
            INSERT INTO message_states
                   (queue_id, id, held_until, expires_at, client_id, ttl, claim_count)
            SELECT {queue.id}, {first} + g, {held_until}, {expires_at}, '{client}', 86400,
                   {claim_count}
              FROM generate_series(1, {how_many}) AS g;
            INSERT INTO messages (queue_id, id, created_at, body)
            SELECT {queue.id}, {first} + g, now(), '0' FROM generate_series(1, {how_many}) AS g"""
        )
        return [public_id(first + g) for g in range(1, how_many + 1)]

    return fill_queue


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


def new_messages(how_many: int = 1, ttl: int = 300) -> list[NewMessage]:
    """Messages to post, without a delay."""
    return [NewMessage('1', ttl, 0)] * how_many


def ids(messages: Any) -> list[str]:
    """The ids of a claim's or a page's messages."""
    return [message.id for message in getattr(messages, 'messages', messages)]


@pytest.fixture
def make(app: Any) -> Callable[..., list[QueueKey]]:
    """Makes queues of the project."""

    def make_queues(*names: str) -> list[QueueKey]:
        keys = [QueueKey.of('project', name) for name in names]
        for key in keys:
            model.store.queues.create(key)
        return keys

    return make_queues
