"""What the process that delivers does, on the real database, with real subscribers."""

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks

from marconi_api import model
from marconi_api.controllers.openstack import signed_urls
from marconi_api.errors import SubscriptionNotFound
from marconi_api.model import QueueKey
from marconi_api.model.deliveries import MOST_ATTEMPTS
from tests.delivery.conftest import CLIENT, QUEUE, SIGNER, an_office
from tests.running_service import wait_until
from tests.webhooks.receivers import (
    accepts,
    hangs,
    one_after_the_other,
    receiver,
    resets,
    status,
)

#: One attempt more, at once; then delays from 20 seconds on.
RETRY_ONCE = (
    '{"retries_with_no_delay": 1, "minimum_delay_retries": 0, "minimum_delay": 20, '
    '"maximum_delay": 30, "maximum_delay_retries": 0}'
)


def options(**given: Any) -> str:
    return json.dumps({'_retry_policy': json.loads(RETRY_ONCE), **given})


def deliveries(sql: Any) -> Any:
    return sql('SELECT attempts, due_at::text FROM deliveries ORDER BY message_id')


@pytest.fixture
def pass_time(sql: Any, ring: Any) -> Callable[[], None]:
    """Makes due what waits for its next attempt."""

    def make_due() -> None:
        sql("UPDATE deliveries SET due_at = now() WHERE due_at < 'infinity'")
        ring()

    return make_due


def test_a_message_is_delivered_in_the_form_of_zaqar(
    office: Any, subscribe: Any, post: Any
) -> None:
    with receiver() as receiving:
        subscribe(receiving.url)
        [message] = post('{"n": 1}')
        wait_until(lambda: receiving.calls)

    [call] = receiving.calls
    assert json.loads(call.body) == {
        'Message_Type': 'Notification',
        'queue_name': 'events',
        'id': message,
        'ttl': 600,
        'body': {'n': 1},
    }
    assert call.headers['content-type'] == 'application/json'


def test_headers_and_form_are_the_subscriber_s(office: Any, subscribe: Any, post: Any) -> None:
    given = {
        'post_data': '{"around": "$zaqar_message$", "x": 1}',
        'post_headers': {'Authorization': 'Bearer abc', 'content-type': 'application/x-own'},
    }
    with receiver() as receiving:
        subscribe(receiving.url, json.dumps(given))
        post('"text"')
        wait_until(lambda: receiving.calls)

    [call] = receiving.calls
    sent = json.loads(call.body)
    assert (sent['x'], sent['around']['body']) == (1, 'text')
    assert call.headers['authorization'] == 'Bearer abc'
    assert call.headers['content-type'] == 'application/x-own'


def test_the_published_library_verifies_by_either_secret(
    office: Any, subscribe: Any, post: Any, sql: Any
) -> None:
    old, new = ('whsec_' + letter * 32 for letter in 'ab')
    with receiver() as receiving:
        subscribe(receiving.url)
        sql('UPDATE subscriptions SET secret = %s, previous_secret = %s', new, old)
        post('1')
        wait_until(lambda: receiving.calls)

    [call] = receiving.calls
    for secret in (old, new):
        assert standardwebhooks.Webhook(secret).verify(call.body, call.headers)['body'] == 1


def test_what_was_delivered_is_gone_and_counted(
    office: Any, subscribe: Any, post: Any, sql: Any
) -> None:
    with receiver() as receiving:
        subscription = subscribe(receiving.url)
        post(*'123')
        wait_until(lambda: len(receiving.calls) == 3 and not deliveries(sql))

    assert model.store.subscriptions.get(QUEUE, subscription).delivered == 3
    assert len(model.store.messages.page(QUEUE, None, 10)) == 3


def test_a_message_that_a_worker_deleted_is_delivered_all_the_same(
    subscribe: Any, post: Any, sql: Any, tmp_path: Path
) -> None:
    with receiver() as receiving:
        subscribe(receiving.url)
        ids = post('"deleted"')
        model.store.messages.delete_many(QUEUE, ids)
        with an_office(tmp_path):
            wait_until(lambda: receiving.calls and not deliveries(sql))

    assert json.loads(receiving.calls[0].body)['body'] == 'deleted'
    assert sql('SELECT count(*) FROM messages') == [(0,)]


