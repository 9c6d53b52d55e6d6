"""What subscriptions leave behind, for the janitor: deliveries that nobody makes, bodies for nobody.

Nothing waits for it, as for the rest of the janitor's work.
"""

from collections import defaultdict
from typing import Any

from marconi_api import limits
from marconi_api.model.postgres.bodies import REMOVE_UNNEEDED
from marconi_api.model.postgres.database import Database

_BEFORE_ALL = -(2**63)


class LeftBehind:
    """Removes what is over, a small batch at a time.

    :param batch_size: rows that one statement looks at, and at most removes
    """

    def __init__(self, database: Database, batch_size: int) -> None:
        self._database = database
        self._batch_size = batch_size

    def remove(self, sweeps: bool) -> None:
        """Remove subscriptions and deliveries that are over; and with a sweep all bodies for nobody.

        A body goes with its last delivery. But if a message is deleted at that very moment, each of
        the two takes the body for needed: that is what sweeps are for, which read all bodies of
        queues with subscribers.
        """
        while len(self._rows(_END_SUBSCRIPTIONS)) == self._batch_size:
            pass
        self._walk_deliveries()
        for queue_id, is_needed in self._rows(_WITH_SUBSCRIBERS):
            if sweeps or not is_needed:
                self._sweep(queue_id)
            if not is_needed:
                self._forget_subscribers(queue_id)
        if sweeps:
            self._sweep_missing_queues()

    def _walk_deliveries(self) -> None:
        place = (_BEFORE_ALL,) * 3
        while True:
            queue_id, subscription_id, message_id = place
            rows = self._rows(
                _LOOK_AT_DELIVERIES,
                queue_id=queue_id,
                subscription_id=subscription_id,
                message_id=message_id,
                retention=limits.in_force.failed_delivery_retention,
            )
            over = defaultdict(list)
            for row in rows:
                if row[3]:
                    over[row[0]].append(row[2])
            for queue_id, ids in over.items():
                self._rows(REMOVE_UNNEEDED, queue_id=queue_id, ids=ids)
            if len(rows) < self._batch_size:
                return
            place = rows[-1][:3]

    def _sweep(self, queue_id: int) -> None:
        after, count = _BEFORE_ALL, self._batch_size
        while count == self._batch_size:
            [(after, count, ids)] = self._rows(_LOOK_AT_BODIES, queue_id=queue_id, after=after)
            if ids:
                self._rows(REMOVE_UNNEEDED, queue_id=queue_id, ids=ids)

    def _sweep_missing_queues(self) -> None:
        rows = self._rows(_QUEUES_OF_BODIES, after=_BEFORE_ALL)
        while rows:
            for queue_id, is_there in rows:
                if not is_there:
                    self._sweep(queue_id)
            rows = self._rows(_QUEUES_OF_BODIES, after=rows[-1][0])

    def _forget_subscribers(self, queue_id: int) -> None:
        """Let posts be as those to a queue without subscribers, if there are still none."""
        with self._database.transaction() as run:
            # Whoever subscribes holds the row until there is a subscription, which a statement
            # after that sees.
            run(_LOCK_QUEUE, {'queue_id': queue_id})
            run(_FORGET_SUBSCRIBERS, {'queue_id': queue_id})

    def _rows(self, statement: str, **given: Any) -> list[Any]:
        return self._database.rows(statement, {'batch_size': self._batch_size, **given})


_END_SUBSCRIPTIONS = """
    WITH ended AS MATERIALIZED (
        SELECT ctid FROM subscriptions WHERE expires_at <= now()
         LIMIT %(batch_size)s FOR UPDATE SKIP LOCKED),
    gone AS (
        DELETE FROM subscriptions WHERE ctid = ANY (ARRAY(SELECT ctid FROM ended))
     RETURNING queue_id, id),
    owners_gone AS (
        DELETE FROM subscription_owners AS owner USING gone
         WHERE owner.queue_id = gone.queue_id AND owner.id = gone.id)
    SELECT queue_id, id FROM gone
"""

