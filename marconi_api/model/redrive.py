"""How messages are moved back: one batch of a redrive (redrives.py), and what there is to move.

Dead letters go back to the queues that they came from (``came_from``) or to a queue that is named;
parked messages go back to the queue in which they are, or to a queue that is named. A batch is one
statement: a message is in one queue or in the other, never in both or in neither.

A message that was moved arrives as a returned one, as a dead letter does (dead_letters.py). The
queue's floor is compared with its ``moved_in`` instead of its id.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from marconi_api.model.groups import joined, woken
from marconi_api.model.postgres.bodies import BODY_IS_THERE, NOBODY_WAITS
from marconi_api.model.postgres.database import Run
from marconi_api.model.postgres.dequeue import lock
from marconi_api.model.postgres.steering import body_of
from marconi_api.model.postgres.tables import (
    FIFO,
    IS_ALIVE,
    IS_PARKED,
    IS_READY,
    IS_THE_QUEUE,
    POSITION_BITS,
    RETIRED,
    THE_NUMBERED_QUEUE,
    THE_QUEUE,
)
from marconi_api.model.postgres.transitions import CLOCK, NOW, STARTED_ANEW, after

#: The states of messages that can be moved.
READY, PARKED = 'ready', 'parked'

#: Messages in a batch. Of the largest that a request can post, 256 KB, that many take 25 MB.
BATCH_SIZE = 100

#: Messages that a batch looks at, to find those that it is to move.
LOOK = 1000

#: Below all ids.
BEFORE_ALL = -1


class Batch(NamedTuple):
    """What a batch found and did."""

    looked_at: int
    #: The id up to which no message need be looked at again; None if no message was looked at.
    place: int | None
    is_source: bool
    is_target: bool
    #: Whether a target was purged or made at this moment, so that nothing can be moved there yet.
    is_blocked: bool
    #: Messages that have no queue to go to.
    without_target: int
    #: The names of queues, and how many messages were moved to each.
    targets: list[str]
    counts: list[int]

    @property
    def moved(self) -> int:
        """How many messages were moved."""
        return sum(self.counts)


class Slice(NamedTuple):
    """How many messages of a part of a queue would go to one target; a row of :data:`COUNT`."""

    #: The target's name; None: these messages have no queue to go to, or are not wanted.
    target: str | None
    messages: int
    looked_at: int
    last: int


def move_batch(run: Run, state: str, is_in_place: bool, parameters: Mapping[str, Any]) -> Batch:
    """Move one batch: up to ``batch_size`` messages with ids above ``after``.

    :param run: runs the statement in the transaction that also counts the batch
    :param state: the state of the messages to move: ready or parked
    :param is_in_place: whether parked messages stay in their queue, and become ready
    """
    statement = _KICK if is_in_place else _MOVE_PARKED if state == PARKED else _MOVE_READY
    return Batch(*run(statement, parameters)[0])


# The condition for the messages that a redrive moves, of those that were there when it began. The age
# is looked up message by message: with an EXISTS the planner would read the whole queue.
_IS_WANTED = f"""{IS_ALIVE} AND coalesce(moved_in, id) < %(before)s
               AND (%(reason)s::text IS NULL OR strpos(park_reason, %(reason)s::text) > 0)
               AND (%(min_age)s::int IS NULL AND %(max_age)s::int IS NULL
                    OR date_part('epoch', coalesce(%(started_at)s::timestamptz, now()) - (
                           SELECT created_at FROM messages AS posted
                            WHERE posted.queue_id = %(queue_id)s AND posted.id = state.id LIMIT 1))
                       BETWEEN coalesce(%(min_age)s::int, 0)
                           AND coalesce(%(max_age)s::int, 2147483647))"""

# The messages behind a place, in the order of ids, by the index that holds only messages of this state.
_PART = {
    READY: """WHERE queue_id = %(queue_id)s AND id > %(after)s
         ORDER BY id""",
    PARKED: """WHERE queue_id = %(queue_id)s AND held_until = 'infinity' AND id > %(after)s
         ORDER BY held_until, id""",
}
_IS_STILL = {READY: IS_READY, PARKED: IS_PARKED}


def _look(state: str, count: str) -> str:
    """A part of the queue, with the queue to which each message would go."""
    return f"""
        SELECT ctid AS place, id, coalesce(%(target_id)s::bigint, came_from) AS target_id,
               {_IS_STILL[state]} AND {_IS_WANTED} AS is_wanted
          FROM message_states AS state
         {_PART[state]} LIMIT {count}"""


# The queues to which what was looked at may go.
_TARGETS = f"""
        SELECT queue_id AS target_id, name, floor, grouping = {FIFO} AS is_fifo FROM queues
         WHERE queue_id = ANY (ARRAY(
               SELECT %(target_id)s::bigint
                UNION
               SELECT target_id FROM looked_at WHERE is_wanted))
           AND project = %(project)s AND floor < {RETIRED}
           AND (grouping = {FIFO}) = (SELECT grouping = {FIFO} FROM queues WHERE {IS_THE_QUEUE})
           AND name = coalesce(%(target_name)s, name) AND name <> %(name)s
           AND (%(origins)s::text IS NULL
                OR CASE WHEN right(%(origins)s, 1) = '*'
                        THEN starts_with(name, left(%(origins)s, -1))
                        ELSE name = %(origins)s END)"""

# How far the batch has come: a full batch has come to the last message that it took.
_REACHED = """
        SELECT CASE WHEN (SELECT count(*) FROM locked) < %(batch_size)s
                    THEN (SELECT max(id) FROM looked_at)
                    ELSE (SELECT max(id) FROM locked) END AS reached"""


_FLOOR_OF_TARGET = '(SELECT floor FROM targets WHERE target_id = excluded.queue_id)'


# Each message gets an instant of its own: marks cannot start within many equal times
# (low_water_marks.py). Where a target's floor is above this transaction, the batch moves nothing
# there, and is tried again.
def _move(state: str) -> str:
    return f"""
    WITH the_queue AS MATERIALIZED ({THE_NUMBERED_QUEUE}),
    looked_at AS MATERIALIZED ({_look(state, '%(look)s')}),
    targets AS MATERIALIZED ({_TARGETS}
           FOR KEY SHARE),
    numbered AS MATERIALIZED (
        SELECT (pg_current_xact_id()::text::bigint + %(base)s) << {POSITION_BITS} AS moved_in),
    blocked AS MATERIALIZED (
        SELECT FROM targets, numbered WHERE moved_in < floor),
    wanted AS MATERIALIZED (
        SELECT place, id, target_id FROM looked_at JOIN targets USING (target_id)
         WHERE is_wanted AND NOT EXISTS (SELECT FROM blocked)
         ORDER BY id),
    locked AS MATERIALIZED (
        {lock('wanted', 'true', '%(batch_size)s', ', id, target_id', _IS_STILL[state])}),
    {CLOCK},
    gone AS (
        DELETE FROM message_states WHERE ctid = ANY (ARRAY(SELECT place FROM locked))
     RETURNING id, client_id, ttl, group_key, sequence AS place),
    followed AS (
        UPDATE requests SET lies_in = locked.target_id
          FROM locked
         WHERE message_id = ANY (ARRAY(SELECT id FROM gone)) AND lies_in = %(queue_id)s
           AND message_id = locked.id),
    gone_body AS (
        DELETE FROM messages
         WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM gone)){NOBODY_WAITS}),
    leaving AS MATERIALIZED (
        SELECT gone.*, target_id, is_fifo, moved_in
          FROM gone JOIN locked USING (id) JOIN targets USING (target_id), numbered),
    grouped AS MATERIALIZED (
        SELECT id, group_key, place, target_id, moved_in FROM leaving
         WHERE is_fifo AND group_key IS NOT NULL),{joined('grouped', 'target_id', 'moved_in', _FLOOR_OF_TARGET)},
    moved AS (
        INSERT INTO message_states
               (queue_id, id, held_until, expires_at, client_id, ttl, moved_in, group_key, sequence)
        SELECT leaving.target_id, id,
               {NOW} + row_number() OVER (ORDER BY id) * interval '1 microsecond',
               {after('ttl')}, client_id, ttl, leaving.moved_in, leaving.group_key, sequence
          FROM leaving LEFT JOIN arrived USING (id)
     RETURNING queue_id AS target_id),
    moved_body AS (
        INSERT INTO messages
               (queue_id, id, created_at, body, traceparent, deduplication_id, message_attributes)
        SELECT target_id, gone.id, created_at, body, traceparent, deduplication_id,
               message_attributes
          FROM gone JOIN locked USING (id), {body_of('gone')}{BODY_IS_THERE}),
    progress AS MATERIALIZED ({_REACHED}),
    by_target AS MATERIALIZED (
        SELECT name, count(*) AS messages FROM moved JOIN targets USING (target_id) GROUP BY name)
    SELECT (SELECT count(*) FROM looked_at), reached,
           EXISTS (SELECT FROM the_queue), EXISTS (SELECT FROM targets),
           EXISTS (SELECT FROM blocked),
           (SELECT count(*) FROM looked_at LEFT JOIN targets USING (target_id)
             WHERE is_wanted AND floor IS NULL AND id <= reached),
           ARRAY(SELECT name FROM by_target ORDER BY name),
           ARRAY(SELECT messages FROM by_target ORDER BY name)
      FROM progress
