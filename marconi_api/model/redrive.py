"""Redrive: ready messages are moved to another queue, as dead letters are moved back.

Each batch is one statement, and so one transaction: a message is in one queue or in the other,
never in both or in neither, whenever the work is broken off. What was moved is no longer in the
first queue, so to begin again is to go on.

As of a dead letter (dead_letters.py), a message that was moved arrives as a returned one, and
``moved_in`` stands for its id where the queue's floor is asked.
"""

from collections.abc import Callable
from typing import NamedTuple

from marconi_api.errors import InvalidRequest, QueueNotFound
from marconi_api.model.became_ready import ReadyListeners
from marconi_api.model.postgres.bodies import BODY_IS_THERE, NOBODY_WAITS
from marconi_api.model.postgres.database import Database
from marconi_api.model.postgres.dequeue import lock
from marconi_api.model.postgres.steering import body_of
from marconi_api.model.postgres.tables import (
    IS_ALIVE,
    IS_READY,
    POSITION_BITS,
    RETIRED,
    THE_NUMBERED_QUEUE,
    QueueKey,
)
from marconi_api.model.postgres.transitions import CLOCK, NOW, after
from marconi_api.model.replies import FOLLOW

#: Messages in a batch. Of the largest that a request can post, 256 KB, that many take 25 MB.
BATCH_SIZE = 100

# Below all ids.
_BEFORE_ALL = -1


class _Batch(NamedTuple):
    moved: int
    looked_at: int
    last: int | None
    is_source: bool
    is_target: bool


def redrive(
    database: Database,
    became_ready: ReadyListeners,
    source: QueueKey,
    target: QueueKey,
    batch_size: int = BATCH_SIZE,
    told: Callable[[int], None] | None = None,
) -> int:
    """Move the ready messages of a queue to another one; how many were moved.

    One walk over the queue in the order of posting. What others are claiming at that moment is
    passed over, and so is what arrives behind the walk. A message starts anew: with its whole
    ttl, and no claims counted.

    :param target: of the same project
    :param batch_size: messages that one transaction looks at, and at most moves
    :param told: called after each batch with the number of messages that it moved
    :raises QueueNotFound: if either queue is not there; what was moved before stays so
    """
    if source == target:
        raise InvalidRequest('Messages cannot be moved to the queue in which they are.')
    place: int | None = _BEFORE_ALL
    total = 0
    while place is not None:
        parameters = {
            **source.parameters,
            'target_id': target.id,
            'target_name': target.name,
            'after': place,
            'batch_size': batch_size,
        }
        batch = _Batch(*database.rows(_MOVE, parameters)[0])
        for queue, is_there in ((source, batch.is_source), (target, batch.is_target)):
            if not is_there:
                raise QueueNotFound(queue.name, queue.project)
        became_ready.tell(target, batch.moved)
        total += batch.moved
        if told:
            told(batch.moved)
        place = batch.last if batch.looked_at == batch_size else None
    return total


# A queue that was purged or made at this very moment may have a floor above this transaction:
# then the messages stay. Each gets an instant of its own: marks cannot start within many equal
# times (low_water_marks.py).
_MOVE = f"""
    WITH the_queue AS MATERIALIZED ({THE_NUMBERED_QUEUE}),
    target AS MATERIALIZED (
        SELECT floor FROM queues
         WHERE queue_id = %(target_id)s AND project = %(project)s AND name = %(target_name)s
           AND floor < {RETIRED}
           FOR KEY SHARE),
    looked_at AS MATERIALIZED (
        SELECT ctid AS place, id, {IS_ALIVE} AND {IS_READY} AS is_ready FROM message_states
         WHERE queue_id = %(queue_id)s AND id > %(after)s
         ORDER BY id LIMIT %(batch_size)s),
    locked AS MATERIALIZED ({lock('looked_at', 'is_ready', '%(batch_size)s')}),
    numbered AS MATERIALIZED (
        SELECT (pg_current_xact_id()::text::bigint + %(base)s) << {POSITION_BITS} AS moved_in,
               floor
          FROM target WHERE EXISTS (SELECT FROM locked)),
    move AS MATERIALIZED (
        SELECT moved_in FROM numbered WHERE moved_in >= floor),
    {CLOCK},
    gone AS (
        DELETE FROM message_states
         WHERE ctid = ANY (ARRAY(SELECT place FROM locked WHERE EXISTS (SELECT FROM move)))
     RETURNING id, client_id, ttl),{FOLLOW}
    gone_body AS (
        DELETE FROM messages
         WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM gone)){NOBODY_WAITS}),
    moved AS (
        INSERT INTO message_states
               (queue_id, id, held_until, expires_at, client_id, ttl, moved_in)
        SELECT %(target_id)s, id, {NOW} + row_number() OVER () * interval '1 microsecond',
               {after('ttl')}, client_id, ttl, moved_in
          FROM gone, move
     RETURNING id),
    moved_body AS (
        INSERT INTO messages (queue_id, id, created_at, body, traceparent)
        SELECT %(target_id)s, gone.id, created_at, body, traceparent FROM gone, {body_of('gone')}{BODY_IS_THERE})
    SELECT (SELECT count(*) FROM moved), count(*), max(id),
           EXISTS (SELECT FROM the_queue), EXISTS (SELECT FROM target)
      FROM looked_at
"""
