"""Subscriptions: who gets what is posted to a queue.

A webhook gets each message by a delivery, which a process of its own sends. A queue gets copies, in
the transaction of the post (fan_out.py).

A request that makes or changes a subscription locks the row of its queue. So a subscriber has one
subscription to a queue, and a queue has no more subscriptions than are allowed. A request that
subscribes a queue then locks the one row of ``id_epoch``, too. So two requests cannot close a circle
together, of which each sees only its own part.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from marconi_api import limits
from marconi_api.errors import (
    InvalidRequest,
    QueueNotFound,
    StorageUnavailable,
    SubscriptionCycle,
    SubscriptionExists,
    SubscriptionNotFound,
)
from marconi_api.model.postgres.database import Database, Row
from marconi_api.model.postgres.tables import (
    AGE_OF,
    IS_THE_QUEUE,
    RETIRED,
    THE_QUEUE,
    QueueKey,
    message_id,
    public_id,
)
from marconi_api.model.queues import Queues
from marconi_api.model.quotas import Quotas
from marconi_api.model.subscription_options import (
    Options,
    check_subscriber,
    target_of,
)
from marconi_api.webhooks.signatures import new_secret

_Run = Callable[[str, Mapping[str, Any]], list[Row]]


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription that has not expired; ``ttl`` and the ages in seconds.

    :param source: the queue's name
    :param subscriber: a URL, or ``queue:`` and a name
    :param options: the text of a JSON object, without secrets
    :param confirmed: whether anything is delivered
    :param state: active or paused
    :param reason: why it is paused, or not confirmed
    :param delivered: deliveries that the webhook has taken
    :param pending: those that it has not got yet, and ``failed`` those that are given up; of more
        than 10,000 only so many are counted
    :param oldest_pending_age: how old the first message is that it has not got
    """

    id: str
    source: str
    subscriber: str
    ttl: int
    age: int
    options: str
    confirmed: bool
    state: str
    reason: str | None
    delivered: int
    pending: int
    failed: int
    oldest_pending_age: int | None


