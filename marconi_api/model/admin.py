"""What an administrator looks at, and mends things with; `pecan shell` calls it ``admin``."""

from dataclasses import dataclass
from typing import Any

from marconi_api.errors import QueueNotFound
from marconi_api.model.claims import Claims
from marconi_api.model.database import Database
from marconi_api.model.expiry import Expiry
from marconi_api.model.messages import Messages
from marconi_api.model.queues import Queues
from marconi_api.model.tables import (
    AGE_OF,
    IS_ALIVE,
    IS_HERE,
    IS_PARKED,
    RETIRED,
    STATE,
    THE_QUEUE,
    QueueKey,
    message_id,
    public_id,
)

#: The states in which a message can be. ``expired`` ones are out of everybody's sight, and
#: wait for the janitor.
STATES = ('ready', 'claimed', 'delayed', 'parked', 'expired')


@dataclass(frozen=True)
class MessageView:
    """A message as an administrator sees it; ``age`` and ``expires_in`` in seconds.

    A parked one does not expire; ``reason`` is why it is parked.
    """

    id: str
    state: str
    age: int
    expires_in: int | None
    claim_count: int
    claim: str | None
    body: str
    reason: str | None


@dataclass(frozen=True)
class ClaimView:
    """A live claim; ``age`` and ``expires_in`` in seconds, ``holds`` in messages."""

    id: str
    age: int
    expires_in: int
    holds: int


class Admin:
    """All projects and queues.

    projects()            the projects that have queues ('' is that of requests without one)
    queues(project)       the names of a project's queues
    queue(name, project)  one queue, to look into and to mend: try help() on it
    expire()              have the janitor remove what is dead; says how many messages
    """

    def __init__(
        self,
        database: Database,
        queues: Queues,
        messages: Messages,
        claims: Claims,
        expiry: Expiry,
    ) -> None:
        self._database = database
        self._queues = queues
        self._messages = messages
        self._claims = claims
        self._expiry = expiry

    def __repr__(self) -> str:
        return '<admin: projects(), queues(project), queue(name, project), expire()>'

    def projects(self) -> list[str]:
        """The projects that have queues; '' is that of requests without one."""
        return [project for (project,) in self._database.rows(_PROJECTS, {})]

    def queues(self, project: str = '') -> list[str]:
        """The names of all queues of a project."""
        names: list[str] = []
        while page := self._queues.list(project, names[-1] if names else '', 1000):
            names += [queue.name for queue in page]
        return names

    def queue(self, name: str, project: str = '') -> 'QueueAdmin':
        """One queue, to look into and to mend."""
        key = QueueKey.of(project, name)
        if not self._queues.exists(key):
            raise QueueNotFound(name, project)
        return QueueAdmin(key, self._database, self._queues, self._messages, self._claims)

    def expire(self) -> int:
        """Have the janitor remove what is dead, now; how many messages that were."""
        return self._expiry.run_once()