@pytest.mark.parametrize('failing', [status(500), status(404), status(429), status(302), resets])
def test_what_failed_is_sent_again_under_the_same_id(
    office: Any, subscribe: Any, post: Any, sql: Any, failing: Any
) -> None:
    with receiver(one_after_the_other(failing, failing, accepts)) as receiving:
        subscribe(receiving.url)
        post('1')
        wait_until(lambda: len(receiving.calls) == 3 and not deliveries(sql))

    assert len({call.headers['webhook-id'] for call in receiving.calls}) == 1
    assert len({call.body for call in receiving.calls}) == 1
    assert sql('SELECT count(*) FROM delivery_attempts') == [(0,)]


def test_an_attempt_is_remembered_and_the_next_waits_for_its_time(
    office: Any, subscribe: Any, post: Any, sql: Any
) -> None:
    with receiver(status(500)) as receiving:
        subscribe(receiving.url, options())
        post('1')
        wait_until(lambda: sql('SELECT 1 FROM delivery_attempts WHERE attempt = 2'))

    assert sql(
        "SELECT attempts, date_part('epoch', due_at - now()) BETWEEN 15 AND 20 FROM deliveries"
    ) == [(2, True)]
    assert sql('SELECT attempt, status, error, milliseconds < 5000 FROM delivery_attempts') == [
        (1, 500, None, True),
        (2, 500, None, True),
    ]


def test_a_subscriber_may_put_off_the_next_attempt_up_to_the_longest_delay(
    office: Any, subscribe: Any, post: Any, sql: Any
) -> None:
    with receiver(status(503, 'Retry-After: 900')) as receiving:
        subscribe(receiving.url, options())
        post('1')
        wait_until(lambda: sql('SELECT 1 FROM delivery_attempts'))

    assert sql("SELECT date_part('epoch', due_at - now()) BETWEEN 25 AND 30 FROM deliveries") == [
        (True,)
    ]


def test_a_delivery_whose_attempts_are_used_up_is_kept_as_failed(
    office: Any, subscribe: Any, post: Any, sql: Any, pass_time: Any
) -> None:
    with receiver(status(500)) as receiving:
        subscription = subscribe(receiving.url, options())
        post('1')
        # Delays: 0, 20, 23, 26, 29.
        for attempts in (2, 3, 4, 5, 6):
            wait_until(lambda wanted=attempts: deliveries(sql)[0][0] == wanted)  # type: ignore[misc]
            pass_time()

    assert deliveries(sql) == [(6, 'infinity')]
    assert sql(
        "SELECT expires_at BETWEEN now() + interval '13 days' AND now() + interval '14 days'"
        ' FROM deliveries'
    ) == [(True,)]
    assert model.store.subscriptions.get(QUEUE, subscription).failed == 1


def test_a_dead_letter_queue_gets_what_cannot_be_delivered(
    office: Any, subscribe: Any, post: Any, sql: Any, ring: Any
) -> None:
    letters = QueueKey.of('acme', 'letters')
    with receiver(status(500)) as receiving:
        subscribe(receiving.url, options(_dead_letter_queue='letters'))
        sql('SELECT 1')
        post('"letter"')
        wait_until(lambda: deliveries(sql)[0][0] == 2)
        sql('UPDATE deliveries SET attempts = 5, due_at = now()')
        ring()
        wait_until(lambda: not deliveries(sql))

    [message] = model.store.messages.page(letters, None, 10)
    assert message.body == '"letter"'


def test_410_ends_the_subscription(office: Any, subscribe: Any, post: Any) -> None:
    with receiver(status(410)) as receiving:
        subscription = subscribe(receiving.url)
        post('1', '2')
        wait_until(lambda: receiving.calls)

        def is_gone() -> bool:
            try:
                return not model.store.subscriptions.get(QUEUE, subscription)
            except SubscriptionNotFound:
                return True

        wait_until(is_gone)


def test_a_message_that_expired_is_not_sent(
    subscribe: Any, post: Any, sql: Any, tmp_path: Path
) -> None:
    with receiver() as receiving:
        subscribe(receiving.url)
        post('1')
        sql("UPDATE deliveries SET expires_at = now() - interval '1 second'")
        with an_office(tmp_path):
            wait_until(lambda: deliveries(sql) == [(1, 'infinity')])

    assert not receiving.connections
    assert sql('SELECT error, milliseconds FROM delivery_attempts') == [('expired', 0)]


