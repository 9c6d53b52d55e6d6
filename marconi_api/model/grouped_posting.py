"""Posts of messages with groups: the statements, one for FIFO queues and one for other queues.

In a FIFO queue a message whose deduplication id was posted within five minutes is not stored. The rows
of these ids are among those of idempotency keys, and so they outlive the message. They are written by
an upsert, which waits for another post that is writing the same row; so of twenty posts at once one
stores the message, and all report its id.
"""

from itertools import product

from marconi_api.model.fan_out import DELIVER, PLACES, REPORT, TOO_MANY
from marconi_api.model.groups import DEDUPLICATION_WINDOW, joined
from marconi_api.model.idempotency import IS_FORGOTTEN, MESSAGE
from marconi_api.model.postgres.prepared import Prepared
from marconi_api.model.postgres.tables import (
    AS_KNOWN,
    FAIR,
    FIFO,
    IS_THE_QUEUE,
    NO_GROUPS,
    THE_NUMBERING_QUEUE,
)
from marconi_api.model.postgres.transitions import CLOCK, due_after
from marconi_api.model.posting import FIRST_ID
from marconi_api.model.replies import NOTE_REQUESTS


def _renewed(column: str) -> str:
    return f'{column} = CASE WHEN {IS_FORGOTTEN} THEN excluded.{column} ELSE known.{column} END'


# The sequences are given out before it is known which messages are duplicates, as no row can be written
# twice by one statement. So there are gaps between sequences. Of two messages in one post with the same
# deduplication id the first one is stored.
_NUMBERED = f"""{joined('given', '%(queue_id)s::bigint', 'first_id', '(SELECT floor FROM the_queue)')},
    remembered AS (
        INSERT INTO idempotency_keys AS known
               (queue_id, operation, key, digest, first_id, sequence, expires_at)
        SELECT DISTINCT ON (key)
               %(queue_id)s::bigint, {MESSAGE}, key, key, id, sequence,
               now() + interval '{DEDUPLICATION_WINDOW} seconds'
          FROM arrived ORDER BY key, place
            ON CONFLICT (queue_id, operation, key) DO UPDATE
           SET {_renewed('first_id')},
               {_renewed('sequence')},
               {_renewed('expires_at')}
     RETURNING key, first_id, sequence),
    judged AS MATERIALIZED (
        SELECT arrived.*, remembered.first_id AS stored_id, remembered.sequence AS stored_sequence
          FROM arrived JOIN remembered USING (key)),
    posted AS MATERIALIZED (SELECT * FROM judged WHERE id = stored_id),"""

# The id takes the place of a sequence, for the index of groups.
_NOT_NUMBERED = """
    posted AS MATERIALIZED (
        SELECT *, id AS sequence, id AS stored_id, NULL::bigint AS stored_sequence FROM given),"""


def _statement(is_fifo: bool, has_subscribers: bool, asks: bool) -> str:
    the_queue = f"""{THE_NUMBERING_QUEUE}{AS_KNOWN}
       AND grouping = {FIFO if is_fifo else FAIR}
       AND {'' if has_subscribers else 'NOT '}has_subscribers"""
    columns = 'group_key, message_attributes'
    arrays = '%(groups)s::text[], %(attributes)s::text[]'
    deduplication_id = 'NULL::text'
    if is_fifo:
        columns += ', deduplication_id, key'
        arrays += ', %(deduplication_ids)s::text[], %(keys)s::text[]::uuid[]'
        deduplication_id = 'deduplication_id'
    if asks:
        columns, arrays = f'{columns}, asks', f'{arrays}, %(asking)s::int[]'
    first, of_place, places, of_copies = 'transaction', '%(queue_id)s, id', '', '{}'
    if has_subscribers:
        # Copies have no group.
        first, of_place, places = 'begun', 'queue_id, id + ids_before', ', places'
        of_copies = 'CASE ids_before WHEN 0 THEN {} END'
    judged = 'judged' if is_fifo else 'posted'
    reported, too_many = 'stored_id, stored_sequence, id <> stored_id', ''
    if has_subscribers:
        reported, too_many = f'{reported}, {REPORT}', TOO_MANY.format(nothing='NULL, NULL, ')
    return f"""
    WITH the_queue AS MATERIALIZED ({the_queue} FOR KEY SHARE),
    numbered AS MATERIALIZED (
        SELECT {FIRST_ID} AS first_id, floor FROM the_queue),
    {first} AS MATERIALIZED (
        SELECT first_id FROM numbered WHERE first_id >= floor),{PLACES if has_subscribers else ''}
    {CLOCK},
    given AS MATERIALIZED (
        SELECT first_id + place - 1 AS id, first_id, place, ttl, body,
               {due_after('delay')} AS held_until, {columns}
          FROM transaction,
               unnest(%(ttls)s::int[], %(bodies)s::text[], %(delays)s::int[], {arrays})
                   WITH ORDINALITY AS given (ttl, body, delay, {columns}, place)),{_NUMBERED if is_fifo else _NOT_NUMBERED}{NOTE_REQUESTS if asks else ''}
    state AS (
        INSERT INTO message_states
               (queue_id, id, held_until, expires_at, client_id, ttl, group_key, sequence)
        SELECT {of_place}, held_until, now() + ttl * interval '1 second', %(client_id)s::uuid, ttl,
               {of_copies.format('group_key')}, {of_copies.format('sequence')}
          FROM posted{places}),
    message AS (
        INSERT INTO messages
               (queue_id, id, created_at, body, traceparent, deduplication_id, message_attributes)
        SELECT {of_place}, now(), body, %(traceparent)s::text, {of_copies.format(deduplication_id)},
               message_attributes
          FROM posted{places}){DELIVER if has_subscribers else ''}
    SELECT * FROM (SELECT {reported} FROM {judged} ORDER BY place) AS reply{too_many}
    """


#: By whether the queue is FIFO, whether it has subscribers, and whether a message asks for a reply. A
#: row for each message: the id, the sequence and whether it is a duplicate.
POSTS_TO_GROUPS = {
    (is_fifo, has_subscribers, asks): Prepared(
        _statement(is_fifo, has_subscribers, asks),
        f'post_{"fifo" if is_fifo else "fair"}'
        + ('_requests' if asks else '')
        + ('_to_subscribers' if has_subscribers else ''),
    )
    for is_fifo, has_subscribers, asks in product((False, True), repeat=3)
}

#: Notes that the messages of a queue have groups from now on.
NOTE_GROUPS = f"""
    UPDATE queues SET grouping = {FAIR} WHERE {IS_THE_QUEUE} AND grouping = {NO_GROUPS}
"""
