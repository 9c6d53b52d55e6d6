"""What a project does with the deliveries of a subscription: looks at them, and mends what failed."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from marconi_api.errors import (
    DeliveryNotFound,
    InvalidRequest,
    StorageTooSlow,
    SubscriptionNotFound,
)
from marconi_api.model.became_ready import ReadyListeners
from marconi_api.model.postgres.database import Database, Row
from marconi_api.model.postgres.tables import (
    AGE_OF,
    RETIRED,
    THE_QUEUE,
    QueueKey,
    message_id,
    public_id,
)
from marconi_api.webhooks.signatures import new_secret

#: The states of a delivery that is not over.
PENDING, FAILED = 'pending', 'failed'
STATES = (PENDING, FAILED)


class Attempt(msgspec.Struct, frozen=True):
    """A call of the webhook: when, in ISO's form, its status or error, and how long it took."""

    at: str
    status: int | None
    error: str | None
    ms: int


class Delivery(msgspec.Struct, frozen=True):
    """A message that a webhook has not taken.

    :param age: seconds since the message was posted
    :param next_attempt: a time in ISO's form; None if there is to be none
    :param attempts: the last ones, the oldest first
    """

    id: str
    message_id: str
    state: str
    age: int
    next_attempt: str | None
    attempts: list[Attempt]


class DeliveryPage(list[Delivery]):
    """Deliveries in the order of their messages. It may be short though it is not the last."""

    #: The marker to read on from; None behind the last one.
    next: str | None = None


@dataclass(frozen=True)
class Callee:
    """What a call of a subscription's webhook takes."""

    subscriber: str
    options: str
    secrets: tuple[str, ...]


class CalledHost(msgspec.Struct):
    """A host that is called, of all projects' webhooks.

    :param host: with the port, if the URL has one
    :param delivered: messages that its webhooks have taken
    :param failing: subscriptions whose last attempt failed
    """

    host: str
    subscriptions: int = 0
    projects: int = 0
    delivered: int = 0
    failing: int = 0
    paused: int = 0


class WebhookCounts(NamedTuple):
    """How many subscriptions have a webhook; of them, as in :class:`CalledHost`."""

    all: int
    failing: int
    paused: int