"""


_MOVE_READY = _move(READY)
_MOVE_PARKED = _move(PARKED)

# Parked messages that stay where they are.
_KICK = f"""
    WITH the_queue AS MATERIALIZED ({THE_QUEUE}),
    looked_at AS MATERIALIZED ({_look(PARKED, '%(look)s')}),
    locked AS MATERIALIZED (
        {lock('looked_at', 'is_wanted', '%(batch_size)s', ', id', IS_PARKED)}),
    {CLOCK},
    places AS MATERIALIZED (
        SELECT place, {NOW} + row_number() OVER (ORDER BY id) * interval '1 microsecond' AS until
          FROM locked),
    kicked AS (
        UPDATE message_states AS state
           SET {STARTED_ANEW}
          FROM places WHERE state.ctid = places.place
     RETURNING state.id, group_key),{woken('kicked', kicked='true')},
    progress AS MATERIALIZED ({_REACHED})
    SELECT (SELECT count(*) FROM looked_at), reached,
           EXISTS (SELECT FROM the_queue), true, false, 0,
           ARRAY[%(name)s], ARRAY[(SELECT count(*) FROM kicked)]
      FROM progress
"""


def _count(state: str) -> str:
    return f"""
    WITH the_queue AS MATERIALIZED ({THE_QUEUE}),
    looked_at AS MATERIALIZED ({_look(state, '%(slice)s')}),
    targets AS MATERIALIZED ({_TARGETS})
    SELECT name, count(*) FILTER (WHERE is_wanted),
           sum(count(*)) OVER ()::bigint, max(max(id)) OVER ()
      FROM looked_at LEFT JOIN targets USING (target_id)
     GROUP BY name
"""


#: By the state: how many messages of a part of the queue would go to each target (:class:`Slice`).
COUNT: Mapping[str, str] = {READY: _count(READY), PARKED: _count(PARKED)}
