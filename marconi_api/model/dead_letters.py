"""Dead letters: messages that were claimed too often are moved to another queue, or parked.

A claim that finds a dead letter puts it away in its own statement, so nobody sees the message in both
queues or in neither. It arrives as a *returned* message, never as a fresh one. Claims look for fresh
messages by id, above a low-water mark, and the old id may lie below that. It may also lie below the
floor of the queue, which is therefore compared with ``moved_in``.
"""

from typing import Any

from marconi_api.model.attributes import Attributes
from marconi_api.model.postgres.bodies import BODY_IS_THERE, NOBODY_WAITS
from marconi_api.model.postgres.dequeue import (
    HAS_LAPSED,
    HOW_MANY_LAPSED,
    PLACE,
    first_place,
    lock,
    look_at_returned,
)
from marconi_api.model.postgres.steering import body_of
from marconi_api.model.postgres.tables import (
    IS_ALIVE,
    IS_NOT_FIFO,
    POSITION_BITS,
    RETIRED,
    QueueKey,
)
from marconi_api.model.postgres.transitions import NOW, PARKED
from marconi_api.model.replies import FOLLOW

#: The condition that a returned message may be claimed once more. (A fresh message always may.)
MAY_BE_CLAIMED = 'claim_count < %(max_claim_count)s'

# Returned messages that the first look of a claim checks for dead letters, which it puts away; the
# next claims go on behind them. The messages to hand out are searched from a mark of their own, which
# lies behind the dead letters.
_LOOK = 1000
_MOST = f'CASE WHEN %(is_first_look)s THEN {_LOOK} ELSE 0 END'

#: The place of the first returned message that is alive, a dead letter or not.
FIRST_ALIVE = first_place('alive_ones', 'is_alive', _LOOK)

#: How many messages the statement moved.
MOVED = '(SELECT count(*) FROM moved)'

#: How many it parked.
PARKED_ONES = '(SELECT count(*) FROM parked)'

#: How many of the messages that it took or put away had returned by a lapse.
LAPSED = f'({HOW_MANY_LAPSED} + (SELECT count(*) FROM dead WHERE has_lapsed))'

_COLUMNS = (
    f'{PLACE}, {IS_ALIVE} AS is_alive, {IS_ALIVE} AND NOT {MAY_BE_CLAIMED} AS is_dead, {HAS_LAPSED}'
)

#: The part of a claim's statement that puts dead letters away: it moves them to the dead-letter queue,
#: or parks them if there is no such queue. If that queue was purged or made at this moment, its floor
#: may be above this transaction. Then the dead letters stay, and the next claim finds them. The row of
#: the dead-letter queue is locked, as by a post. ``CLOCK`` must come before this part.
PUT_AWAY = f"""
    alive_ones AS MATERIALIZED (
        {look_at_returned('alive_mark', _LOOK, _COLUMNS)}),
    dead AS MATERIALIZED ({lock('alive_ones', 'is_dead', _MOST, ', has_lapsed')}),
    target AS MATERIALIZED (
        SELECT floor FROM queues
         WHERE queue_id = %(target_id)s AND project = %(project)s AND name = %(target_name)s
           AND floor < {RETIRED}{IS_NOT_FIFO} AND EXISTS (SELECT FROM dead)
           FOR KEY SHARE),
    numbered AS MATERIALIZED (
        SELECT (pg_current_xact_id()::text::bigint + %(base)s) << {POSITION_BITS} AS moved_in,
               floor
          FROM target),
    move AS MATERIALIZED (
        SELECT moved_in FROM numbered WHERE moved_in >= floor),
    gone AS (
        DELETE FROM message_states
         WHERE ctid = ANY (ARRAY(SELECT place FROM dead WHERE EXISTS (SELECT FROM move)))
     RETURNING id, expires_at, client_id, ttl, group_key, claim_count, claimed_before,
               first_received_at),{FOLLOW}
    gone_body AS (
        DELETE FROM messages
         WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM gone)){NOBODY_WAITS}),
    moved AS (
        INSERT INTO message_states
               (queue_id, id, held_until, expires_at, client_id, ttl, moved_in, came_from, group_key,
                first_received_at, claimed_before)
        SELECT %(target_id)s, id, {NOW},
               coalesce(now() + %(target_ttl)s * interval '1 second', expires_at),
               client_id, coalesce(%(target_ttl)s, ttl), moved_in, %(queue_id)s, group_key,
               first_received_at, coalesce(claimed_before, 0) + claim_count
          FROM gone, move
     RETURNING id),
    moved_body AS (
        INSERT INTO messages (queue_id, id, created_at, body, traceparent, message_attributes)
        SELECT %(target_id)s, gone.id, created_at, body, traceparent, message_attributes
          FROM gone, {body_of('gone')}{BODY_IS_THERE}),
    parked AS (
        UPDATE message_states
           SET {PARKED}, park_reason = %(park_reason)s
         WHERE ctid = ANY (ARRAY(SELECT place FROM dead WHERE NOT EXISTS (SELECT FROM target)))
     RETURNING id)"""


def target_of(queue: QueueKey, attributes: Attributes) -> QueueKey | None:
    """The queue to which dead letters go, if there is one of that name."""
    name = attributes.dead_letter_queue
    return QueueKey.of(queue.project, name) if name else None


def parameters(queue: QueueKey, attributes: Attributes) -> dict[str, Any]:
    """The parameters of a claim's statement, for a queue whose attributes limit claims."""
    name = attributes.dead_letter_queue
    # Without a dead-letter queue the key of the empty name is given, which no queue has.
    target = QueueKey.of(queue.project, name or '')
    return {
        'digest': attributes.digest,
        'max_claim_count': attributes.max_claim_count,
        'target_id': target.id,
        'target_name': target.name,
        'target_ttl': attributes.dead_letter_queue_messages_ttl,
        'park_reason': f'claimed {attributes.max_claim_count} times, and there is no queue '
        + (f'{name} for dead letters' if name else 'for dead letters'),
    }