@dataclass(frozen=True, slots=True)
class Created:
    """A subscription that was made just now, or was there and had not been confirmed.

    :param secret: of a new webhook what signs its deliveries, which is told this once
    """

    id: str
    is_new: bool
    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a subscription is to be."""

    subscriber: str
    ttl: int
    options: Options
    target: QueueKey | None


class Subscriptions:
    """The subscriptions to all queues. An id that is not well formed counts as unknown.

    :param requires_confirmation: whether a webhook gets nothing before it has confirmed
    """

    def __init__(
        self,
        database: Database,
        queues: Queues,
        quotas: Quotas | None = None,
        requires_confirmation: bool = False,
    ) -> None:
        self._database = database
        self._queues = queues
        self._quotas = quotas if quotas and quotas.is_on else None
        #: Whether a webhook gets nothing before it has confirmed.
        self.requires_confirmation = requires_confirmation

    def create(
        self, queue: QueueKey, subscriber: str, ttl: int | None = None, options: str = '{}'
    ) -> Created:
        """Subscribe to a queue, which is made if it is not there.

        One that is there and has not been confirmed is told again how to confirm.

        :param ttl: seconds; None: as the settings say
        :param options: the text of a JSON object
        :raises InvalidRequest: for what cannot be subscribed, or not so
        :raises QueueNotFound: if the subscriber is a queue that is not there
        :raises SubscriptionCycle: if copies would come back to the queue
        :raises SubscriptionExists: if the subscriber is subscribed already
        :raises QuotaExceeded: if the project has as many as it may have
        """
        wanted = _wanted(queue, subscriber, ttl, Options(options))
        for _ in range(_TRIES):
            with self._database.transaction() as run:
                if run(_LOCK_QUEUE, queue.parameters):
                    return self._create(run, queue, wanted)
            self._queues.create(queue)
        raise StorageUnavailable

    def _create(self, run: _Run, queue: QueueKey, wanted: _Wanted) -> Created:
        given = {'queue_id': queue.id, 'subscriber': wanted.subscriber}
        for identity, confirmed in run(_OF_SUBSCRIBER, given):
            if confirmed:
                raise SubscriptionExists(wanted.subscriber, queue.name)
            self._ask_again(run, queue, identity)
            return Created(public_id(identity), is_new=False)
        self._check_number(run, queue)
        is_webhook = wanted.target is None
        secret = (wanted.options.secret or new_secret()) if is_webhook else None
        confirmed = not (is_webhook and self.requires_confirmation)
        rows = run(
            _INSERT,
            {
                **given,
                'target_id': wanted.target and wanted.target.id,
                'ttl': wanted.ttl,
                'options': wanted.options.text,
                'confirmed': confirmed,
                'secret': secret,
            },
        )
        [(identity,)] = rows
        run(_TELL_QUEUE, queue.parameters)
        self._settle(run, queue, identity, wanted, confirmed)
        return Created(public_id(identity), is_new=True, secret=secret)

    def _check_number(self, run: _Run, queue: QueueKey) -> None:
        most = limits.in_force.max_subscriptions_per_queue
        [(number,)] = run(_COUNT, queue.parameters)
        if number >= most:
            raise InvalidRequest(
                f'A queue may have {most} subscriptions: delete one that is not needed.'
            )
        if self._quotas:
            self._quotas.admit_subscription(queue.project, run)

    def _settle(
        self, run: _Run, queue: QueueKey, identity: int, wanted: _Wanted, confirmed: bool
    ) -> None:
        """Store a webhook's owner row and confirmation; of a queue, refuse circles."""
        given = {'queue_id': queue.id, 'id': identity}
        if wanted.target is None:
            run(_MAKE_OWNER, {**given, 'confirmation': None if confirmed else _SUBSCRIBE})
        else:
            run(_REMOVE_OWNERS, {**given, 'ids': [identity]})
            _check_copies(run, queue, wanted.target)

    def _ask_again(self, run: _Run, queue: QueueKey, identity: int) -> None:
        given = {'queue_id': queue.id, 'id': identity}
        if self.requires_confirmation:
            run(_MAKE_OWNER, {**given, 'confirmation': _SUBSCRIBE})
        else:
            # Its webhook had cancelled the subscription.
            run(_CONFIRM, {**queue.parameters, **given, 'confirmed': True})

    def page(self, queue: QueueKey, marker: str | None, limit: int) -> list[Subscription]:
        """The next subscriptions to a queue, from the one after the id ``marker`` on.

        A queue that is not there has none.
        """
        after = -1 if marker is None else message_id(marker)
        if after is None:
            return []
        given = {**queue.parameters, 'after': after, 'last': _LAST, 'limit': limit}
        return self._subscriptions(queue, given)

    def get(self, queue: QueueKey, subscription: str) -> Subscription:
        """One subscription.

        :raises SubscriptionNotFound: if there is no such subscription, or it has expired
        """
        identity = message_id(subscription)
        if identity is not None:
            given = {**queue.parameters, 'after': identity - 1, 'last': identity, 'limit': 1}
            for found in self._subscriptions(queue, given):
                return found
        raise SubscriptionNotFound(subscription, queue.name, queue.project)

    def _subscriptions(self, queue: QueueKey, given: Mapping[str, Any]) -> list[Subscription]:
        rows = self._database.rows(_LIST, given, repeatable=True)
        return [_subscription(queue, *row) for row in rows]

    def change(
        self,
        queue: QueueKey,
        subscription: str,
        subscriber: str | None = None,
        ttl: int | None = None,
        options: str | None = None,
    ) -> None:
        """Change what is given, and let a subscription that was paused go on.

        Its time begins anew if a ``ttl`` is given. Options without a secret leave that as it is. A
        webhook that takes the place of another one has to confirm, too.

        :raises SubscriptionNotFound: if it is not there
        :raises InvalidRequest: and others: as :meth:`create`
        """
        identity = message_id(subscription)
        with self._database.transaction() as run:
            rows = run(_LOCK_QUEUE, queue.parameters) and run(
                _LOCK, {**queue.parameters, 'id': identity}
            )
            if not rows:
                raise SubscriptionNotFound(subscription, queue.name, queue.project)
            [(subscriber_before, options_before, confirmed)] = rows
            before = Options(options_before)
            wanted = _wanted(
                queue,
                subscriber_before if subscriber is None else subscriber,
                ttl,
                before if options is None else Options(options).keeping(before),
            )
            assert identity is not None
            is_other = wanted.subscriber != subscriber_before
            if is_other:
                given = {'queue_id': queue.id, 'subscriber': wanted.subscriber}
                if run(_OF_SUBSCRIBER, given):
                    raise SubscriptionExists(wanted.subscriber, queue.name)
                confirmed = wanted.target is not None or not self.requires_confirmation
            self._change(run, queue, identity, wanted, ttl, confirmed)
            if is_other:
                self._settle(run, queue, identity, wanted, confirmed)

    def _change(
        self,
        run: _Run,
        queue: QueueKey,
        identity: int,
        wanted: _Wanted,
        ttl: int | None,
        confirmed: bool,
    ) -> None:
        given = {'queue_id': queue.id, 'id': identity}
        run(
            _CHANGE,
            {
                **given,
                'subscriber': wanted.subscriber,
                'target_id': wanted.target and wanted.target.id,
                'ttl': ttl,
                'options': wanted.options.text,
                'confirmed': confirmed,
                'secret': wanted.options.secret,
                'new_secret': None if wanted.target else new_secret(),
            },
        )
        run(_WAKE, given)

    def delete(self, queue: QueueKey, subscription: str) -> None:
        """End a subscription, with what is still to be delivered; no such one is no error."""
        identity = message_id(subscription)
        if identity is not None:
            self._database.rows(_DELETE, {**queue.parameters, 'ids': [identity]}, repeatable=True)

    def delete_all(self, queue: QueueKey) -> None:
        """End all subscriptions to a queue; no such queue is no error."""
        self._database.rows(_DELETE, {**queue.parameters, 'ids': None}, repeatable=True)

    def confirm(self, queue: QueueKey, subscription: str, confirmed: bool) -> None:
        """Let the webhook get what is posted from now on, or nothing more.

        :raises SubscriptionNotFound: if it is not there
        """
        given = {**queue.parameters, 'id': message_id(subscription), 'confirmed': confirmed}
        with self._database.transaction() as run:
            rows = run(_CONFIRM, given)
            if not rows:
                raise SubscriptionNotFound(subscription, queue.name, queue.project)
            if confirmed:
                # The settings may allow fewer URLs than when the subscription was made.
                check_subscriber(rows[0][0])
            if self.requires_confirmation and not confirmed:
                run(_ASK, {**given, 'confirmation': _UNSUBSCRIBE})


