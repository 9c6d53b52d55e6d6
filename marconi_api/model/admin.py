"""What an administrator looks at, and mends things with; `pecan shell` calls it ``admin``."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from marconi_api.errors import InvalidRequest, QueueNotFound
from marconi_api.limits import Range
from marconi_api.model.attributes import Attributes
from marconi_api.model.audit import Actor, Audit, Entry
from marconi_api.model.became_ready import ReadyListeners
from marconi_api.model.claims import Claims
from marconi_api.model.groups import woken
from marconi_api.model.janitor import Janitor
from marconi_api.model.messages import Messages
from marconi_api.model.noted import NotedQuotas, NotedTokens
from marconi_api.model.postgres.database import Database
from marconi_api.model.postgres.steering import body_of
from marconi_api.model.postgres.tables import (
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
from marconi_api.model.postgres.transitions import CLOCK, READY_NOW, after
from marconi_api.model.queues import Queues
from marconi_api.model.quotas import Quotas
from marconi_api.model.redrives import Order, Redrive, Redrives
from marconi_api.model.tokens import Tokens

#: The states of live messages. No request sees an expired message, which waits for the janitor.
LIVE_STATES = ('ready', 'claimed', 'delayed', 'parked')
STATES = (*LIVE_STATES, 'expired')


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


@dataclass(frozen=True)
class QueueView:
    """A queue and its live messages; ``project`` is '' where requests name none."""

    name: str
    project: str
    ready: int
    claimed: int
    delayed: int
    parked: int


class Lines(list[Any]):
    """A list that the prompt shows with one element a line."""

    def __repr__(self) -> str:
        return '\n'.join(map(repr, self)) or '[]'


class Admin:
    """All projects and queues.

    overview(limit)       the queues of all projects, the one with most messages first
    projects()            the projects that have queues ('' is that of requests without one)
    queues(project)       the names of a project's queues
    queue(name, project)  one queue, to look into and to mend: try help() on it
    tokens                make, list and revoke tokens: try help(admin.tokens)
    quotas                limits of single projects: try help(admin.quotas)
    expire()              have the janitor remove what is dead; says how many messages
    audit(limit)          what was done by commands and prompts, the last first: try help(admin.audit)
    """

    def __init__(
        self,
        database: Database,
        queues: Queues,
        messages: Messages,
        claims: Claims,
        tokens: Tokens,
        quotas: Quotas,
        janitor: Janitor,
        became_ready: ReadyListeners,
        redrives: Redrives,
        audit: Audit,
    ) -> None:
        self._database = database
        self._queues = queues
        self._messages = messages
        self._claims = claims
        self.tokens = NotedTokens(database, tokens, audit)
        self.quotas = NotedQuotas(database, quotas, audit)
        self._janitor = janitor
        self._became_ready = became_ready
        self._redrives = redrives
        self._audit = audit

    def __repr__(self) -> str:
        return (
            '<admin: overview(), projects(), queues(project), queue(name, project), tokens, quotas, '
            'expire(), audit()>'
        )

    def overview(self, limit: int = 20, project: str | None = None) -> list[QueueView]:
        """The queues of a project, or of all, the one with most messages first; it only looks.

        The time grows with the number of all messages, which are counted a slice at a time.
        """
        _LIMIT.check('limit', limit)
        depths = self._depths()
        deepest = sorted(depths, key=lambda queue_id: -depths[queue_id].total())
        if project is not None:
            ours = {QueueKey.of(project, name).id for name in self.queues(project)}
            deepest = [queue_id for queue_id in deepest if queue_id in ours]
        parameters = {'ids': deepest[:limit], 'limit': limit, 'project': project}
        named = self._database.rows(_NAMES, parameters)
        named.sort(key=lambda row: (-depths[row[0]].total(), row[1:]))
        return Lines(
            QueueView(name, project, **{state: depths[queue_id][state] for state in LIVE_STATES})
            for queue_id, project, name in named[:limit]
        )

    def _depths(self) -> defaultdict[int, Counter[str]]:
        """How many live messages of each state the queues have, by the queue's id."""
        depths: defaultdict[int, Counter[str]] = defaultdict(Counter)
        place: tuple[int, int] | None = _BEFORE_ALL
        while place:
            parameters = {'queue_id': place[0], 'id': place[1], 'slice': _SLICE}
            place = None
            for queue_id, state, number in self._database.rows(_COUNT_SLICE, parameters):
                if state == _SLICE_ENDS:
                    place = (queue_id, number)
                else:
                    depths[queue_id][state] += number
        return depths

    def projects(self) -> list[str]:
        """The projects that have queues; '' is that of requests without one."""
        return [project for (project,) in self._database.rows(_PROJECTS, {})]

    def queues(self, project: str = '') -> list[str]:
        """The names of all queues of a project."""
        names: list[str] = []
        while page := self._queues.page(project, names[-1] if names else '', 1000):
            names += [queue.name for queue in page]
        return names

    def queue(self, name: str, project: str = '', by: Actor | None = None) -> 'QueueAdmin':
        """One queue, to look into and to mend.

        :param by: who mends it, if that is not the user of this process
        """
        key = QueueKey.of(project, name)
        if not self._queues.exists(key):
            raise self._not_found(name, project)
        return QueueAdmin(
            key,
            self._database,
            self._queues,
            self._messages,
            self._claims,
            self._became_ready,
            self._redrives,
            self._audit,
            by,
        )

    def sources_of(self, name: str, project: str = '') -> list[str]:
        """The queues of a project whose dead letters go to the queue ``name``."""
        found: list[str] = []
        marker = ''
        while page := self._queues.page(project, marker, 1000):
            found += [
                queue.name
                for queue in page
                if Attributes.of(queue.metadata).dead_letter_queue == name
            ]
            marker = page[-1].name
        return found

    def projects_with(self, name: str) -> list[str]:
        """Up to three projects that have a queue of that name."""
        rows = self._database.rows(_PROJECTS_WITH, {'name': name})
        return [project for (project,) in rows]

    def _not_found(self, name: str, project: str) -> QueueNotFound:
        error = QueueNotFound(name, project)
        for other in self.projects_with(name):
            error.add_note(f'There is this one: admin.queue({name!r}, {other!r})')
        return error

    def expire(self) -> int:
        """Have the janitor remove what is dead, now; how many messages that were."""
        removed = self._janitor.run_once()
        self._audit.note('expire', count=removed)
        return removed

    def audit(
        self,
        limit: int = 20,
        queue: str | None = None,
        project: str | None = None,
        action: str | None = None,
        days: float | None = None,
    ) -> list[Entry]:
        """What was done by commands and prompts, the last first: on a queue, by an action.

        :param action: its first word, such as token, or all of it, such as token create
        :param days: so many days ago at most
        """
        _LIMIT.check('limit', limit)
        since = None if days is None else days * 86400
        return Lines(self._audit.find(since, project, queue, action, limit))


