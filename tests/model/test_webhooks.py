"""What a project sees of the deliveries of its webhooks, and mends."""

from collections.abc import Callable
from typing import Any

import pytest

from marconi_api import model
from marconi_api.errors import (
    DeliveryNotFound,
    InvalidRequest,
    StorageTooSlow,
    SubscriptionNotFound,
)
from marconi_api.model import QueueKey, webhooks
from marconi_api.model.postgres.tables import message_id, public_id
from marconi_api.model.webhooks import Attempt
from marconi_api.webhooks.signatures import check_secret

QUEUE = QueueKey.of('acme', 'events')
FIRST = 1 << 40


@pytest.fixture
def subscription(app: Any, sql: Any) -> str:
    model.store.queues.create(QUEUE)
    # Its deliveries here have ids of their own.
    sql('UPDATE queues SET floor = 0')
    return model.store.subscriptions.create(QUEUE, 'http://example.com/hook').id


@pytest.fixture
def deliver(subscription: str, sql: Any) -> Callable[..., str]:
    """Makes a delivery of the next message, and returns its id."""
    ids = iter(range(FIRST, FIRST + 100_000))

    def make(due: str | None = None, attempts: int = 0) -> str:
        identity = next(ids)
        sql(
            "INSERT INTO messages VALUES (%s, %s, now() - interval '7 seconds', '1')",
            QUEUE.id,
            identity,
        )
        sql(
            "INSERT INTO deliveries VALUES (%s, %s, %s, now() + interval '1 hour', %s, %s)",
            *(QUEUE.id, message_id(subscription), identity, due, attempts),
        )
        return public_id(identity)

    return make


def page(subscription: str, state: str | None = None, marker: str | None = None) -> Any:
    return model.store.webhooks.page(QUEUE, subscription, state, marker, 10)


def test_a_page_tells_what_is_known_of_each_delivery(
    subscription: str, deliver: Any, sql: Any
) -> None:
    fresh = deliver()
    waiting = deliver('2030-01-02 03:04:05+00', 2)
    failed = deliver('infinity', 18)
    for attempt, status, error in ((1, 500, None), (2, None, 'timeout')):
        sql(
            "INSERT INTO delivery_attempts VALUES (%s, %s, %s, %s, '2026-05-06 07:08:09+00', %s, %s, 12)",
            *(QUEUE.id, message_id(subscription), message_id(waiting), attempt, status, error),
        )

    found = page(subscription)

    assert [one.id for one in found] == [fresh, waiting, failed]
    assert [one.state for one in found] == ['pending', 'pending', 'failed']
    assert [one.age for one in found] == [7, 7, 7]
    assert found[0].next_attempt is not None
    assert [one.next_attempt for one in found[1:]] == ['2030-01-02T03:04:05Z', None]
    assert [one.attempts for one in found] == [
        [],
        [
            Attempt('2026-05-06T07:08:09Z', 500, None, 12),
            Attempt('2026-05-06T07:08:09Z', None, 'timeout', 12),
        ],
        [],
    ]


def test_a_page_has_one_state_and_leads_on(subscription: str, deliver: Any) -> None:
    failed = [deliver('infinity') for _ in range(15)]
    deliver()

    first = page(subscription, 'failed')
    second = page(subscription, 'failed', first.next)

    assert [one.id for one in first + second] == failed
    assert page(subscription, 'failed', second.next).next is None
    assert len(page(subscription, 'pending')) == 1
    assert page(subscription, marker='rubbish') == []


def test_a_page_looks_at_so_many_and_leads_on(subscription: str, deliver: Any, sql: Any) -> None:
    sql(
        "INSERT INTO deliveries SELECT %s, %s, g, now() + interval '1 hour' "
        'FROM generate_series(1, 6000) AS g',
        *(QUEUE.id, message_id(subscription)),
    )
    failed = deliver('infinity')

    first = page(subscription, 'failed')

    assert (list(first), first.next) == ([], public_id(5000))
    assert [one.id for one in page(subscription, 'failed', first.next)] == [failed]


def test_what_was_purged_is_not_shown(subscription: str, deliver: Any, sql: Any) -> None:
    deliver()
    sql('UPDATE queues SET floor = %s', FIRST + 1)

    assert page(subscription) == []


