"""Deletes: the statements that delete messages: one, several, or all that no claim holds."""

from collections.abc import Callable

from marconi_api.model.fan_out import (
    NOBODY,
)
from marconi_api.model.groups import woken
from marconi_api.model.postgres.bodies import NOBODY_WAITS
from marconi_api.model.postgres.dequeue import FOUND, find, report
from marconi_api.model.postgres.prepared import Prepared
from marconi_api.model.postgres.steering import body_of
from marconi_api.model.postgres.tables import (
    AGE_OF,
    IS_ALIVE,
    IS_CLAIMED,
    IS_NOT_FIFO,
    IS_THE_QUEUE,
    MAY_NUMBER,
    NEXT_TRANSACTION,
    THE_NUMBERED_QUEUE,
    THE_QUEUE,
)
from marconi_api.model.postgres.transitions import CLOCK


# The parts of a statement that look for deliveries and groups cost PostgreSQL time even where they do
# not run. So there are two statements. The one without these parts finds no queue if the queue has
# subscribers or is FIFO.
def _deletes(statement: Callable[[str, str, str], str], name: str) -> dict[bool, Prepared]:
    """The two statements of a delete, by whether the queue has subscribers or is FIFO.

    :param statement: makes one from the SQL that finds the queue, from a further condition for the
        bodies that are deleted, and from further parts
    """
    return {
        False: Prepared(statement(THE_QUEUE + NOBODY, '', ''), name),
        True: Prepared(statement(THE_QUEUE, NOBODY_WAITS, _WOKEN), f'{name}_with_subscribers'),
    }


_WOKEN = f""",
    {CLOCK},{woken('gone', gone='gone')}"""


def _delete_one(condition: str) -> Callable[[str, str, str], str]:
    return lambda the_queue, nobody_waits, more: (
        f"""
    WITH the_queue AS MATERIALIZED ({the_queue}),
    seen AS MATERIALIZED (
        SELECT {IS_CLAIMED} AS was_claimed, claim_id = %(claim_id)s::uuid AS was_held_by_claim
          FROM message_states
         WHERE queue_id = %(queue_id)s AND id = %(id)s AND {IS_ALIVE}),
    gone AS (
        DELETE FROM message_states
         WHERE queue_id = %(queue_id)s AND id = %(id)s AND {IS_ALIVE} AND {condition}
     RETURNING id, group_key, sequence),
    body AS (
        DELETE FROM messages
         WHERE queue_id = %(queue_id)s AND id = (SELECT id FROM gone){nobody_waits}){more}
    SELECT EXISTS (SELECT FROM gone), was_claimed, was_held_by_claim FROM seen"""
    )


def _delete_many(the_queue: str, nobody_waits: str, more: str) -> str:
    return f"""
    WITH the_queue AS MATERIALIZED ({the_queue}),
    gone AS (
        DELETE FROM message_states
         WHERE queue_id = %(queue_id)s AND id = ANY(%(ids)s::bigint[]) AND {IS_ALIVE}
     RETURNING id, group_key, sequence),
    body AS (
        DELETE FROM messages
         WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM gone)){nobody_waits}){more}
    SELECT count(*) FROM gone HAVING count(*) > 0"""


DELETE_FREE = _deletes(_delete_one(f'NOT {IS_CLAIMED}'), 'delete_unclaimed')
DELETE_CLAIMED = _deletes(
    _delete_one(f'claim_id = %(claim_id)s::uuid AND {IS_CLAIMED}'), 'delete_claimed'
)
DELETE_MANY = _deletes(_delete_many, 'delete_many')


_POPPED = {
    'id': 'gone.id',
    'ttl': 'gone.ttl',
    'age': AGE_OF.format('message.created_at'),
    'body': 'message.body',
    'claim_count': 'gone.claim_count',
    'traceparent': 'message.traceparent',
    'group_key': 'gone.group_key',
    'sequence': 'NULL::bigint',
}
POP = Prepared(
    f"""{find(THE_NUMBERED_QUEUE + IS_NOT_FIFO)},
    gone AS (
        DELETE FROM message_states WHERE {FOUND}
     RETURNING id, ttl, claim_count, group_key),
    body_gone AS (
        DELETE FROM messages
         WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM gone)){NOBODY_WAITS})
    {report(_POPPED, f'gone, {body_of("gone")}')}""",
    'pop',
)

# As in IS_CLAIMED and IS_DELAYED, but by the index on held_until.
_CLAIMED_HERE = f"""queue_id = %(queue_id)s AND held_until > now() AND held_until < 'infinity'
           AND claim_id IS NOT NULL AND {IS_ALIVE}"""

# Messages are locked in the order of their ids, as verdicts lock them. The lock waits for a renewal
# that is under way; PURGE_UNCLAIMED, which comes next, has a younger snapshot and sees the renewal.
LOCK_CLAIMED = f"""
    WITH the_queue AS MATERIALIZED ({THE_QUEUE}),
    claimed AS MATERIALIZED (
        SELECT id FROM message_states WHERE {_CLAIMED_HERE} ORDER BY held_until, id)
    SELECT FROM (SELECT id FROM claimed ORDER BY id) AS claimed,
           LATERAL (SELECT FROM message_states
                     WHERE queue_id = %(queue_id)s AND id = claimed.id LIMIT 1 FOR UPDATE) AS state
"""

# A claimed message survives the new floor by its `moved_in`, as a message that was moved here does.
PURGE_UNCLAIMED = f"""
    WITH the_queue AS MATERIALIZED ({THE_QUEUE}),
    claimed AS MATERIALIZED (
        SELECT ctid FROM message_states WHERE {_CLAIMED_HERE} ORDER BY held_until, id),
    kept AS (
        UPDATE message_states SET moved_in = {NEXT_TRANSACTION}
         WHERE ctid = ANY (ARRAY(SELECT ctid FROM claimed)))
    UPDATE queues SET floor = greatest(floor, {NEXT_TRANSACTION})
     WHERE {IS_THE_QUEUE} AND {MAY_NUMBER}
"""
