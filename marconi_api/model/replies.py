"""Requests and replies: a message can ask for a reply, which the worker gives that deletes it.

What is asked stands in a table of its own, so that other messages have nothing to do with it. The
posting statement writes a row beside the message, and the statement that deletes the message
writes the reply into it. A statement that moves the message to another queue notes where it lies.
Whoever deletes a message without a reply writes nothing: that it ended is seen by its being gone.
Only the janitor, who removes what has expired or was purged, says why it did.
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
    """What became of a request: a reply, or a reason why there is none, or neither yet."""

    #: JSON text, as the worker sent it.
    reply: str | None
    #: Seconds since it was given; 0 while it is not.
    age: int
    #: One of REASONS.
    reason: str | None
    #: While it is open: that of the message, of STATES.
    state: str | None

    @property
    def is_open(self) -> bool:
        """Whether there may be a reply yet."""
        return self.reply is None and self.reason is None


class Replies:
    """What became of the messages that ask for a reply."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, queue: QueueKey, message: str) -> Asked:
        """What became of a message that was posted to the queue, wherever it lies by now.

        :raises RequestNotFound: if there was no such message, it asked for no reply, or all of
            that is too long ago
        """
        parameters = {**queue.parameters, 'id': message_id(message)}
        if parameters['id'] is not None:
            for row in self._database.rows(_FIND, parameters, repeatable=True):
                return Asked(*row)
        raise RequestNotFound(message, queue.name, queue.project)

    def look(self, awaited: Mapping[int, int], ahead: float) -> list[Sight]:
        """Tell of requests that are waited for, and that are not open any more or will not be soon.

        :param awaited: the ids of messages, by what is waited at
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
    """Where a reply to a message is waited for: a number like that of a queue.

    No two messages have the same, and messages that follow one another have others in their lowest
    bits, too, as queues have, by which the map of the waiting room goes.
    """
    return message ^ (message >> POSITION_BITS)


def reply_parameters() -> dict[str, int]:
    """The parameter of statements that write the table."""
    return {'reply_ttl': limits.in_force.reply_ttl}


# Messages that one statement looks at.
_AT_ONCE = 1000

# Of a request, by the name that it has in FROM: its message and the queue in which that lies.
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

# What has ended is not shown for ever, also where the janitor is late.
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

#: A part of the statement of a post whose messages may ask for replies: ``asks`` is 1 of those.
NOTE_REQUESTS = """
    request AS (
        INSERT INTO requests (message_id, queue_id, lies_in, project, kept_until)
        SELECT id, %(queue_id)s, %(queue_id)s, %(project)s,
               now() + ttl * interval '1 second' + %(reply_ttl)s * interval '1 second'
          FROM posted WHERE asks = 1),"""

#: A part of a statement that deletes messages, ``deleted``, of which ``asked`` has the replies.
GIVE_REPLIES = """
    replied AS (
        UPDATE requests
           SET reply = given.reply, ended_at = now(),
               kept_until = now() + %(reply_ttl)s * interval '1 second'
          FROM (SELECT id, asked.reply FROM deleted JOIN asked USING (id)
                 WHERE asked.reply IS NOT NULL) AS given
         WHERE message_id = given.id AND lies_in = %(queue_id)s AND ended_at IS NULL),"""

#: A part of a statement that moves messages, ``gone``, to another queue.
FOLLOW = """
    followed AS (
        UPDATE requests SET lies_in = %(target_id)s
         WHERE message_id = ANY (ARRAY(SELECT id FROM gone)) AND lies_in = %(queue_id)s),"""

#: A part of the statement that removes messages, ``gone``, which have expired or were purged.
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

    A request is kept for as long as its message and ``limits.reply_ttl`` seconds more: so a client
    that comes later learns that it ended without a reply. Each batch goes on where the one before
    ended: the index still holds what is no longer there, for as long as anybody has an old snapshot.
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
