"""Subscriptions as clients see them: docs/protocol-v2.md, 8."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from webtest import TestApp, TestResponse

from marconi_api import model
from marconi_api.controllers.openstack import signed_urls

from ..client import CLIENT_ID, PROJECT, Api, LaterApi

HOOK = 'http://hooks.example.com/jobs'


@pytest.fixture
def subscriptions(api: LaterApi) -> str:
    """The path of the subscriptions to a queue that is there."""
    api.make_queue()
    return f'{api.queue}/subscriptions'


@pytest.fixture
def subscription(api: LaterApi, subscriptions: str) -> str:
    """The path of a webhook's subscription."""
    made = api.post(subscriptions, {'subscriber': HOOK, 'ttl': 600})
    return f'{subscriptions}/{made.json["subscription_id"]}'


@pytest.fixture
def confirming(app: TestApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Webhooks have to confirm."""
    monkeypatch.setattr(model.store.subscriptions, 'requires_confirmation', True)
    monkeypatch.setattr(signed_urls, 'signer', signed_urls.Signer(['key']))


def refused(response: TestResponse) -> tuple[int, str]:
    return response.status_int, response.json['title']


# ---------------------------------------------------------------- 8.1


def test_a_queue_that_is_not_there_has_an_empty_list(api: LaterApi) -> None:
    response = api.get('/v2/queues/none/subscriptions')

    assert response.json == {'subscriptions': [], 'links': []}


def test_a_subscription_is_listed_with_all_that_clients_look_for(
    api: LaterApi, subscriptions: str, subscription: str
) -> None:
    [listed] = api.get(subscriptions).json['subscriptions']

    assert listed == {
        'id': subscription.rpartition('/')[2],
        'source': 'jobs',
        'subscriber': HOOK,
        'ttl': 600,
        'age': 0,
        'options': {},
        'confirmed': True,
        'state': 'active',
        'reason': None,
        'deliveries': {'delivered': 0, 'pending': 0, 'failed': 0, 'oldest_pending_age': None},
    }
    assert api.get(subscription).json == listed


def test_links_lead_through_all_subscriptions(api: LaterApi, subscriptions: str) -> None:
    for number in range(5):
        api.post(subscriptions, {'subscriber': f'{HOOK}/{number}'})
    found, target = [], f'{subscriptions}?limit=2'
    while target:
        page = api.get(target).json
        found += [one['subscriber'] for one in page['subscriptions']]
        target = page['links'][0]['href'] if page['links'] else ''

    assert found == [f'{HOOK}/{number}' for number in range(5)]


def test_an_id_is_a_marker(api: LaterApi, subscriptions: str) -> None:
    made = [
        api.post(subscriptions, {'subscriber': f'{HOOK}/{number}'}).json['subscription_id']
        for number in range(3)
    ]

    page = api.get(f'{subscriptions}?marker={made[0]}').json['subscriptions']

    assert [one['id'] for one in page] == made[1:]


def test_a_page_has_ten_unless_it_is_asked_for_more(api: LaterApi, subscriptions: str) -> None:
    for number in range(21):
        api.post(subscriptions, {'subscriber': f'{HOOK}/{number}'})

    assert len(api.get(subscriptions).json['subscriptions']) == 10
    assert len(api.get(f'{subscriptions}?limit=20').json['subscriptions']) == 20


@pytest.mark.parametrize('limit', ['0', '21', '-1'])
def test_a_limit_beyond_the_range_is_refused(api: LaterApi, subscriptions: str, limit: str) -> None:
    assert refused(api.get(f'{subscriptions}?limit={limit}')) == (400, 'Invalid API request')


def test_detailed_is_ignored(api: LaterApi, subscriptions: str, subscription: str) -> None:
    page = api.get(f'{subscriptions}?detailed=False&limit=20').json

    assert len(page['subscriptions']) == 1


# ---------------------------------------------------------------- 8.2


def test_a_subscription_is_made_with_its_queue(api: LaterApi) -> None:
    response = api.post('/v2/queues/new/subscriptions', {'subscriber': HOOK})

    assert response.status_int == 201
    assert response.headers['Location'] == '/v2/queues/new/subscriptions'
    assert set(response.json) == {'subscription_id', 'secret'}
    [queue] = api.get('/v2/queues').json['queues']
    assert queue['name'] == 'new'
    [made] = api.get('/v2/queues/new/subscriptions').json['subscriptions']
    assert (made['id'], made['ttl']) == (response.json['subscription_id'], 3600)


def test_null_is_as_good_as_absent(api: LaterApi, subscriptions: str) -> None:
    body = {'subscriber': HOOK, 'ttl': None, 'options': None}

    assert api.post(subscriptions, body).status_int == 201


def test_the_secret_is_shown_once(api: LaterApi, subscriptions: str) -> None:
    made = api.post(subscriptions, {'subscriber': HOOK}).json

    assert made['secret'].startswith('whsec_')
    assert made['secret'] not in api.get(subscriptions).text


def test_a_subscriber_that_is_there_is_a_conflict(
    api: LaterApi, subscriptions: str, subscription: str
) -> None:
    response = api.post(subscriptions, {'subscriber': HOOK})

    assert refused(response) == (409, 'Resource conflict')


def test_a_subscriber_that_has_not_confirmed_keeps_its_id(
    api: LaterApi, confirming: None, subscriptions: str
) -> None:
    first = api.post(subscriptions, {'subscriber': HOOK})
    again = api.post(subscriptions, {'subscriber': HOOK})

    assert again.status_int == 201
    assert again.json == {'subscription_id': first.json['subscription_id']}


@pytest.mark.parametrize(
    'body',
    [
        None,
        '',
        '{}',
        '[',
        '[]',
        '"x"',
        '{"subscriber": 5}',
        '{"subscriber": null}',
        {'subscriber': 'foo://example.com'},
        {'subscriber': 'email:a@example.com'},
        {'subscriber': 'example.com'},
        {'subscriber': HOOK, 'ttl': 59},
        {'subscriber': HOOK, 'ttl': '60'},
        {'subscriber': HOOK, 'ttl': 60.5},
        {'subscriber': HOOK, 'options': []},
        {'subscriber': HOOK, 'options': 'x'},
        {'subscriber': HOOK, 'options': {'_timeout': 31}},
        {'subscriber': 'http://user:password@example.com/'},
        {'subscriber': 'http://127.0.0.1/'},
        {'subscriber': 'mailto:a@example.com'},
        {'subscriber': 'trust+https://example.com/'},
    ],
)
def test_what_cannot_be_subscribed_is_refused(api: LaterApi, subscriptions: str, body: Any) -> None:
    response = api.post(subscriptions, body)

    assert response.status_int == 400
    assert api.get(subscriptions).json['subscriptions'] == []


@pytest.mark.parametrize(
    ('subscriber', 'why'),
    [('mailto:a@example.com', 'SMTP server'), ('trust+http://example.com', 'trusts of Keystone')],
)
def test_a_scheme_that_is_not_offered_is_refused_with_the_reason(
    api: LaterApi, subscriptions: str, subscriber: str, why: str
) -> None:
    response = api.post(subscriptions, {'subscriber': subscriber})

    assert response.status_int == 400
    assert why in response.json['description']


def test_a_subscriber_queue_that_is_missing_is_named(api: LaterApi, subscriptions: str) -> None:
    response = api.post(subscriptions, {'subscriber': 'queue:copies'})

    assert refused(response) == (404, 'Not found')
    assert 'Queue copies' in response.json['description']


def test_a_circle_of_queues_is_refused(api: LaterApi, subscriptions: str) -> None:
    api.make_queue('copies')
    assert api.post(subscriptions, {'subscriber': 'queue:copies'}).status_int == 201

    response = api.post('/v2/queues/copies/subscriptions', {'subscriber': 'queue:jobs'})

    assert refused(response) == (400, 'Invalid API request')
    assert 'copies -> jobs -> copies' in response.json['description']


def test_what_is_posted_is_copied(api: LaterApi, subscriptions: str) -> None:
    api.make_queue('copies')
    made = api.post(subscriptions, {'subscriber': 'queue:copies'})
    assert 'secret' not in made.json

    api.post(f'{api.queue}/messages', {'messages': [{'body': {'a': 1}}]})

    [copy] = api.get('/v2/queues/copies/messages?echo=true').json['messages']
    assert copy['body'] == {'a': 1}
    claimed = api.post('/v2/queues/copies/claims').json['messages']
    assert [message['id'] for message in claimed] == [copy['id']]


# ---------------------------------------------------------------- 8.3


@pytest.mark.parametrize('identity', ['x', '0000000000000001'])
def test_a_subscription_that_is_not_there_is_not_found(
    api: LaterApi, subscriptions: str, identity: str
) -> None:
    path = f'{subscriptions}/{identity}'

    assert refused(api.get(path)) == (404, 'Not found')
    assert refused(api.patch(path, {'ttl': 60})) == (404, 'Not found')
    assert refused(api.put(f'{path}/confirm', {'confirmed': True})) == (404, 'Not found')
    assert api.delete(path).status_int == 204


def test_a_get_may_have_a_body(api: LaterApi, subscription: str) -> None:
    """python-zaqarclient sends that of the post again."""
    response = api.request('GET', subscription, {'subscriber': HOOK})

    assert response.status_int == 200


def test_a_deleted_subscription_is_gone(api: LaterApi, subscription: str) -> None:
    assert api.delete(subscription).status_int == 204

    assert api.get(subscription).status_int == 404


@pytest.mark.parametrize(
    ('change', 'shown'),
    [
        ({'ttl': 120}, {'ttl': 120}),
        ({'subscriber': f'{HOOK}/2'}, {'subscriber': f'{HOOK}/2'}),
        ({'options': {'post_data': 'x'}}, {'options': {'post_data': 'x'}}),
        ({'subscriber': None, 'ttl': None, 'options': {}}, {'ttl': 600, 'subscriber': HOOK}),
    ],
)
def test_a_patch_changes_what_it_names(
    api: LaterApi, subscription: str, change: Any, shown: dict[str, Any]
) -> None:
    response = api.patch(subscription, change)

    assert response.status_int == 204
    assert response.headers['Location'] == subscription
    found = api.get(subscription).json
    assert {name: found[name] for name in shown} == shown


@pytest.mark.parametrize(
    ('body', 'title'),
    [
        (None, 'Invalid request body'),
        ('', 'Invalid request body'),
        ('[]', 'Invalid request body'),
        ('[', 'Invalid request body'),
        ('{}', 'Unable to update subscription'),
        ({'id': 'x'}, 'Unable to update subscription'),
        ({'ttl': 60, 'age': 5}, 'Unable to update subscription'),
        ({'ttl': 59}, 'Invalid API request'),
        ({'ttl': 'x'}, 'Invalid request body'),
        ({'options': 5}, 'Invalid API request'),
        ({'options': {'_timeout': 0}}, 'Invalid API request'),
        ({'subscriber': 'foo:bar'}, 'Invalid API request'),
    ],
)
def test_a_patch_that_makes_no_sense_is_refused(
    api: LaterApi, subscription: str, body: Any, title: str
) -> None:
    before = api.get(subscription).json

    assert refused(api.patch(subscription, body)) == (400, title)
    assert api.get(subscription).json == before


def test_a_patch_to_a_subscriber_that_is_there_is_a_conflict(
    api: LaterApi, subscriptions: str, subscription: str
) -> None:
    api.post(subscriptions, {'subscriber': f'{HOOK}/2'})

    response = api.patch(subscription, {'subscriber': f'{HOOK}/2'})

    assert refused(response) == (409, 'Resource conflict')


def test_an_authorization_is_not_shown(api: LaterApi, subscriptions: str) -> None:
    options = {'post_headers': {'Authorization': 'Bearer abc'}}
    api.post(subscriptions, {'subscriber': HOOK, 'options': options})

    shown = api.get(subscriptions).json['subscriptions'][0]['options']

    assert shown == {'post_headers': {'Authorization': '***'}}


# ---------------------------------------------------------------- 8.4


@pytest.mark.parametrize('confirmed', [False, True])
def test_a_subscription_is_confirmed_or_cancelled(
    api: LaterApi, subscription: str, confirmed: bool
) -> None:
    response = api.put(f'{subscription}/confirm', {'confirmed': confirmed})

    assert response.status_int == 204
    assert response.headers['Location'] == f'{subscription}/confirm'
    assert api.get(subscription).json['confirmed'] is confirmed


@pytest.mark.parametrize(
    'body', [None, '', '{}', '[]', {'confirmed': 'true'}, {'confirmed': 1}, {'confirmed': None}]
)
def test_a_confirmation_that_is_not_a_boolean_is_refused(
    api: LaterApi, subscription: str, body: Any
) -> None:
    assert api.put(f'{subscription}/confirm', body).status_int == 400


def signed_for(path: str, method: str = 'PUT') -> dict[str, str]:
    """The headers that a subscriber is sent."""
    expires = signed_urls.now().replace(year=9999, microsecond=0)
    grant = signed_urls.Grant((path,), (method,), PROJECT, expires)
    return {
        'Client-ID': CLIENT_ID,
        'X-Project-Id': PROJECT,
        'URL-Signature': signed_urls.signer.sign(grant),
        'URL-Expires': expires.strftime(signed_urls.TIME_FORMAT),
        'URL-Methods': method,
        'URL-Paths': path,
    }


def test_where_it_is_required_only_the_signature_that_was_sent_confirms(
    api: LaterApi, confirming: None, subscriptions: str, subscription: str
) -> None:
    path = f'{subscription}/confirm'
    body = {'confirmed': True}

    plain = api.put(path, body)
    assert refused(plain) == (403, 'Not authorized')
    for granted in (subscriptions, f'{subscriptions}/other/confirm'):
        assert Api.put(api, path, body, headers=signed_for(granted)).status_int == 404
    assert api.get(subscription).json['confirmed'] is False

    assert Api.put(api, path, body, headers=signed_for(path)).status_int == 204
    assert api.get(subscription).json['confirmed'] is True


def test_a_shared_signature_confirms_nothing(
    api: LaterApi, confirming: None, subscriptions: str, subscription: str
) -> None:
    shared = api.post(
        f'{api.queue}/share', {'paths': ['subscriptions'], 'methods': ['PUT', 'GET']}
    ).json
    headers = {
        'Client-ID': CLIENT_ID,
        'X-Project-Id': PROJECT,
        'URL-Signature': shared['signature'],
        'URL-Expires': shared['expires'],
        'URL-Methods': ','.join(shared['methods']),
        'URL-Paths': ','.join(shared['paths']),
    }

    path = f'{subscription}/confirm'
    assert Api.put(api, path, {'confirmed': True}, headers=headers).status_int == 404
    assert Api.get(api, subscriptions, headers=headers).status_int == 200


# ---------------------------------------------------------------- purge, quota, credentials


@pytest.mark.parametrize(
    ('body', 'left'),
    [
        (None, (0, 0)),
        ({'resource_types': ['subscriptions']}, (1, 0)),
        ({'resource_types': ['messages']}, (0, 1)),
        ({'resource_types': ['messages', 'subscriptions']}, (0, 0)),
    ],
)
def test_a_purge_removes_what_it_names(
    api: LaterApi, subscriptions: str, subscription: str, body: Any, left: tuple[int, int]
) -> None:
    api.post(f'{api.queue}/messages', {'messages': [{'body': 1}]})

    assert api.post(f'{api.queue}/purge', body).status_int == 204

    messages = api.get(f'{api.queue}/messages?echo=true').json['messages']
    found = api.get(subscriptions).json['subscriptions']
    assert (len(messages), len(found)) == left


@pytest.fixture
def limited(app: TestApp) -> Iterator[None]:
    """A project may have one subscription."""
    quotas = model.store.quotas
    model.store.subscriptions._quotas = quotas
    before, quotas.is_on = quotas.is_on, True
    quotas._settings['quota.subscriptions'] = 1
    yield
    quotas._settings['quota.subscriptions'] = None
    quotas.is_on = before
    model.store.subscriptions._quotas = None


def test_a_project_has_no_more_subscriptions_than_it_may(
    api: LaterApi, limited: None, subscriptions: str, subscription: str
) -> None:
    api.make_queue('other')

    response = api.post('/v2/queues/other/subscriptions', {'subscriber': HOOK})

    assert refused(response) == (403, 'Quota exceeded')
    assert api.delete(subscription).status_int == 204
    assert api.post('/v2/queues/other/subscriptions', {'subscriber': HOOK}).status_int == 201


@pytest.mark.parametrize(
    ('policy', 'status'),
    [
        ({'minimum_delay': 1, 'maximum_delay': 100}, 200),
        (None, 200),
        ({'retries_with_no_delay': 'x'}, 400),
        ({'minimum_delay': 25}, 400),
        (5, 400),
    ],
)
def test_a_queue_s_retry_policy_is_checked(api: LaterApi, policy: Any, status: int) -> None:
    api.make_queue()
    change = [{'op': 'add', 'path': '/metadata/_retry_policy', 'value': policy}]
    headers = {'Content-Type': 'application/openstack-messaging-v2.0-json-patch'}

    response = api.patch(api.queue, change, headers=headers)

    assert response.status_int == status
    if status == 200:
        assert api.get(api.queue).json['_retry_policy'] == policy


def test_the_home_document_has_subscriptions(api: LaterApi) -> None:
    resources = json.loads(api.get('/v2').text)['resources']

    assert resources['rel/subscriptions_get']['href-template'] == (
        '/v2/queues/{queue_name}/subscriptions{?marker,limit}'
    )
    assert resources['rel/subscriptions_post']['hints']['allow'] == ['POST']
    assert resources['rel/subscription']['hints']['allow'] == ['GET', 'DELETE']
    assert resources['rel/subscription_patch']['hints']['allow'] == ['PATCH']
