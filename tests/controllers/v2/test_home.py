"""Home documents, ping and health (docs/protocol-v2.md, 2.4, 3.1, 4.1 to 4.3)."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from webtest import TestApp, TestResponse

from ..client import NO_CLAIM, NO_MESSAGE, Api, LaterApi, is_empty, refusal
from .requests import LATER_VERSIONS

#: Path below the version, without a query, and methods, of each relation.
ALIKE: dict[str, tuple[str, set[str]]] = {
    'rel/queues': ('/queues', {'GET'}),
    'rel/queue_stats': ('/queues/{queue_name}/stats', {'GET'}),
    'rel/messages': ('/queues/{queue_name}/messages', {'GET'}),
    'rel/post_messages': ('/queues/{queue_name}/messages', {'POST'}),
    'rel/messages_delete': ('/queues/{queue_name}/messages', {'DELETE'}),
    'rel/message_delete': ('/queues/{queue_name}/messages/{message_id}', {'DELETE'}),
    'rel/claim': ('/queues/{queue_name}/claims/{claim_id}', {'GET'}),
    'rel/post_claim': ('/queues/{queue_name}/claims', {'POST'}),
    'rel/patch_claim': ('/queues/{queue_name}/claims/{claim_id}', {'PATCH'}),
    'rel/delete_claim': ('/queues/{queue_name}/claims/{claim_id}', {'DELETE'}),
    'rel/ping': ('/ping', {'GET'}),
}
RELATIONS = {
    '/v1.1': ALIKE | {'rel/queue': ('/queues/{queue_name}', {'PUT', 'DELETE'})},
    '/v2': ALIKE
    | {
        'rel/queue': ('/queues/{queue_name}', {'GET', 'PUT', 'DELETE', 'PATCH'}),
        'rel/queue_purge': ('/queues/{queue_name}/purge', {'POST'}),
        'rel/message_get': ('/queues/{queue_name}/messages/{message_id}', {'GET'}),
    },
}
EACH_RELATION = pytest.mark.parametrize(
    ('version', 'relation'),
    [
        pytest.param(version, relation, id=f'{version[1:]}-{relation[4:]}')
        for version, relations in RELATIONS.items()
        for relation in relations
    ],
)
both_versions = pytest.mark.parametrize('version', LATER_VERSIONS)


def resources_of(response: TestResponse) -> dict[str, Any]:
    document = json.loads(response.text)
    assert list(document) == ['resources']
    resources: dict[str, Any] = document['resources']
    return resources


def home(api: LaterApi) -> dict[str, Any]:
    return resources_of(api.get(f'{api.version}/'))


# ---------------------------------------------------------------- home


@both_versions
@pytest.mark.parametrize('slash', ['/', ''], ids=['slash', 'no-slash'])
def test_home_is_a_json_home_document_to_keep_for_a_day(api: LaterApi, slash: str) -> None:
    response = api.get(api.version + slash)

    assert response.status_int == 200
    assert response.headers['Content-Type'] == 'application/json-home'
    assert response.headers['Cache-Control'] == 'max-age=86400'
    assert resources_of(response).keys() >= RELATIONS[api.version].keys()


@EACH_RELATION
def test_home_describes_each_resource(api: LaterApi, relation: str) -> None:
    path, methods = RELATIONS[api.version][relation]

    resource = home(api)[relation]

    target = resource.get('href-template') or resource['href']
    assert target.partition('{?')[0] == api.version + path
    assert set(resource['hints']['allow']) == methods
    named = re.findall(r'\w+', ' '.join(re.findall(r'{\??([^}]*)}', target)))
    assert set(resource.get('href-vars', {})) == set(named)


@both_versions
@pytest.mark.parametrize(
    ('relation', 'parameters'),
    [
        ('rel/messages_delete', '{?ids,pop}'),
        ('rel/message_delete', '{?claim}'),
    ],
)
def test_home_names_the_parameters(api: LaterApi, relation: str, parameters: str) -> None:
    assert home(api)[relation]['href-template'].endswith(parameters)


@both_versions
def test_every_path_of_the_home_document_is_below_its_version(api: LaterApi) -> None:
    for resource in home(api).values():
        target = resource.get('href-template') or resource['href']
        assert target.startswith(f'{api.version}/')


@EACH_RELATION
def test_what_home_describes_is_served(api: LaterApi, relation: str) -> None:
    resource = home(api)[relation]
    template = (resource.get('href-template') or resource['href']).partition('{?')[0]

    response = api.request(
        'OPTIONS',
        template.format(queue_name='jobs', message_id=NO_MESSAGE, claim_id=NO_CLAIM),
    )

    allowed = {name.strip() for name in response.headers['Allow'].split(',')}
    assert allowed >= set(resource['hints']['allow'])


def test_topics_are_not_described(api: LaterApi) -> None:
    assert not [relation for relation in home(api) if 'topic' in relation]


# ---------------------------------------------------------------- ping


@both_versions
@pytest.mark.parametrize('method', ['GET', 'HEAD'])
def test_ping_answers_without_words(api: LaterApi, method: str) -> None:
    response = api.request(method, f'{api.version}/ping')

    assert response.status_int == 204
    assert is_empty(response)


# ---------------------------------------------------------------- health


@both_versions
@pytest.mark.parametrize(
    'roles', [None, '', 'member', 'administrator', 'not-admin,member', 'no admin']
)
def test_health_is_for_admins_only(api: LaterApi, roles: str | None) -> None:
    sent = {} if roles is None else {'X-Roles': roles}
    response = api.get(f'{api.version}/health', headers=sent)

    assert refusal(response) == (403, 'Not authorized')


@both_versions
@pytest.mark.parametrize('roles', ['admin', 'member,admin', 'admin,member', 'member, admin'])
def test_health_tells_an_admin_what_works_and_how_much_there_is(api: LaterApi, roles: str) -> None:
    api.post_messages('a', 'b', 'c')
    api.claim(limit=1)

    response = api.get(f'{api.version}/health', headers={'X-Roles': roles})

    assert response.status_int == 200
    document = response.json
    assert document['storage_reachable'] is True
    operations = document['operation_status']
    assert operations.keys() >= {
        'create_queue',
        'post_messages',
        'claim_messages',
        'list_messages',
        'delete_messages',
    }
    for operation in operations.values():
        assert operation['succeeded'] is True
        assert operation['seconds'] >= 0
        assert operation['ref'] is None
    assert document['message_volume'].keys() == {'free', 'claimed', 'total'}
    assert all(type(count) is int for count in document['message_volume'].values())


def test_health_counts_the_messages_that_are_there_and_none_of_its_own(
    api: LaterApi, age: Callable[[int], None]
) -> None:
    api.post_messages('expired', ttl=60)
    age(61)
    api.post_messages('claimed', 'free', ttl=300)
    api.claim(limit=1)
    api.post_messages('delayed', delay=100)
    api.post_messages('of a neighbour', project='neighbour')
    [parked] = api.post_messages('parked')
    assert api.post(f'{parked}/park').status_int == 204

    for _ in range(2):
        document = api.get('/v2/health', headers={'X-Roles': 'admin'}).json

        assert document['message_volume'] == {'free': 3, 'claimed': 1, 'total': 4}


def test_health_is_told_also_when_the_messages_cannot_be_counted(api: LaterApi, sql: Any) -> None:
    sql('ALTER TABLE message_states RENAME TO out_of_reach')
    try:
        response = api.get('/v2/health', headers={'X-Roles': 'admin'})
    finally:
        sql('ALTER TABLE out_of_reach RENAME TO message_states')

    assert response.status_int == 200
    assert response.json['storage_reachable'] is True
    assert response.json['operation_status']['post_messages']['succeeded'] is False
    assert response.json['message_volume'] == {}


def test_looking_at_the_health_leaves_nothing_behind(api: LaterApi, app: TestApp) -> None:
    api.get('/v2/health', headers={'X-Roles': 'admin'})

    response = api.get('/v2/queues?with_count=true')

    assert response.json == {'queues': [], 'links': []}
    assert Api(app).get('/v1/queues').status_int == 204


def test_nothing_else_asks_for_a_role(api: LaterApi) -> None:
    api.post_messages('x')

    for path in ('/', '/queues', '/queues/jobs', '/queues/jobs/messages'):
        assert api.get(f'/v2{path}', headers={'X-Roles': 'nobody'}).status_int == 200
