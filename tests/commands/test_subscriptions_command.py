"""`marconi subscriptions`, on the database and over HTTP."""

import json

import pytest

from marconi_api import model

QUEUE = ('jobs', '--project', 'acme')
URL = 'https://hooks.example.com/a'


@pytest.fixture
def subscription(queue):
    """The id of one to a webhook."""
    return model.store.subscriptions.create(queue, URL, 86400).id


@pytest.fixture
def failed(subscription, post, sql):
    """Deliveries of it that have failed: their ids."""
    ids = post('1', '2')
    sql("UPDATE deliveries SET due_at = 'infinity'")
    return ids


def lines(done):
    assert (done.returncode, done.stderr) == (0, '')
    return done.stdout.splitlines()


def test_a_webhook_is_subscribed_and_its_secret_told_once(marconi, queue, way):
    options = '{"_max_in_flight":5}'
    done = marconi(
        'subscriptions', 'create', *QUEUE, URL, '--ttl', '600', '--options', options, *way
    )

    identity, secret = done.stdout.split()
    found = model.store.subscriptions.get(queue, identity)
    assert (found.subscriber, found.ttl, found.options) == (URL, 600, options)
    assert secret.startswith('whsec_')
    assert done.stderr == 'what signs the calls is not shown again: keep it safe\n'


def test_a_queue_is_subscribed_without_a_secret(marconi, queue, post, way):
    post('1')

    done = marconi('subscriptions', 'create', 'news', 'queue:jobs', '--project', 'acme', *way)

    [identity] = lines(done)
    key = model.QueueKey.of('acme', 'news')
    assert model.store.subscriptions.get(key, identity).subscriber == 'queue:jobs'


@pytest.mark.parametrize('options', ['{', '[]', '1', '{}, "ttl": 1'])
def test_options_that_are_not_an_object_are_wrong_use(marconi, queue, options):
    done = marconi('subscriptions', 'create', *QUEUE, URL, '--options', options)

    assert (done.returncode, done.stdout) == (2, '')
    assert '--options must be a JSON object' in done.stderr


def test_an_address_that_may_not_be_called_is_wrong_use(marconi, queue, way):
    done = marconi('subscriptions', 'create', *QUEUE, 'http://127.0.0.1/', *way)

    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, '', 1)


def test_all_subscriptions_are_listed(marconi, subscription, failed, way):
    heading, line = lines(marconi('subscriptions', 'list', *QUEUE, *way))

    assert heading.split() == [
        'ID',
        'STATE',
        'TTL',
        'AGE',
        'DELIVERED',
        'PENDING',
        'FAILED',
        'SUBSCRIBER',
    ]
    assert line.split()[:3] == [subscription, 'active', '86400']
    assert line.split()[4:] == ['0', '0', '2', URL]


def test_more_than_a_page_of_subscriptions_are_listed_up_to_the_limit(marconi, queue, way):
    for number in range(15):
        model.store.subscriptions.create(queue, f'{URL}{number}')

    done = marconi('subscriptions', 'list', *QUEUE, '--limit', '12', '--json', *way)

    assert [one['subscriber'] for one in json.loads(done.stdout)] == [
        f'{URL}{number}' for number in range(12)
    ]
    assert done.stderr == 'There may be more than these 12: --limit shows more.\n'


def test_all_that_is_known_of_one_is_shown(marconi, subscription, failed, way):
    shown = dict(
        line.split(None, 1)
        for line in lines(marconi('subscriptions', 'show', *QUEUE, subscription, *way))
    )

    assert (shown['id'], shown['subscriber'], shown['failed']) == (subscription, URL, '2')
    assert (shown['confirmed'], shown['state'], shown['reason']) == ('yes', 'active', '-')


def test_programs_read_it_as_the_api_has_it(marconi, queue, subscription, way):
    shown = json.loads(
        marconi('subscriptions', 'show', *QUEUE, subscription, '--json', *way).stdout
    )

    assert (shown['id'], shown['options']) == (subscription, {})
    assert shown['deliveries']['pending'] == 0


def test_a_webhook_is_paused_and_resumed(marconi, queue, subscription, way):
    paused = marconi('subscriptions', 'pause', *QUEUE, subscription, *way)
    state = model.store.subscriptions.get(queue, subscription)
    resumed = marconi('subscriptions', 'resume', *QUEUE, subscription, *way)

    assert lines(paused) == [f'subscription {subscription} is paused; 0 messages wait']
    assert (state.state, state.reason) == ('paused', 'It was paused by request.')
    assert lines(resumed) == [f'subscription {subscription} is active; 0 messages wait']