def test_a_subscription_is_paused_when_all_has_failed_for_a_day(
    office: Any, subscribe: Any, post: Any, sql: Any, ring: Any
) -> None:
    with receiver(status(500)) as receiving:
        subscription = subscribe(receiving.url, options())
        post('1')
        wait_until(lambda: deliveries(sql)[0][0] == 2)
        assert model.store.subscriptions.get(QUEUE, subscription).state == 'active'
        sql("UPDATE subscription_owners SET failing_since = failing_since - interval '24 hours'")
        sql('UPDATE deliveries SET due_at = now()')
        ring()
        wait_until(lambda: deliveries(sql)[0][0] == 3)

        found = model.store.subscriptions.get(QUEUE, subscription)
        assert (found.state, found.reason) == ('paused', 'Every delivery has failed for 24 hours.')
        calls = len(receiving.calls)
        sql('UPDATE deliveries SET due_at = now()')
        post('2')
        ring()
        time.sleep(1.5)
        assert len(receiving.calls) == calls


def test_one_that_succeeded_meanwhile_is_not_paused(
    office: Any, subscribe: Any, post: Any, sql: Any
) -> None:
    with receiver(one_after_the_other(status(500), accepts)) as receiving:
        subscribe(receiving.url)
        post('1')
        wait_until(lambda: len(receiving.calls) == 2 and not deliveries(sql))

    assert sql('SELECT failing_since FROM subscription_owners') == [(None,)]