class Webhooks:
    """The deliveries of all subscriptions, for those who own the queues.

    Ids that cannot be parsed are ids of nothing.

    :param became_deliverable: is told of what is to be sent again
    """

    def __init__(self, database: Database, became_deliverable: ReadyListeners) -> None:
        self._database = database
        self._became_deliverable = became_deliverable

    def page(
        self,
        queue: QueueKey,
        subscription: str,
        state: str | None,
        marker: str | None,
        limit: int,
    ) -> DeliveryPage:
        """The next deliveries that are not over, after the one whose id is ``marker``.

        :param state: one of STATES, to leave out the others
        :raises SubscriptionNotFound: if it is not there
        """
        after = -1 if marker is None else message_id(marker)
        given = {'state': state, 'after': _NOWHERE if after is None else after, 'limit': limit}
        rows = self._rows(_PAGE, queue, subscription, given)
        page = DeliveryPage(_delivery(*row[1:]) for row in rows if row[1] is not None)
        reached = rows[0][0]
        page.next = public_id(reached) if reached else page[-1].id if page else None
        return page

    def retry(self, queue: QueueKey, subscription: str, delivery: str) -> None:
        """Send a delivery again now, as if it had never been tried.

        :raises SubscriptionNotFound: if that is not there
        :raises DeliveryNotFound: if the webhook has it, or there never was such a one
        """
        given = {'message_id': message_id(delivery)}
        [(count,)] = self._rows(_RETRY, queue, subscription, given)
        if not count:
            raise DeliveryNotFound(delivery, subscription)
        self._became_deliverable.tell(queue, 1)

    def retry_all(self, queue: QueueKey, subscription: str) -> int:
        """The same with all that have failed; return how many there were.

        :raises SubscriptionNotFound: if it is not there
        :raises StorageTooSlow: if there are more than can be changed in time; those that were
            changed are sent
        """
        deadline = time.monotonic() + _PATIENCE
        total: int = 0
        while True:
            [(count,)] = self._rows(_RETRY_BATCH, queue, subscription, {'batch_size': _BATCH})
            total += count
            self._became_deliverable.tell(queue, count)
            if count < _BATCH:
                return total
            if time.monotonic() > deadline:
                raise StorageTooSlow

    def pause(self, queue: QueueKey, subscription: str) -> None:
        """Call the webhook no more until it is resumed or changed; what it is to get waits.

        Calls that are under way go on. One that is paused already stays so.

        :raises SubscriptionNotFound: if it is not there
        :raises InvalidRequest: if its subscriber is a queue
        """
        _only_webhooks(self._rows(_PAUSE, queue, subscription, {'reason': _PAUSED}))

    def resume(self, queue: QueueKey, subscription: str) -> None:
        """Let a subscription that was paused go on; one that was not goes on as it did.

        :raises SubscriptionNotFound: if it is not there
        """
        self._rows(_RESUME, queue, subscription, {})
        self._became_deliverable.tell(queue, 1)

    def rotate(self, queue: QueueKey, subscription: str) -> str:
        """Sign with a new secret, which is returned, and with the one before until the next rotation.

        :raises SubscriptionNotFound: if it is not there
        :raises InvalidRequest: if its subscriber is a queue
        """
        secret = new_secret()
        _only_webhooks(self._rows(_ROTATE, queue, subscription, {'secret': secret}))
        return secret

    def callee(self, queue: QueueKey, subscription: str) -> Callee:
        """Whom a call of its webhook would go to, and how.

        :raises SubscriptionNotFound: if it is not there
        :raises InvalidRequest: if its subscriber is a queue
        """
        rows = self._rows(_CALLEE, queue, subscription, {})
        _only_webhooks(rows)
        [(_, subscriber, options, *secrets)] = rows
        return Callee(subscriber, options, tuple(filter(None, secrets)))

    def hosts(self) -> list[CalledHost]:
        """All hosts that are called, by their names."""
        hosts: dict[str, CalledHost] = {}
        projects: set[tuple[str, str]] = set()
        for subscriber, project, *figures in self._database.rows(_CALLED, {}, repeatable=True):
            parts = urlsplit(subscriber)
            name = parts.netloc.lower() or parts.scheme
            host = hosts.setdefault(name, CalledHost(name))
            host.subscriptions += 1
            host.projects += (name, project) not in projects
            projects.add((name, project))
            delivered, is_failing, is_paused = figures
            host.delivered += delivered
            host.failing += is_failing
            host.paused += is_paused
        return [hosts[name] for name in sorted(hosts)]

    def counts(self) -> WebhookCounts:
        """How the webhooks of all projects do."""
        [row] = self._database.rows(_COUNTS, {}, repeatable=True)
        return WebhookCounts(*row)

    def _rows(
        self, statement: str, queue: QueueKey, subscription: str, given: Mapping[str, object]
    ) -> list[Row]:
        """The rows of a statement that has none only where there is no such subscription."""
        parameters = {**queue.parameters, 'id': message_id(subscription), **given}
        # A rotation that is done twice loses the secret before.
        rows = self._database.rows(statement, parameters, repeatable=statement is not _ROTATE)
        if not rows:
            raise SubscriptionNotFound(subscription, queue.name, queue.project)
        return rows


def _only_webhooks(rows: list[Row]) -> None:
    """Refuse what is for a subscription whose row begins with whether it is a webhook's."""
    if not rows[0][0]:
        raise InvalidRequest('The subscriber is a queue, which is not called.')


def _delivery(
    identity: int, is_failed: bool, age: int | None, next_attempt: str | None, attempts: str
) -> Delivery:
    return Delivery(
        public_id(identity),
        public_id(identity),
        FAILED if is_failed else PENDING,
        age or 0,
        next_attempt,
        _attempts(attempts),
    )


_attempts: Callable[[str], list[Attempt]] = msgspec.json.Decoder(list[Attempt]).decode

# Why nothing is sent; it may be shown to all who may see the subscription.
_PAUSED = 'It was paused by request.'

# Behind all ids.
_NOWHERE = 2**63 - 1

# Deliveries that one statement looks at, changes, and seconds for which a request changes some.
_MOST_LOOKED_AT = 5000
_BATCH = 5000
_PATIENCE = 20.0

_ISO = """to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')"""

_THE_SUBSCRIPTION = f"""
    WITH the_queue AS MATERIALIZED ({THE_QUEUE}),
    the_subscription AS MATERIALIZED (
        SELECT * FROM subscriptions
         WHERE queue_id = %(queue_id)s AND id = %(id)s AND expires_at > now()
           AND EXISTS (SELECT FROM the_queue))"""

_OF_THE_SUBSCRIPTION = """queue_id = %(queue_id)s AND subscription_id = %(id)s
           AND EXISTS (SELECT FROM the_subscription)
           AND message_id >= (SELECT floor FROM the_queue)"""

