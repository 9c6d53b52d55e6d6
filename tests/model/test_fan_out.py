"""What a post brings about for subscribers: copies for queues, deliveries for webhooks."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from marconi_api import limits, model
from marconi_api.errors import InvalidRequest
from marconi_api.model import Attributes, NewMessage, QueueKey, RequestKey, Verdict
from marconi_api.model.postgres.tables import message_id
from tests.model.conftest import CLIENT, ids

HOOK = 'http://hooks.example.com/jobs'


@pytest.fixture
def webhook(queue: QueueKey) -> int:
    """The id of a webhook's subscription to the queue."""
    return subscribe(queue, HOOK)


def subscribe(queue: QueueKey, subscriber: str) -> int:
    identity = message_id(model.store.subscriptions.create(queue, subscriber).id)
    assert identity is not None
    return identity


def bodies_in(queue: QueueKey) -> list[str]:
    return [message.body for message in model.store.messages.page(queue, None, 100)]


@pytest.fixture
def deliveries(sql: Any) -> Callable[..., set[str]]:
    """The ids of the messages that webhooks of a queue are to get."""

    def find(queue: QueueKey) -> set[str]:
        rows = sql('SELECT message_id FROM deliveries WHERE queue_id = %s', queue.id)
        return {f'{identity:016x}' for (identity,) in rows}

    return find


@pytest.fixture
def stored_bodies(sql: Any) -> Callable[..., int]:
    """How many bodies are stored for a queue."""

    def count(queue: QueueKey) -> int:
        [(number,)] = sql('SELECT count(*) FROM messages WHERE queue_id = %s', queue.id)
        return int(number)

    return count


# ---------------------------------------------------------------- copies


def test_a_queue_that_is_subscribed_gets_a_copy(queue, make, post):
    [copies] = make('copies')
    subscribe(queue, 'queue:copies')

    post(2)

    assert bodies_in(queue) == bodies_in(copies) == ['0', '1']


def test_a_copy_is_copied_on_and_comes_once_by_two_ways(make, post):
    a, b, c, d = make('a', 'b', 'c', 'd')
    for source, target in ((a, 'b'), (a, 'c'), (b, 'd'), (c, 'd')):
        subscribe(source, f'queue:{target}')

    post(to=a)

    assert [bodies_in(queue) for queue in (a, b, c, d)] == [['0']] * 4


def test_copies_keep_the_order_of_the_post(queue, make, post):
    copies = make('a', 'b', 'c')
    for copy in copies:
        subscribe(queue, f'queue:{copy.name}')

    post(5)
    post(5)

    assert [bodies_in(copy) for copy in copies] == [[str(n) for n in range(10)]] * 3


def test_no_two_copies_have_the_same_id(queue, make, post):
    copies = make('a', 'b')
    for copy in copies:
        subscribe(queue, f'queue:{copy.name}')

    posted = post(3)

    found = [ids(model.store.messages.page(place, None, 10)) for place in (queue, *copies)]
    assert found[0] == posted
    assert len({identity for page in found for identity in page}) == 9


def test_a_copy_is_a_message_of_its_own(queue, make, post, claim):
    [copies] = make('copies')
    subscribe(queue, 'queue:copies')
    post(ttl=300)

    claimed = claim()
    model.store.messages.delete(queue, claimed.messages[0].id, claimed.id)

    [copy] = model.store.claims.create(copies, 60, 60, 10).messages
    assert (copy.ttl, copy.age, copy.body, copy.claim_count) == (300, 0, '0', 1)


def test_copies_of_dead_letters_of_two_queues_can_meet(queue, make, post):
    """They would not if they had one id."""
    a, b, dead = make('a', 'b', 'dead')
    for copy in (a, b):
        model.store.queues.set_metadata(
            copy, '{"_max_claim_count": 1, "_dead_letter_queue": "dead"}'
        )
        subscribe(queue, f'queue:{copy.name}')
    post()

    for copy in (a, b):
        claim = model.store.claims.create(copy, 60, 60, 1)
        model.store.claims.release(copy, claim.id)
        assert model.store.claims.create(copy, 60, 60, 1) is None

    assert len(model.store.claims.create(dead, 60, 60, 10).messages) == 2


