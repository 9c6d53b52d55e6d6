"""The home document and the service's health (docs/protocol-v1.md, 3.2, 3.3)."""

import json
from typing import Any

import pytest
from webtest import TestResponse

from ..client import Api, is_empty

JSON: dict[str, Any] = {'application/json': {}}
QUEUE_NAME = {'queue_name': 'param/queue_name'}
RELATIONS: dict[str, tuple[str, dict[str, str], set[str]]] = {
    'rel/queues': (
        '/v1/queues{?marker,limit,detailed}',
        {
            'marker': 'param/marker',
            'limit': 'param/queue_limit',
            'detailed': 'param/detailed',
        },
        {'GET'},
    ),
    'rel/queue': ('/v1/queues/{queue_name}', QUEUE_NAME, {'GET', 'HEAD', 'PUT', 'DELETE'}),
    'rel/queue-metadata': ('/v1/queues/{queue_name}/metadata', QUEUE_NAME, {'GET', 'PUT'}),
    'rel/queue-stats': ('/v1/queues/{queue_name}/stats', QUEUE_NAME, {'GET'}),
    'rel/messages': (
        '/v1/queues/{queue_name}/messages{?marker,limit,echo,include_claimed}',
        QUEUE_NAME
        | {
            'marker': 'param/marker',
            'limit': 'param/messages_limit',
            'echo': 'param/echo',
            'include_claimed': 'param/include_claimed',
        },
        {'GET'},
    ),
    'rel/post-messages': ('/v1/queues/{queue_name}/messages', QUEUE_NAME, {'POST'}),
    'rel/claim': (
        '/v1/queues/{queue_name}/claims{?limit}',
        QUEUE_NAME | {'limit': 'param/claim_limit'},
        {'POST'},
    ),
}


def resources_of(response: TestResponse) -> dict[str, Any]:
    document = json.loads(response.text)
    assert list(document) == ['resources']
    resources: dict[str, Any] = document['resources']
    return resources


@pytest.mark.parametrize('path', ['/v1', '/v1/'])
def test_home_is_a_json_home_document_to_keep_for_a_day(api: Api, path: str) -> None:
    response = api.get(path)

    assert response.status_int == 200
    assert response.headers['Content-Type'] == 'application/json-home'
    assert response.headers['Cache-Control'] == 'max-age=86400'
    assert resources_of(response).keys() == RELATIONS.keys()


@pytest.mark.parametrize('relation', RELATIONS)
def test_home_describes_each_resource(api: Api, relation: str) -> None:
    template, variables, methods = RELATIONS[relation]

    resource = resources_of(api.get('/v1'))[relation]

    assert resource['href-template'] == template
    assert resource['href-vars'] == variables
    assert set(resource['hints']['allow']) == methods
    assert resource['hints']['formats'] == JSON
    if methods == {'POST'}:
        assert resource['hints']['accept-post'] == ['application/json']
    else:
        assert 'accept-post' not in resource['hints']


def test_every_path_of_the_home_document_is_below_its_version(api: Api) -> None:
    resources = resources_of(api.get('/v1'))

    for resource in resources.values():
        assert resource['href-template'].startswith('/v1')


def test_the_path_of_a_queue_can_be_made_from_the_home_document(api: Api) -> None:
    template = resources_of(api.get('/v1'))['rel/queue']['href-template']

    response = api.put(template.format(queue_name='foo'))

    assert response.status_int == 201
    assert response.headers['Location'] == '/v1/queues/foo'


@pytest.mark.parametrize('method', ['GET', 'HEAD'])
def test_a_healthy_service_answers_without_a_body(api: Api, method: str) -> None:
    response = api.request(method, '/v1/health')

    assert response.status_int == 204
    assert is_empty(response)
