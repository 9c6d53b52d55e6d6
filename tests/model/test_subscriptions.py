"""Subscriptions: made, shown, changed and ended; and what cannot be subscribed."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from marconi_api import limits, model
from marconi_api.errors import (
    InvalidRequest,
    MarconiError,
    QueueNotFound,
    SubscriptionCycle,
    SubscriptionExists,
    SubscriptionNotFound,
)
from marconi_api.model import QueueKey, Subscriptions
from marconi_api.model import subscriptions as module

HOOK = 'http://hooks.example.com/jobs'
SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'


@pytest.fixture
def subscriptions(app: Any) -> Subscriptions:
    return model.store.subscriptions


@pytest.fixture
def confirming(subscriptions: Subscriptions) -> Iterator[Subscriptions]:
    """The same where webhooks have to confirm."""
    subscriptions.requires_confirmation = True
    yield subscriptions
    subscriptions.requires_confirmation = False


@pytest.fixture
def within(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts other limits in force."""

    def put_in_force(**others: int) -> None:
        monkeypatch.setattr(limits, 'in_force', replace(limits.in_force, **others))

    return put_in_force


def expire_all(sql: Any) -> None:
    sql("UPDATE subscriptions SET expires_at = now() - interval '1 second'")


def options_of(subscription: Any) -> Any:
    return json.loads(subscription.options)


# ---------------------------------------------------------------- made and shown


def test_a_subscription_is_shown_as_it_was_made(subscriptions, queue):
    made = subscriptions.create(queue, HOOK, 600, '{"post_data": "x", "_own": 1.50}')

    found = subscriptions.get(queue, made.id)

    assert (found.source, found.subscriber, found.ttl, found.age) == ('jobs', HOOK, 600, 0)
    assert found.options == '{"post_data":"x","_own":1.50}'
    assert (found.confirmed, found.state, found.reason) == (True, 'active', None)
    assert (found.delivered, found.pending, found.failed) == (0, 0, 0)


def test_a_subscription_makes_a_queue_that_is_not_there(subscriptions):
    queue = QueueKey.of('project', 'new')

    subscriptions.create(queue, HOOK)

    assert model.store.queues.exists(queue)


def test_without_a_ttl_it_lives_as_long_as_the_settings_say(subscriptions, queue):
    made = subscriptions.create(queue, HOOK)

    assert subscriptions.get(queue, made.id).ttl == limits.in_force.default_subscription_ttl


def test_a_subscription_ends_with_its_ttl(subscriptions, queue, sql):
    made = subscriptions.create(queue, HOOK, 60)
    expire_all(sql)

    assert subscriptions.page(queue, None, 10) == []
    with pytest.raises(SubscriptionNotFound):
        subscriptions.get(queue, made.id)
    with pytest.raises(SubscriptionNotFound):
        subscriptions.change(queue, made.id, ttl=60)
    with pytest.raises(SubscriptionNotFound):
        subscriptions.confirm(queue, made.id, True)
    assert subscriptions.create(queue, HOOK).is_new


def test_pages_hold_all_subscriptions_in_the_order_in_which_they_were_made(subscriptions, queue):
    made = [subscriptions.create(queue, f'{HOOK}/{number}').id for number in range(5)]

    first = subscriptions.page(queue, None, 3)
    second = subscriptions.page(queue, first[-1].id, 3)

    assert [found.id for found in first + second] == made
    assert subscriptions.page(queue, made[-1], 3) == []
    assert subscriptions.page(queue, 'no id', 3) == []


def test_a_queue_that_is_not_there_has_no_subscriptions(subscriptions):
    assert subscriptions.page(QueueKey.of('project', 'none'), None, 10) == []


@pytest.mark.parametrize('identity', ['', 'x', '0' * 16, '7' + 'f' * 15])
def test_an_id_of_no_subscription_is_not_found(subscriptions, queue, identity):
    with pytest.raises(SubscriptionNotFound):
        subscriptions.get(queue, identity)
    with pytest.raises(SubscriptionNotFound):
        subscriptions.change(queue, identity, ttl=60)
    with pytest.raises(SubscriptionNotFound):
        subscriptions.confirm(queue, identity, True)
    subscriptions.delete(queue, identity)


def test_a_project_does_not_see_those_of_another(subscriptions, queue):
    made = subscriptions.create(queue, HOOK)

    with pytest.raises(SubscriptionNotFound):
        subscriptions.get(QueueKey.of('other', queue.name), made.id)