def test_a_message_can_be_moved_to_a_queue_that_has_its_copy(queue, make, post):
    [copies] = make('copies')
    subscribe(queue, 'queue:copies')
    post()

    assert model.store.admin.queue('jobs', 'project').redrive('copies').moved == 1
    assert len(model.store.claims.create(copies, 60, 60, 10).messages) == 2


def test_a_delayed_message_is_delayed_as_a_copy(queue, make, sql):
    [copies] = make('copies')
    subscribe(queue, 'queue:copies')

    model.store.messages.post(queue, CLIENT, [NewMessage('1', 300, 100)])

    assert model.store.claims.create(copies, 60, 60, 1) is None
    sql("UPDATE message_states SET held_until = now() - interval '1 second'")
    assert model.store.claims.create(copies, 60, 60, 1)


def test_who_waits_for_the_other_queue_is_told(queue, make, post):
    make('copies')
    subscribe(queue, 'queue:copies')
    told = []
    model.store.became_ready.append(lambda key, count: told.append((key.name, count)))
    try:
        post(3)
    finally:
        model.store.became_ready.clear()

    assert told == [('jobs', 3), ('copies', 3)]


def test_a_queue_that_is_gone_gets_nothing(queue, make, post):
    [copies, _] = make('copies', 'others')
    subscribe(queue, 'queue:copies')
    subscribe(queue, 'queue:others')
    model.store.queues.delete(copies)

    post()

    assert bodies_in(QueueKey.of('project', 'others')) == ['0']
    model.store.queues.create(copies)
    assert bodies_in(copies) == []
    post()
    assert bodies_in(copies) == ['1']


def test_a_post_under_a_key_is_copied_once(queue, make):
    [copies] = make('copies')
    subscribe(queue, 'queue:copies')
    key = RequestKey.of('key', b'content')

    def post() -> list[str]:
        return model.store.messages.post(queue, CLIENT, [NewMessage('1', 300, 0)], key=key)

    assert post() == post()
    assert bodies_in(copies) == ['1']


def test_a_post_that_lacks_a_ttl_is_copied_too(queue, make, sql):
    [copies] = make('copies')
    model.store.queues.set_metadata(queue, '{"_default_message_ttl": 120}')
    subscribe(queue, 'queue:copies')

    model.store.messages.post(queue, CLIENT, [NewMessage('1')], 10)

    assert [message.ttl for message in model.store.messages.page(copies, None, 10)] == [120]


def test_a_process_that_knew_the_queue_without_subscribers_copies_at_once(queue, make, post):
    post()
    [copies] = make('copies')
    subscribe(queue, 'queue:copies')

    post()

    assert bodies_in(copies) == ['1']


@pytest.mark.parametrize('key', [None, RequestKey.of('key', b'')])
def test_a_post_with_too_many_copies_is_refused_and_stores_nothing(queue, make, key, sql):
    make('a', 'b')
    subscribe(queue, 'queue:a')
    subscribe(queue, 'queue:b')
    messages = [NewMessage('1', 300, 0)] * 5462

    with pytest.raises(InvalidRequest, match='can post 5461 messages at most, not 5462'):
        model.store.messages.post(queue, CLIENT, messages, key=key)

    assert sql('SELECT count(*) FROM messages') == [(0,)]
    assert sql('SELECT count(*) FROM idempotency_keys') == [(0,)]
    assert len(model.store.messages.post(queue, CLIENT, messages[:-1], key=key)) == 5461
    assert sql('SELECT count(*) FROM message_states') == [(3 * 5461,)]


@pytest.mark.parametrize('key', [None, RequestKey.of('key', b'')])
def test_a_post_with_too_many_deliveries_is_refused(queue, key, sql):
    for number in range(8):
        subscribe(queue, f'{HOOK}/{number}')
    messages = [NewMessage('1', 300, 0)] * (2**12 + 1)

    with pytest.raises(InvalidRequest, match='can post 4096 messages at most, not 4097'):
        model.store.messages.post(queue, CLIENT, messages, key=key)

    assert len(model.store.messages.post(queue, CLIENT, messages[:-1], key=key)) == 4096
    assert sql('SELECT count(*) FROM deliveries') == [(2**15,)]


# ---------------------------------------------------------------- deliveries


def test_a_webhook_is_to_get_what_is_posted(queue, post, webhook, deliveries, sql):
    posted = post(3)

    assert deliveries(queue) == set(posted)
    assert sql(
        "SELECT DISTINCT subscription_id, due_at, attempts, expires_at - now() < '5 min' FROM deliveries"
    ) == [(webhook, None, 0, True)]


