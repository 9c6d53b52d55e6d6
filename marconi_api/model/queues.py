"""The repository of queues: they are made, listed, counted and deleted."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from marconi_api.errors import (
    DeadLetterCycle,
    InvalidRequest,
    QueueCollision,
    QueueNotFound,
    StorageUnavailable,
)
from marconi_api.model.attributes import METADATA, Attributes, is_to_be_fifo
from marconi_api.model.counts import Counts
from marconi_api.model.postgres.database import Database, Row
from marconi_api.model.postgres.prepared import Prepared
from marconi_api.model.postgres.tables import (
    AGE_OF,
    FIFO,
    IS_ALIVE,
    IS_CLAIMED,
    IS_DELAYED,
    IS_PARKED,
    IS_READY,
    IS_THE_QUEUE,
    MAY_NUMBER,
    NEXT_TRANSACTION,
    NO_GROUPS,
    RETIRED,
    THE_QUEUE,
    QueueKey,
    public_id,
)
from marconi_api.model.queue_filter import MAY_PASS, DeadLettersTo, QueueFilter
from marconi_api.model.quotas import Quotas


@dataclass(frozen=True)
class Queue:
    """A queue's name, and its metadata: the text of a JSON object."""

    name: str
    metadata: str


@dataclass(frozen=True)
class MessageSummary:
    """The oldest or the newest message of a queue.

    ``age`` is in seconds, ``created`` in UTC, as ``YYYY-MM-DDTHH:MM:SSZ``.
    """

    id: str
    age: int
    created: str


@dataclass(frozen=True)
class Stats:
    """How many live messages there are, and the oldest and newest of those that are not parked.

    ``free`` ones can be claimed, now or when their delay is over.
    """

    free: int
    claimed: int
    parked: int
    oldest: MessageSummary | None
    newest: MessageSummary | None


class Described(NamedTuple):
    """A queue's metadata, and when it was made, in seconds since 1970."""

    metadata: str
    created_at: int