def test_a_second_subscription_of_a_subscriber_is_refused(subscriptions, queue):
    subscriptions.create(queue, HOOK)

    with pytest.raises(SubscriptionExists, match='is subscribed to queue jobs already'):
        subscriptions.create(queue, HOOK)


def test_of_requests_at_once_one_subscribes(subscriptions, queue):
    outcomes = at_once([lambda: subscriptions.create(queue, HOOK)] * 4)

    assert sum(not isinstance(outcome, MarconiError) for outcome in outcomes) == 1
    assert len(subscriptions.page(queue, None, 10)) == 1


def test_a_queue_has_no_more_subscriptions_than_are_allowed(subscriptions, queue, within):
    within(max_subscriptions_per_queue=2)
    subscriptions.create(queue, f'{HOOK}/1')
    ended = subscriptions.create(queue, f'{HOOK}/2')

    with pytest.raises(InvalidRequest, match='may have 2 subscriptions'):
        subscriptions.create(queue, f'{HOOK}/3')
    subscriptions.delete(queue, ended.id)
    assert subscriptions.create(queue, f'{HOOK}/3').is_new


def test_the_queue_knows_that_it_has_subscribers(subscriptions, queue, sql):
    subscriptions.create(queue, HOOK)

    assert sql('SELECT has_subscribers FROM queues') == [(True,)]


# ---------------------------------------------------------------- secrets


def test_a_webhook_gets_a_secret_that_is_told_once(subscriptions, queue, sql):
    made = subscriptions.create(queue, HOOK)

    assert made.secret.startswith('whsec_')
    assert made.secret not in repr(made)
    assert made.secret not in repr(subscriptions.get(queue, made.id))
    assert sql('SELECT secret FROM subscriptions') == [(made.secret,)]


def test_a_secret_may_be_given_and_is_not_among_the_options(subscriptions, queue):
    made = subscriptions.create(queue, HOOK, None, json.dumps({'_secret': SECRET}))

    assert made.secret == SECRET
    assert subscriptions.get(queue, made.id).options == '{}'


def test_a_change_of_options_leaves_the_secret(subscriptions, queue, sql):
    made = subscriptions.create(queue, HOOK)

    subscriptions.change(queue, made.id, options='{"_timeout": 5}')

    assert sql('SELECT secret FROM subscriptions') == [(made.secret,)]


def test_a_change_can_set_another_secret(subscriptions, queue, sql):
    made = subscriptions.create(queue, HOOK)

    subscriptions.change(queue, made.id, options=json.dumps({'_secret': SECRET}))

    assert sql('SELECT secret FROM subscriptions') == [(SECRET,)]
    assert options_of(subscriptions.get(queue, made.id)) == {}


def test_an_authorization_is_not_shown_and_kept_where_it_is_sent_back(subscriptions, queue, sql):
    given = {'post_headers': {'Authorization': 'Bearer abc', 'X-Team': 'a'}}
    made = subscriptions.create(queue, HOOK, None, json.dumps(given))
    shown = subscriptions.get(queue, made.id).options
    assert 'abc' not in shown
    assert json.loads(shown)['post_headers'] == {'Authorization': '***', 'X-Team': 'a'}

    subscriptions.change(queue, made.id, options=shown)

    [(stored,)] = sql('SELECT options FROM subscriptions')
    assert json.loads(stored) == given


def test_a_hidden_value_that_was_never_set_is_refused(subscriptions, queue):
    made = subscriptions.create(queue, HOOK)

    with pytest.raises(InvalidRequest, match='has no value'):
        subscriptions.change(queue, made.id, options='{"post_headers": {"authorization": "***"}}')


# ---------------------------------------------------------------- changed and ended


def test_a_change_is_of_what_is_given(subscriptions, queue):
    made = subscriptions.create(queue, HOOK, 600, '{"_timeout": 5}')

    subscriptions.change(queue, made.id, subscriber=f'{HOOK}/other')
    assert subscriptions.get(queue, made.id).subscriber == f'{HOOK}/other'
    subscriptions.change(queue, made.id, options='{"_timeout": 6}')

    found = subscriptions.get(queue, made.id)
    assert (found.subscriber, found.ttl) == (f'{HOOK}/other', 600)
    assert options_of(found) == {'_timeout': 6}