def test_a_failed_delivery_is_sent_again(subscription: str, deliver: Any, sql: Any) -> None:
    failed, other = deliver('infinity', 18), deliver('infinity', 18)
    told = []
    model.store.became_deliverable.append(lambda queue, count: told.append((queue, count)))
    try:
        model.store.webhooks.retry(QUEUE, subscription, failed)
    finally:
        model.store.became_deliverable.pop()

    assert sql('SELECT message_id, attempts, due_at <= now() FROM deliveries ORDER BY 1') == [
        (message_id(failed), 0, True),
        (message_id(other), 18, False),
    ]
    assert told == [(QUEUE, 1)]


def test_one_that_was_never_tried_stays_as_it_is(subscription: str, deliver: Any, sql: Any) -> None:
    model.store.webhooks.retry(QUEUE, subscription, deliver())

    assert sql('SELECT due_at FROM deliveries') == [(None,)]


def test_all_failed_deliveries_are_sent_again(
    subscription: str, deliver: Any, sql: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, '_BATCH', 2)
    for due in ('infinity', '2030-01-01', 'infinity', 'infinity'):
        deliver(due)

    assert model.store.webhooks.retry_all(QUEUE, subscription) == 3

    assert sql('SELECT count(*) FROM deliveries WHERE due_at <= now()') == [(3,)]


def test_more_than_can_be_changed_in_time_is_told(
    subscription: str, deliver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, '_BATCH', 1)
    monkeypatch.setattr(webhooks, '_PATIENCE', 0.0)
    deliver('infinity')

    with pytest.raises(StorageTooSlow):
        model.store.webhooks.retry_all(QUEUE, subscription)

    assert model.store.webhooks.retry_all(QUEUE, subscription) == 0


def test_a_paused_subscription_is_resumed(subscription: str, sql: Any) -> None:
    sql("UPDATE subscriptions SET paused_at = now(), reason = 'why'")
    sql('UPDATE subscription_owners SET failing_since = now()')

    model.store.webhooks.resume(QUEUE, subscription)

    found = model.store.subscriptions.get(QUEUE, subscription)
    assert (found.state, found.reason) == ('active', None)
    assert sql('SELECT failing_since FROM subscription_owners') == [(None,)]


def test_a_webhook_that_is_paused_keeps_what_it_is_to_get(subscription: str, deliver: Any) -> None:
    deliver()

    model.store.webhooks.pause(QUEUE, subscription)

    found = model.store.subscriptions.get(QUEUE, subscription)
    assert (found.state, found.reason) == ('paused', 'It was paused by request.')
    assert found.pending == 1


def test_a_pause_keeps_the_reason_of_an_earlier_one(subscription: str, sql: Any) -> None:
    sql("UPDATE subscriptions SET paused_at = now(), reason = 'why'")

    model.store.webhooks.pause(QUEUE, subscription)

    assert model.store.subscriptions.get(QUEUE, subscription).reason == 'why'


def test_a_rotation_keeps_the_secret_before_for_a_while(subscription: str) -> None:
    before = model.store.webhooks.callee(QUEUE, subscription).secrets

    secret = model.store.webhooks.rotate(QUEUE, subscription)

    check_secret(secret)
    assert model.store.webhooks.callee(QUEUE, subscription).secrets == (secret, *before)
    newer = model.store.webhooks.rotate(QUEUE, subscription)
    assert model.store.webhooks.callee(QUEUE, subscription).secrets == (newer, secret)


def test_a_queue_that_gets_copies_is_not_called(app: Any) -> None:
    for name in ('events', 'copies'):
        model.store.queues.create(QueueKey.of('acme', name))
    subscription = model.store.subscriptions.create(QUEUE, 'queue:copies').id

    known = model.store.webhooks
    for call in (known.rotate, known.callee, known.pause):
        with pytest.raises(InvalidRequest, match='is a queue'):
            call(QUEUE, subscription)


def test_what_is_not_there_is_told(subscription: str, deliver: Any) -> None:
    known = model.store.webhooks
    other = QueueKey.of('acme', 'other')
    delivery = deliver()

    for queue, name in ((QUEUE, public_id(1)), (QUEUE, 'rubbish'), (other, subscription)):
        for call in (known.pause, known.resume, known.rotate, known.callee, known.retry_all):
            with pytest.raises(SubscriptionNotFound):
                call(queue, name)
        with pytest.raises(SubscriptionNotFound):
            known.retry(queue, name, delivery)
    for name in (public_id(1), 'rubbish'):
        with pytest.raises(DeliveryNotFound):
            known.retry(QUEUE, subscription, name)