class Queues:
    """The queues of all projects."""

    def __init__(self, database: Database, quotas: Quotas | None = None) -> None:
        self._database = database
        self._quotas = quotas if quotas and quotas.is_on else None
        self._counts = Counts()

    def create(self, queue: QueueKey, metadata: str = '{}') -> bool:
        """Make a queue; False if it exists already, and then nothing changes.

        :param metadata: the text of a JSON object
        :raises QuotaExceeded: if the project has as many queues as it may have
        :raises DeadLetterCycle: if its dead letters could come back to it
        :raises QueueCollision: if another queue's names have the same hash
        """
        for _ in range(_TRIES):
            if self.exists(queue):
                return False
            if self._insert(queue, metadata):
                return True
            # There are three reasons: another queue's names have this hash, or somebody made or
            # deleted this very queue just now.
            if self._database.rows(_COLLISION, queue.parameters):
                raise QueueCollision(queue.name)
        raise StorageUnavailable

    def _insert(self, queue: QueueKey, metadata: str) -> bool:
        with self._database.transaction() as run:
            run(_DELETE_RETIRED, queue.parameters)
            if self._quotas:
                self._quotas.admit_queue(queue.project, run)
            _refuse_cycle(run, queue, metadata)
            grouping = FIFO if is_to_be_fifo(metadata) else NO_GROUPS
            parameters = {**queue.parameters, 'metadata': metadata, 'grouping': grouping}
            inserted = run(_INSERT, parameters)
            if inserted:
                run(_SET_FLOOR, queue.parameters)
            return bool(inserted)

    def exists(self, queue: QueueKey) -> bool:
        """Whether the queue is there."""
        return bool(self._database.rows(THE_QUEUE, queue.parameters, repeatable=True))

    def delete(self, queue: QueueKey) -> None:
        """Delete a queue with its messages, claims and subscriptions.

        A queue that does not exist is no error. From then on nobody sees what belonged to the queue,
        also if it is made anew. The janitor removes the rows afterwards.
        """
        # The first statement refuses further posts, and need not wait; the second one waits for the
        # posts that are under way. (A DELETE alone would be overtaken by new posts again and again.)
        self._database.rows(_RETIRE, queue.parameters)
        # Nobody sees the queue any more. If this fails, another request or the janitor completes it.
        with suppress(StorageUnavailable):
            self._database.rows(_DELETE_RETIRED, queue.parameters)

    def purge(self, queue: QueueKey) -> int:
        """Delete all messages of the queue, claimed or not; returns their number.

        The purge raises the queue's floor above the messages; the janitor removes their rows. A post
        that is under way counts as before or as after the purge.

        :raises QueueNotFound: if there is no such queue
        """
        counted = self._database.rows(_COUNT, queue.parameters)
        if not self._database.rows(_SET_FLOOR, queue.parameters):
            raise QueueNotFound(queue.name, queue.project)
        return int(counted[0][0])

    def page(self, project: str, marker: str, limit: int) -> list[Queue]:
        """The project's next queues by name, after the name ``marker``."""
        parameters = {'project': project, 'marker': _known_name(marker), 'limit': limit}
        return [Queue(*row) for row in self._database.rows(_LIST, parameters, repeatable=True)]

    def search(
        self, project: str, marker: str, limit: int, wanted: QueueFilter
    ) -> tuple[list[Queue], str | None]:
        """The project's next queues that the filter lets through.

        It looks at 10,000 queues at most, or at fewer if they have much metadata. So there may be
        more queues than are found, even if fewer than ``limit`` are found.

        :returns: the queues, and the marker from which to go on; None if there are no more
        """
        after = _known_name(marker)
        found: list[Queue] = []
        for _ in range(_MOST_LOOKS):
            parameters = {'project': project, 'marker': after, **wanted.parameters}
            rows = self._database.rows(_SEARCH, parameters, repeatable=True)
            found += [
                Queue(name, metadata)
                for name, metadata, _ in rows
                if metadata is not None and wanted.lets_through(name, metadata)
            ]
            if len(found) >= limit:
                return found[:limit], found[limit - 1].name
            if not rows or rows[-1][2]:
                return found, None
            after = rows[-1][0]
        return found, after

    def metadata(self, queue: QueueKey) -> str:
        """The queue's metadata, the JSON text that the client sent.

        :raises QueueNotFound: if there is no such queue
        """
        metadata = self.find_metadata(queue)
        if metadata is None:
            raise QueueNotFound(queue.name, queue.project)
        return metadata

    def find_metadata(self, queue: QueueKey) -> str | None:
        """The queue's metadata; None if there is no such queue."""
        for (metadata,) in self._database.rows(METADATA, queue.parameters, repeatable=True):
            return str(metadata)
        return None

    def set_metadata(self, queue: QueueKey, metadata: str) -> None:
        """Replace the queue's metadata by another JSON object.

        :raises QueueNotFound: if there is no such queue
        :raises InvalidRequest: if it would make a FIFO queue of another one, or the reverse
        """
        is_fifo = is_to_be_fifo(metadata)
        parameters = {**queue.parameters, 'metadata': metadata, 'is_fifo': is_fifo}
        if not self._database.rows(_SET_METADATA, parameters, repeatable=True):
            if self.exists(queue):
                raise InvalidRequest(_STAYS_AS_MADE)
            raise QueueNotFound(queue.name, queue.project)

    def change_metadata(self, queue: QueueKey, change: Callable[[str], str]) -> str:
        """Replace the queue's metadata by what ``change`` makes of it; returns the new text.

        Nobody else changes the metadata meanwhile. If ``change`` raises, the metadata stays.

        :raises QueueNotFound: if there is no such queue
        :raises DeadLetterCycle: if its dead letters could come back to it
        :raises InvalidRequest: if it would make a FIFO queue of another one, or the reverse
        """
        with self._database.transaction() as run:
            for (metadata,) in run(f'{METADATA} FOR NO KEY UPDATE', queue.parameters):
                changed = change(metadata)
                _refuse_cycle(run, queue, changed)
                is_fifo = is_to_be_fifo(changed)
                parameters = {**queue.parameters, 'metadata': changed, 'is_fifo': is_fifo}
                if not run(_SET_METADATA, parameters):
                    raise InvalidRequest(_STAYS_AS_MADE)
                return changed
        raise QueueNotFound(queue.name, queue.project)

    def change_metadata_of_each(
        self, project: str, names: Sequence[str], change: Callable[[str], str]
    ) -> None:
        """Replace the metadata of many queues by what ``change`` makes of it; some may be gone.

        :param change: leaves the name of the dead-letter queue, and ``_fifo``, as they are
        """
        for start in range(0, len(names), _CHANGED_AT_ONCE):
            batch = [*names[start : start + _CHANGED_AT_ONCE]]
            keys = [QueueKey.of(project, name) for name in batch]
            asked = {'project': project, 'names': batch, 'ids': [key.id for key in keys]}
            with self._database.transaction() as run:
                found = run(_METADATA_OF_EACH, asked)
                changed = {id: change(metadata) for id, metadata in found}
                new = {'ids': list(changed), 'texts': list(changed.values())}
                run(_SET_METADATA_OF_EACH, new)

    def described(self, queue: QueueKey) -> 'Described | None':
        """The queue's metadata, and when it was made; None if there is no such queue."""
        for row in self._database.rows(_DESCRIBED, queue.parameters, repeatable=True):
            return Described(*row)
        return None

    def names(self, project: str, prefix: str, after: str, limit: int) -> list[str]:
        """The names of the project's next queues that SQS clients can name, after the name ``after``."""
        parameters = {
            'project': project,
            'marker': max(prefix, after),
            'is_included': prefix > after,
            'prefix': prefix,
            'pattern': NAMES_OF_SQS,
            'limit': limit,
        }
        rows = self._database.rows(_NAMES, parameters, repeatable=True)
        return [name for (name,) in rows]

    def sources_of_dead_letters(self, queue: QueueKey, after: str, limit: int) -> list[str]:
        """The names of queues whose dead letters come here, after the name ``after``."""
        found: list[str] = []
        wanted = DeadLettersTo(target=queue.name)
        while True:
            asked = {'project': queue.project, 'marker': after, **wanted.parameters}
            looked_at = self._database.rows(_MAY_BE_SOURCES, asked, repeatable=True)
            candidates = [name for name, may_be in looked_at if may_be]
            for start in range(0, len(candidates), _READ_AT_ONCE):
                names = candidates[start : start + _READ_AT_ONCE]
                found += self._sources_among(queue.project, names, wanted)
                if len(found) >= limit:
                    return found[:limit]
            if not looked_at:
                return found
            after = looked_at[-1][0]

    def _sources_among(self, project: str, names: list[str], wanted: QueueFilter) -> list[str]:
        asked = {'project': project, 'names': names}
        rows = self._database.rows(_METADATA_BY_NAMES, asked, repeatable=True)
        return [name for name, metadata in rows if wanted.lets_through(name, metadata)]

    def purge_once_a_minute(self, queue: QueueKey) -> bool:
        """Delete all messages as :meth:`purge`; False if this was done less than a minute ago."""
        with self._database.transaction() as run:
            if not run(_NOTE_PURGE, queue.parameters):
                return False
            return bool(run(_SET_FLOOR, queue.parameters))

    def states(self, queue: QueueKey) -> dict[str, int]:
        """How many messages are ready, claimed and delayed; by way of :class:`Counts`, as :meth:`stats`.

        :raises QueueNotFound: if there is no such queue
        :raises CountUnderWay: if another count does not end in time
        """
        for floor, *_ in self._database.rows(THE_QUEUE, queue.parameters, repeatable=True):
            return self._counts.of(('states', queue, floor), lambda: self._count_states(queue))
        raise QueueNotFound(queue.name, queue.project)

    def _count_states(self, queue: QueueKey) -> dict[str, int]:
        [row] = self._database.rows(_STATES, queue.parameters, repeatable=True)
        return dict(zip(('ready', 'claimed', 'delayed'), row, strict=True))

    def count(self, project: str) -> int:
        """How many queues the project has."""
        return int(self._database.rows(_COUNT_QUEUES, {'project': project}, repeatable=True)[0][0])

    def stats(self, queue: QueueKey) -> Stats:
        """The numbers of the queue's live messages, by way of :class:`Counts`.

        The figures of a large queue may be those of a short time ago.

        :raises QueueNotFound: if there is no such queue
        :raises CountUnderWay: if another count does not end in time
        """
        for floor, *_ in self._database.rows(THE_QUEUE, queue.parameters, repeatable=True):
            # A queue that is made anew has another floor.
            return self._counts.of((queue, floor), lambda: self._count(queue))
        raise QueueNotFound(queue.name, queue.project)

    def volume(self) -> dict[str, int]:
        """The numbers of free, claimed and all live messages of all queues, without parked ones.

        :raises CountUnderWay: if another count does not end in time
        """
        return self._counts.of('all queues', self._count_all)

    def _count(self, queue: QueueKey) -> Stats:
        rows = self._database.rows(_STATS, queue.parameters, repeatable=True)
        for free, claimed, parked, *ends in rows:
            return Stats(free, claimed, parked, _summary(*ends[:3]), _summary(*ends[3:]))
        raise QueueNotFound(queue.name, queue.project)

    def _count_all(self) -> dict[str, int]:
        [(free, claimed)] = self._database.rows(_VOLUME, {}, repeatable=True)
        return {'free': free, 'claimed': claimed, 'total': free + claimed}