def test_a_ttl_begins_anew_when_it_is_changed(subscriptions, queue, sql):
    made = subscriptions.create(queue, HOOK, 60)
    sql("UPDATE subscriptions SET expires_at = now() + interval '1 second'")

    subscriptions.change(queue, made.id, ttl=120)

    [(left,)] = sql("SELECT date_part('epoch', expires_at - now()) FROM subscriptions")
    assert left == pytest.approx(120, abs=5)
    assert subscriptions.get(queue, made.id).ttl == 120


def test_a_change_to_a_subscriber_that_is_there_is_refused(subscriptions, queue):
    subscriptions.create(queue, HOOK)
    made = subscriptions.create(queue, f'{HOOK}/2')

    with pytest.raises(SubscriptionExists):
        subscriptions.change(queue, made.id, subscriber=HOOK)
    subscriptions.change(queue, made.id, subscriber=f'{HOOK}/2')


def test_any_change_wakes_a_subscription_that_is_paused(subscriptions, queue, sql):
    made = subscriptions.create(queue, HOOK)
    sql("UPDATE subscriptions SET paused_at = now(), reason = 'no answer for 24 hours'")
    sql('UPDATE subscription_owners SET failing_since = now()')
    paused = subscriptions.get(queue, made.id)
    assert (paused.state, paused.reason) == ('paused', 'no answer for 24 hours')

    subscriptions.change(queue, made.id, ttl=600)

    found = subscriptions.get(queue, made.id)
    assert (found.state, found.reason) == ('active', None)
    assert sql('SELECT failing_since FROM subscription_owners') == [(None,)]


def test_a_subscription_can_be_deleted_twice(subscriptions, queue, sql):
    made = subscriptions.create(queue, HOOK)
    kept = subscriptions.create(queue, f'{HOOK}/2')

    subscriptions.delete(queue, made.id)
    subscriptions.delete(queue, made.id)

    assert [found.id for found in subscriptions.page(queue, None, 10)] == [kept.id]
    assert sql('SELECT count(*) FROM subscription_owners') == [(1,)]


def test_all_subscriptions_of_a_queue_can_be_deleted(subscriptions, queue, make):
    [other] = make('other')
    subscriptions.create(queue, HOOK)
    subscriptions.create(queue, 'queue:other')
    subscriptions.create(other, HOOK)

    subscriptions.delete_all(queue)

    assert subscriptions.page(queue, None, 10) == []
    assert len(subscriptions.page(other, None, 10)) == 1


@pytest.mark.parametrize('how', ['at once', 'by the janitor', 'when it is made anew'])
def test_a_queue_s_subscriptions_end_with_the_queue(subscriptions, queue, sql, how):
    subscriptions.create(queue, HOOK)
    if how == 'at once':
        model.store.queues.delete(queue)
    else:
        sql(f'UPDATE queues SET floor = {2**63 - 1}')
    if how == 'by the janitor':
        model.store.janitor.run_once()

    model.store.queues.create(queue)

    assert subscriptions.page(queue, None, 10) == []
    assert sql('SELECT count(*) FROM subscriptions') == [(0,)]
    assert sql('SELECT count(*) FROM subscription_owners') == [(0,)]


# ---------------------------------------------------------------- confirmation


def confirmations(sql: Any) -> list[Any]:
    return [row[0] for row in sql('SELECT confirmation FROM subscription_owners')]


def test_where_it_is_required_a_webhook_is_asked_to_confirm(confirming, queue, sql):
    made = confirming.create(queue, HOOK)

    assert not confirming.get(queue, made.id).confirmed
    assert confirmations(sql) == ['SubscriptionConfirmation']


def test_a_webhook_that_has_not_confirmed_is_asked_again(confirming, queue, sql):
    made = confirming.create(queue, HOOK)
    sql('UPDATE subscription_owners SET confirmation = NULL')

    again = confirming.create(queue, HOOK)

    assert (again.id, again.is_new, again.secret) == (made.id, False, None)
    assert confirmations(sql) == ['SubscriptionConfirmation']


def test_a_webhook_that_has_confirmed_is_there_already(confirming, queue):
    made = confirming.create(queue, HOOK)
    confirming.confirm(queue, made.id, True)

    assert confirming.get(queue, made.id).confirmed
    with pytest.raises(SubscriptionExists):
        confirming.create(queue, HOOK)