def test_a_webhook_of_a_queue_with_copies_is_to_get_those(queue, make, post, deliveries):
    [copies] = make('copies')
    subscribe(queue, 'queue:copies')
    subscribe(copies, HOOK)

    post()

    assert deliveries(queue) == set()
    assert deliveries(copies) == set(ids(model.store.messages.page(copies, None, 10)))


@pytest.mark.parametrize(
    'change',
    [
        'confirmed = false',
        "expires_at = now() - interval '1 second'",
        'queue_id = queue_id + 1',
    ],
)
def test_who_is_not_subscribed_gets_nothing(queue, make, post, webhook, deliveries, sql, change):
    [copies] = make('copies')
    subscribe(queue, 'queue:copies')
    sql(f'UPDATE subscriptions SET {change}')

    post()

    assert deliveries(queue) == set()
    assert bodies_in(copies) == []


def test_deliveries_for_a_paused_subscription_wait(queue, post, webhook, deliveries, sql):
    sql('UPDATE subscriptions SET paused_at = now()')

    posted = post()

    assert deliveries(queue) == set(posted)


def test_who_delivers_is_told(queue, post, webhook):
    told = []
    model.store.became_deliverable.append(lambda key, count: told.append((key.name, count)))
    try:
        post(3)
    finally:
        model.store.became_deliverable.clear()

    assert told == [('jobs', 3)]


def test_a_subscription_tells_what_is_still_to_be_delivered(queue, post, webhook, sql):
    post(3)
    sql("UPDATE messages SET created_at = now() - interval '100 seconds'")
    sql(
        """UPDATE deliveries SET due_at = 'infinity'
            WHERE message_id = (SELECT min(message_id) FROM deliveries)"""
    )
    sql('UPDATE subscription_owners SET delivered = 7')

    [found] = model.store.subscriptions.page(queue, None, 10)

    assert (found.delivered, found.pending, found.failed) == (7, 2, 1)
    assert found.oldest_pending_age == 100


# ---------------------------------------------------------------- bodies that stay

WAYS_TO_DELETE: dict[str, Callable[[QueueKey, list[str]], object]] = {
    'one': lambda queue, found: model.store.messages.delete(queue, found[0]),
    'many': lambda queue, found: model.store.messages.delete_many(queue, found),
    'pop': lambda queue, found: model.store.messages.pop(queue, 1),
    'verdict': lambda queue, found: give(queue, Verdict.of(found[0], 'delete')),
    'parked': lambda queue, found: park_and_delete(queue, found),
}


def give(queue: QueueKey, verdict: Verdict) -> None:
    claim = model.store.claims.create(queue, 60, 60, 1)
    assert claim
    [outcome] = model.store.verdicts.give(queue, claim.id, [verdict])
    assert outcome.result == 'done'


def park_and_delete(queue: QueueKey, found: list[str]) -> None:
    model.store.verdicts.give(queue, None, [Verdict.park(found[0])])
    model.store.verdicts.delete_parked(queue)


@pytest.mark.parametrize('way', WAYS_TO_DELETE)
def test_a_body_stays_for_its_delivery(queue, post, webhook, stored_bodies, deliveries, way):
    found = post()

    WAYS_TO_DELETE[way](queue, found)

    assert bodies_in(queue) == []
    assert stored_bodies(queue) == 1
    assert deliveries(queue) == set(found)
    model.store.janitor.run_once()
    assert stored_bodies(queue) == 1


@pytest.mark.parametrize('way', WAYS_TO_DELETE)
def test_a_body_without_a_delivery_goes_with_its_message(
    queue, post, webhook, stored_bodies, sql, way
):
    found = post()
    sql('DELETE FROM deliveries')

    WAYS_TO_DELETE[way](queue, found)

    assert stored_bodies(queue) == 0


@pytest.mark.parametrize('way', ['one', 'many'])
def test_a_process_that_knew_the_queue_without_subscribers_leaves_the_body(
    queue, post, sql, stored_bodies, way
):
    post(2)
    subscribe(queue, HOOK)
    found = post()
    model.store.messages._attributes._known[queue.id] = Attributes.of('{}')

    WAYS_TO_DELETE[way](queue, found)

    assert stored_bodies(queue) == 3
    assert sql('SELECT count(*) FROM message_states') == [(2,)]