def _refuse_cycle(
    run: Callable[[str, Mapping[str, Any]], list[Row]], queue: QueueKey, metadata: str
) -> None:
    """Refuse metadata under which the queue's dead letters could come back to it.

    A chain of too many queues is refused as well: this look at the chain holds a lock for which others
    wait.
    """
    chain = [queue.name]
    while target := Attributes.of(metadata).dead_letter_queue:
        if target in chain or len(chain) > _LONGEST_CHAIN:
            raise DeadLetterCycle([*chain, target])
        if len(chain) == 1:
            # Without the lock two queues could come to name each other at the same moment.
            run(_ONE_CHAIN_AT_A_TIME, {})
        chain.append(target)
        rows = run(METADATA, QueueKey.of(queue.project, target).parameters)
        metadata = rows[0][0] if rows else '{}'


def _known_name(name: str) -> str:
    # PostgreSQL's text holds no NUL, so no queue's name has one, and this shortens none.
    return name.partition('\0')[0]


def _summary(message_id: int | None, age: int, created: str) -> MessageSummary | None:
    return None if message_id is None else MessageSummary(public_id(message_id), age, created)


# Tries to make a queue: another client may be deleting and making it over and over.
_TRIES = 20

# What a search may look at: how many times, and each time how many queues or bytes of metadata.
_MOST_LOOKS = 10
_QUEUES_IN_A_LOOK = 1000
_BYTES_IN_A_LOOK = 128 * 1024
# The same of a look for queues with dead letters, and how many of these are then read at once.
_QUEUES_IN_A_LONG_LOOK = 20_000
_READ_AT_ONCE = 50