def test_a_webhook_that_is_confirmed_no_more_is_told_so(confirming, queue, sql):
    made = confirming.create(queue, HOOK)
    confirming.confirm(queue, made.id, True)

    confirming.confirm(queue, made.id, False)

    assert not confirming.get(queue, made.id).confirmed
    assert confirmations(sql) == ['UnsubscribeConfirmation']


def test_another_webhook_has_to_confirm_for_itself(confirming, queue, sql):
    made = confirming.create(queue, HOOK)
    confirming.confirm(queue, made.id, True)

    confirming.change(queue, made.id, subscriber=f'{HOOK}/other')

    assert not confirming.get(queue, made.id).confirmed
    assert confirmations(sql) == ['SubscriptionConfirmation']


def test_a_queue_need_not_confirm(confirming, queue, make):
    make('copies')

    made = confirming.create(queue, 'queue:copies')

    assert confirming.get(queue, made.id).confirmed


def test_where_it_is_not_required_a_cancelled_webhook_can_subscribe_again(subscriptions, queue):
    made = subscriptions.create(queue, HOOK)
    subscriptions.confirm(queue, made.id, False)
    assert not subscriptions.get(queue, made.id).confirmed

    assert subscriptions.create(queue, HOOK).id == made.id
    assert subscriptions.get(queue, made.id).confirmed


# ---------------------------------------------------------------- subscribers


@pytest.mark.parametrize(
    ('subscriber', 'told'),
    [
        ('mailto:a@example.com', 'no SMTP server'),
        ('trust+http://example.com/', 'trusts of Keystone'),
        ('TRUST+HTTPS://example.com/', 'trusts of Keystone'),
        ('foo://example.com', 'begins with http'),
        ('email:a@example.com', 'begins with http'),
        ('example.com', 'begins with http'),
        ('', 'begins with http'),
        ('http://', 'neither a name nor an address'),
        ('http:example.com', 'neither a name nor an address'),
        ('http://user:secret@example.com/', 'Authorization'),
        ('http://user@example.com/', 'Authorization'),
        ('http://@example.com/', 'Authorization'),
        ('http://example.com:x/', 'malformed'),
        ('http://example.com:81/', 'port of the URL'),
        ('http://127.1/', 'must not be called'),
        ('http://localhost/', 'must not be called'),
        ('http://exam ple.com/', 'spaces'),
        ('http://example.com/\r\nX: y', 'control characters'),
        ('http://example.com/\0', 'control characters'),
        ('queue:', 'name of a queue'),
        ('queue:a b', 'name of a queue'),
        ('queue://jobs', 'name of a queue'),
        ('http://example.com/' + 'x' * 2000, 'exceed 2000 characters'),
        ('mailto:\0', 'no SMTP server'),
    ],
)
def test_a_subscriber_that_nothing_can_be_sent_to_is_refused(
    subscriptions, queue, subscriber, told
):
    with pytest.raises(InvalidRequest, match=told) as refused:
        subscriptions.create(queue, subscriber)

    assert 'secret' not in str(refused.value)


@pytest.mark.parametrize(
    'subscriber', ['http://example.com', 'HTTPS://example.com:8443/a?b=c', 'http://[2606:4700::1]/']
)
def test_a_webhook_can_be_subscribed(subscriptions, queue, subscriber):
    made = subscriptions.create(queue, subscriber)

    assert subscriptions.get(queue, made.id).subscriber == subscriber


