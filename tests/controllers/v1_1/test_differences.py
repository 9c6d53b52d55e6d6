"""What version 1.1 does otherwise than version 2 (docs/protocol-v2.md, 1, 3 and 3.1)."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ..client import JSON_PATCH, LaterApi, bodies, next_of, refusal


def test_a_queue_shows_its_metadata_and_no_defaults(api: LaterApi) -> None:
    api.make_queue(metadata={'_default_message_ttl': 60, 'a': 1})

    assert api.get(api.queue).json == {'_default_message_ttl': 60, 'a': 1}


def test_a_detailed_list_shows_no_defaults(api: LaterApi) -> None:
    api.make_queue('empty')
    api.make_queue('full', metadata={'a': 1})

    queues = api.get('/v1.1/queues?detailed=true').json['queues']

    assert [entry['metadata'] for entry in queues] == [{}, {'a': 1}]


def test_a_missing_queue_shows_nothing(api: LaterApi) -> None:
    response = api.get(api.queue)

    assert response.status_int == 200
    assert response.json == {}


@pytest.mark.parametrize('type_', [JSON_PATCH, 'application/json'])
def test_metadata_is_never_changed(api: LaterApi, type_: str) -> None:
    api.make_queue(metadata={'a': 1})
    operations = [{'op': 'add', 'path': '/metadata/a', 'value': 2}]

    changed = api.patch(api.queue, operations, headers={'Content-Type': type_})
    put_again = api.put(api.queue, {'a': 2})
    put_below = api.put(f'{api.queue}/metadata', {'a': 2})

    assert refusal(changed)[0] == 405
    assert put_again.status_int == 204
    assert put_below.status_int == 404
    assert api.get(api.queue).json == {'a': 1}


@pytest.mark.parametrize(
    'query', ['with_count=true', 'with_count=maybe', 'name=x', 'name=b', 'a=1', 'a=2&name=zzz']
)
def test_the_list_is_neither_counted_nor_filtered(api: LaterApi, query: str) -> None:
    api.make_queue('b', metadata={'a': 1})
    api.make_queue('c')

    response = api.get(f'/v1.1/queues?{query}')

    assert response.json.keys() == {'queues', 'links'}
    assert [entry['name'] for entry in response.json['queues']] == ['b', 'c']
    assert parse_qs(urlsplit(next_of(response)).query) == {'marker': ['c']}


@pytest.mark.parametrize('delay', [0, 100, 900, 901, -1, 'x', 1.5, None, [], {}, True], ids=repr)
def test_a_delay_is_ignored(api: LaterApi, delay: Any) -> None:
    document = {'messages': [{'body': 'x', 'ttl': 60, 'delay': delay}]}

    response = api.post(f'{api.queue}/messages', document)

    assert response.status_int == 201
    assert bodies(api.listed()) == ['x']
    assert bodies(api.claim().messages) == ['x']


def test_include_delayed_is_ignored(api: LaterApi, app: Any) -> None:
    LaterApi(app, '/v2').post_messages('later', delay=100)
    api.post_messages('now')

    for value in ('true', 'maybe'):
        response = api.get(f'{api.queue}/messages?echo=true&include_delayed={value}')

        assert bodies(response.json['messages']) == ['now']
        assert 'include_delayed' not in next_of(response)


def test_a_delayed_message_of_version_2_is_due_here_too(
    api: LaterApi, app: Any, age: Callable[[int], None]
) -> None:
    LaterApi(app, '/v2').post_messages('later', delay=100)

    assert api.post(f'{api.queue}/claims').status_int == 204
    age(101)
    assert bodies(api.claim().messages) == ['later']