_LONGEST_CHAIN = 10
_ONE_CHAIN_AT_A_TIME = 'SELECT FROM id_epoch FOR UPDATE'

_INSERT = """
    INSERT INTO queues (queue_id, project, name, metadata, floor, grouping)
    VALUES (%(queue_id)s, %(project)s, %(name)s, %(metadata)s, 0, %(grouping)s)
        ON CONFLICT (queue_id) DO NOTHING
 RETURNING queue_id
"""

# It is a statement of its own, after the insert: the insert may have waited until the former queue of
# this name was deleted. So all posts to the former queue have ended, and a transaction that begins
# now is younger than any of them. (The id of this transaction would not
# do: it may be older than a post to the former queue.)
_SET_FLOOR = f"""
    UPDATE queues
       SET floor = greatest(floor, {NEXT_TRANSACTION})
     WHERE {IS_THE_QUEUE} AND {MAY_NUMBER}
 RETURNING floor
"""

_COUNT = f"""
    WITH the_queue AS MATERIALIZED ({THE_QUEUE})
    SELECT count(*) FROM message_states WHERE queue_id = %(queue_id)s AND {IS_ALIVE}
"""

_COLLISION = """
    SELECT name FROM queues
     WHERE queue_id = %(queue_id)s AND (project, name) <> (%(project)s, %(name)s)
"""