@pytest.mark.parametrize(
    ('options', 'told'),
    [
        ({'_max_in_flight': 0}, '_max_in_flight must be between 1 and 100'),
        ({'_max_in_flight': 101}, '_max_in_flight must be between 1 and 100'),
        ({'_max_in_flight': True}, '_max_in_flight must be an integer'),
        ({'_timeout': 31}, '_timeout must be between 1 and 30'),
        ({'_timeout': 1.5}, '_timeout must be an integer'),
        ({'_secret': 'abc'}, 'must be whsec_'),
        ({'_secret': 5}, '_secret must be a text'),
        ({'_secret': 'whsec_%%%'}, 'base64'),
        ({'_secret': 'whsec_é'}, 'base64'),
        ({'_secret': 'whsec_YWJj'}, '24 to 64 bytes'),
        ({'_dead_letter_queue': 5}, '_dead_letter_queue must be the name of a queue'),
        ({'_dead_letter_queue': 'a b'}, '_dead_letter_queue must be the name of a queue'),
        ({'post_data': {}}, 'post_data must be a text'),
        ({'post_headers': []}, 'post_headers must be an object'),
        ({'post_headers': {'X-A': 5}}, 'printable ASCII'),
        ({'post_headers': {'X-A': 'a\r\nb'}}, 'printable ASCII'),
        ({'post_headers': {'X-A': 'é'}}, 'printable ASCII'),
        ({'post_headers': {'': 'a'}}, 'cannot be the name'),
        ({'post_headers': {'X A': 'a'}}, 'cannot be the name'),
        ({'post_headers': {'Host': 'a'}}, 'sets Host itself'),
        ({'post_headers': {'content-length': '5'}}, 'sets content-length itself'),
        ({'post_headers': {'Transfer-Encoding': 'chunked'}}, 'itself'),
        ({'post_headers': {'CONNECTION': 'close'}}, 'itself'),
        ({'post_headers': {'Proxy-Connection': 'a'}}, 'itself'),
        ({'post_headers': {'X-A': 'a', 'x-a': 'a'}}, 'a header twice'),
        ({'post_headers': {'Webhook-Anything': 'a'}}, 'itself'),
        ({'post_headers': {f'X-{number}': 'a' for number in range(21)}}, 'more than 20 headers'),
        ({'post_headers': {'X-A': 'a' * 4096}}, 'exceed 4096 bytes'),
        ({'_retry_policy': []}, '_retry_policy must be an object'),
        ({'_retry_policy': {'retries_with_no_delay': 'x'}}, 'retries_with_no_delay must be'),
        ({'_retry_policy': {'maximum_delay_retries': -1}}, 'maximum_delay_retries must be'),
        ({'_retry_policy': {'minimum_delay': True}}, 'minimum_delay must be'),
        ({'_retry_policy': {'retry_backoff_function': 'cubic'}}, 'linear, arithmetic'),
        ({'_retry_policy': {'retry_backoff_function': []}}, 'linear, arithmetic'),
        ({'_retry_policy': {'ignore_subscription_override': 1}}, 'must be true or false'),
        ({'_retry_policy': {'minimum_delay': 25}}, '10 seconds above'),
        ({'_retry_policy': {'maximum_delay': 14}}, '10 seconds above'),
        ({'_retry_policy': {'retry': 5}}, 'has no member'),
        ({'_own': 'x' * 65536}, 'options must not exceed 65536 bytes'),
    ],
)
def test_an_option_without_a_good_value_is_refused(subscriptions, queue, options, told):
    with pytest.raises(InvalidRequest, match=told):
        subscriptions.create(queue, HOOK, None, json.dumps(options))


@pytest.mark.parametrize(
    'options',
    [
        {'_max_in_flight': 1, '_timeout': 30, '_secret': SECRET, '_dead_letter_queue': 'dead'},
        {'post_headers': {'Authorization': 'a', 'X-Team': ''}, 'post_data': '"$zaqar_message$"'},
        dict.fromkeys(
            ('_max_in_flight', '_timeout', '_secret', '_retry_policy', '_dead_letter_queue')
        ),
        {'post_data': None, 'post_headers': None, 'anything': {'else': [1, None]}},
        {'_retry_policy': {}},
        {
            '_retry_policy': {
                **{'retries_with_no_delay': 0, 'minimum_delay_retries': 3, 'minimum_delay': 1},
                **{'maximum_delay': 11, 'maximum_delay_retries': 1},
                **{'retry_backoff_function': 'geometric', 'ignore_subscription_override': True},
            }
        },
    ],
)
def test_options_with_good_values_are_taken(subscriptions, queue, options):
    assert subscriptions.create(queue, HOOK, None, json.dumps(options)).is_new


@pytest.mark.parametrize('ttl', [59, 0, -1, 10**9 + 1])
def test_a_ttl_beyond_the_range_is_refused(subscriptions, queue, ttl):
    with pytest.raises(InvalidRequest, match='The ttl of a subscription'):
        subscriptions.create(queue, HOOK, ttl)


# ---------------------------------------------------------------- queues as subscribers


def test_a_subscriber_queue_must_be_there(subscriptions, queue):
    with pytest.raises(QueueNotFound, match='Queue copies does not exist'):
        subscriptions.create(queue, 'queue:copies')

    assert subscriptions.page(queue, None, 10) == []


def test_a_subscriber_queue_has_no_secret(subscriptions, queue, make, sql):
    make('copies')

    assert subscriptions.create(queue, 'queue:copies').secret is None
    assert sql('SELECT count(*) FROM subscription_owners') == [(0,)]