def _wanted(queue: QueueKey, subscriber: str, ttl: int | None, options: Options) -> _Wanted:
    within = limits.in_force.subscription_ttl
    check_subscriber(subscriber)
    options.check()
    name = target_of(subscriber)
    target = QueueKey.of(queue.project, name) if name is not None else None
    return _Wanted(
        subscriber, within.asked_or_default('The ttl of a subscription', ttl), options, target
    )


def _subscription(queue: QueueKey, *row: Any) -> Subscription:
    identity, subscriber, ttl, age, options, confirmed, is_paused, reason, has_target, *counts = row
    if not has_target:
        reason = f'queue {target_of(subscriber)} does not exist'
    return Subscription(
        public_id(identity),
        queue.name,
        subscriber,
        ttl,
        age,
        Options(options).shown,
        confirmed and has_target,
        'paused' if is_paused else 'active',
        reason,
        *counts,
    )


# ---------------------------------------------------------------- copies


def _check_copies(run: _Run, queue: QueueKey, target: QueueKey) -> None:
    """Refuse a subscription of a queue, which is stored already, if it must not be.

    It is then undone with the transaction.

    :raises QueueNotFound: if the subscriber is not there
    :raises SubscriptionCycle: if a post could come back to where it was
    :raises InvalidRequest: if a post could come to more queues than are allowed
    """
    # From here to the end nobody else subscribes a queue. Statements that come later see what
    # was stored before.
    run(_ONE_AT_A_TIME, {})
    if not run(THE_QUEUE, target.parameters):
        raise QueueNotFound(target.name, target.project)
    _check_circle(run, queue, target)
    most = limits.in_force.max_fan_out
    for name, count in run(_WIDEST, {'queue_id': queue.id, 'most': most}):
        raise InvalidRequest(
            f'A post to queue {name} would be copied to {count} queues; {most} are allowed.'
        )


