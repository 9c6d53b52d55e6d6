"""How messages of FIFO queues are taken: claims and pops of them, in statements of their own.

A statement locks groups that are available, and looks at the first living message of each. If that can
be taken, it goes on with the messages behind, up to the first that cannot. Then it writes when the group
is available again. A group that another request changed between the statement's snapshot and the
lock has another place (ctid) by then, and is left out.

A request skips groups that others hold. If it finds nothing else, it waits for the first of them: else
it might never get a turn in a group to which much is posted.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from marconi_api.errors import StorageTooSlow
from marconi_api.model.dead_letters import MAY_BE_CLAIMED
from marconi_api.model.flows import DEAD_LETTERED, LAPSED, PARKED, flows
from marconi_api.model.groups import joined
from marconi_api.model.idempotency import ONE_AT_A_TIME, REMEMBER_CLAIM
from marconi_api.model.postgres import transitions
from marconi_api.model.postgres.bodies import BODY_IS_THERE, NOBODY_WAITS
from marconi_api.model.postgres.database import Database, Row
from marconi_api.model.postgres.patience import Patience
from marconi_api.model.postgres.prepared import Prepared
from marconi_api.model.postgres.steering import body_of
from marconi_api.model.postgres.tables import (
    AGE_OF,
    AS_KNOWN,
    FIFO,
    IS_ALIVE,
    IS_PARKED,
    IS_READY,
    POSITION_BITS,
    RETIRED,
    THE_NUMBERED_QUEUE,
    THE_NUMBERING_QUEUE,
    QueueKey,
)
from marconi_api.model.postgres.transitions import CLOCK, HELD_FOR, NOW
from marconi_api.model.replies import FOLLOW

# Messages of a group that a statement looks at, to find one that is alive.
_LOOK = 1000
# Seconds after which a request looks no further.
_PATIENCE = 0.5
# How often it loses all groups to others before it waits for one, and before it gives up.
_LOST_UNTIL_IT_WAITS = 2
_TRIES = 5

_IS_FIFO = f"""
       AND grouping = {FIFO}"""

_OF_THE_GROUP = 'queue_id = %(queue_id)s AND group_key = {group}.group_key'

# It locks one group and no second one. Had it a condition on what can change meanwhile, PostgreSQL would
# keep the lock of a group that no longer meets it, and wait for another one with it.
_LOCK_GROUP = """
        SELECT FROM message_groups
         WHERE queue_id = %(queue_id)s AND group_key = (
               SELECT group_key FROM message_groups
                WHERE queue_id = %(queue_id)s AND available_at <= now()
                ORDER BY available_at, group_key LIMIT 1) FOR UPDATE;"""

_MAY_BE_TAKEN = f'{IS_ALIVE} AND NOT {IS_PARKED}'


def _find(the_queue: str) -> str:
    """The parts of a statement that find and lock up to ``limit`` messages.

    ``passed`` has those that can be taken, in the order of their groups and sequences; ``firsts`` the
    groups that were looked at, each with its first message.
    """
    return f"""
    WITH the_queue AS MATERIALIZED ({the_queue}{_IS_FIFO}),
    available AS MATERIALIZED (
        SELECT ctid AS place, group_key, first_sequence FROM message_groups
         WHERE queue_id = %(queue_id)s AND available_at <= now() AND EXISTS (SELECT FROM the_queue)
         ORDER BY available_at, group_key LIMIT {_LOOK}),
    heads AS MATERIALIZED (
        SELECT available.place, group_key, first_sequence, row_number() OVER () AS turn
          FROM available,
               LATERAL (SELECT ctid AS place FROM message_groups
                         WHERE ctid = available.place FOR UPDATE SKIP LOCKED) AS locked
         WHERE locked.place = available.place LIMIT %(limit)s),
    firsts AS MATERIALIZED (
        SELECT heads.place, group_key, turn, first.*
          FROM heads LEFT JOIN LATERAL (
               WITH looked_at AS MATERIALIZED (
                   SELECT sequence, held_until, expires_at, {_MAY_BE_TAKEN} AS is_alive,
                          {IS_READY} AS is_free
                     FROM message_states
                    WHERE {_OF_THE_GROUP.format(group='heads')}
                      AND sequence >= heads.first_sequence
                    ORDER BY sequence LIMIT {_LOOK})
               SELECT * FROM (
                   SELECT * FROM looked_at WHERE is_alive
                    UNION ALL
                   (SELECT * FROM looked_at OFFSET {_LOOK - 1} LIMIT 1)) AS found
                LIMIT 1) AS first ON true),
    behind AS MATERIALIZED (
        SELECT turn, message.*
          FROM firsts,
               LATERAL (SELECT * FROM (
                            SELECT ctid AS place, id, group_key, sequence, claim_count,
                                   claim_id IS NOT NULL AS has_lapsed,
                                   {_MAY_BE_TAKEN} AS is_alive, {IS_READY} AS is_free
                              FROM message_states
                             WHERE {_OF_THE_GROUP.format(group='firsts')}
                               AND sequence >= firsts.sequence
                             ORDER BY sequence LIMIT {_LOOK}) AS looked_at
                         WHERE is_alive LIMIT %(limit)s) AS message
         WHERE firsts.is_alive AND firsts.is_free LIMIT %(limit)s),
    tried AS MATERIALIZED (
        SELECT behind.*, is_free AND coalesce(locked.place = behind.place, false) AS is_ours
          FROM behind LEFT JOIN LATERAL (
               SELECT ctid AS place FROM message_states
                WHERE ctid = behind.place AND {IS_READY} FOR UPDATE SKIP LOCKED) AS locked ON true),
    passed AS MATERIALIZED (
        SELECT *
          FROM (SELECT *, bool_and(is_ours) OVER (PARTITION BY turn ORDER BY sequence) AS is_passed
                  FROM tried) AS judged
         WHERE is_passed)"""


def _regroup(available_at: str, taken: str) -> str:
    """The part of a statement that writes when each group is available again.

    If another request holds the first message, or the limit was reached before, nothing is written.

    :param available_at: the SQL of when a group of which messages were taken is available
    :param taken: the part of the statement with the messages that were taken
    """
    return f"""
    regrouped AS (
        UPDATE message_groups AS known
           SET available_at = CASE WHEN seen.sequence IS NULL THEN NULL
                                   WHEN NOT seen.is_alive THEN known.available_at
                                   WHEN NOT seen.is_free
                                   THEN greatest({NOW}, least(seen.held_until, seen.expires_at))
                                   ELSE {available_at} END,
               first_sequence = CASE WHEN seen.sequence IS NULL THEN known.last_sequence + 1
                                     WHEN seen.is_alive THEN seen.sequence
                                     ELSE seen.sequence + 1 END
          FROM (SELECT firsts.*, of_group.ends_at
                  FROM firsts LEFT JOIN (
                       SELECT group_key, (array_agg(ends_at ORDER BY sequence))[1] AS ends_at
                         FROM {taken} GROUP BY group_key) AS of_group USING (group_key)
                 WHERE NOT coalesce(is_alive AND is_free AND of_group.ends_at IS NULL, false)) AS seen
         WHERE known.ctid = seen.place)"""


# Dead letters, as in dead_letters.py. The queue to which they go must be FIFO, too, and each keeps its
# group. Its deduplication id becomes its own id, so that two with the same one can meet there.
_PUT_AWAY = f"""
    dead AS MATERIALIZED (
        SELECT place, has_lapsed FROM passed WHERE NOT ({MAY_BE_CLAIMED})),
    target AS MATERIALIZED (
        SELECT floor FROM queues
         WHERE queue_id = %(target_id)s AND project = %(project)s AND name = %(target_name)s
           AND floor < {RETIRED}{_IS_FIFO} AND EXISTS (SELECT FROM dead)
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
     RETURNING id, expires_at, client_id, ttl, group_key, sequence AS place, first_received_at,
               coalesce(claimed_before, 0) + claim_count AS claimed_before),{FOLLOW}
    gone_body AS (
        DELETE FROM messages
         WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM gone)){NOBODY_WAITS}),
    leaving AS MATERIALIZED (SELECT gone.*, moved_in FROM gone, move),{joined('leaving', '%(target_id)s::bigint', 'moved_in', '(SELECT floor FROM target)')},
    moved AS (
        INSERT INTO message_states
               (queue_id, id, held_until, expires_at, client_id, ttl, moved_in, came_from,
                group_key, sequence, first_received_at, claimed_before)
        SELECT %(target_id)s, id, {NOW},
               coalesce(now() + %(target_ttl)s * interval '1 second', expires_at),
               client_id, coalesce(%(target_ttl)s, ttl), moved_in, %(queue_id)s,
               group_key, sequence, first_received_at, claimed_before
          FROM arrived
     RETURNING id),
    moved_body AS (
        INSERT INTO messages
               (queue_id, id, created_at, body, traceparent, deduplication_id, message_attributes)
        SELECT %(target_id)s, gone.id, created_at, body, traceparent,
               lpad(to_hex(gone.id), 16, '0'), message_attributes
          FROM gone, {body_of('gone')}{BODY_IS_THERE}),
    parked AS (
        UPDATE message_states
           SET {transitions.PARKED}, park_reason = %(park_reason)s
         WHERE ctid = ANY (ARRAY(SELECT place FROM dead WHERE NOT EXISTS (SELECT FROM target)))
     RETURNING id),"""


class _Sight(NamedTuple):
    """What a statement saw, apart from the messages that it took."""

    is_queue: int
    #: Whether groups are available by the snapshot.
    is_any_available: int
    #: How many of them were looked at, which nobody else held.
    looked_at: int
    #: Groups whose first message could be taken, or was being changed by others.
    ready: int
    #: As in ``dequeue._Sight``.
    moved: int
    parked: int
    lapsed: int


def _report(columns: Mapping[str, str], taken: str, put_away: bool) -> str:
    """The end of a statement: a row of what it saw, then one for each message, in order."""
    described = ', '.join(f'{expression} AS {name}' for name, expression in columns.items())
    moved, parked = '0', '0'
    if put_away:
        moved, parked = '(SELECT count(*) FROM moved)', '(SELECT count(*) FROM parked)'
    return f"""
    SELECT * FROM (
        SELECT {described}, passed.turn, passed.sequence AS in_turn, NULL::bigint[] AS sight
          FROM {taken} JOIN passed USING (id), {body_of(taken)}
         UNION ALL
        SELECT {', '.join(['NULL'] * len(columns))}, 0, 0,
               ARRAY[EXISTS (SELECT FROM the_queue)::int, EXISTS (SELECT FROM available)::int,
                     (SELECT count(*) FROM heads),
                     (SELECT count(*) FROM firsts WHERE is_alive AND is_free), {moved}, {parked},
                     (SELECT count(*) FROM passed WHERE has_lapsed)]) AS reply
     ORDER BY turn, in_turn"""


#: The columns of a message that a claim took.
COLUMNS = {
    'id': 'taken.id',
    'ttl': 'taken.ttl',
    'age': AGE_OF.format('message.created_at'),
    'body': 'message.body',
    'claim_count': 'taken.claim_count',
    'traceparent': 'message.traceparent',
    'group_key': 'taken.group_key',
    'sequence': 'taken.sequence',
    'deduplication_id': 'message.deduplication_id',
}


def claim_statement(
    is_within_limit: bool = False,
    is_remembered: bool = False,
    waits: bool = False,
    held_for: str = HELD_FOR,
    also: str = '',
    columns: Mapping[str, str] = COLUMNS,
) -> str:
    """The statement of a claim.

    :param is_within_limit: whether the queue's attributes limit how often a message is claimed
    :param is_remembered: whether the request has a key
    :param waits: whether it first waits for the first group
    :param held_for: the transition of the messages that it takes
    :param also: further columns of ``message_states`` that ``columns`` need, after a comma
    :param columns: the SQL of each column of a message, by its name
    """
    the_queue = THE_NUMBERING_QUEUE if is_within_limit else THE_NUMBERED_QUEUE
    the_queue += AS_KNOWN + (ONE_AT_A_TIME if is_remembered else '')
    return f"""{_LOCK_GROUP if waits else ''}{_find(the_queue)},
    {CLOCK},{_PUT_AWAY if is_within_limit else ''}
    taken AS (
        UPDATE message_states
           SET claim_id = %(claim_id)s::uuid, claim_count = claim_count + 1, {held_for}
         WHERE ctid = ANY (ARRAY(
               SELECT place FROM passed{f' WHERE {MAY_BE_CLAIMED}' if is_within_limit else ''}))
     RETURNING id, ttl, held_until, claim_count, group_key, sequence,
               least(held_until, expires_at) AS ends_at{also}),
    claim AS (
        INSERT INTO claims (queue_id, id, started_at, expires_at, ttl, message_ids)
        SELECT %(queue_id)s, %(claim_id)s::uuid,
               min(held_until) - %(ttl)s * interval '1 second', max(held_until), %(ttl)s,
               array_agg(id ORDER BY id)
          FROM taken HAVING count(*) > 0){REMEMBER_CLAIM if is_remembered else ''},{_regroup('seen.ends_at', 'taken')}
    {_report(columns, 'taken', is_within_limit)}"""


#: By whether the queue's attributes limit claims, whether the request has a key, and whether it waits.
CLAIMS = {
    (is_within_limit, is_remembered, waits): Prepared(
        claim_statement(is_within_limit, is_remembered, waits),
        'claim_fifo'
        + ('_once' if is_remembered else '')
        + ('_within_limit' if is_within_limit else '')
        + ('_in_turn' if waits else ''),
    )
    for is_within_limit in (False, True)
    for is_remembered in (False, True)
    for waits in (False, True)
}

_POPPED = {
    **{name: sql.replace('taken.', 'gone.') for name, sql in COLUMNS.items()},
    'deduplication_id': 'NULL::text',
}


def _pop_statement(waits: bool) -> str:
    return f"""{_LOCK_GROUP if waits else ''}{_find(THE_NUMBERED_QUEUE)},
    {CLOCK},
    gone AS (
        DELETE FROM message_states WHERE ctid = ANY (ARRAY(SELECT place FROM passed))
     RETURNING id, ttl, claim_count, group_key, sequence, {NOW} AS ends_at),
    body_gone AS (
        DELETE FROM messages
         WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM gone)){NOBODY_WAITS}),{_regroup('known.available_at', 'gone')}
    {_report(_POPPED, 'gone', put_away=False)}"""


#: By whether it waits.
POPS = {
    waits: Prepared(_pop_statement(waits), 'pop_fifo' + ('_in_turn' if waits else ''))
    for waits in (False, True)
}


def take(
    database: Database,
    queue: QueueKey,
    statements: Mapping[bool, str],
    parameters: Mapping[str, Any],
    tell_moved: Callable[[int], None] | None = None,
) -> list[Row] | None:
    """Run a statement that takes, until it took something or there was nothing to take.

    :param statements: by whether it waits for the first group
    :param tell_moved: called with the number of messages that were moved to another queue, if any
    :returns: the rows of what was taken; None if there is no such queue, or if it is not as the
        statement expects
    """
    patience = Patience(_PATIENCE)
    given = {**queue.parameters, **parameters}
    races_lost = 0
    while True:
        # In a transaction of several statements it may hold other groups, for which others wait.
        waits = races_lost >= _LOST_UNTIL_IT_WAITS and database.thread.run is None
        try:
            saw, *taken = database.rows(statements[waits], given)
        except StorageTooSlow:
            if waits:
                return []
            raise
        sight = _Sight(*saw[-1])
        if not sight.is_queue:
            return None
        if flows:
            flows.tell(LAPSED, sight.lapsed)
            flows.tell(PARKED, sight.parked)
            flows.tell(DEAD_LETTERED, sight.moved + sight.parked)
        if sight.moved and tell_moved:
            tell_moved(sight.moved)
        # Groups whose first message is not free are out of the way of the next look. The others were
        # held by others, or their first message was.
        if not sight.looked_at or sight.ready:
            races_lost += 1
        if taken or not sight.is_any_available or patience.is_over or races_lost == _TRIES:
            return taken