# A delivery is over when its subscription is no more, or is that of a queue now; when its message
# was purged; and when it failed, and the time is over for which it is kept. One that was not made
# before its message expired has failed.
_LOOK_AT_DELIVERIES = """
    WITH batch AS MATERIALIZED (
        SELECT ctid AS place, queue_id, subscription_id, message_id,
               coalesce(due_at = 'infinity', false) AS is_failed, expires_at <= now() AS is_late
          FROM deliveries
         WHERE (queue_id, subscription_id, message_id)
               > (%(queue_id)s, %(subscription_id)s, %(message_id)s)
         ORDER BY queue_id, subscription_id, message_id LIMIT %(batch_size)s),
    judged AS MATERIALIZED (
        SELECT batch.*,
               subscription.id IS NULL OR is_late AND is_failed
               OR message_id < coalesce(queue.floor, message_id + 1) AS is_over
          FROM batch
               LEFT JOIN LATERAL (
                   SELECT id FROM subscriptions
                    WHERE queue_id = batch.queue_id AND id = batch.subscription_id
                      AND target_id IS NULL LIMIT 1) AS subscription ON true
               LEFT JOIN LATERAL (
                   SELECT floor FROM queues WHERE queue_id = batch.queue_id LIMIT 1) AS queue
                      ON true),
    gone AS (
        DELETE FROM deliveries WHERE ctid = ANY (ARRAY(SELECT place FROM judged WHERE is_over))
     RETURNING queue_id, subscription_id, message_id),
    attempts_gone AS (
        DELETE FROM delivery_attempts AS attempt USING gone
         WHERE attempt.queue_id = gone.queue_id
           AND attempt.subscription_id = gone.subscription_id
           AND attempt.message_id = gone.message_id),
    failed AS (
        UPDATE deliveries
           SET due_at = 'infinity', expires_at = now() + %(retention)s * interval '1 second'
         WHERE ctid = ANY (ARRAY(
               SELECT place FROM judged WHERE is_late AND NOT is_failed AND NOT is_over))
     RETURNING queue_id, subscription_id, message_id, attempts),
    noted AS (
        INSERT INTO delivery_attempts
               (queue_id, subscription_id, message_id, attempt, attempted_at, error, milliseconds)
        SELECT queue_id, subscription_id, message_id, attempts + 1, now(), 'expired', 0 FROM failed
            ON CONFLICT DO NOTHING)
    SELECT queue_id, subscription_id, message_id, is_over FROM judged
     ORDER BY queue_id, subscription_id, message_id
"""

_WITH_SUBSCRIBERS = """
    SELECT queue_id,
           coalesce(
               (SELECT true FROM subscriptions
                 WHERE subscriptions.queue_id = queues.queue_id LIMIT 1),
               (SELECT true FROM deliveries
                 WHERE deliveries.queue_id = queues.queue_id LIMIT 1),
               false)
      FROM queues WHERE has_subscribers
     ORDER BY queue_id
"""

# The bodies of a batch that are of no message in the queue.
_LOOK_AT_BODIES = """
    SELECT max(id), count(*), array_agg(id) FILTER (WHERE NOT is_of_message)
      FROM (SELECT id, coalesce(
                       (SELECT true FROM message_states AS state
                         WHERE state.queue_id = %(queue_id)s AND state.id = body.id LIMIT 1),
                       false) AS is_of_message
              FROM (SELECT id FROM messages
                     WHERE queue_id = %(queue_id)s AND id > %(after)s
                     ORDER BY id LIMIT %(batch_size)s) AS body) AS looked_at
"""

# The next queues that have bodies, one step of the index a queue, and whether they are there.
_QUEUES_OF_BODIES = """
    WITH RECURSIVE stretch (queue_id, place) AS (
        (SELECT queue_id, 1 FROM messages
          WHERE queue_id > %(after)s ORDER BY queue_id LIMIT 1)
         UNION ALL
        SELECT next.queue_id, place + 1
          FROM stretch,
               LATERAL (SELECT queue_id FROM messages
                         WHERE messages.queue_id > stretch.queue_id
                         ORDER BY queue_id LIMIT 1) AS next
         WHERE place < %(batch_size)s)
    SELECT queue_id,
           coalesce((SELECT true FROM queues WHERE queues.queue_id = stretch.queue_id LIMIT 1), false)
      FROM stretch ORDER BY queue_id
"""

_LOCK_QUEUE = 'SELECT FROM queues WHERE queue_id = %(queue_id)s FOR NO KEY UPDATE'

_FORGET_SUBSCRIBERS = """
    UPDATE queues SET has_subscribers = false
     WHERE queue_id = %(queue_id)s
       AND NOT EXISTS (SELECT FROM subscriptions WHERE queue_id = %(queue_id)s)
       AND NOT EXISTS (SELECT FROM deliveries WHERE queue_id = %(queue_id)s)
"""