# A deletion that was broken off between its two steps is completed by the next, by who
# makes the queue anew, or by the janitor.
_RETIRE = f'UPDATE queues SET floor = {RETIRED} WHERE {IS_THE_QUEUE}'


def remove_retired(condition: str = '') -> str:
    """A statement that removes the rows of queues that are being deleted, and what belongs to them.

    Whoever subscribes, or starts a redrive, holds the row of the queue: so when it is retired, no
    others will come.
    """
    return f"""
    WITH gone AS (
        DELETE FROM queues WHERE floor = {RETIRED} {condition} RETURNING queue_id),
    subscriptions_gone AS (
        DELETE FROM subscriptions WHERE queue_id = ANY (ARRAY(SELECT queue_id FROM gone))),
    owners_gone AS (
        DELETE FROM subscription_owners WHERE queue_id = ANY (ARRAY(SELECT queue_id FROM gone))),
    redrives_gone AS (
        DELETE FROM redrives WHERE queue_id = ANY (ARRAY(SELECT queue_id FROM gone)))
    SELECT queue_id FROM gone
"""


_DELETE_RETIRED = remove_retired('AND queue_id = %(queue_id)s')

_LIST = f"""
    SELECT name, metadata FROM queues
     WHERE project = %(project)s AND name > %(marker)s AND floor < {RETIRED}
     ORDER BY name LIMIT %(limit)s
"""

_DESCRIBED = f"""
    SELECT metadata, floor(date_part('epoch', created_at))::bigint FROM queues WHERE {IS_THE_QUEUE}
"""

#: The names that a queue may have for SQS clients: FIFO queues end in .fifo.
NAMES_OF_SQS = r'^[A-Za-z0-9_-]{1,80}$|^[A-Za-z0-9_-]{1,75}\.fifo$'

_NAMES = f"""
    SELECT name FROM queues
     WHERE project = %(project)s AND floor < {RETIRED}
       AND (name > %(marker)s OR (%(is_included)s AND name = %(marker)s))
       AND name >= %(marker)s
       AND starts_with(name, %(prefix)s) AND name ~ %(pattern)s
     ORDER BY name LIMIT %(limit)s
"""

_NOTE_PURGE = f"""
    UPDATE queues SET purged_at = now()
     WHERE {IS_THE_QUEUE} AND coalesce(purged_at < now() - interval '60 seconds', true)
 RETURNING queue_id
"""

_STATES = f"""
    WITH the_queue AS MATERIALIZED ({THE_QUEUE})
    SELECT count(*) FILTER (WHERE {IS_READY}), count(*) FILTER (WHERE {IS_CLAIMED}),
           count(*) FILTER (WHERE {IS_DELAYED})
      FROM message_states
     WHERE queue_id = %(queue_id)s AND {IS_ALIVE}
"""

# The numbers of free and of claimed messages of all queues. Parked ones count as neither.
_VOLUME = f"""
    SELECT count(*) FILTER (WHERE NOT {IS_CLAIMED}), count(*) FILTER (WHERE {IS_CLAIMED})
      FROM message_states JOIN queues USING (queue_id)
     WHERE expires_at > now() AND NOT {IS_PARKED} AND coalesce(moved_in, id) >= floor
"""