class QueueAdmin:
    """One queue, to look into and to mend.

    These only look:

    stats()               how many messages are in each state
    peek(state, limit)    the oldest messages: ready, claimed, delayed, parked, expired or all
    claims(limit)         the live claims, the one that ends first comes first
    metadata()            what the clients stored about the queue

    These change it at once, for all clients, and say how many messages they changed:

    release(claim)        end a claim: what it holds can be claimed by others
    requeue(id, ...)      let claimed, delayed or parked messages be claimed now
    delete(id, ...)       delete messages, claimed or not
    purge()               delete all messages, claimed or not
    """

    def __init__(
        self,
        key: QueueKey,
        database: Database,
        queues: Queues,
        messages: Messages,
        claims: Claims,
    ) -> None:
        self._key = key
        self._database = database
        self._queues = queues
        self._messages = messages
        self._claims = claims

    def __repr__(self) -> str:
        project = f' of project {self._key.project}' if self._key.project else ''
        counts = ', '.join(f'{count} {state}' for state, count in self.stats().items())
        return f'<queue {self._key.name}{project}: {counts}>'

    def stats(self) -> dict[str, int]:
        """How many messages are in each state; the time grows with their number."""
        counts = dict.fromkeys(STATES, 0)
        counts.update(self._rows(_COUNT))
        return counts

    def peek(self, state: str | None = None, limit: int = 10) -> list[MessageView]:
        """The oldest messages, of one state or of all; nothing changes by it."""
        if state is not None and state not in STATES:
            raise ValueError(f'a message is {", ".join(STATES)}, never {state}')
        rows = self._rows(_PEEK, state=state, limit=limit)
        return [MessageView(public_id(row[0]), *row[1:]) for row in rows]

    def claims(self, limit: int = 10) -> list[ClaimView]:
        """The live claims, the one that ends first comes first; nothing changes by it."""
        return [ClaimView(*row) for row in self._rows(_CLAIMS, limit=limit)]

    def metadata(self) -> str:
        """What the clients stored about the queue: the text of a JSON object."""
        return self._queues.metadata(self._key)

    def release(self, claim: str) -> int:
        """End a claim, so that what it holds can be claimed by others."""
        return self._claims.release(self._key, claim)

    def requeue(self, *messages: str) -> int:
        """Let claimed, delayed or parked messages be claimed at once."""
        ids = [message_id(message) for message in messages]
        return len(self._rows(_REQUEUE, ids=ids))

    def delete(self, *messages: str) -> int:
        """Delete messages, claimed or not."""
        return self._messages.delete_many(self._key, messages)

    def purge(self) -> int:
        """Delete all messages of the queue, claimed or not."""
        return self._queues.purge(self._key)

    def _rows(self, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
        return self._database.rows(statement, {**self._key.parameters, **parameters})


_PROJECTS = f'SELECT DISTINCT project FROM queues WHERE floor < {RETIRED} ORDER BY project'

_STATE = f"CASE WHEN expires_at <= now() THEN 'expired' ELSE {STATE} END"

_IN_IT = f'queue_id = %(queue_id)s AND {IS_HERE}'

_COUNT = f"""
    WITH the_queue AS MATERIALIZED ({THE_QUEUE})
    SELECT {_STATE}, count(*) FROM message_states WHERE {_IN_IT} GROUP BY 1
"""

_PEEK = f"""
    WITH the_queue AS MATERIALIZED ({THE_QUEUE}),
    page AS MATERIALIZED (
        SELECT id, {_STATE} AS state, expires_at, claim_count, park_reason,
               CASE WHEN {_STATE} = 'claimed' THEN claim_id::text END AS claim
          FROM message_states
         WHERE {_IN_IT} AND (%(state)s::text IS NULL OR {_STATE} = %(state)s)
         ORDER BY id LIMIT %(limit)s)
    SELECT page.id, page.state, {AGE_OF.format('message.created_at')},
           CASE WHEN page.expires_at < 'infinity'
                THEN floor(extract(epoch FROM page.expires_at - now()))::bigint END,
           page.claim_count, page.claim, message.body, page.park_reason
      FROM page,
           LATERAL (SELECT created_at, body FROM messages
                     WHERE queue_id = %(queue_id)s AND id = page.id LIMIT 1) AS message
     ORDER BY page.id
"""

_CLAIMS = f"""
    WITH the_queue AS MATERIALIZED ({THE_QUEUE})
    SELECT * FROM (
        SELECT id::text, {AGE_OF.format('started_at')},
               floor(extract(epoch FROM expires_at - now()))::bigint AS expires_in,
               (SELECT count(*) FROM message_states AS state
                 WHERE state.queue_id = %(queue_id)s AND state.id = ANY (claim.message_ids)
                   AND claim_id = claim.id AND state.held_until > now()
                   AND state.expires_at > now()
                   AND coalesce(state.moved_in, state.id) >= (SELECT floor FROM the_queue)) AS holds
          FROM claims AS claim
         WHERE queue_id = %(queue_id)s AND expires_at > now()) AS live
     WHERE holds > 0
     ORDER BY expires_in, id LIMIT %(limit)s
"""

# A parked message starts anew: with the count it had, a limit would park it again at once.
# As for a release, the clock is read after the transaction has its id: see hints.py.
_REQUEUE = f"""
    WITH the_queue AS MATERIALIZED ({THE_QUEUE}),
    transaction AS MATERIALIZED (SELECT pg_current_xact_id()),
    returned AS MATERIALIZED (SELECT clock_timestamp() AS at FROM transaction)
    UPDATE message_states
       SET held_until = (SELECT at FROM returned), claim_id = NULL, park_reason = NULL,
           claim_count = CASE WHEN {IS_PARKED} THEN 0 ELSE claim_count END,
           expires_at = CASE WHEN {IS_PARKED} THEN now() + ttl * interval '1 second'
                             ELSE expires_at END
     WHERE queue_id = %(queue_id)s AND id = ANY (%(ids)s::bigint[])
       AND coalesce(held_until > now(), false) AND {IS_ALIVE}
 RETURNING id
"""
