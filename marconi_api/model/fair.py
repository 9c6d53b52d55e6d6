"""Fair queues: a group that holds much of a queue's claims lets the others go first.

A group is *noisy* if it has more than a tenth of a queue's claimed messages, and thirty at least. As long as
no group is, claims are as in any queue: which groups are noisy is looked up once a second at most. Else a
claim first takes messages of other groups, each in the order of their posts, and then what any claim would
take. A message without a group is never noisy.

To find the others behind a long line of noisy messages, a claim goes from group to group in the index of
groups. There ``sequence`` is the id of the message. It looks at some groups only; the next one goes on behind
them.
"""

import threading
import time
from collections.abc import Iterable
from typing import Any

from marconi_api.model.postgres.database import Database
from marconi_api.model.postgres.dequeue import (
    FRESH,
    HAS_LAPSED,
    PLACE,
    RETURNED_THEN_FRESH,
    lock,
    look_at_returned,
)
from marconi_api.model.postgres.prepared import Prepared
from marconi_api.model.postgres.tables import IS_ALIVE, IS_READY, QueueKey

#: A group is noisy that has so many claimed messages, and more than this part of all.
LEAST = 30
PART = 10

# Claimed messages that are counted, at most: those whose claims end first.
_COUNTED = 10_000
# Seconds for which a process remembers which groups of a queue are noisy.
_REMEMBERED = 1.0
_MOST_QUEUES = 1000
# Groups that a claim looks at, and messages of each.
_GROUPS = 200
_LOOK_IN_GROUP = 100
# As in dequeue.py.
_LOOK = 5000

_NOISY = Prepared(
    f"""
    WITH held AS MATERIALIZED (
        SELECT group_key FROM message_states
         WHERE queue_id = %(queue_id)s AND held_until > now() AND held_until < 'infinity'
           AND claim_id IS NOT NULL
         ORDER BY held_until, id LIMIT {_COUNTED})
    SELECT group_key FROM held
     WHERE group_key IS NOT NULL
     GROUP BY group_key
    HAVING count(*) >= {LEAST} AND count(*) * {PART} > (SELECT count(*) FROM held)""",
    'noisy_groups',
)


class NoisyGroups:
    """The noisy groups of the queues that this process claimed from lately; safe among threads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._known: dict[int, tuple[float, list[str]]] = {}
        # The group behind which the next claim looks, by queue.
        self._reached: dict[int, str] = {}

    def of(self, queue: QueueKey) -> list[str]:
        """The names of the queue's noisy groups, as they were a second ago or later."""
        now = time.monotonic()
        with self._lock:
            looked_at, names = self._known.get(queue.id, (-_REMEMBERED, []))
            if now - looked_at < _REMEMBERED:
                return names
            # Other threads go on with what was known.
            if len(self._known) >= _MOST_QUEUES:
                self._known.clear()
                self._reached.clear()
            self._known[queue.id] = now, names
        rows = self._database.rows(_NOISY, {'queue_id': queue.id}, repeatable=True)
        names = [name for (name,) in rows]
        with self._lock:
            self._known[queue.id] = now, names
        return names

    def parameters(self, queue: QueueKey, noisy: list[str]) -> dict[str, Any]:
        """The parameters of a claim that lets others go before the noisy groups."""
        with self._lock:
            return {'noisy': noisy, 'after_group': self._reached.get(queue.id, '')}

    def note_taken(self, queue: QueueKey, groups: Iterable[str | None]) -> None:
        """Note of which groups a claim took messages: the next one begins behind them."""
        with self._lock:
            _, noisy = self._known.get(queue.id, (0, []))
            if noisy and (quiet := [one for one in groups if one and one not in noisy]):
                self._reached[queue.id] = max(quiet)

    def forget(self) -> None:
        """Look again before the next claim."""
        with self._lock:
            self._known.clear()


def _next_group(behind: str) -> str:
    """A part of FROM: the next group of the queue; behind the last one comes the first."""
    return f"""LATERAL (
                       SELECT * FROM (
                           (SELECT group_key FROM message_states
                             WHERE queue_id = %(queue_id)s AND group_key > {behind}
                             ORDER BY group_key LIMIT 1)
                            UNION ALL
                           (SELECT group_key FROM message_states
                             WHERE queue_id = %(queue_id)s AND group_key > ''
                             ORDER BY group_key LIMIT 1)) AS found
                        LIMIT 1)"""


def find(the_queue: str, may_be_claimed: str = 'true') -> str:
    """The start of a claim's statement, as ``dequeue.find``: ``quiet`` has what goes first.

    :param the_queue: the query for the queue's row
    :param may_be_claimed: a further condition for returned messages
    """
    returned_ones = look_at_returned(
        'held_mark', _LOOK, f'{PLACE}, {IS_ALIVE} AND {may_be_claimed} AS is_ready, {HAS_LAPSED}'
    )
    not_quiet = 'AND looked.place <> ALL (ARRAY(SELECT place FROM quiet))'
    return f"""
    WITH the_queue AS MATERIALIZED ({the_queue}),
    looked_at_groups AS MATERIALIZED (
        WITH RECURSIVE step (group_key, start, number) AS (
            SELECT first.group_key, first.group_key, 1
              FROM the_queue, {_next_group('%(after_group)s::text')} AS first
             UNION ALL
            SELECT next.group_key, start, number + 1
              FROM step, {_next_group('step.group_key')} AS next
             WHERE number < {_GROUPS} AND next.group_key <> start)
        SELECT group_key FROM step),
    quiet_ones AS MATERIALIZED (
        SELECT message.place, message.is_ready, message.has_lapsed, looked_at_groups.group_key
          FROM looked_at_groups,
               LATERAL (SELECT * FROM (
                            SELECT ctid AS place,
                                   {IS_ALIVE} AND {IS_READY}
                                   AND (held_until IS NULL OR {may_be_claimed}) AS is_ready,
                                   {HAS_LAPSED}
                              FROM message_states
                             WHERE queue_id = %(queue_id)s
                               AND group_key = looked_at_groups.group_key
                             ORDER BY sequence LIMIT {_LOOK_IN_GROUP}) AS looked_at
                         WHERE is_ready LIMIT %(limit)s) AS message
         WHERE looked_at_groups.group_key <> ALL (%(noisy)s::text[])),
    quiet AS MATERIALIZED ({lock('quiet_ones', 'is_ready', '%(limit)s', ', has_lapsed, group_key')}),
    returned_ones AS MATERIALIZED ({returned_ones}),
    fresh_ones AS MATERIALIZED (
        SELECT ctid AS place, id, expires_at > now() AS is_ready FROM message_states
         WHERE {FRESH}
         ORDER BY (id + 0) LIMIT {_LOOK}),
    others AS MATERIALIZED ({lock(RETURNED_THEN_FRESH, f'is_ready {not_quiet}', '%(limit)s - (SELECT count(*) FROM quiet)', ', has_lapsed')}),
    found AS MATERIALIZED (
        SELECT place, has_lapsed FROM quiet UNION ALL SELECT place, has_lapsed FROM others)"""
