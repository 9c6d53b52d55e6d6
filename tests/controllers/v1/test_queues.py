"""Queues, their metadata and their statistics (docs/protocol-v1.md, 4)."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ..client import QUEUE, Api, is_empty, refusal


def names(response: Any) -> list[str]:
    return [entry['name'] for entry in response.json['queues']]


def next_of(response: Any) -> str:
    """Where the one link leads."""
    [link] = response.json['links']
    assert link.keys() == {'rel', 'href'}
    assert link['rel'] == 'next'
    href: str = link['href']
    return href


# ---------------------------------------------------------------- one queue


def test_a_queue_is_made(api: Api) -> None:
    response = api.put(QUEUE)

    assert response.status_int == 201
    assert response.headers['Location'] == QUEUE
    assert response.body == b''
    assert api.get(QUEUE).status_int == 204


def test_making_a_queue_again_changes_nothing(api: Api) -> None:
    api.make_queue(metadata={'a': 1})
    [message] = api.post_messages('kept')

    response = api.put(QUEUE, {'b': 2})

    assert response.status_int == 204
    assert response.headers['Location'] == QUEUE
    assert is_empty(response)
    assert api.get(f'{QUEUE}/metadata').json == {'a': 1}
    assert api.exists(message)


@pytest.mark.parametrize(
    'body', ['', '{', 'garbage', '{"a": 1}', '[]', b'\xff\0', ' ' * 300_000, '[' * 100_000]
)
def test_the_body_of_a_new_queue_is_ignored(api: Api, body: str | bytes) -> None:
    first, second = api.put(QUEUE, body), api.put(QUEUE, body)

    assert [first.status_int, second.status_int] == [201, 204]
    assert api.get(f'{QUEUE}/metadata').json == {}


@pytest.mark.parametrize('method', ['GET', 'HEAD'])
def test_a_queue_that_exists_is_a_204(api: Api, queue: str, method: str) -> None:
    response = api.request(method, queue)

    assert response.status_int == 204
    assert response.headers['Content-Location'] == queue
    assert is_empty(response)


@pytest.mark.parametrize('method', ['GET', 'HEAD'])
def test_a_queue_that_is_missing_is_a_404_without_body(api: Api, method: str) -> None:
    response = api.request(method, '/v1/queues/missing')

    assert response.status_int == 404
    assert response.headers['Content-Location'] == '/v1/queues/missing'
    assert response.body == b''


def test_a_queue_is_deleted_whether_or_not_it_exists(api: Api, queue: str) -> None:
    first, second = api.delete(queue), api.delete(queue)

    assert [first.status_int, second.status_int] == [204, 204]
    assert api.get(queue).status_int == 404
    assert is_empty(first)


def test_a_deleted_queue_takes_all_that_was_in_it(api: Api) -> None:
    api.make_queue(metadata={'a': 1})
    held, kept = api.post_messages('held', 'kept')
    claim = api.claim(limit=1)

    api.delete(QUEUE)

    for path in (held, kept, claim.href, f'{QUEUE}/stats', f'{QUEUE}/metadata'):
        assert api.get(path).status_int == 404
    assert api.listed('echo=true&include_claimed=true') == []


def test_a_queue_that_is_made_again_is_empty(api: Api) -> None:
    api.make_queue(metadata={'a': 1})
    held, kept = api.post_messages('held', 'kept')
    claim = api.claim(limit=1)
    api.delete(QUEUE)

    response = api.put(QUEUE)

    assert response.status_int == 201
    assert api.get(f'{QUEUE}/metadata').json == {}
    assert api.stats() == {'free': 0, 'claimed': 0, 'total': 0}
    assert api.listed('echo=true&include_claimed=true') == []
    assert api.post(f'{QUEUE}/claims', {'ttl': 60, 'grace': 60}).status_int == 204
    for path in (held, kept, claim.href):
        assert api.get(path).status_int == 404
    assert api.patch(claim.href, {'ttl': 60}).status_int == 404


def test_a_queue_that_is_made_again_works(api: Api, queue: str) -> None:
    api.post_messages('old')
    api.delete(queue)
    api.put(queue)

    api.post_messages('new')

    assert [message['body'] for message in api.listed()] == ['new']
    assert [message['body'] for message in api.claim().messages] == ['new']


# ---------------------------------------------------------------- the list


def test_a_list_of_no_queues_is_a_204(api: Api) -> None:
    response = api.get('/v1/queues')

    assert response.status_int == 204
    assert is_empty(response)


def test_queues_are_listed_by_name(api: Api) -> None:
    for name in ('b', 'a', 'C', '_', '1', '-', 'aa', 'a.b'):
        api.make_queue(name)

    response = api.get('/v1/queues')

    assert response.status_int == 200
    assert names(response) == sorted(('b', 'a', 'C', '_', '1', '-', 'aa', 'a.b'))


def test_a_queue_in_the_list_has_its_name_and_path_only(api: Api) -> None:
    api.make_queue(metadata={'a': 1})

    document = api.get('/v1/queues').json

    assert document.keys() == {'queues', 'links'}
    assert document['queues'] == [{'name': 'jobs', 'href': '/v1/queues/jobs'}]


def test_a_detailed_list_has_the_metadata(api: Api) -> None:
    api.make_queue('q1', metadata={'node': 31})
    api.make_queue('q2')

    response = api.get('/v1/queues?detailed=true')

    assert response.json['queues'] == [
        {'name': 'q1', 'href': '/v1/queues/q1', 'metadata': {'node': 31}},
        {'name': 'q2', 'href': '/v1/queues/q2', 'metadata': {}},
    ]


@pytest.mark.parametrize(
    'target',
    [
        '/v1/queues',
        '/v1/queues?limit=2&detailed=true',
        '/v1/queues?detailed=True&limit=02&x=%2f&&y',
    ],
)
def test_the_list_says_where_it_was_read_as_it_was_asked(api: Api, target: str) -> None:
    api.make_queue()

    response = api.get(target)

    assert response.headers['Content-Location'] == target


def test_a_page_has_10_queues_by_default(api: Api) -> None:
    for number in range(11):
        api.make_queue(f'q{number:02}')

    response = api.get('/v1/queues')

    assert names(response) == [f'q{number:02}' for number in range(10)]


def test_a_page_has_20_queues_at_most(api: Api) -> None:
    for number in range(21):
        api.make_queue(f'q{number:02}')

    response = api.get('/v1/queues?limit=20')

    assert len(names(response)) == 20


@pytest.mark.parametrize(
    ('query', 'repeated'),
    [
        ('', {}),
        ('limit=2', {'limit': ['2']}),
        ('detailed=True', {'detailed': ['true']}),
        ('detailed=off', {'detailed': ['false']}),
        ('limit=2&detailed=1', {'limit': ['2'], 'detailed': ['true']}),
        ('marker=a&x=y&limit=2', {'limit': ['2']}),
    ],
)
def test_next_repeats_what_was_asked_for(
    api: Api, query: str, repeated: dict[str, list[str]]
) -> None:
    api.make_queue('q1')
    api.make_queue('q2')

    target = urlsplit(next_of(api.get(f'/v1/queues?{query}')))

    assert target.path == '/v1/queues'
    assert target.netloc == ''
    assert parse_qs(target.query) == repeated | {'marker': ['q2']}


def test_following_next_meets_every_queue_once_and_ends(api: Api) -> None:
    for number in range(7):
        api.make_queue(f'q{number}')
    target, met = '/v1/queues?limit=3', []

    while (response := api.get(target)).status_int == 200:
        met.append(names(response))
        target = next_of(response)

    assert response.status_int == 204
    assert met == [['q0', 'q1', 'q2'], ['q3', 'q4', 'q5'], ['q6']]


def test_a_marker_is_exclusive_and_need_not_exist(api: Api) -> None:
    for name in ('a', 'c'):
        api.make_queue(name)

    assert names(api.get('/v1/queues?marker=a')) == ['c']
    assert names(api.get('/v1/queues?marker=b')) == ['c']
    assert names(api.get('/v1/queues?marker=Z')) == ['a', 'c']
    assert api.get('/v1/queues?marker=c').status_int == 204
    assert api.get('/v1/queues?marker=zzz').status_int == 204


@pytest.mark.parametrize(
    'marker', ['%FF', '%C3%BC', '%F0%9F%9A%80', '%27%3B', 'z%00', '%ED%A0%80z', 'z' * 5000, '~~']
)
def test_any_text_is_a_marker(api: Api, marker: str) -> None:
    api.make_queue('jobs')

    response = api.get(f'/v1/queues?marker={marker}')

    # All of these sort after the name.
    assert response.status_int in (200, 204)
    if marker[0] in 'z~':
        assert response.status_int == 204


def test_the_list_is_of_the_own_project_only(api: Api) -> None:
    api.make_queue('shared')
    api.make_queue('of-a', project='a')
    api.make_queue('of-b', project='b')

    assert names(api.get('/v1/queues')) == ['shared']
    assert names(api.get('/v1/queues', project='a')) == ['of-a']
    assert names(api.get('/v1/queues', project='b')) == ['of-b']
    assert api.get('/v1/queues', project='c').status_int == 204


# ---------------------------------------------------------------- metadata


def test_the_metadata_of_a_new_queue_is_empty(api: Api, queue: str) -> None:
    response = api.get(f'{queue}/metadata')

    assert response.status_int == 200
    assert response.json == {}
    assert response.headers['Content-Location'] == f'{queue}/metadata'


def test_metadata_is_stored(api: Api, queue: str) -> None:
    response = api.put(f'{queue}/metadata', {'a': {'b': [1, None]}})

    assert response.status_int == 204
    assert response.headers['Location'] == f'{queue}/metadata'
    assert is_empty(response)
    assert api.get(f'{queue}/metadata').json == {'a': {'b': [1, None]}}


def test_metadata_is_replaced_as_a_whole(api: Api) -> None:
    api.make_queue(metadata={'a': 1, 'b': 2})

    api.put(f'{QUEUE}/metadata', {'b': 3})

    assert api.get(f'{QUEUE}/metadata').json == {'b': 3}


def test_metadata_can_be_emptied(api: Api) -> None:
    api.make_queue(metadata={'a': 1})

    assert api.put(f'{QUEUE}/metadata', {}).status_int == 204
    assert api.get(f'{QUEUE}/metadata').json == {}


def test_metadata_may_be_unicode(api: Api, queue: str) -> None:
    metadata = {'名前': 'значение', '🚀': ['ü']}

    api.put(f'{queue}/metadata', metadata)

    assert api.get(f'{queue}/metadata').json == metadata


@pytest.mark.parametrize('method', ['GET', 'PUT'])
def test_a_missing_queue_has_no_metadata(api: Api, method: str) -> None:
    response = api.request(method, '/v1/queues/missing/metadata', {})

    assert refusal(response) == (404, 'Not found')
    assert api.get('/v1/queues').status_int == 204


@pytest.mark.parametrize(
    'text', ['{"_a": 1}', '{"a": 1, "_": 2}', '{"\\u005fa": 1}', '{"_queue": {"x": 1}}']
)
def test_names_with_an_underscore_in_front_are_reserved(api: Api, text: str) -> None:
    api.make_queue(metadata={'kept': 1})

    response = api.put(f'{QUEUE}/metadata', text)

    assert refusal(response) == (400, 'Invalid API request')
    assert api.get(f'{QUEUE}/metadata').json == {'kept': 1}


def test_names_inside_the_metadata_are_free(api: Api, queue: str) -> None:
    response = api.put(f'{queue}/metadata', {'a_': {'_b': [{'_c': 1}]}})

    assert response.status_int == 204


@pytest.mark.parametrize('text', ['', '  ', '{', '.', '"x"', '[]', '[{"a": 1}]', 'null', '1'])
def test_metadata_must_be_an_object(api: Api, text: str) -> None:
    api.make_queue(metadata={'kept': 1})

    response = api.put(f'{QUEUE}/metadata', text)

    assert refusal(response) == (400, 'Invalid request body')
    assert api.get(f'{QUEUE}/metadata').json == {'kept': 1}


def test_metadata_belongs_to_one_project(api: Api) -> None:
    api.make_queue(project='a', metadata={'of': 'a'})
    api.make_queue(project='b', metadata={'of': 'b'})

    assert api.get(f'{QUEUE}/metadata', project='a').json == {'of': 'a'}
    assert api.get(f'{QUEUE}/metadata').status_int == 404
    assert api.put(f'{QUEUE}/metadata', {}, project='c').status_int == 404


# ---------------------------------------------------------------- stats


def test_the_stats_of_an_empty_queue_have_no_oldest_and_newest(api: Api, queue: str) -> None:
    response = api.get(f'{queue}/stats')

    assert response.status_int == 200
    assert response.headers['Content-Location'] == f'{queue}/stats'
    assert response.json == {'messages': {'claimed': 0, 'free': 0, 'total': 0}}


def test_stats_count_ready_and_claimed_messages(api: Api, queue: str) -> None:
    api.post_messages(*range(5))
    api.claim(limit=2)

    stats = api.stats()

    assert (stats['free'], stats['claimed'], stats['total']) == (3, 2, 5)


def test_stats_name_the_oldest_and_the_newest_message(
    api: Api, queue: str, age: Callable[[int], None]
) -> None:
    oldest, _ = api.post_messages('first', 'second')
    age(50)
    _, newest = api.post_messages('third', 'last')

    stats = api.stats()

    assert stats.keys() == {'free', 'claimed', 'total', 'oldest', 'newest'}
    assert stats['oldest'].keys() == stats['newest'].keys() == {'href', 'age', 'created'}
    assert stats['oldest']['href'] == oldest
    assert stats['newest']['href'] == newest
    assert stats['oldest']['age'] in (50, 51)
    assert stats['newest']['age'] in (0, 1)
    for end in ('oldest', 'newest'):
        assert re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ', stats[end]['created'])


def test_stats_tell_the_time_in_utc(api: Api, queue: str, sql: Any) -> None:
    api.post_messages('x')
    sql("UPDATE messages SET created_at = '2013-08-12 22:44:55.9+02:00'")

    assert api.stats()['oldest']['created'] == '2013-08-12T20:44:55Z'


def test_the_oldest_and_the_newest_message_may_be_claimed(api: Api, queue: str) -> None:
    oldest, newest = api.post_messages('first', 'last')
    api.claim()

    stats = api.stats()

    assert stats['oldest']['href'] == oldest
    assert stats['newest']['href'] == newest


def test_a_single_message_is_the_oldest_and_the_newest(api: Api, queue: str) -> None:
    [message] = api.post_messages('only')

    stats = api.stats()

    assert stats['oldest'] == stats['newest']
    assert stats['oldest']['href'] == message


def test_expired_messages_count_nowhere(api: Api, queue: str, age: Callable[[int], None]) -> None:
    api.post_messages('short', ttl=60)
    [lasting] = api.post_messages('lasting', ttl=300)
    api.post_messages('short', ttl=60)
    age(61)

    stats = api.stats()

    assert (stats['free'], stats['claimed'], stats['total']) == (1, 0, 1)
    assert stats['oldest']['href'] == stats['newest']['href'] == lasting


def test_messages_of_a_lapsed_claim_count_as_free(
    api: Api, queue: str, age: Callable[[int], None]
) -> None:
    api.post_messages('a', 'b')
    api.claim(ttl=60)
    age(61)

    stats = api.stats()

    assert (stats['free'], stats['claimed'], stats['total']) == (2, 0, 2)


def test_a_missing_queue_has_no_stats(api: Api) -> None:
    response = api.get('/v1/queues/missing/stats')

    assert refusal(response) == (404, 'Not found')
