"""Requests and replies: a message can ask for a reply, which the worker gives that deletes it.

Requests stand in a table of their own, so that other messages cost nothing more. The posting
statement writes a row beside the message, and the statement that deletes the message writes the reply
into that row. A statement that moves the message to another queue notes there where the message lies.
A delete without a reply writes nothing: that the request has ended is seen by its message being gone.
Only the janitor, which removes messages that have expired or were purged, notes the reason.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from marconi_api import limits
from marconi_api.errors import RequestNotFound
from marconi_api.model.postgres.database import Database, Row
from marconi_api.model.postgres.prepared import Prepared
from marconi_api.model.postgres.tables import (
    AGE_OF,
    POSITION_BITS,
    RETIRED,
    STATE,
    QueueKey,
    message_id,
)
from marconi_api.model.readiness import Sight

#: How a message can end without a reply.
#:
#: expired  nobody was done with it in time
#: deleted  somebody deleted it, or took it by a pop
#: purged   its queue was purged, or deleted
REASONS = ('expired', 'deleted', 'purged')


class Asked(NamedTuple):
    """What became of a request: it has a reply, a reason why there is none, or neither yet."""

    #: JSON text, as the worker sent it.
    reply: str | None
    #: Seconds since the reply was given; 0 while there is none.
    age: int
    #: One of REASONS.
    reason: str | None
    #: The state of the message while the request is open, one of STATES; else None.
    state: str | None

    @property
    def is_open(self) -> bool:
        """Whether a reply may still come."""
        return self.reply is None and self.reason is None


class Replies:
    """What became of the messages that ask for a reply."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, queue: QueueKey, message: str) -> Asked:
        """What became of a message that was posted to the queue, wherever it lies by now.

        :raises RequestNotFound: if there was no such message, it did not ask for a reply, or the
            request is no longer kept
        """
        parameters = {**queue.parameters, 'id': message_id(message)}
        if parameters['id'] is not None:
            for row in self._database.rows(_FIND, parameters, repeatable=True):
                return Asked(*row)
        raise RequestNotFound(message, queue.name, queue.project)

    def look(self, awaited: Mapping[int, int], ahead: float) -> list[Sight]:
        """Look at requests whose replies are waited for; a sight for each that has ended or soon will.

        :param awaited: the ids of messages, by the place at which the reply is waited for: see
            :func:`place_of`
        :param ahead: how many seconds ahead it looks for messages that expire
        """
        places = {message: place for place, message in awaited.items()}
        ids = list(places)
        sights = []
        for start in range(0, len(ids), _AT_ONCE):
            given = {'ids': ids[start : start + _AT_ONCE], 'ahead': ahead}
            for message, is_over, due_in in self._database.rows(_LOOK, given, repeatable=True):
                sights.append(Sight(places[message], True, False, due_in, is_over))
        return sights


def place_of(message: int) -> int:
    """The place at which a reply to a message is waited for: a number like the id of a queue.

    No two messages have the same place. Messages that follow one another have places that differ in
    their lowest bits, as the ids of queues do: the waiting room's map uses these bits.
    """
    return message ^ (message >> POSITION_BITS)


def reply_parameters() -> dict[str, int]:
    """The parameter of statements that write the table."""
    return {'reply_ttl': limits.in_force.reply_ttl}


# Messages that one statement looks at.
_AT_ONCE = 1000

# Joins to ``request`` the message that asked, and the queue in which that lies.
_MESSAGE = f"""
       LEFT JOIN LATERAL (
           SELECT floor FROM queues WHERE queue_id = request.lies_in AND floor < {RETIRED} LIMIT 1)
           AS queue ON true
       LEFT JOIN LATERAL (
           SELECT id, moved_in, held_until, claim_id, expires_at FROM message_states
            WHERE queue_id = request.lies_in AND id = request.message_id LIMIT 1)
           AS state ON true"""

# Null while it is open, and where there is a reply.
_REASON = """CASE WHEN request.reply IS NOT NULL THEN NULL
            WHEN request.reason IS NOT NULL THEN request.reason
            WHEN state.id IS NULL THEN 'deleted'
            WHEN coalesce(coalesce(state.moved_in, state.id) < queue.floor, true) THEN 'purged'
            WHEN state.expires_at <= now() THEN 'expired' END"""

# A request that has ended is shown for a limited time, even if the janitor is late.
_FIND = Prepared(
    f"""
    SELECT reply, {AGE_OF.format('ended_at')}, {_REASON}, {STATE}
      FROM requests AS request {_MESSAGE}
     WHERE message_id = %(id)s AND request.queue_id = %(queue_id)s AND project = %(project)s
       AND (ended_at IS NULL OR kept_until > now())""",
    'find_reply',
)