class Counting:
    """Answers after a moment, and keeps how many calls were under way at once."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.now = self.most = 0
        self.lock = threading.Lock()

    def __call__(self, connection: socket.socket) -> None:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(self.seconds)
        with self.lock:
            self.now -= 1
        accepts(connection)


@pytest.mark.parametrize(('given', 'most'), [({}, 10), ({'_max_in_flight': 3}, 3)])
def test_no_more_calls_are_under_way_than_a_subscription_allows(
    office: Any, subscribe: Any, post: Any, sql: Any, given: Any, most: int
) -> None:
    counting = Counting(0.05)
    with receiver(counting) as receiving:
        subscribe(receiving.url, json.dumps(given))
        post(*map(str, range(40)))
        wait_until(lambda: len(receiving.calls) == 40 and not deliveries(sql))

    assert counting.most == most
    assert len({call.headers['webhook-id'] for call in receiving.calls}) == 40


def test_a_subscriber_that_hangs_holds_up_no_other(
    office: Any, subscribe: Any, post: Any, sql: Any
) -> None:
    with receiver(hangs) as hanging, receiver() as receiving:
        subscribe(hanging.url)
        subscribe(receiving.url)
        post(*map(str, range(50)))
        wait_until(lambda: len(receiving.calls) == 50)

    assert hanging.connections <= 10


def test_offices_share_subscriptions_and_send_nothing_twice(
    app: Any, subscribe: Any, post: Any, sql: Any, tmp_path: Path
) -> None:
    (tmp_path / 'a').mkdir()
    (tmp_path / 'b').mkdir()
    with receiver() as one, receiver() as other:
        for receiving in (one, other):
            subscribe(receiving.url)
        with an_office(tmp_path / 'a'), an_office(tmp_path / 'b'):
            for _ in range(10):
                post(*map(str, range(20)))
            wait_until(lambda: not deliveries(sql))

    for receiving in (one, other):
        ids = Counter(call.headers['webhook-id'] for call in receiving.calls)
        assert (len(ids), max(ids.values())) == (200, 1)


def test_what_commits_late_is_delivered(
    office: Any, subscribe: Any, post: Any, sql: Any, database_url: str, ring: Any
) -> None:
    """A message with a lower id becomes visible after those with higher ids were delivered."""
    with receiver() as receiving:
        subscribe(receiving.url)
        with model.store.database.transaction() as run:
            [(low,)] = run('SELECT pg_current_xact_id()::text::bigint', {})
            post_by_another(post, '"high"')
            ring()
            wait_until(lambda: len(receiving.calls) == 1)
            time.sleep(1.2)
            run(
                """
                INSERT INTO messages (queue_id, id, created_at, body)
                VALUES (%(q)s, (%(low)s + %(base)s) << 14, now(), '"low"')""",
                {'q': QUEUE.id, 'low': low},
            )
            run(
                """
                INSERT INTO deliveries (queue_id, subscription_id, message_id, expires_at)
                SELECT queue_id, id, (%(low)s + %(base)s) << 14, now() + interval '1 minute'
                  FROM subscriptions""",
                {'low': low},
            )
        wait_until(lambda: len(receiving.calls) == 2)

    assert [json.loads(call.body)['body'] for call in receiving.calls] == ['high', 'low']


def post_by_another(post: Any, body: str) -> None:
    thread = threading.Thread(target=post, args=(body,))
    thread.start()
    thread.join()


def test_a_url_that_is_not_allowed_any_more_is_not_called(
    office: Any, subscribe: Any, post: Any, sql: Any
) -> None:
    with receiver() as receiving:
        subscribe(receiving.url)
        sql('UPDATE subscriptions SET subscriber = %s', 'http://169.254.169.254/latest')
        post('1')
        wait_until(lambda: sql('SELECT 1 FROM delivery_attempts'))

    assert sql('SELECT DISTINCT status, error FROM delivery_attempts') == [
        (None, 'forbidden address')
    ]


def test_the_last_attempts_are_remembered(
    office: Any, subscribe: Any, post: Any, sql: Any, pass_time: Any
) -> None:
    policy = {'retries_with_no_delay': MOST_ATTEMPTS + 4}
    with receiver(status(500)) as receiving:
        subscribe(receiving.url, json.dumps({'_retry_policy': policy}))
        post('1')
        wait_until(lambda: deliveries(sql)[0][0] == MOST_ATTEMPTS + 5)

    assert sql('SELECT count(*), max(attempt) FROM delivery_attempts') == [
        (MOST_ATTEMPTS, MOST_ATTEMPTS + 5)
    ]


def test_what_was_under_way_when_a_process_was_stopped_is_sent_again(
    app: Any, subscribe: Any, post: Any, sql: Any, tmp_path: Path
) -> None:
    with receiver(one_after_the_other(hangs, accepts)) as receiving:
        subscribe(receiving.url)
        post('1')
        with an_office(tmp_path):
            wait_until(lambda: receiving.calls)
        assert deliveries(sql) == [(0, None)]
        with an_office(tmp_path):
            wait_until(lambda: not deliveries(sql))

    assert len({call.headers['webhook-id'] for call in receiving.calls}) == 1


def test_a_new_subscription_is_asked_to_confirm_and_gets_nothing_before(
    office: Any, subscribe: Any, sql: Any, app: Any, ring: Any
) -> None:
    with receiver(one_after_the_other(status(500), accepts)) as receiving:
        subscription = subscribe(receiving.url)
        sql("""UPDATE subscription_owners SET confirmation = 'SubscriptionConfirmation',
                      confirmation_due_at = now()""")
        sql('UPDATE subscriptions SET confirmed = false')
        ring()
        wait_until(lambda: sql('SELECT 1 FROM subscription_owners WHERE confirmation IS NULL'))

    sent = json.loads(receiving.calls[-1].body)
    assert len(receiving.calls) == 2
    assert {name: sent[name] for name in ('Message_Type', 'queue_name', 'X-Project-ID')} == {
        'Message_Type': 'SubscriptionConfirmation',
        'queue_name': 'events',
        'X-Project-ID': 'acme',
    }
    assert sent['URL-Paths'] == f'/v2/queues/events/subscriptions/{subscription}/confirm'
    assert (sent['URL-Methods'], sent['SubscribeBody']) == ('PUT', {'confirmed': True})
    assert len(sent['URL-Signature']) == 64


def test_what_was_sent_to_a_webhook_confirms_its_subscription_and_nothing_else_does(
    office: Any, subscribe: Any, post: Any, app: Any, ring: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model.store.subscriptions, 'requires_confirmation', True)
    monkeypatch.setattr(signed_urls, 'signer', SIGNER)
    with receiver() as receiving:
        subscribe(receiving.url)
        post('"before"')
        ring()
        wait_until(lambda: receiving.calls)
        sent = json.loads(receiving.calls[0].body)
        names = ('URL-Signature', 'URL-Methods', 'URL-Paths', 'X-Project-ID', 'URL-Expires')
        headers = {name: sent[name] for name in names} | {'Client-ID': CLIENT}

        def confirm(**change: str) -> Any:
            return app.put_json(
                sent['URL-Paths'],
                sent['SubscribeBody'],
                headers=headers | change,
                expect_errors=True,
            ).status_int

        assert confirm(**{'URL-Signature': '0' * 64}) == 404
        assert confirm() == 204
        post('"after"')
        wait_until(lambda: len(receiving.calls) == 2)

    assert [json.loads(call.body).get('body') for call in receiving.calls] == [None, 'after']