class QueueAdmin:
    """One queue, to look into and to mend.

    These only look:

    stats()               how many messages are in each state
    peek(state, limit)    the oldest messages: ready, claimed, delayed, parked, expired or all
    claims(limit)         the live claims, the one that ends first comes first
    metadata()            what the clients stored about the queue

    These change it at once, for all clients, and say how many messages they changed:

    release(claim)        end a claim: what it holds can be claimed by others
    requeue(message, ...) let claimed, delayed or parked messages be claimed now
    redrive(to)           move dead letters back to where they came from, or to another queue
    delete(message, ...)  delete messages, claimed or not
    purge()               delete all messages, claimed or not

    A message or a claim is named by its id, or by what peek() or claims() showed of it; all of
    a list at once, too: requeue(peek('parked')).
    """

    def __init__(
        self,
        key: QueueKey,
        database: Database,
        queues: Queues,
        messages: Messages,
        claims: Claims,
        became_ready: ReadyListeners,
        redrives: Redrives,
        audit: Audit,
        by: Actor | None = None,
    ) -> None:
        self._by = by
        self._key = key
        self._database = database
        self._queues = queues
        self._messages = messages
        self._claims = claims
        self._became_ready = became_ready
        self._redrives = redrives
        self._audit = audit

    def __repr__(self) -> str:
        project = f' of project {self._key.project}' if self._key.project else ''
        counts = ', '.join(f'{count} {state}' for state, count in self.stats().items())
        return f'<queue {self._key.name}{project}: {counts}>'

    def stats(self) -> dict[str, int]:
        """How many messages are in each state; the time grows with their number."""
        counts = dict.fromkeys(STATES, 0)
        counts.update(self._rows(_COUNT))
        return counts

    def peek(self, state: str = 'all', limit: int = 10) -> list[MessageView]:
        """The oldest messages, of one state or of all; nothing changes by it."""
        if state not in (*STATES, 'all'):
            raise InvalidRequest(f'state must be {", ".join(STATES)} or all, not {state!r}.')
        _LIMIT.check('limit', limit)
        rows = self._rows(_PEEK, state=state, limit=limit)
        return [MessageView(public_id(row[0]), *row[1:]) for row in rows]

    def claims(self, limit: int = 10) -> list[ClaimView]:
        """The live claims, the one that ends first comes first; nothing changes by it."""
        _LIMIT.check('limit', limit)
        return [ClaimView(*row) for row in self._rows(_CLAIMS, limit=limit)]

    def metadata(self) -> str:
        """What the clients stored about the queue: the text of a JSON object."""
        return self._queues.metadata(self._key)

    def release(self, claim: str | ClaimView) -> int:
        """End a claim, so that what it holds can be claimed by others."""
        [claim_id] = _ids_of([claim], ClaimView)
        with self._noting('release', [claim_id]) as noted:
            return noted(self._claims.release(self._key, claim_id))

    def requeue(self, *messages: 'Named') -> int:
        """Let claimed, delayed or parked messages be claimed at once."""
        named = list(_ids_of(messages, MessageView))
        with self._noting('release', named) as noted:
            ids = [message_id(message) for message in named]
            count = noted(len(self._rows(_REQUEUE, ids=ids)))
        self._became_ready.tell(self._key, count)
        return count

    def redrive(
        self, to: str | None = None, state: str = 'ready', rate: int | None = None
    ) -> Redrive:
        """Move messages to the queue ``to`` of the same project; returns when all are moved.

        Without ``to`` dead letters go back to the queues that they came from, and parked messages
        (``state='parked'``) become ready where they are.

        :param rate: messages a second, at most
        """
        redrive = self._redrives.start(self._key, Order(state, to, rate=rate))
        try:
            while redrive.is_running:
                redrive = self._redrives.carry_out(self._key, redrive.id, _AT_ONCE)
                if redrive.is_running and rate:
                    time.sleep(_PAUSE)
        except KeyboardInterrupt:
            self._redrives.cancel(self._key, redrive.id)
            raise
        return redrive

    def delete(self, *messages: 'Named') -> int:
        """Delete messages, claimed or not."""
        named = list(_ids_of(messages, MessageView))
        with self._noting('delete', named) as noted:
            return noted(self._messages.delete_many(self._key, named))

    def purge(self) -> int:
        """Delete all messages of the queue, claimed or not."""
        with self._noting('purge') as noted:
            return noted(self._queues.purge(self._key))

    @contextmanager
    def _noting(
        self, action: str, named: Sequence[str] | None = None
    ) -> Iterator[Callable[[int], int]]:
        """Run the body and note it in one transaction; yields a function that takes the message count."""
        with self._database.transaction():

            def note(count: int) -> int:
                ids = None if named is None else list(named[:_MOST_NOTED])
                self._audit.note(action, self._key, count=count, by=self._by, ids=ids)
                return count

            yield note

    def _rows(self, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
        return self._database.rows(statement, {**self._key.parameters, **parameters})


#: How messages are named to a verb: by an id, by what was shown of one, or by a list of these.
Named = str | MessageView | Iterable['str | MessageView']


def _ids_of(named: Any, view: type[MessageView] | type[ClaimView]) -> Iterator[str]:
    """The ids of what an administrator named, of lists in it, too."""
    for one in named:
        if isinstance(one, str):
            yield one
        elif isinstance(one, view):
            yield one.id
        elif isinstance(one, list | tuple):
            yield from _ids_of(one, view)
        else:
            raise TypeError(f'name it by an id or a {view.__name__}, not by {one!r}')


# Ids that are noted of what was done at once.
_MOST_NOTED = 20

# Seconds for which a redrive is carried out before it is looked at, and of a pause where its rate
# makes one.
_AT_ONCE = 1.0
_PAUSE = 0.02

# Of what is shown at once.
_LIMIT = Range(1, 10_000)

_BEFORE_ALL = (-(2**63), -(2**63))

# Messages that one statement counts, which took 0.15 s on two busy cores.
_SLICE = 100_000

_PROJECTS_WITH = f"""
    SELECT project FROM queues WHERE name = %(name)s AND floor < {RETIRED}
     ORDER BY project LIMIT 3
"""

_SLICE_ENDS = 'slice ends'

# The live messages after a place, counted by queue and state; then where the slice ends, unless
# nothing is behind it. (Dead rows are in the slice, too, lest the walk ends at them.)
_COUNT_SLICE = f"""
    WITH slice AS MATERIALIZED (
        SELECT queue_id, id, moved_in, held_until, claim_id, expires_at FROM message_states
         WHERE (queue_id, id) > (%(queue_id)s, %(id)s)
         ORDER BY queue_id, id LIMIT %(slice)s)
    SELECT queue_id, {STATE} AS state, count(*)
      FROM slice JOIN queues USING (queue_id)
     WHERE expires_at > now() AND coalesce(moved_in, id) >= floor
     GROUP BY 1, 2
     UNION ALL
    SELECT * FROM (SELECT queue_id, '{_SLICE_ENDS}', id FROM slice OFFSET %(slice)s - 1) AS last
"""

# Of the queues found, and as many more as could fill a page, which are empty.
_NAMES = f"""
    SELECT queue_id, project, name FROM queues
     WHERE queue_id = ANY (%(ids)s::bigint[]) AND floor < {RETIRED}
     UNION
    SELECT * FROM (
        SELECT queue_id, project, name FROM queues
         WHERE floor < {RETIRED} AND project = coalesce(%(project)s, project)
         ORDER BY project, name LIMIT %(limit)s) AS first_by_name
"""

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
         WHERE {_IN_IT} AND (%(state)s = 'all' OR {_STATE} = %(state)s)
         ORDER BY id LIMIT %(limit)s)
    SELECT page.id, page.state, {AGE_OF.format('message.created_at')},
           CASE WHEN page.expires_at < 'infinity'
                THEN floor(extract(epoch FROM page.expires_at - now()))::bigint END,
           page.claim_count, page.claim, message.body, page.park_reason
      FROM page,
           {body_of('page')}
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
_REQUEUE = f"""
    WITH the_queue AS MATERIALIZED ({THE_QUEUE}),
    {CLOCK},
    requeued AS (
        UPDATE message_states
           SET {READY_NOW}, park_reason = NULL,
               claim_count = CASE WHEN {IS_PARKED} THEN 0 ELSE claim_count END,
               expires_at = CASE WHEN {IS_PARKED} THEN {after('ttl')}
                                 ELSE expires_at END
         WHERE queue_id = %(queue_id)s AND id = ANY (%(ids)s::bigint[])
           AND coalesce(held_until > now(), false) AND {IS_ALIVE}
     RETURNING id, group_key),{woken('requeued', kicked='true')}
    SELECT id FROM requeued
"""
