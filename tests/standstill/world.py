"""A tenant with as much as it may have: many queues, large ones, and large messages, made by SQL."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import uuid4

from psycopg2.extras import execute_values

from benchmarks.service import connect
from marconi_api.limits import MOST_LEVELS
from marconi_api.model import QueueKey
from marconi_api.model.attributes import DEFAULTS
from marconi_api.model.postgres.tables import FIFO

#: The tenant who asks for a lot, and the poster of all that lies in its queues.
PROJECT = 'heavy'
CLIENT_ID = '3381af92-2b9e-11e3-b191-71861300734c'

#: Bytes of a large message, and of large metadata: what fits into one request.
LARGE_BODY = 262_000
LARGE_METADATA = 65_000

_PAST = "now() - interval '1 day' + place * interval '1 ms'"
_LATER = "now() + interval '5 days'"


class Fill(NamedTuple):
    """What the messages of a queue are like; times as SQL, in which ``place`` numbers them."""

    held_until: str = 'NULL::timestamptz'
    expires_at: str = _LATER
    claim_count: int = 0
    #: Whether each has as large a body as can be; there are then a few hundred at most.
    is_large: bool = False
    metadata: Mapping[str, Any] = {}
    #: In how many groups they are, which is as many groups of a FIFO queue.
    groups: int = 0
    #: Attributes that SQS clients sent with each.
    attributes: str | None = None


def _attributes() -> str:
    value = {'DataType': 'String', 'StringValue': 'x'}
    return json.dumps({'attributes': {f'{number}-{"x" * 250}': value for number in range(10)}})


_OFTEN_CLAIMED = {'_max_claim_count': 3, '_dead_letter_queue': 'dlq'}

#: The large queues, by name.
QUEUES: dict[str, Fill] = {
    'fresh': Fill(),
    'returned': Fill(held_until=_PAST),
    'lapsed': Fill(held_until=_PAST, expires_at="now() - interval '1 s'"),
    'dead': Fill(held_until=_PAST, claim_count=7, metadata=_OFTEN_CLAIMED),
    'parked': Fill(held_until="'infinity'", expires_at="'infinity'"),
    'large': Fill(is_large=True),
    'attributed': Fill(attributes=_attributes()),
    'grouped.fifo': Fill(groups=1000, metadata={'_fifo': True}),
    'one-group.fifo': Fill(groups=1, metadata={'_fifo': True}),
    'expired.fifo': Fill(
        expires_at="now() - interval '1 s'", groups=1000, metadata={'_fifo': True}
    ),
}

#: The queue to which many others have their dead letters go, by a redrive policy of SQS.
GATHERED = 'gathered'
_MOST_SOURCES = 1000

_MOST_LARGE = 400

#: The queue with webhooks; the ids of the subscriptions count from 1.
SUBSCRIBED = 'subscribed'

#: Queues whose metadata is as large as can be, first by name, as many as a page has.
WIDE = [f'0-wide-{number:02}' for number in range(20)]
#: Queues that pass their dead letters on to one another, with metadata as large.
CHAIN = [f'0-chain-{number}' for number in range(10)]


def large_metadata(**attributes: Any) -> str:
    """Metadata of many members, one of which is nested as deep as can be."""
    nested = '[' * (MOST_LEVELS - 1) + ']' * (MOST_LEVELS - 1)
    members = [json.dumps(attributes)[1:-1]] if attributes else []
    members += [f'"deep": {nested}', *(f'"m{number}": {number}' for number in range(3500))]
    text = f'{{{", ".join(members)}}}'
    assert set(attributes) <= set(DEFAULTS)
    assert len(text) <= LARGE_METADATA
    return text


class World:
    """The tables behind a service.

    :param queues: how many small queues there are
    :param messages: how many messages there are in each large queue
    """

    def __init__(self, url: str, queues: int, messages: int) -> None:
        self._connection = connect(url)
        self._queues = queues
        self._messages = messages

    def make(self) -> None:
        """Fill the tables."""
        for number, name in enumerate(WIDE):
            self._make_queue(name, large_metadata(_default_message_ttl=60 + number))
        for name, following in zip(CHAIN, [*CHAIN[1:], 'dlq'], strict=True):
            self._make_queue(name, large_metadata(_dead_letter_queue=following))
        self._make_queue('dlq')
        self._make_small_queues()
        for name, fill in QUEUES.items():
            self._make_queue(name, json.dumps(fill.metadata))
            self._fill(name, fill)
        self._make_gathered()
        self._make_subscribed()
        self._ask_for_replies()
        self._run('VACUUM ANALYZE')

    def _ask_for_replies(self) -> None:
        """Have each message of a large queue ask for a reply."""
        self._run(
            """
            INSERT INTO requests (message_id, queue_id, lies_in, project, kept_until)
            SELECT id, queue_id, queue_id, %s, now() + interval '1 day' FROM message_states
             WHERE queue_id = %s""",
            PROJECT,
            QueueKey.of(PROJECT, 'large').id,
        )

    def _make_gathered(self) -> None:
        self._make_queue(GATHERED)
        self._fill(GATHERED, Fill())
        # That it is a redrive policy is all that counts.
        metadata = {'_dead_letter_queue': GATHERED, '_max_claim_count': 5}
        for number in range(min(self._queues, _MOST_SOURCES)):
            policy = {**metadata, '_sqs': {'RedrivePolicy': ''}}
            self._make_queue(f'source-{number:04}', json.dumps(policy))

    def _make_subscribed(self) -> None:
        """Make a queue with as many webhooks as there can be, some with much to be delivered."""
        key = QueueKey.of(PROJECT, SUBSCRIBED)
        self._make_queue(SUBSCRIBED)
        self._run('UPDATE queues SET has_subscribers = true WHERE queue_id = %s', key.id)
        self._run(
            """
            INSERT INTO subscriptions
                   (queue_id, id, subscriber, created_at, ttl, expires_at, options, confirmed)
            SELECT %s, place, 'http://hooks.example.com/' || place, now(), 86400, now() + interval '1 day',
                   %s, true
              FROM generate_series(1, 99) AS place""",
            key.id,
            json.dumps({'post_data': 'x' * LARGE_METADATA}),
        )
        self._run(
            """
            INSERT INTO deliveries (queue_id, subscription_id, message_id, expires_at, due_at)
            SELECT %s, subscription, place, now() + interval '1 day', 'infinity'
              FROM generate_series(1, 20) AS subscription, generate_series(1, %s) AS place""",
            key.id,
            min(self._messages, 10_000),
        )

    def fill_another(self, like: str) -> str:
        """Make one more queue that is filled as one of QUEUES is; its name."""
        name = f'{like}-{uuid4()}'
        self._make_queue(name, json.dumps(QUEUES[like].metadata))
        self._fill(name, QUEUES[like])
        self._run('ANALYZE')
        return name

    def _fill(self, name: str, fill: Fill) -> None:
        key = QueueKey.of(PROJECT, name)
        count = min(self._messages, _MOST_LARGE) if fill.is_large else self._messages
        # Random hexadecimal digits, which PostgreSQL can make half as small.
        body = (
            f"""(SELECT '"' || string_agg(md5(place::text || part), '') || '"'
                   FROM generate_series(1, {LARGE_BODY // 32}) AS part)"""
            if fill.is_large
            else "'1'"
        )
        self._run(
            f"""
            INSERT INTO message_states
                   (queue_id, id, held_until, expires_at, client_id, ttl, claim_count, group_key,
                    sequence)
            SELECT %s, place, {fill.held_until}, {fill.expires_at}, %s::uuid, 86400, %s,
                   'group-' || place %% nullif(%s, 0), CASE WHEN %s > 0 THEN place END
              FROM generate_series(1, {count}) AS place""",
            key.id,
            CLIENT_ID,
            fill.claim_count,
            fill.groups,
            fill.groups,
        )
        self._run(
            f"""
            INSERT INTO messages (queue_id, id, created_at, body, message_attributes)
            SELECT %s, place, now() - interval '1 hour', {body}, %s
              FROM generate_series(1, {count}) AS place""",
            key.id,
            fill.attributes,
        )
        if fill.groups:
            self._make_groups(key.id, fill.groups, count)

    def _make_groups(self, queue_id: int, groups: int, messages: int) -> None:
        self._run('UPDATE queues SET grouping = %s WHERE queue_id = %s', FIFO, queue_id)
        self._run(
            """
            INSERT INTO message_groups
                   (queue_id, group_key, first_sequence, last_sequence, available_at)
            SELECT %s, 'group-' || place, 0, %s, now() FROM generate_series(0, %s - 1) AS place""",
            queue_id,
            messages,
            groups,
        )

    def close(self) -> None:
        """End the session."""
        self._connection.close()

    def _make_small_queues(self) -> None:
        keys = (QueueKey.of(PROJECT, f'small-{number:06}') for number in range(self._queues))
        with self._connection.cursor() as cursor:
            statement = 'INSERT INTO queues (queue_id, project, name, floor) VALUES %s'
            execute_values(cursor, statement, [(*key, 0) for key in keys], page_size=1000)

    def _make_queue(self, name: str, metadata: str = '{}') -> None:
        self._run(
            'INSERT INTO queues (queue_id, project, name, metadata, floor)'
            ' VALUES (%s, %s, %s, %s, 0)',
            *QueueKey.of(PROJECT, name),
            metadata,
        )

    def _run(self, statement: str, *parameters: Any) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, parameters)
