"""Queues brought to a length in no time, past the API: rows as posts would have left them."""

import json
from collections.abc import Sequence

from psycopg2.extensions import connection as Connection
from psycopg2.extras import execute_values

from benchmarks.operations import PROJECT
from marconi_api.model.postgres.tables import MOST_IN_A_POST, POSITION_BITS, QueueKey

_BATCH = f"""
    WITH base AS MATERIALIZED (
        SELECT (pg_current_xact_id()::text::bigint + base) << {POSITION_BITS} AS id
          FROM id_epoch),
    ids AS MATERIALIZED (
        SELECT id + place AS id FROM base, generate_series(0, %(count)s - 1) AS place),
    states AS (
        INSERT INTO message_states (queue_id, id, expires_at, client_id, ttl)
        SELECT %(queue)s, id, now() + interval '1 day', gen_random_uuid(), 86400 FROM ids)
    INSERT INTO messages (queue_id, id, created_at, body)
    SELECT %(queue)s, id, now(), %(body)s FROM ids"""

_WAITING = 'SELECT count(*) FROM message_states WHERE queue_id = %s AND held_until IS NULL'

TABLES = ('messages', 'message_states', 'claims')


def make_queues(connection: Connection, names: Sequence[str]) -> None:
    """Make queues that do not exist."""
    keys = [QueueKey.of(PROJECT, name) for name in names]
    with connection.cursor() as cursor:
        execute_values(
            cursor,
            'INSERT INTO queues (queue_id, project, name, floor) VALUES %s ON CONFLICT DO NOTHING',
            [(*key, 0) for key in keys],
        )


def settle(connection: Connection) -> None:
    """Have what was written on the disk, so that nothing goes on in the background."""
    with connection.cursor() as cursor:
        cursor.execute('CHECKPOINT')


def fill(connection: Connection, queue: str, waiting: int, message: object) -> None:
    """See that so many messages wait in a queue, which exists, or up to four times as many."""
    queue_id = QueueKey.of(PROJECT, queue).id
    with connection.cursor() as cursor:
        cursor.execute(_WAITING, [queue_id])
        [(there,)] = cursor.fetchall()
        if there > 4 * waiting:
            cursor.execute(f'TRUNCATE {", ".join(TABLES)}')
            there = 0
        while there < waiting:
            count = min(MOST_IN_A_POST, waiting - there)
            terms = {'queue': queue_id, 'count': count, 'body': json.dumps(message)}
            cursor.execute(_BATCH, terms)
            there += count
        # Every measurement starts alike. No checkpoint: after one, PostgreSQL writes each page
        # whole that it touches first, which is what a claim would then wait for.
        cursor.execute(f'VACUUM ANALYZE {", ".join(TABLES)}')


def fill_many(connection: Connection, queues: int, messages: int, deep: int) -> list[str]:
    """Messages of queues in turn, as if these had been posted to at once; of no other queues.

    :param deep: so many queues hold half of the messages, the others the other half
    :returns: the names of these queues
    """
    with connection.cursor() as cursor:
        cursor.execute(f'TRUNCATE {", ".join(TABLES)}, queues')
        make_queues(connection, [f'many-{number}' for number in range(queues)])
        terms = {'deep': deep, 'half': messages // 2, 'queues': queues, 'project': PROJECT}
        cursor.execute(_FILL_MANY, terms)
        cursor.execute(f'VACUUM ANALYZE {", ".join(TABLES)}, queues')
        cursor.execute(_DEEPEST, {'deep': deep})
        return [name for (name,) in cursor.fetchall()]


_DEEPEST = """
    SELECT name FROM message_states JOIN queues USING (queue_id)
     GROUP BY name ORDER BY count(*) DESC LIMIT %(deep)s
"""


_FILL_MANY = """
    WITH numbered AS MATERIALIZED (
        SELECT queue_id, row_number() OVER () AS number FROM queues
         WHERE project = %(project)s),
    placed AS MATERIALIZED (
        SELECT queue_id, row_number() OVER (ORDER BY random()) + (1::bigint << 30) AS id
          FROM numbered, generate_series(1, CASE WHEN number <= %(deep)s THEN %(half)s / %(deep)s
                                                 ELSE %(half)s / (%(queues)s - %(deep)s) END)),
    states AS (
        INSERT INTO message_states (queue_id, id, expires_at, client_id, ttl)
        SELECT queue_id, id, now() + interval '1 day', gen_random_uuid(), 86400
          FROM placed ORDER BY id)
    INSERT INTO messages (queue_id, id, created_at, body)
    SELECT queue_id, id, now(), '"x"' FROM placed ORDER BY id"""