def test_delete_many_counts_messages_whose_bodies_stay(queue, post, webhook):
    assert model.store.messages.delete_many(queue, post(3)) == 3


def test_a_message_that_is_popped_shows_its_body_though_it_stays(queue, post, webhook):
    post()

    assert [popped.body for popped in model.store.messages.pop(queue, 1)] == ['0']


def test_a_body_stays_where_its_message_was_moved_to_another_queue(
    queue, make, post, webhook, stored_bodies
):
    [other] = make('other')
    posted = post()

    assert model.store.admin.queue('jobs', 'project').redrive('other').moved == 1

    assert (stored_bodies(queue), stored_bodies(other)) == (1, 1)
    [claimed] = model.store.claims.create(other, 60, 60, 1).messages
    assert (claimed.id, claimed.body) == (posted[0], '0')


def test_a_body_stays_where_its_message_became_a_dead_letter(
    queue, make, post, webhook, claim, stored_bodies
):
    [dead] = make('dead')
    model.store.queues.set_metadata(queue, '{"_max_claim_count": 1, "_dead_letter_queue": "dead"}')
    post()
    model.store.claims.release(queue, claim().id)
    assert claim() is None

    assert (stored_bodies(queue), stored_bodies(dead)) == (1, 1)


def test_a_message_can_return_to_where_its_body_stayed(queue, make, post, webhook, stored_bodies):
    make('other')
    post()
    admin = model.store.admin
    admin.queue('jobs', 'project').redrive('other')

    assert admin.queue('other', 'project').redrive('jobs').moved == 1

    [claimed] = model.store.claims.create(queue, 60, 60, 1).messages
    assert claimed.body == '0'
    assert stored_bodies(queue) == 1


def test_a_message_that_returns_keeps_its_body_from_who_removes_it_at_that_moment(
    queue, make, post, webhook, sql, session
):
    """The last delivery is made while the message is on its way back."""
    make('other')
    [posted] = post()
    model.store.admin.queue('jobs', 'project').redrive('other')
    sql('DELETE FROM deliveries')
    removing = session()
    removing.execute(
        'SELECT ctid::text FROM messages WHERE queue_id = %s AND id = %s',
        (queue.id, message_id(posted)),
    )
    [(place,)] = removing.fetchall()

    model.store.admin.queue('other', 'project').redrive('jobs')
    removing.execute('DELETE FROM messages WHERE ctid = %s::tid RETURNING id', (place,))

    assert removing.fetchall() == []
    removing.connection.commit()
    [claimed] = model.store.claims.create(queue, 60, 60, 1).messages
    assert claimed.body == '0'


# ---------------------------------------------------------------- what the janitor removes


def test_the_janitor_removes_subscriptions_that_have_ended(queue, make, webhook, sql):
    make('copies')
    subscribe(queue, 'queue:copies')
    sql("UPDATE subscriptions SET expires_at = now() - interval '1 second'")

    model.store.janitor.run_once()

    assert sql('SELECT count(*) FROM subscriptions') == [(0,)]
    assert sql('SELECT count(*) FROM subscription_owners') == [(0,)]


def make_anew(queue: QueueKey) -> None:
    model.store.queues.delete(queue)
    model.store.queues.create(queue)


END_OF_DELIVERIES: dict[str, Callable[[QueueKey], object]] = {
    'the subscription is deleted': lambda queue: model.store.subscriptions.delete_all(queue),
    'the queue is deleted': lambda queue: model.store.queues.delete(queue),
    'the queue is made anew': make_anew,
    'the messages are purged': lambda queue: model.store.messages.delete_unclaimed(queue),
    'the queue is purged': lambda queue: model.store.queues.purge(queue),
}


@pytest.mark.parametrize('end', END_OF_DELIVERIES)
def test_the_janitor_removes_deliveries_for_nobody_and_their_bodies(
    queue, post, webhook, deliveries, stored_bodies, sql, end
):
    found = post(2)
    model.store.messages.delete(queue, found[0])
    sql(
        """INSERT INTO delivery_attempts
           SELECT queue_id, subscription_id, message_id, 1, now(), 500, NULL, 5 FROM deliveries"""
    )

    END_OF_DELIVERIES[end](queue)
    model.store.janitor.run_once()

    assert deliveries(queue) == set()
    assert sql('SELECT count(*) FROM delivery_attempts') == [(0,)]
    assert stored_bodies(queue) == len(bodies_in(queue))