def test_deliveries_are_shown_by_their_state(marconi, sql, subscription, failed, way):
    sql(
        'INSERT INTO delivery_attempts (queue_id, subscription_id, message_id, attempt,'
        ' attempted_at, status, milliseconds)'
        ' SELECT queue_id, subscription_id, message_id, 1, now(), 503, 7 FROM deliveries'
    )

    heading, *rows = lines(
        marconi('subscriptions', 'deliveries', *QUEUE, subscription, '--state', 'failed', *way)
    )
    none = marconi('subscriptions', 'deliveries', *QUEUE, subscription, '--state', 'pending', *way)

    assert heading.split() == ['ID', 'STATE', 'AGE', 'NEXT', 'ATTEMPT', 'FAILED', 'LAST']
    assert [row.split()[:2] for row in rows] == [[delivery, 'failed'] for delivery in failed]
    assert all(row.endswith('status 503') for row in rows)
    assert (none.returncode, none.stdout) == (1, '')


def test_one_delivery_is_sent_again(marconi, sql, subscription, failed, way):
    [line] = lines(marconi('subscriptions', 'retry', *QUEUE, subscription, failed[1], *way))

    assert line == f'sending 1 messages to {URL} again'
    assert sql("SELECT message_id FROM deliveries WHERE due_at < 'infinity'") == [
        (int(failed[1], 16),)
    ]


def test_all_that_have_failed_are_sent_again_once_that_is_said(
    marconi, sql, subscription, failed, way
):
    again = ('subscriptions', 'retry', *QUEUE, subscription, '--failed', *way)
    tried = marconi(*again, '--dry-run')
    unasked = marconi(*again)
    still = sql("SELECT count(*) FROM deliveries WHERE due_at = 'infinity'")
    done = marconi(*again, '--yes')

    assert lines(tried) == [f'would send 2 messages to {URL} again']
    assert (unasked.returncode, unasked.stdout) == (2, '')
    assert still == [(2,)]
    assert lines(done) == [f'sending 2 messages to {URL} again']
    assert sql("SELECT count(*) FROM deliveries WHERE due_at = 'infinity'") == [(0,)]


def test_a_subscription_is_ended_once_that_is_said(marconi, queue, subscription, failed, way):
    end = ('subscriptions', 'delete', *QUEUE, subscription, *way)
    tried, unasked = marconi(*end, '--dry-run'), marconi(*end)
    still = model.store.subscriptions.page(queue, None, 10)
    done = marconi(*end, '--yes')

    what = f'subscription {subscription} of {URL}, with 2 messages that it has not taken'
    assert lines(tried) == [f'would end {what}']
    assert (unasked.returncode, len(still)) == (2, 1)
    assert lines(done) == [f'ended {what}']
    assert model.store.subscriptions.page(queue, None, 10) == []


@pytest.mark.parametrize('verb', ['show', 'pause', 'resume', 'deliveries', 'delete', 'retry'])
@pytest.mark.parametrize('identity', ['00066147a6e3d5c0', 'rubbish', '..'])
def test_a_subscription_that_is_not_there_is_one_line(marconi, queue, way, verb, identity):
    options = {'retry': ['--failed', '--yes'], 'delete': ['--yes']}.get(verb, [])

    done = marconi('subscriptions', verb, *QUEUE, identity, *options, *way)

    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, '', 1)


def test_a_queue_that_is_not_there_or_has_none_is_one_line(marconi, queue, way):
    for name in ('jobs', 'other'):
        done = marconi('subscriptions', 'list', name, '--project', 'acme', *way)

        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, '', 1)


def test_a_delivery_that_is_not_there_is_one_line(marconi, subscription, way):
    done = marconi('subscriptions', 'retry', *QUEUE, subscription, '0' * 16, *way)

    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, '', 1)


def test_what_is_done_is_in_the_audit_log_without_the_url(marconi, queue):
    [identity, _] = marconi('subscriptions', 'create', *QUEUE, URL).stdout.split()
    for verb in ('pause', 'resume'):
        marconi('subscriptions', verb, *QUEUE, identity)
    marconi('subscriptions', 'retry', *QUEUE, identity, '--failed', '--yes')
    marconi('subscriptions', 'delete', *QUEUE, identity, '--yes')

    entries = json.loads(marconi('audit', '--action', 'subscription', '--json').stdout)

    assert [entry['action'].partition(' ')[2] for entry in entries] == [
        *('delete', 'retry', 'resume', 'pause', 'create')
    ]
    assert {entry['details']['subscription'] for entry in entries} == {identity}
    assert URL not in json.dumps(entries)