# A message that is parked does not expire: a difference to infinity is an error in PostgreSQL 15.
_LOOK = Prepared(
    f"""
    WITH looked_at AS MATERIALIZED (
        SELECT asked.id AS message_id,
               request.message_id IS NULL OR request.reply IS NOT NULL
                   OR {_REASON} IS NOT NULL AS is_over,
               CASE WHEN state.expires_at < 'infinity'
                    THEN date_part('epoch', state.expires_at - now()) END AS due_in
          FROM unnest(%(ids)s::bigint[]) AS asked (id)
               LEFT JOIN LATERAL (
                   SELECT message_id, lies_in, reply, reason FROM requests
                    WHERE message_id = asked.id LIMIT 1) AS request ON true {_MESSAGE})
    SELECT message_id, is_over, CASE WHEN NOT is_over THEN due_in END FROM looked_at
     WHERE is_over OR due_in <= %(ahead)s""",
    'look_for_replies',
)

#: A part of a post's statement: writes a row for each message whose ``asks`` is 1.
NOTE_REQUESTS = """
    request AS (
        INSERT INTO requests (message_id, queue_id, lies_in, project, kept_until)
        SELECT id, %(queue_id)s, %(queue_id)s, %(project)s,
               now() + ttl * interval '1 second' + %(reply_ttl)s * interval '1 second'
          FROM posted WHERE asks = 1),"""

#: A part of a statement that deletes messages: ``deleted`` has their ids, ``asked`` the replies.
GIVE_REPLIES = """
    replied AS (
        UPDATE requests
           SET reply = given.reply, ended_at = now(),
               kept_until = now() + %(reply_ttl)s * interval '1 second'
          FROM (SELECT id, asked.reply FROM deleted JOIN asked USING (id)
                 WHERE asked.reply IS NOT NULL) AS given
         WHERE message_id = given.id AND lies_in = %(queue_id)s AND ended_at IS NULL),"""

#: A part of a statement that moves the messages in ``gone`` to another queue.
FOLLOW = """
    followed AS (
        UPDATE requests SET lies_in = %(target_id)s
         WHERE message_id = ANY (ARRAY(SELECT id FROM gone)) AND lies_in = %(queue_id)s),"""

#: A part of the janitor's statement that removes the messages in ``gone``: notes why they ended.
NOTE_ENDS = """
    ended AS (
        UPDATE requests
           SET reason = CASE WHEN gone.has_expired THEN 'expired' ELSE 'purged' END,
               ended_at = now(), kept_until = now() + %(reply_ttl)s * interval '1 second'
          FROM gone
         WHERE message_id = gone.id AND lies_in = %(queue_id)s AND ended_at IS NULL)"""


# ---------------------------------------------------------------- what is over


def remove_old(database: Database, batch_size: int) -> None:
    """Remove requests of which nobody needs to know any more, batch after batch.

    A request is kept for as long as its message, and ``limits.reply_ttl`` seconds more. So a client
    that asks later still learns that the request ended without a reply. Each batch starts where the
    one before ended: as long as somebody has an old snapshot, the index still holds the rows that were
    removed.
    """
    after = '-infinity'
    while True:
        with database.transaction() as run:
            due = run(_LOCK_DUE, {'after': after, 'batch_size': batch_size})
            if due:
                _settle(run, due)
        if len(due) < batch_size:
            return
        after = due[-1][1]


def _settle(run: Callable[[str, Mapping[str, Any]], list[Row]], due: Sequence[Row]) -> None:
    ids = {'ids': sorted(message for message, _ in due)}
    run(_REMOVE_ENDED, ids)
    run(_KEEP_OTHERS, {**ids, **reply_parameters()})


# Locked first, and judged by a younger snapshot: one that is being moved at this moment is passed
# over, and one that was moved lies where its row says.
_LOCK_DUE = """
    SELECT message_id, kept_until::text FROM requests
     WHERE kept_until >= %(after)s::timestamptz AND kept_until <= now()
     ORDER BY kept_until LIMIT %(batch_size)s FOR UPDATE SKIP LOCKED"""

_REMOVE_ENDED = """
    DELETE FROM requests
     WHERE message_id = ANY (%(ids)s::bigint[]) AND ended_at IS NOT NULL AND kept_until <= now()"""

# A message that is claimed, delayed or parked outlives the time that it was given when it was
# posted. It is looked at again when it must have ended, or after a day.
_KEEP_OTHERS = f"""
    WITH judged AS MATERIALIZED (
        SELECT message_id, request.queue_id, {_REASON} AS reason,
               least(state.expires_at, now() + interval '1 day') AS ends_at
          FROM requests AS request {_MESSAGE}
         WHERE message_id = ANY (%(ids)s::bigint[]) AND ended_at IS NULL AND kept_until <= now())
    UPDATE requests AS request
       SET reason = judged.reason,
           ended_at = CASE WHEN judged.reason IS NOT NULL THEN now() END,
           kept_until = CASE WHEN judged.reason IS NULL THEN judged.ends_at ELSE now() END
                        + %(reply_ttl)s * interval '1 second'
      FROM judged
     WHERE request.message_id = judged.message_id AND request.queue_id = judged.queue_id"""