def test_a_delivery_fails_when_its_message_expires(queue, post, webhook, stored_bodies, age, sql):
    post(ttl=60)
    age(61)

    model.store.janitor.run_once()

    [found] = model.store.subscriptions.page(queue, None, 10)
    assert (found.pending, found.failed) == (0, 1)
    assert sql('SELECT attempt, status, error FROM delivery_attempts') == [(1, None, 'expired')]
    [(left,)] = sql("SELECT date_part('epoch', expires_at - now()) FROM deliveries")
    assert left == pytest.approx(limits.in_force.failed_delivery_retention, abs=5)
    assert stored_bodies(queue) == 1


def test_a_delivery_that_failed_is_removed_with_its_body_when_its_time_is_over(
    queue, post, webhook, deliveries, stored_bodies, sql
):
    model.store.messages.delete(queue, *post())
    sql("UPDATE deliveries SET due_at = 'infinity', expires_at = now() - interval '1 second'")

    model.store.janitor.run_once()

    assert deliveries(queue) == set()
    assert stored_bodies(queue) == 0


def test_deliveries_end_where_a_queue_takes_the_place_of_a_webhook(
    queue, make, post, webhook, deliveries
):
    make('copies')
    post()
    [found] = model.store.subscriptions.page(queue, None, 10)
    model.store.subscriptions.change(queue, found.id, subscriber='queue:copies')

    model.store.janitor.run_once()

    assert deliveries(queue) == set()


def test_a_sweep_finds_bodies_that_nobody_needs(queue, post, webhook, stored_bodies, sql):
    """Left by a last delivery and a delete at one moment, each of which saw the other's."""
    kept = post()
    post()
    sql('DELETE FROM deliveries')
    sql('DELETE FROM message_states WHERE id <> %s', message_id(kept[0]))

    model.store.janitor.run_once()

    assert stored_bodies(queue) == 1


def test_a_sweep_finds_bodies_of_queues_that_are_gone(queue, post, webhook, stored_bodies, sql):
    post()
    sql('DELETE FROM deliveries')
    sql('DELETE FROM message_states')
    model.store.queues.delete(queue)

    model.store.janitor.run_once()

    assert stored_bodies(queue) == 0


def test_a_queue_is_as_any_other_once_its_last_subscriber_is_gone(queue, webhook, sql, post):
    post()
    assert has_subscribers(sql)
    model.store.janitor.run_once()
    assert has_subscribers(sql)

    model.store.subscriptions.delete_all(queue)
    model.store.janitor.run_once()

    assert not has_subscribers(sql)
    post()
    assert bodies_in(queue) == ['0', '1']


def test_who_subscribes_at_that_moment_is_not_forgotten(queue, webhook, sql, session):
    model.store.subscriptions.delete_all(queue)
    subscribing = session()
    subscribing.execute('SELECT FROM queues FOR NO KEY UPDATE')
    janitor = threading.Thread(target=run_janitor)
    janitor.start()
    wait_for_lock(sql)
    subscribing.execute(
        """INSERT INTO subscriptions
                  (queue_id, id, subscriber, created_at, ttl, expires_at, confirmed)
           SELECT queue_id, 1, 'http://a/', now(), 60, now() + '1 h', true FROM queues"""
    )
    subscribing.connection.commit()
    janitor.join()

    assert has_subscribers(sql)


def has_subscribers(sql: Any) -> bool:
    return bool(sql('SELECT has_subscribers FROM queues')[0][0])


def run_janitor() -> None:
    model.store.janitor.run_once()
    model.store.database.close()


def wait_for_lock(sql: Any) -> None:
    while not sql('SELECT 1 FROM pg_locks WHERE NOT granted'):
        time.sleep(0.01)


# ---------------------------------------------------------------- what a process knows


@pytest.fixture
def known(queue: QueueKey) -> Callable[[], Attributes | None]:
    """What this process knows of the queue."""
    return lambda: model.store.messages._attributes.recall(queue)


def test_a_process_learns_that_a_queue_has_no_subscribers_any_more(queue, webhook, post, known):
    post()
    assert known().has_subscribers
    model.store.subscriptions.delete_all(queue)
    model.store.janitor.run_once()

    post()

    assert not known().has_subscribers
