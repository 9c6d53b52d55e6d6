"""What webhooks are still to get: who sends it, what came of it, and what of it can be sent again.

A delivery is a row, written by the statement that posts the message. **An owner sends it**: of all
processes that deliver, one at a time has a subscription, for the time of a lease. So nobody sends a
delivery twice because another process does not know of it, and the number of those under way is
counted in one place. A process that is killed sends nothing more; when its lease is over another one
takes its subscriptions, and sends again what was under way.

**What an owner has seen.** A read of fresh deliveries starts behind ``after``: an id below which
none is left that it has not seen. Ids are not committed in their order: a transaction with a lower
id may commit later. So ``after`` is below the read horizon of the last read, and below all that
is under way. An owner that went on from the last id it had read missed a quarter of the deliveries
of four posters.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from marconi_api import limits
from marconi_api.model.flows import DELIVERED, DELIVERIES_FAILED, DELIVERY_ATTEMPTS_FAILED, flows
from marconi_api.model.postgres.bodies import REMOVE_UNNEEDED
from marconi_api.model.postgres.database import Database
from marconi_api.model.postgres.prepared import Prepared
from marconi_api.model.postgres.steering import body_of
from marconi_api.model.postgres.tables import (
    IS_NUMBERED_AS_KNOWN,
    READ_HORIZON,
    RETIRED,
    QueueKey,
    public_id,
)

#: Seconds for which an owner has a subscription, if it does not renew that.
LEASE = 6.0

#: Attempts of a delivery that are remembered.
MOST_ATTEMPTS = 20

#: Hours for which everything must have failed before a subscription is paused.
HOURS_TO_PAUSE = 24

#: Why a delivery failed without an attempt.
EXPIRED, GONE = 'expired', 'message is gone'


class SubscriptionKey(NamedTuple):
    """A subscription, whatever is known of it."""

    queue_id: int
    id: int


class Owned(NamedTuple):
    """A subscription that this process owns, and that has something to do."""

    key: SubscriptionKey
    queue: QueueKey
    #: Of the queue, and of the subscription: JSON objects.
    metadata: str
    options: str
    subscriber: str
    #: The new one first.
    secrets: tuple[str, ...]
    #: The kind of confirmation that is to be sent, if one is, and how often it was tried.
    confirmation: str | None
    confirmation_attempts: int
    #: Whether its deliveries may be sent.
    is_active: bool
    #: Seconds for which the subscription lives on.
    seconds_left: int


class Delivery(NamedTuple):
    """A message that a webhook is to get now.

    :param is_fresh: it was never tried
    :param ttl: seconds, as it was posted
    :param body: JSON; None if it is not there any more
    """

    message_id: int
    attempts: int
    is_fresh: bool
    has_expired: bool
    ttl: int
    body: str | None
    #: That of the request that posted it.
    traceparent: str | None


class Read(NamedTuple):
    """What a read found, and the id below which it found all that is fresh."""

    deliveries: list[Delivery]
    horizon: int


class Done(NamedTuple):
    """A delivery that is over: the webhook has it, or a queue for dead letters."""

    subscription: SubscriptionKey
    message_id: int
    has_delivered: bool


class Failure(NamedTuple):
    """An attempt that failed.

    :param attempts: those before it
    :param delay: seconds until the next one; None: there is none
    :param is_attempt: whether the webhook was called
    """

    subscription: SubscriptionKey
    message_id: int
    attempts: int
    delay: float | None
    at: datetime
    ms: int
    status: int | None
    error: str | None
    is_attempt: bool = True


class Deliveries:
    """The deliveries of all subscriptions, for a process that sends them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(
        self,
        owner: str,
        seen: Mapping[SubscriptionKey, int],
        queues: Sequence[int] | None = None,
    ) -> list[Owned]:
        """Own, for ``LEASE`` seconds from now, all subscriptions with something to do.

        Those that another process owns are left out.

        :param owner: a UUID of this process
        :param seen: what :meth:`read` may start behind
        :param queues: the ids of those that are looked at; None: of all
        """
        given = {
            'owner': owner,
            'lease': LEASE,
            'queue_ids': [key.queue_id for key in seen],
            'ids': [key.id for key in seen],
            'afters': list(seen.values()),
            'queues': queues,
        }
        rows = self._database.rows(_TAKE, given, repeatable=True)
        return [_owned(*row) for row in rows]

    def release(self, owner: str) -> None:
        """Give up the subscriptions that this process owns, so that others can own them."""
        self._database.rows(_RELEASE, {'owner': owner}, repeatable=True)

    def read(
        self,
        subscription: SubscriptionKey,
        after: int,
        taken: Iterable[int],
        due: int,
        fresh: int,
    ) -> Read | None:
        """What is to be sent now, the due first; None if the queue is gone.

        :param after: fresh deliveries with lower ids were seen before
        :param taken: the ids of messages whose deliveries are under way
        :param due: how many deliveries to read that were tried before, at most
        :param fresh: how many fresh ones, at most
        """
        given = {
            **subscription._asdict(),
            'after': after,
            'taken': list(taken),
            'due': due,
            'fresh': fresh,
        }
        rows = self._database.rows(_READ, given, repeatable=True)
        if not rows:
            return None
        found = [Delivery(*row[1:]) for row in rows if row[1] is not None]
        horizon = rows[0][0] if fresh else after
        ids = [delivery.message_id for delivery in found if delivery.is_fresh]
        if ids and len(ids) == fresh:
            # The read was cut short, and has seen no deliveries behind the last one that it returns.
            horizon = min(horizon, max(ids) + 1)
        return Read(found, horizon)

    def note_done(self, done: Sequence[Done]) -> None:
        """Remove deliveries that are over, and bodies that nobody needs any more."""
        given = {
            'queue_ids': [one.subscription.queue_id for one in done],
            'ids': [one.subscription.id for one in done],
            'message_ids': [one.message_id for one in done],
            'delivered': [one.has_delivered for one in done],
        }
        self._database.rows(_DONE, given, repeatable=True)
        flows.tell(DELIVERED, sum(one.has_delivered for one in done))
        for queue_id in {one.subscription.queue_id for one in done}:
            ids = [one.message_id for one in done if one.subscription.queue_id == queue_id]
            self._database.rows(_REMOVE_BODIES, {'queue_id': queue_id, 'ids': ids}, repeatable=True)

    def note_failures(self, failures: Sequence[Failure]) -> list[SubscriptionKey]:
        """Remember attempts that failed, and when the next are due.

        :returns: subscriptions that are paused from now on, as all has failed for long
        """
        given = {
            'failures': msgspec.json.encode([_columns(one) for one in failures]).decode(),
            'kept': limits.in_force.failed_delivery_retention,
        }
        rows = self._database.rows(_FAILED, given, repeatable=True)
        flows.tell(DELIVERY_ATTEMPTS_FAILED, sum(one.is_attempt for one in failures))
        flows.tell(DELIVERIES_FAILED, sum(one.delay is None for one in failures))
        return [SubscriptionKey(*row) for row in rows]

    def note_confirmation(
        self, subscription: SubscriptionKey, kind: str, attempts: int, delay: float | None
    ) -> None:
        """A confirmation was sent, and is over (``delay`` None), or is to be sent again.

        One that was asked for meanwhile stays.
        """
        given = {**subscription._asdict(), 'kind': kind, 'attempts': attempts, 'delay': delay}
        self._database.rows(_CONFIRMATION, given, repeatable=True)


def _owned(
    queue_id: int,
    identity: int,
    project: str,
    name: str,
    metadata: str,
    options: str,
    subscriber: str,
    secret: str | None,
    previous_secret: str | None,
    *others: Any,
) -> Owned:
    return Owned(
        SubscriptionKey(queue_id, identity),
        QueueKey(queue_id, project, name),
        metadata,
        options,
        subscriber,
        tuple(filter(None, (secret, previous_secret))),
        *others,
    )


def _columns(failure: Failure) -> dict[str, Any]:
    """What the statement reads of a failure."""
    return {
        **failure.subscription._asdict(),
        'message_id': failure.message_id,
        'attempts': failure.attempts,
        'delay': failure.delay,
        'at': failure.at,
        'milliseconds': failure.ms,
        'status': failure.status,
        'error': failure.error,
        'is_attempt': failure.is_attempt,
    }


def call_id(subscription: SubscriptionKey, message: int) -> str:
    """What a receiver knows a delivery by, the same at each attempt."""
    return f'{public_id(subscription.id)}-{public_id(message)}'


# ---------------------------------------------------------------- statements

_HAS_DUE = """EXISTS (
              SELECT FROM deliveries AS delivery
               WHERE delivery.queue_id = owner.queue_id AND delivery.subscription_id = owner.id
                 AND delivery.due_at <= now())"""

_HAS_FRESH = """EXISTS (
              SELECT FROM deliveries AS delivery
               WHERE delivery.queue_id = owner.queue_id AND delivery.subscription_id = owner.id
                 AND delivery.message_id > coalesce(known.after, -1) AND due_at IS NULL)"""

_HAS_CONFIRMATION = (
    'coalesce(owner.confirmation_due_at <= now() AND confirmation IS NOT NULL, false)'
)

_IS_ACTIVE = 'subscription.confirmed AND subscription.paused_at IS NULL'

_TAKE = Prepared(
    f"""
    WITH known AS MATERIALIZED (
        SELECT * FROM unnest(%(queue_ids)s::bigint[], %(ids)s::bigint[], %(afters)s::bigint[])
                      AS known (queue_id, id, after)),
    busy AS MATERIALIZED (
        SELECT owner.ctid
          FROM subscription_owners AS owner
               JOIN subscriptions AS subscription
                 ON subscription.queue_id = owner.queue_id AND subscription.id = owner.id
               LEFT JOIN known ON known.queue_id = owner.queue_id AND known.id = owner.id
         WHERE (%(queues)s::bigint[] IS NULL OR owner.queue_id = ANY (%(queues)s::bigint[]))
           AND (owner.owned_until < clock_timestamp() OR owner.owner = %(owner)s::uuid)
           AND subscription.expires_at > now()
           AND ({_HAS_CONFIRMATION} OR ({_IS_ACTIVE} AND ({_HAS_DUE} OR {_HAS_FRESH})))
           FOR NO KEY UPDATE OF owner SKIP LOCKED),
    taken AS (
        UPDATE subscription_owners
           SET owner = %(owner)s::uuid,
               owned_until = clock_timestamp() + %(lease)s * interval '1 second'
         WHERE ctid = ANY (ARRAY(SELECT ctid FROM busy))
     RETURNING *)
    SELECT queue_id, id, project, name, metadata, options, subscriber, secret, previous_secret,
           CASE WHEN {_HAS_CONFIRMATION.replace('owner.', '')} THEN confirmation END,
           confirmation_attempts, {_IS_ACTIVE.replace('subscription.', '')},
           ceil(date_part('epoch', expires_at - now()))::bigint
      FROM taken JOIN subscriptions USING (queue_id, id) JOIN queues USING (queue_id)
     WHERE floor < {RETIRED}
""",
    'take_subscriptions',
)

_RELEASE = """
    UPDATE subscription_owners SET owned_until = '-infinity'
     WHERE owner = %(owner)s::uuid AND owned_until > now()
"""

# Of the fresh ones, those with ids below the floor belong to messages that were purged.
_READ = Prepared(
    f"""
    WITH the_queue AS MATERIALIZED (
        SELECT floor FROM queues
         WHERE queue_id = %(queue_id)s AND floor < {RETIRED} AND {IS_NUMBERED_AS_KNOWN}),
    due AS MATERIALIZED (
        SELECT message_id, attempts, expires_at, false AS is_fresh FROM deliveries
         WHERE queue_id = %(queue_id)s AND subscription_id = %(id)s AND due_at <= now()
           AND message_id >= (SELECT floor FROM the_queue)
           AND message_id <> ALL (%(taken)s::bigint[])
         ORDER BY due_at LIMIT %(due)s),
    fresh AS MATERIALIZED (
        SELECT message_id, attempts, expires_at, true AS is_fresh FROM deliveries
         WHERE queue_id = %(queue_id)s AND subscription_id = %(id)s AND due_at IS NULL
           AND message_id > greatest(%(after)s, (SELECT floor FROM the_queue) - 1)
           AND message_id <> ALL (%(taken)s::bigint[])
         ORDER BY message_id LIMIT %(fresh)s),
    found AS (SELECT * FROM due UNION ALL SELECT * FROM fresh)
    SELECT {READ_HORIZON}, found.message_id, attempts, is_fresh, expires_at <= now(),
           round(date_part('epoch', expires_at - message.created_at))::bigint, body, traceparent
      FROM the_queue LEFT JOIN found ON true
           LEFT JOIN {body_of('found').replace('found.id', 'found.message_id')} ON true
""",
    'read_deliveries',
)

_DONE = Prepared(
    """
    WITH done AS MATERIALIZED (
        SELECT * FROM unnest(%(queue_ids)s::bigint[], %(ids)s::bigint[],
                             %(message_ids)s::bigint[], %(delivered)s::boolean[])
                      AS done (queue_id, id, message_id, has_delivered)),
    gone AS (
        DELETE FROM deliveries AS delivery USING done
         WHERE delivery.queue_id = done.queue_id AND delivery.subscription_id = done.id
           AND delivery.message_id = done.message_id
     RETURNING delivery.*, has_delivered),
    remembered AS (
        DELETE FROM delivery_attempts AS attempt USING gone
         WHERE attempt.queue_id = gone.queue_id AND attempt.subscription_id = gone.subscription_id
           AND attempt.message_id = gone.message_id),
    counted AS (
        SELECT queue_id, subscription_id AS id, count(*) AS deliveries FROM gone
         WHERE has_delivered GROUP BY queue_id, subscription_id)
    UPDATE subscription_owners AS owner
       SET delivered = delivered + deliveries, failing_since = NULL
      FROM counted WHERE owner.queue_id = counted.queue_id AND owner.id = counted.id
""",
    'deliveries_done',
)

_REMOVE_BODIES = Prepared(REMOVE_UNNEEDED, 'remove_unneeded_bodies')

# One that was sent again by hand meanwhile has another number of attempts, and is left alone.
_FAILED = Prepared(
    f"""
    WITH failed AS MATERIALIZED (
        SELECT * FROM json_to_recordset(%(failures)s::json)
                      AS failed (queue_id bigint, id bigint, message_id bigint, attempts integer,
                                 delay float, at timestamptz, milliseconds integer,
                                 status integer, error text, is_attempt boolean)),
    marked AS (
        UPDATE deliveries AS delivery
           SET attempts = failed.attempts + 1,
               due_at = coalesce(now() + delay * interval '1 second', 'infinity'),
               expires_at = CASE WHEN delay IS NULL THEN now() + %(kept)s * interval '1 second'
                                 ELSE delivery.expires_at END
          FROM failed
         WHERE delivery.queue_id = failed.queue_id AND delivery.subscription_id = failed.id
           AND delivery.message_id = failed.message_id AND delivery.attempts = failed.attempts
           AND delivery.due_at IS DISTINCT FROM 'infinity'
     RETURNING failed.*),
    numbered AS MATERIALIZED (
        SELECT marked.*, coalesce(last.attempt, 0) + 1 AS attempt
          FROM marked
               LEFT JOIN LATERAL (
                   SELECT attempt FROM delivery_attempts AS before
                    WHERE before.queue_id = marked.queue_id AND before.subscription_id = marked.id
                      AND before.message_id = marked.message_id
                    ORDER BY attempt DESC LIMIT 1) AS last ON true),
    remembered AS (
        INSERT INTO delivery_attempts (queue_id, subscription_id, message_id, attempt,
                                       attempted_at, status, error, milliseconds)
        SELECT queue_id, id, message_id, attempt, at, status, error, milliseconds FROM numbered),
    forgotten AS (
        DELETE FROM delivery_attempts AS old USING numbered
         WHERE old.queue_id = numbered.queue_id AND old.subscription_id = numbered.id
           AND old.message_id = numbered.message_id
           AND old.attempt <= numbered.attempt - {MOST_ATTEMPTS}),
    failing AS (
        UPDATE subscription_owners AS owner
           SET failing_since = coalesce(failing_since, now())
          FROM (SELECT DISTINCT queue_id, id FROM marked WHERE is_attempt) AS webhook
         WHERE owner.queue_id = webhook.queue_id AND owner.id = webhook.id
     RETURNING owner.queue_id, owner.id, failing_since)
    UPDATE subscriptions AS subscription
       SET paused_at = now(),
           reason = 'Every delivery has failed for {HOURS_TO_PAUSE} hours.'
      FROM failing
     WHERE subscription.queue_id = failing.queue_id AND subscription.id = failing.id
       AND failing_since <= now() - interval '{HOURS_TO_PAUSE} hours' AND paused_at IS NULL
 RETURNING subscription.queue_id, subscription.id
""",
    'deliveries_failed',
)

_CONFIRMATION = """
    UPDATE subscription_owners
       SET confirmation = CASE WHEN %(delay)s::float IS NOT NULL THEN confirmation END,
           confirmation_attempts = %(attempts)s,
           confirmation_due_at = now() + %(delay)s::float * interval '1 second'
     WHERE queue_id = %(queue_id)s AND id = %(id)s AND confirmation = %(kind)s
       AND confirmation_attempts = %(attempts)s - 1
"""