def _check_circle(run: _Run, queue: QueueKey, target: QueueKey) -> None:
    """Follow copies from the target on, step by step, and refuse a way that leads to the queue."""
    ways = {target.id: (queue.name, target.name)}
    last = [target.id]
    while last and queue.id not in ways:
        reached = {}
        for source, identity, subscriber in run(_NEXT_COPIES, {'ids': last}):
            if identity not in ways:
                reached[identity] = (*ways[source], target_of(subscriber) or '')
        ways |= reached
        last = list(reached)
    if queue.id in ways:
        raise SubscriptionCycle(ways[queue.id])


# Tries to make a subscription: another client may be deleting the queue over and over.
_TRIES = 20

_SUBSCRIBE = 'SubscriptionConfirmation'
_UNSUBSCRIBE = 'UnsubscribeConfirmation'

# The greatest id.
_LAST = 2**63 - 1

# Deliveries that are counted, at most.
_MOST_COUNTED = 10_000

# Waits for who is deleting the queue, or subscribes. Posts do not wait.
_LOCK_QUEUE = f'{THE_QUEUE} FOR NO KEY UPDATE'

# The locks may have been waited for: now() may be long ago.
_IS_ALIVE = 'expires_at > clock_timestamp()'

_ONE_AT_A_TIME = 'SELECT FROM id_epoch FOR NO KEY UPDATE'

_OF_SUBSCRIBER = f"""
    SELECT id, confirmed FROM subscriptions
     WHERE queue_id = %(queue_id)s AND subscriber = %(subscriber)s AND {_IS_ALIVE}
"""

_COUNT = f"""
    SELECT count(*) FROM subscriptions WHERE queue_id = %(queue_id)s AND {_IS_ALIVE}
"""

# Ids rise with time, also where the clock was set back.
_INSERT = """
    WITH made AS MATERIALIZED (
        SELECT clock_timestamp() AS at,
               coalesce((SELECT max(id) FROM subscriptions WHERE queue_id = %(queue_id)s), 0)
                   AS last)
    INSERT INTO subscriptions
           (queue_id, id, subscriber, target_id, created_at, ttl, expires_at, options, confirmed,
            secret)
    SELECT %(queue_id)s, greatest(last + 1, (date_part('epoch', at) * 1000000)::bigint),
           %(subscriber)s, %(target_id)s, at, %(ttl)s, at + %(ttl)s * interval '1 second',
           %(options)s, %(confirmed)s, %(secret)s
      FROM made
 RETURNING id
"""

# From now on each post looks for subscriptions.
_TELL_QUEUE = f"""
    UPDATE queues SET has_subscribers = true WHERE {IS_THE_QUEUE} AND NOT has_subscribers
"""

_MAKE_OWNER = """
    INSERT INTO subscription_owners AS owner (queue_id, id, confirmation, confirmation_due_at)
    VALUES (%(queue_id)s, %(id)s, %(confirmation)s, now())
        ON CONFLICT (queue_id, id) DO UPDATE
       SET confirmation = excluded.confirmation,
           confirmation_due_at = excluded.confirmation_due_at,
           confirmation_attempts = 0
"""

_ASK = """
    UPDATE subscription_owners
       SET confirmation = %(confirmation)s, confirmation_due_at = now(), confirmation_attempts = 0
     WHERE queue_id = %(queue_id)s AND id = %(id)s
"""

_REMOVE_OWNERS = """
    DELETE FROM subscription_owners
     WHERE queue_id = %(queue_id)s AND id = ANY (%(ids)s::bigint[])
"""

_LOCK = f"""
    SELECT subscriber, options, confirmed FROM subscriptions
     WHERE queue_id = %(queue_id)s AND id = %(id)s AND {_IS_ALIVE}
       FOR NO KEY UPDATE
"""

_CHANGE = """
    UPDATE subscriptions
       SET subscriber = %(subscriber)s, target_id = %(target_id)s,
           ttl = coalesce(%(ttl)s, ttl),
           expires_at = coalesce(clock_timestamp() + %(ttl)s * interval '1 second', expires_at),
           options = %(options)s, confirmed = %(confirmed)s,
           secret = coalesce(%(secret)s, secret, %(new_secret)s),
           previous_secret = CASE WHEN %(secret)s IS NULL THEN previous_secret END,
           paused_at = NULL, reason = NULL
     WHERE queue_id = %(queue_id)s AND id = %(id)s
"""