def test_a_subscriber_queue_that_is_removed_is_shown_as_not_confirmed(subscriptions, queue, make):
    [copies] = make('copies')
    made = subscriptions.create(queue, 'queue:copies')

    model.store.queues.delete(copies)

    found = subscriptions.get(queue, made.id)
    assert (found.confirmed, found.reason) == (False, 'queue copies does not exist')


def test_a_queue_cannot_subscribe_to_itself(subscriptions, queue):
    with pytest.raises(SubscriptionCycle, match='jobs -> jobs'):
        subscriptions.create(queue, 'queue:jobs')


def test_a_circle_over_several_queues_is_refused(subscriptions, make):
    a, b, c = make('a', 'b', 'c')
    subscriptions.create(a, 'queue:b')
    subscriptions.create(b, 'queue:c')

    with pytest.raises(SubscriptionCycle, match='c -> a -> b -> c'):
        subscriptions.create(c, 'queue:a')

    assert subscriptions.page(c, None, 10) == []


def test_a_change_that_would_close_a_circle_is_refused(subscriptions, make):
    a, b = make('a', 'b')
    subscriptions.create(a, 'queue:b')
    made = subscriptions.create(b, HOOK)

    with pytest.raises(SubscriptionCycle):
        subscriptions.change(b, made.id, subscriber='queue:a')

    assert subscriptions.get(b, made.id).subscriber == HOOK


def test_two_ways_to_a_queue_are_not_a_circle(subscriptions, make):
    a, b, c, _ = make('a', 'b', 'c', 'd')

    for source, target in ((a, 'b'), (a, 'c'), (b, 'd'), (c, 'd')):
        subscriptions.create(source, f'queue:{target}')


def test_a_subscription_that_has_ended_closes_no_circle(subscriptions, make, sql):
    a, b = make('a', 'b')
    subscriptions.create(a, 'queue:b')
    expire_all(sql)

    assert subscriptions.create(b, 'queue:a').is_new


def test_requests_at_once_do_not_close_a_circle(subscriptions, make, sql):
    """Each of them alone would be right."""
    ring = make('a', 'b', 'c', 'd', 'e', 'f')
    steps = list(zip(ring, ring[1:] + ring[:1], strict=True))
    for _ in range(10):
        sql('DELETE FROM subscriptions')
        for source, target in steps[::2]:
            subscriptions.create(source, f'queue:{target.name}')

        at_once(
            [
                lambda source=source, target=target: subscriptions.create(
                    source, f'queue:{target.name}'
                )
                for source, target in steps[1::2]
            ]
        )

        assert sql('SELECT count(*) FROM subscriptions') == [(5,)]


def test_requests_that_lock_only_their_queues_close_a_circle(subscriptions, make, sql, monkeypatch):
    """What the lock is for: two that see but their own part of the circle."""
    a, b = make('a', 'b')
    both_are_there = threading.Barrier(2)

    def look_together(run: Any, queue: QueueKey, target: QueueKey) -> None:
        both_are_there.wait(5)
        check_circle(run, queue, target)
        both_are_there.wait(5)

    check_circle = module._check_circle
    monkeypatch.setattr(module, '_ONE_AT_A_TIME', 'SELECT')
    monkeypatch.setattr(module, '_check_circle', look_together)

    at_once(
        [
            lambda: subscriptions.create(a, 'queue:b'),
            lambda: subscriptions.create(b, 'queue:a'),
        ]
    )

    assert sql('SELECT count(*) FROM subscriptions') == [(2,)]


def test_a_post_cannot_come_to_more_queues_than_are_allowed(subscriptions, make, within):
    a, b, *_ = make('a', 'b', 'c', 'd')
    within(max_fan_out=2)
    subscriptions.create(a, 'queue:b')
    subscriptions.create(b, 'queue:c')

    with pytest.raises(InvalidRequest, match='queue a would be copied to 3 queues; 2 are allowed'):
        subscriptions.create(b, 'queue:d')


# ---------------------------------------------------------------- aids


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """What the calls return, or the errors that they raise, each in a thread of its own."""
    outcomes: list[Any] = [None] * len(calls)
    begin = threading.Barrier(len(calls))

    def run(place: int) -> None:
        begin.wait()
        try:
            outcomes[place] = calls[place]()
        except MarconiError as error:
            outcomes[place] = error
        finally:
            model.store.database.close()

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes
