"""The janitor: removes the rows of what is already dead.

Nothing waits for it: what has expired, or belonged to a queue that is gone, is out of
everybody's sight at once. So it may come late, run many times at once, or be killed.
"""

import logging
import threading
from typing import Any

from marconi_api.errors import StorageUnavailable
from marconi_api.model.database import Database
from marconi_api.model.tables import RETIRED

log = logging.getLogger(__name__)

_BEFORE_ALL = -(2**63)


class Expiry:
    """Removes dead messages and claims, a small batch at a time.

    :param interval: seconds between two rounds
    :param batch_size: rows that one statement looks at, and at most removes
    """

    def __init__(self, database: Database, interval: float, batch_size: int) -> None:
        self._database = database
        self._interval = interval
        self._batch_size = batch_size

    def run_once(self) -> int:
        """Walk all queues once; return how many messages were removed."""
        self._remove(_REMOVE_QUEUES, {})
        removed = self._remove_messages()
        # Afterwards, since a claim on nothing but dead messages is as good as dead.
        self._remove_claims()
        return removed

    def run_forever(self, stop: threading.Event | None = None) -> None:
        """Walk all queues every ``interval`` seconds, until ``stop`` is set."""
        stop = stop or threading.Event()
        while not stop.is_set():
            try:
                removed = self.run_once()
                if removed:
                    log.info('removed %d expired messages', removed)
            except StorageUnavailable:
                log.warning('could not look for what is dead; next try in %g s', self._interval)
            stop.wait(self._interval)

    def _remove_messages(self) -> int:
        removed = 0
        place: tuple[int, Any] | None = (_BEFORE_ALL, _BEFORE_ALL)
        while place:
            place, dead = self._walk(_LOOK_AT_MESSAGES, place)
            for queue_id, ids in dead:
                removed += self._remove(_REMOVE_MESSAGES, {'queue_id': queue_id, 'ids': ids})
        return removed

    def _remove_claims(self) -> None:
        place: tuple[int, Any] | None = (_BEFORE_ALL, _BEFORE_ALL_CLAIMS)
        while place:
            place, dead = self._walk(_LOOK_AT_CLAIMS, place)
            for queue_id, ids in dead:
                self._remove(_REMOVE_CLAIMS, {'queue_id': queue_id, 'ids': ids})

    def _remove(self, statement: str, parameters: dict[str, Any]) -> int:
        """How many rows one batch removed; one that fails is left for the next round."""
        try:
            return len(self._database.rows(statement, parameters))
        except StorageUnavailable:
            log.warning('could not remove what is dead: %s', parameters.get('queue_id', 'queues'))
            return 0

    def _walk(
        self, statement: str, place: tuple[int, Any]
    ) -> tuple[tuple[int, Any] | None, list[tuple[int, list[Any]]]]:
        """Look at the rows after ``place``: where the walk goes on, and each queue's dead."""
        queue_id, last_id = place
        rows = self._database.rows(
            statement,
            {'queue_id': queue_id, 'id': last_id, 'batch_size': self._batch_size},
            repeatable=True,
        )
        dead = [(queue, ids) for queue, _, _, ids in rows if ids]
        if sum(count for _, _, count, _ in rows) < self._batch_size:
            return None, dead
        return (rows[-1][0], rows[-1][1]), dead


# Queues whose deletion was broken off after its first step.
_REMOVE_QUEUES = f'DELETE FROM queues WHERE floor = {RETIRED} RETURNING queue_id'

_BEFORE_ALL_CLAIMS = '00000000-0000-0000-0000-000000000000'

# A message is dead when it has expired, when its queue is gone, or when it belonged to an
# earlier queue of that name.
_LOOK_AT_MESSAGES = """
    WITH batch AS MATERIALIZED (
        SELECT queue_id, id, expires_at, moved_in FROM message_states
         WHERE (queue_id, id) > (%(queue_id)s, %(id)s)
         ORDER BY queue_id, id LIMIT %(batch_size)s)
    SELECT queue_id, max(id), count(*),
           array_agg(id) FILTER (
               WHERE expires_at <= now() OR floor IS NULL OR coalesce(moved_in, id) < floor)
      FROM batch LEFT JOIN queues USING (queue_id)
     GROUP BY queue_id ORDER BY queue_id
"""

_REMOVE_MESSAGES = f"""
    WITH gone AS (
        DELETE FROM message_states
         WHERE queue_id = %(queue_id)s
           AND id = ANY (ARRAY(
               SELECT id FROM message_states
                WHERE queue_id = %(queue_id)s AND id = ANY (%(ids)s::bigint[])
                  AND (expires_at <= now()
                       OR coalesce(moved_in, id) < coalesce(
                           (SELECT floor FROM queues WHERE queue_id = %(queue_id)s), {RETIRED}))
                  FOR UPDATE SKIP LOCKED))
     RETURNING id)
    DELETE FROM messages
     WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM gone))
 RETURNING id
"""

# A claim is dead when its time is over, and as good as dead when it holds nothing more.
_LOOK_AT_CLAIMS = """
    WITH batch AS MATERIALIZED (
        SELECT queue_id, id, expires_at, message_ids FROM claims
         WHERE (queue_id, id) > (%(queue_id)s, %(id)s::uuid)
         ORDER BY queue_id, id LIMIT %(batch_size)s)
    SELECT queue_id, (array_agg(id ORDER BY id DESC))[1]::text, count(*),
           array_agg(id::text) FILTER (
               WHERE expires_at <= now()
                  OR NOT EXISTS (SELECT FROM message_states AS state
                                  WHERE state.queue_id = batch.queue_id
                                    AND state.id = ANY (batch.message_ids)
                                    AND state.claim_id = batch.id))
      FROM batch
     GROUP BY queue_id ORDER BY queue_id
"""

_REMOVE_CLAIMS = """
    DELETE FROM claims
     WHERE queue_id = %(queue_id)s
       AND id = ANY (ARRAY(
           SELECT id FROM claims AS claim
            WHERE queue_id = %(queue_id)s AND id = ANY (%(ids)s::uuid[])
              AND (expires_at <= now()
                   OR NOT EXISTS (SELECT FROM message_states AS state
                                   WHERE state.queue_id = %(queue_id)s
                                     AND state.id = ANY (claim.message_ids)
                                     AND state.claim_id = claim.id))
              FOR UPDATE SKIP LOCKED))
 RETURNING id
"""