_WAKE = """
    UPDATE subscription_owners SET failing_since = NULL
     WHERE queue_id = %(queue_id)s AND id = %(id)s AND failing_since IS NOT NULL
"""

# What is still to be delivered is left to the janitor.
_DELETE = f"""
    WITH the_queue AS MATERIALIZED ({THE_QUEUE}),
    gone AS (
        DELETE FROM subscriptions
         WHERE queue_id = %(queue_id)s AND EXISTS (SELECT FROM the_queue)
           AND (%(ids)s::bigint[] IS NULL OR id = ANY (%(ids)s::bigint[]))
     RETURNING id)
    DELETE FROM subscription_owners
     WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM gone))
"""

_CONFIRM = f"""
    WITH the_queue AS MATERIALIZED ({THE_QUEUE})
    UPDATE subscriptions SET confirmed = %(confirmed)s
     WHERE queue_id = %(queue_id)s AND id = %(id)s AND expires_at > now()
       AND EXISTS (SELECT FROM the_queue)
 RETURNING subscriber
"""

_LIST = f"""
    WITH the_queue AS MATERIALIZED ({THE_QUEUE}),
    page AS MATERIALIZED (
        SELECT * FROM subscriptions
         WHERE queue_id = %(queue_id)s AND id > %(after)s AND id <= %(last)s AND expires_at > now()
         ORDER BY id LIMIT %(limit)s)
    SELECT page.id, subscriber, ttl, {AGE_OF.format('page.created_at')}, options, confirmed,
           paused_at IS NOT NULL, reason,
           target_id IS NULL OR EXISTS (
               SELECT FROM queues WHERE queues.queue_id = target_id AND floor < {RETIRED}),
           coalesce(owner.delivered, 0), deliveries.pending, deliveries.failed,
           CASE WHEN oldest.created_at IS NOT NULL THEN {AGE_OF.format('oldest.created_at')} END
      FROM the_queue, page
           LEFT JOIN subscription_owners AS owner
                  ON owner.queue_id = %(queue_id)s AND owner.id = page.id
           LEFT JOIN LATERAL (
               SELECT count(*) FILTER (WHERE NOT is_failed) AS pending,
                      count(*) FILTER (WHERE is_failed) AS failed,
                      min(message_id) FILTER (WHERE NOT is_failed) AS first_pending
                 FROM (SELECT message_id, coalesce(due_at = 'infinity', false) AS is_failed
                         FROM deliveries
                        WHERE queue_id = %(queue_id)s AND subscription_id = page.id
                          AND message_id >= (SELECT floor FROM the_queue)
                        ORDER BY message_id LIMIT {_MOST_COUNTED}) AS counted) AS deliveries ON true
           LEFT JOIN LATERAL (
               SELECT created_at FROM messages
                WHERE queue_id = %(queue_id)s AND id = deliveries.first_pending
                LIMIT 1) AS oldest ON true
     ORDER BY page.id
"""

_NEXT_COPIES = f"""
    SELECT queue_id, target_id, subscriber FROM subscriptions
     WHERE queue_id = ANY (%(ids)s::bigint[]) AND target_id IS NOT NULL AND {_IS_ALIVE}
"""

# Of all queues from which a post comes to this one: the one that has too many copies.
_WIDEST = f"""
    WITH RECURSIVE above (queue_id) AS (
        SELECT %(queue_id)s::bigint
         UNION
        SELECT copy.queue_id
          FROM above,
               LATERAL (SELECT queue_id FROM subscriptions
                         WHERE target_id = above.queue_id AND {_IS_ALIVE}) AS copy),
    reach (root, queue_id) AS (
        SELECT queue_id, queue_id FROM above
         UNION
        SELECT root, copy.target_id
          FROM reach,
               LATERAL (SELECT target_id FROM subscriptions
                         WHERE queue_id = reach.queue_id AND target_id IS NOT NULL
                           AND {_IS_ALIVE}) AS copy),
    counted AS (SELECT root, count(*) - 1 AS copies FROM reach GROUP BY root)
    SELECT name, copies FROM counted JOIN queues ON queue_id = root
     WHERE copies > %(most)s ORDER BY copies DESC LIMIT 1
"""