# First the id up to which was looked, if more may lie behind it.
_PAGE = f"""{_THE_SUBSCRIPTION},
    looked_at AS MATERIALIZED (
        SELECT message_id, due_at, coalesce(due_at = 'infinity', false) AS is_failed
          FROM deliveries
         WHERE {_OF_THE_SUBSCRIPTION} AND message_id > %(after)s
         ORDER BY message_id LIMIT {_MOST_LOOKED_AT}),
    page AS MATERIALIZED (
        SELECT * FROM looked_at
         WHERE %(state)s::text IS NULL OR is_failed = (%(state)s::text = '{FAILED}')
         ORDER BY message_id LIMIT %(limit)s),
    reached AS (
        SELECT CASE WHEN (SELECT count(*) FROM page) < %(limit)s
                     AND count(*) = {_MOST_LOOKED_AT} THEN max(message_id) END AS id
          FROM looked_at)
    SELECT reached.id, page.message_id, is_failed, {AGE_OF.format('message.created_at')},
           CASE WHEN NOT is_failed AND paused_at IS NULL
                THEN {_ISO.format('coalesce(due_at, now())')} END,
           coalesce(attempts.list, '[]')
      FROM the_subscription CROSS JOIN reached LEFT JOIN page ON true
           LEFT JOIN LATERAL (
               SELECT created_at FROM messages
                WHERE messages.queue_id = %(queue_id)s AND messages.id = page.message_id
                LIMIT 1) AS message ON true
           LEFT JOIN LATERAL (
               SELECT json_agg(json_build_object(
                          'at', {_ISO.format('attempted_at')}, 'status', status, 'error', error,
                          'ms', milliseconds) ORDER BY attempt)::text AS list
                 FROM delivery_attempts AS attempt
                WHERE attempt.queue_id = %(queue_id)s AND attempt.subscription_id = %(id)s
                  AND attempt.message_id = page.message_id) AS attempts ON true
     ORDER BY page.message_id
"""

# One that was never tried is about to be.
_RETRY = f"""{_THE_SUBSCRIPTION},
    found AS MATERIALIZED (
        SELECT message_id FROM deliveries
         WHERE {_OF_THE_SUBSCRIPTION} AND message_id = %(message_id)s),
    changed AS (
        UPDATE deliveries SET due_at = now(), attempts = 0
         WHERE {_OF_THE_SUBSCRIPTION} AND message_id = %(message_id)s AND due_at IS NOT NULL)
    SELECT (SELECT count(*) FROM found) FROM the_subscription
"""

_RETRY_BATCH = f"""{_THE_SUBSCRIPTION},
    found AS MATERIALIZED (
        SELECT ctid FROM deliveries
         WHERE {_OF_THE_SUBSCRIPTION} AND due_at = 'infinity'
         LIMIT %(batch_size)s FOR UPDATE SKIP LOCKED),
    changed AS (
        UPDATE deliveries SET due_at = now(), attempts = 0
         WHERE ctid = ANY (ARRAY(SELECT ctid FROM found))
     RETURNING message_id)
    SELECT (SELECT count(*) FROM changed) FROM the_subscription
"""

_PAUSE = f"""{_THE_SUBSCRIPTION},
    paused AS (
        UPDATE subscriptions SET paused_at = now(), reason = %(reason)s
         WHERE queue_id = %(queue_id)s AND id = %(id)s AND paused_at IS NULL
           AND target_id IS NULL AND EXISTS (SELECT FROM the_subscription))
    SELECT target_id IS NULL FROM the_subscription
"""

_RESUME = f"""{_THE_SUBSCRIPTION},
    resumed AS (
        UPDATE subscriptions SET paused_at = NULL, reason = NULL
         WHERE queue_id = %(queue_id)s AND id = %(id)s AND paused_at IS NOT NULL
           AND EXISTS (SELECT FROM the_subscription)),
    forgiven AS (
        UPDATE subscription_owners SET failing_since = NULL
         WHERE queue_id = %(queue_id)s AND id = %(id)s AND failing_since IS NOT NULL
           AND EXISTS (SELECT FROM the_subscription))
    SELECT 1 FROM the_subscription
"""

_ROTATE = f"""{_THE_SUBSCRIPTION},
    rotated AS (
        UPDATE subscriptions
           SET previous_secret = secret, secret = %(secret)s, rotated_at = now()
         WHERE queue_id = %(queue_id)s AND id = %(id)s AND target_id IS NULL
           AND EXISTS (SELECT FROM the_subscription))
    SELECT target_id IS NULL FROM the_subscription
"""

_CALLEE = f"""{_THE_SUBSCRIPTION}
    SELECT target_id IS NULL, subscriber, options, secret, previous_secret FROM the_subscription
"""

_CALLED = f"""
    SELECT subscriber, project, delivered, failing_since IS NOT NULL, paused_at IS NOT NULL
      FROM subscription_owners AS owner
           JOIN subscriptions USING (queue_id, id) JOIN queues USING (queue_id)
     WHERE expires_at > now() AND floor < {RETIRED}
"""

_COUNTS = """
    SELECT count(*), count(failing_since), count(paused_at)
      FROM subscription_owners JOIN subscriptions USING (queue_id, id) WHERE expires_at > now()
"""
