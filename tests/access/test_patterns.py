"""A token for some queues of a project: it names no others, and sees no others in lists."""

from typing import Any

import pytest

from marconi_api import model
from tests.access.conftest import bearing
from tests.controllers.client import CLIENT_ID, JSON_PATCH, Api, refusal

NAMES = ['a', 'jobs', 'jobs,x', 'jobs-', 'jobs-1', 'jobs-2', 'jobs-9z', 'jobs.1', 'zz']


class Bearer:
    """Sends requests with a token that is for some queues."""

    def __init__(self, api: Api, pattern: str | None) -> None:
        self._api = api
        self._token = model.store.tokens.create('acme', 'admin', queues=pattern).text

    def __call__(self, method: str, target: str, body: Any = None) -> Any:
        sent = bearing(self._token)
        if method == 'PATCH':
            sent['Content-Type'] = JSON_PATCH
        return self._api.request(method, target, body, client_id=CLIENT_ID, headers=sent)

    def listed(self, version: str, query: str) -> list[str]:
        """All names, page by page."""
        target, names = f'/{version}/queues?{query}', list[str]()
        while True:
            response = self('GET', target)
            if response.status_int == 204:
                return names
            document = response.json
            names += [queue['name'] for queue in document['queues']]
            if not document['links']:
                return names
            assert len(names) <= len(NAMES)
            target = document['links'][0]['href']


def _add(name: str, value: Any) -> dict[str, Any]:
    return {'op': 'add', 'path': f'/metadata/{name}', 'value': value}


@pytest.fixture
def queues(api: Api) -> list[str]:
    names = [name for name in NAMES if ',' not in name]
    everything = Bearer(api, None)
    for name in names:
        assert everything('PUT', f'/v2/queues/{name}').status_int == 201
    return names


@pytest.mark.parametrize('version', ['v1', 'v1.1', 'v2'])
@pytest.mark.parametrize('query', ['limit=1', 'limit=2', 'limit=20', 'limit=20&marker=jobs-1'])
@pytest.mark.parametrize('pattern', ['jobs-*', 'jobs*', 'jobs-1', 'jobs', 'none-*', '*'])
def test_a_list_has_the_queues_of_the_token_alone(
    api: Api, queues: list[str], version: str, query: str, pattern: str
) -> None:
    bearer = Bearer(api, pattern)
    marker = query.partition('marker=')[2]
    if pattern.endswith('*'):
        expected = [name for name in queues if name.startswith(pattern[:-1]) and name > marker]
    else:
        expected = [name for name in queues if name == pattern and name > marker]

    assert bearer.listed(version, query) == expected


def test_a_search_finds_the_queues_of_the_token_alone(api: Api, queues: list[str]) -> None:
    assert Bearer(api, 'jobs-*').listed('v2', 'name=1&limit=1') == ['jobs-1']
    assert Bearer(api, 'jobs-*').listed('v2', 'name=zz') == []


def test_a_count_of_all_queues_is_not_told(api: Api, queues: list[str]) -> None:
    counted = Bearer(api, None)('GET', '/v2/queues?with_count=true').json

    assert counted['count'] == len(queues)
    assert 'count' not in Bearer(api, 'jobs-*')('GET', '/v2/queues?with_count=true').json


@pytest.mark.parametrize('name', ['jobs', 'new'])
def test_another_queue_is_refused_whether_or_not_it_is_there(
    api: Api, queues: list[str], name: str
) -> None:
    response = Bearer(api, 'jobs-*')('GET', f'/v2/queues/{name}')

    assert refusal(response) == (403, 'Not authorized')
    assert response.json['description'] == (
        f'Queue {name} is not among jobs-*, for which the token was made.'
    )


def _verdicts(*queues: str) -> dict[str, Any]:
    entry = {'claim_id': 'x', 'id': 'y', 'verdict': 'delete'}
    return {'verdicts': [{**entry, 'queue': queue} for queue in queues]}


@pytest.mark.parametrize(
    ('method', 'target', 'body'),
    [
        ('POST', '/v2/claims', {'queues': [{'name': 'jobs-1'}, {'name': 'jobs'}]}),
        ('GET', '/v2/messages?queue=jobs-1&queue=jobs', None),
        ('POST', '/v2/verdicts', _verdicts('jobs-1', 'jobs')),
        ('PATCH', '/v2/queues/jobs-1', [_add('_dead_letter_queue', 'jobs')]),
        ('PUT', '/v2/queues/jobs-3', {'_dead_letter_queue': 'jobs', '_max_claim_count': 1}),
    ],
)
def test_another_queue_is_refused_wherever_it_is_named(
    api: Api, queues: list[str], method: str, target: str, body: Any
) -> None:
    bearer = Bearer(api, 'jobs-*')

    assert refusal(bearer(method, target, body)) == (403, 'Not authorized')
    for name in ('jobs-1', 'jobs-3'):
        assert bearer('GET', f'/v2/queues/{name}').json['_dead_letter_queue'] is None


def test_other_metadata_of_a_queue_whose_dead_letters_go_elsewhere_can_be_changed(
    api: Api, queues: list[str]
) -> None:
    terms = [_add('_dead_letter_queue', 'jobs'), _add('_max_claim_count', 3)]
    assert Bearer(api, None)('PATCH', '/v2/queues/jobs-1', terms).status_int == 200

    changed = Bearer(api, 'jobs-*')('PATCH', '/v2/queues/jobs-1', [_add('a', 1)])

    assert changed.json['a'] == 1
    assert changed.json['_dead_letter_queue'] == 'jobs'


@pytest.mark.parametrize(
    'body',
    [
        {'subscriber': 'queue:zz'},
        {'subscriber': 'http://a.example/', 'options': {'_dead_letter_queue': 'zz'}},
    ],
)
def test_a_subscription_sends_nothing_to_a_queue_of_others(
    api: Api, queues: list[str], body: Any
) -> None:
    bearer = Bearer(api, 'jobs-*')
    made = bearer('POST', '/v2/queues/jobs-1/subscriptions', {'subscriber': 'queue:jobs-2'})
    path = f'/v2/queues/jobs-1/subscriptions/{made.json["subscription_id"]}'

    for response in (
        bearer('POST', '/v2/queues/jobs-1/subscriptions', body),
        bearer('PATCH', path, body),
    ):
        assert refusal(response)[0] == 403