# The queues of one look that may pass the filter, and its last queue. A row has the name, the metadata
# (null if the queue cannot pass), and whether no queue follows. PostgreSQL knows the length of the
# metadata without reading it.
_SEARCH = f"""
    SELECT name, CASE WHEN {MAY_PASS} THEN metadata END,
           is_last AND place = queues_in_look AND place < {_QUEUES_IN_A_LOOK}
      FROM (SELECT *, lead(name) OVER (ORDER BY name) IS NULL AS is_last
              FROM (SELECT *, row_number() OVER (ORDER BY name) AS place,
                           count(*) OVER () AS queues_in_look,
                           sum(octet_length(metadata)) OVER (ORDER BY name)
                               - octet_length(metadata) AS bytes_before
                      FROM (SELECT name, metadata FROM queues
                             WHERE project = %(project)s AND name > %(marker)s
                               AND floor < {RETIRED}
                             ORDER BY name LIMIT {_QUEUES_IN_A_LOOK}) AS next) AS counted
             WHERE bytes_before < {_BYTES_IN_A_LOOK}) AS look
     WHERE is_last OR {MAY_PASS}
     ORDER BY name
"""

# The next queues of a project whose dead letters may go to another one, and the last queue that was
# looked at. Long metadata are not looked into here, as PostgreSQL keeps them elsewhere.
_MAY_BE_SOURCES = f"""
    WITH look AS MATERIALIZED (
        SELECT name, octet_length(metadata) > 1000 OR {MAY_PASS} AS may_be
          FROM (SELECT name, metadata FROM queues
                 WHERE project = %(project)s AND name > %(marker)s AND floor < {RETIRED}
                 ORDER BY name LIMIT {_QUEUES_IN_A_LONG_LOOK}) AS next)
    SELECT name, may_be FROM look
     WHERE may_be OR name = (SELECT max(name) FROM look)
     ORDER BY name
"""

_METADATA_BY_NAMES = f"""
    SELECT name, metadata FROM queues
     WHERE project = %(project)s AND name = ANY (%(names)s::text[]) AND floor < {RETIRED}
     ORDER BY name
"""

_COUNT_QUEUES = f"""
    SELECT count(*) FROM queues WHERE project = %(project)s AND floor < {RETIRED}
"""

_SET_METADATA = f"""
    UPDATE queues SET metadata = %(metadata)s
     WHERE {IS_THE_QUEUE} AND (grouping = {FIFO}) = %(is_fifo)s
 RETURNING queue_id
"""

# Queues whose metadata one transaction changes.
_CHANGED_AT_ONCE = 100

_METADATA_OF_EACH = f"""
    SELECT queue_id, metadata FROM queues
     WHERE queue_id = ANY (%(ids)s::bigint[]) AND project = %(project)s
       AND name = ANY (%(names)s::text[]) AND floor < {RETIRED}
     ORDER BY queue_id FOR NO KEY UPDATE
"""

_SET_METADATA_OF_EACH = """
    UPDATE queues SET metadata = given.text
      FROM unnest(%(ids)s::bigint[], %(texts)s::text[]) AS given (id, text)
     WHERE queue_id = given.id AND metadata <> given.text
"""

_STAYS_AS_MADE = (
    '_fifo cannot be changed: a queue is FIFO, or is not, from the time at which it is made.'
)


def _end_of_line(order: str) -> str:
    age = AGE_OF.format('created_at')
    return f"""(
        SELECT id, {age} AS age,
               to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS created
          FROM (SELECT id FROM message_states
                 WHERE queue_id = %(queue_id)s AND {IS_ALIVE} AND NOT {IS_PARKED}
                 ORDER BY id {order} LIMIT 1) AS state
          JOIN messages USING (id)
         WHERE queue_id = %(queue_id)s)"""


_STATS = Prepared(
    f"""
    WITH the_queue AS MATERIALIZED ({THE_QUEUE})
    SELECT counts.total - counts.claimed - counts.parked, counts.claimed, counts.parked,
           oldest.*, newest.*
      FROM the_queue,
           (SELECT count(*) AS total,
                   count(*) FILTER (WHERE {IS_CLAIMED}) AS claimed,
                   count(*) FILTER (WHERE {IS_PARKED}) AS parked
              FROM message_states
             WHERE queue_id = %(queue_id)s AND {IS_ALIVE}) AS counts
           LEFT JOIN {_end_of_line('ASC')} AS oldest ON true
           LEFT JOIN {_end_of_line('DESC')} AS newest ON true
""",
    'stats',
)
