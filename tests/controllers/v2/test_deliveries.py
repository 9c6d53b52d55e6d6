"""Deliveries as clients see and mend them, and where no webhook may lead: docs/protocol-v2.md, 15.12."""

from typing import Any

import pytest
import standardwebhooks

from marconi_api.controllers.openstack.v2 import RESOURCES
from marconi_api.webhooks import rules
from marconi_api.webhooks.rules import Rules
from tests.webhooks import forbidden
from tests.webhooks.receivers import receiver, status

from ..client import LaterApi, id_of


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Webhooks may be on this machine."""
    networks = {'allowed_networks': ['127.0.0.1'], 'allowed_ports': range(1, 65536)}
    monkeypatch.setattr(rules, 'in_force', Rules.from_config(networks))


@pytest.fixture
def subscriptions(api: LaterApi) -> str:
    api.make_queue()
    return f'{api.queue}/subscriptions'


def subscribe(api: LaterApi, subscriptions: str, url: str, **options: Any) -> tuple[str, str]:
    """The path and the secret of a subscription."""
    made = api.post(subscriptions, {'subscriber': url, 'options': options})
    return f'{subscriptions}/{made.json["subscription_id"]}', made.json['secret']


def test_what_a_webhook_has_not_taken_is_listed_and_counted(
    api: LaterApi, subscriptions: str, sql: Any
) -> None:
    path, _ = subscribe(api, subscriptions, 'http://example.com/')
    pending = id_of(*api.post_messages('pending'))
    failed = id_of(*api.post_messages('failed'))
    sql("UPDATE deliveries SET due_at = 'infinity' WHERE message_id = %s", int(failed, 16))

    listed = api.get(f'{path}/deliveries?state=failed')

    assert listed.json == {
        'deliveries': [
            {
                **{'id': failed, 'message_id': failed, 'state': 'failed', 'age': 0},
                **{'next_attempt': None, 'attempts': []},
            }
        ],
        'links': [{'rel': 'next', 'href': f'{path}/deliveries?state=failed&marker={failed}'}],
    }
    assert [one['id'] for one in api.get(f'{path}/deliveries').json['deliveries']] == [
        pending,
        failed,
    ]
    counts = api.get(path).json['deliveries']
    assert (counts['pending'], counts['failed'], counts['oldest_pending_age']) == (1, 1, 0)


def test_a_page_leads_to_the_next(api: LaterApi, subscriptions: str) -> None:
    path, _ = subscribe(api, subscriptions, 'http://example.com/')
    ids = [id_of(one) for one in api.post_messages(*'abc')]

    found, target = [], f'{path}/deliveries?limit=2'
    while target:
        page = api.get(target).json
        found += [one['id'] for one in page['deliveries']]
        target = page['links'][0]['href'] if page['links'] else ''

    assert found == ids


def test_a_failed_delivery_is_mended(api: LaterApi, subscriptions: str, sql: Any) -> None:
    path, _ = subscribe(api, subscriptions, 'http://example.com/')
    ids = [id_of(one) for one in api.post_messages(*'ab')]
    sql("UPDATE deliveries SET due_at = 'infinity', attempts = 18")

    assert api.post(f'{path}/deliveries/{ids[0]}/retry', None).status_int == 202
    assert sql('SELECT message_id FROM deliveries WHERE due_at <= now()') == [(int(ids[0], 16),)]

    assert api.post(f'{path}/retry', None).status_int == 202
    assert sql('SELECT count(*) FROM deliveries WHERE due_at <= now() AND attempts = 0') == [(2,)]


def test_a_subscription_is_paused_and_resumed(api: LaterApi, subscriptions: str) -> None:
    path, _ = subscribe(api, subscriptions, 'http://example.com/')
    assert api.post(f'{path}/pause', None).status_int == 202
    assert api.get(path).json['state'] == 'paused'

    assert api.post(f'{path}/resume', None).status_int == 202

    assert api.get(path).json['state'] == 'active'


def test_a_test_calls_the_webhook_with_both_secrets(
    here: None, api: LaterApi, subscriptions: str
) -> None:
    with receiver() as receiving:
        headers = {'Authorization': 'Bearer a'}
        path, old = subscribe(api, subscriptions, receiving.url, post_headers=headers)
        new = api.post(f'{path}/rotate', None).json['secret']
        attempt = api.post(f'{path}/test', None).json

    [call] = receiving.calls
    assert (attempt['status'], attempt['error']) == (200, None)
    assert call.headers['authorization'] == 'Bearer a'
    for secret in (old, new):
        sent = standardwebhooks.Webhook(secret).verify(call.body, call.headers)
        assert (sent['Message_Type'], sent['queue_name']) == ('Test', 'jobs')


def test_a_test_tells_what_went_wrong(here: None, api: LaterApi, subscriptions: str) -> None:
    with receiver(status(503)) as receiving:
        path, _ = subscribe(api, subscriptions, receiving.url)
        refused = api.post(f'{path}/test', None).json
    gone = api.post(f'{path}/test', None).json

    assert (refused['status'], refused['error']) == (503, None)
    assert (gone['status'], gone['error']) == (None, 'refused')


def test_one_webhook_is_tested_at_a_time(api: LaterApi, subscriptions: str) -> None:
    """Else webhooks that hang would hold all threads that answer requests."""
    path, _ = subscribe(api, subscriptions, 'http://example.com/')
    controller: Any = RESOURCES['/v2/queues/{queue}/subscriptions/{subscription}/test']
    with controller._is_testing:
        assert api.post(f'{path}/test', None).status_int == 503


@pytest.mark.parametrize('verb', ['rotate', 'test'])
def test_a_queue_is_neither_called_nor_has_a_secret(
    api: LaterApi, subscriptions: str, verb: str
) -> None:
    made = api.post(subscriptions, {'subscriber': 'http://example.com/'}).json['subscription_id']
    api.make_queue('copies')
    made = api.post(subscriptions, {'subscriber': 'queue:copies'}).json['subscription_id']

    assert api.post(f'{subscriptions}/{made}/{verb}', None).status_int == 400


def test_no_subscription_leads_to_a_forbidden_address(api: LaterApi, subscriptions: str) -> None:
    path, _ = subscribe(api, subscriptions, 'http://example.com/')
    accepted = []

    for url in (*(f'http://{host}/' for host in forbidden.HOSTS), *forbidden.URLS):
        made = api.post(subscriptions, {'subscriber': url})
        changed = api.request('PATCH', path, {'subscriber': url})
        if (made.status_int, changed.status_int) != (400, 400):
            accepted.append((url, made.status_int, changed.status_int))

    assert accepted == []


def test_a_webhook_that_is_not_allowed_any_more_is_neither_confirmed_nor_tested(
    here: None, api: LaterApi, subscriptions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiver() as receiving:
        path, _ = subscribe(api, subscriptions, receiving.url)
        monkeypatch.setattr(rules, 'in_force', Rules((), frozenset({receiving.port})))

        assert api.request('PUT', f'{path}/confirm', {'confirmed': True}).status_int == 400
        assert api.post(f'{path}/test', None).status_int == 400

    assert receiving.connections == 0


def test_mail_is_for_services_that_have_a_mail_server(
    api: LaterApi, subscriptions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscriber = {'subscriber': 'mailto:a@example.com'}

    assert 'no SMTP server' in api.post(subscriptions, subscriber).json['description']
    monkeypatch.setattr(rules, 'in_force', Rules((), frozenset(), 'smtp://localhost'))
    assert api.post(subscriptions, subscriber).status_int == 201
    assert api.post(subscriptions, {'subscriber': 'mailto:a@b,c@d'}).status_int == 400
