"""Dead letters: what was handed out too often is moved to another queue, or parked.

The claim that finds such a message puts it away, in its own statement, so nobody sees it in
both queues or in neither. It arrives as a *returned* message, never as a fresh one: fresh
messages are looked for by id, above marks that an old id would lie below. For the same reason
a floor would hide it, so ``moved_in`` stands for its id there.
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
from marconi_api.model.postgres.tables import IS_ALIVE, POSITION_BITS, RETIRED, QueueKey
from marconi_api.model.postgres.transitions import NOW, PARKED
from marconi_api.model.replies import FOLLOW

#: The condition for a returned message that may be handed out once more. (Fresh ones may.)
MAY_BE_CLAIMED = 'claim_count < %(max_claim_count)s'

# The first look of a claim goes to so many returned messages, and puts the dead letters of them
# away; the next claims go on. All looks of a claim search for what it hands out from another mark
# on, behind the dead letters.
_LOOK = 1000
_MOST = f'CASE WHEN %(is_first_look)s THEN {_LOOK} ELSE 0 END'

#: The place of the first returned message that is alive, a dead letter or not.
FIRST_ALIVE = first_place('alive_ones', 'is_alive', _LOOK)

#: How many messages the statement moved.
MOVED = '(SELECT count(*) FROM moved)'

#: How many it parked.
PARKED_ONES = '(SELECT count(*) FROM parked)'

#: How many of all that it took or put away had lapsed.
LAPSED = f'({HOW_MANY_LAPSED} + (SELECT count(*) FROM dead WHERE has_lapsed))'

_COLUMNS = (
    f'{PLACE}, {IS_ALIVE} AS is_alive, {IS_ALIVE} AND NOT {MAY_BE_CLAIMED} AS is_dead, {HAS_LAPSED}'
)

#: The part of a claim's statement that puts the others away: into the dead-letter queue, or
#: out of circulation where there is none. A queue that was purged or made at this very moment
#: may have a floor above this transaction: then they stay, for the next claim to find.
#: As for a post, the queue's row is locked. It needs ``CLOCK`` before it.
PUT_AWAY = f"""
    alive_ones AS MATERIALIZED (
        {look_at_returned('alive_mark', _LOOK, _COLUMNS)}),
    dead AS MATERIALIZED ({lock('alive_ones', 'is_dead', _MOST, ', has_lapsed')}),
    target AS MATERIALIZED (
        SELECT floor FROM queues
         WHERE queue_id = %(target_id)s AND project = %(project)s AND name = %(target_name)s
           AND floor < {RETIRED} AND EXISTS (SELECT FROM dead)
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
     RETURNING id, expires_at, client_id, ttl),{FOLLOW}
    gone_body AS (
        DELETE FROM messages
         WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM gone)){NOBODY_WAITS}),
    moved AS (
        INSERT INTO message_states
               (queue_id, id, held_until, expires_at, client_id, ttl, moved_in, came_from)
        SELECT %(target_id)s, id, {NOW},
               coalesce(now() + %(target_ttl)s * interval '1 second', expires_at),
               client_id, coalesce(%(target_ttl)s, ttl), moved_in, %(queue_id)s
          FROM gone, move
     RETURNING id),
    moved_body AS (
        INSERT INTO messages (queue_id, id, created_at, body, traceparent)
        SELECT %(target_id)s, gone.id, created_at, body, traceparent FROM gone, {body_of('gone')}{BODY_IS_THERE}),
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
    """The parameters of such a statement, for a queue whose attributes set a limit."""
    name = attributes.dead_letter_queue
    # A name that no queue has is as good as none.
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
