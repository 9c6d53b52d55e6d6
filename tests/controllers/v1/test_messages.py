"""Messages: posted, listed, read and deleted (docs/protocol-v1.md, 5 and 6.6)."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ..client import (
    CLIENT_ID,
    NO_CLAIM,
    NO_MESSAGE,
    OTHER_CLIENT_ID,
    Api,
    is_empty,
    refusal,
)

TTL_MOST = 1_209_600
BAD_IDS = (
    'unknown',
    '0',
    '-1',
    'FFFFFFFFFFFFFFFF',
    'ffffffffffffffff',
    '8000000000000000',
    '00000000000000000',
    '50b68a50d6f5b8c8a7c62b01',
    NO_CLAIM,
    '%00',
    '%0A',
    '%F0%9F%9A%80',
    '%FF',
    '%27%20OR%201=1',
    '%25s',
    '..',
    'a' * 5000,
    '9' * 5000,
    '%EF%BC%91' * 16,
)


def id_of(path: str) -> str:
    return path.rpartition('/')[2]


def ids_of(paths: list[str]) -> str:
    return ','.join(id_of(path) for path in paths)


def bodies(messages: list[dict[str, Any]]) -> list[Any]:
    return [message['body'] for message in messages]


# ---------------------------------------------------------------- post


def test_a_post_answers_with_the_paths_in_the_order_posted(api: Api, queue: str) -> None:
    document = [{'ttl': 300, 'body': {'event': 'BackupStarted'}}, {'ttl': 60, 'body': None}]

    response = api.post(f'{queue}/messages', document, client_id=CLIENT_ID)

    assert response.status_int == 201
    assert response.json.keys() == {'resources', 'partial'}
    assert response.json['partial'] is False
    first, second = response.json['resources']
    assert response.headers['Location'] == f'{queue}/messages?ids={id_of(first)},{id_of(second)}'
    assert api.get(first).json['body'] == {'event': 'BackupStarted'}
    assert api.get(second).json['body'] is None


def test_the_location_of_a_post_leads_to_its_messages(api: Api, queue: str) -> None:
    posted = api.post(
        f'{queue}/messages', [{'ttl': 60, 'body': n} for n in range(20)], client_id=CLIENT_ID
    )

    response = api.get(posted.headers['Location'])

    assert bodies(response.json) == list(range(20))


def test_ids_are_made_of_letters_digits_underscore_and_dash(api: Api, queue: str) -> None:
    for path in api.post_messages('a', 'b'):
        assert path.startswith(f'{queue}/messages/')
        assert id_of(path).replace('_', '').replace('-', '').isalnum()
        assert id_of(path).isascii()


def test_a_message_has_four_members(api: Api, queue: str) -> None:
    [path] = api.post_messages('x', ttl=300)

    message = api.get(path).json

    assert message.keys() == {'href', 'ttl', 'age', 'body'}
    assert message['href'] == path
    assert message['ttl'] == 300
    assert message['age'] in (0, 1)


def test_unknown_members_are_not_stored(api: Api, queue: str) -> None:
    document = [{'ttl': 60, 'body': 1, 'id': 'x', 'age': 99, 'delay': 'y', 'href': None}]

    response = api.post(f'{queue}/messages', document, client_id=CLIENT_ID)

    [path] = response.json['resources']
    assert api.get(path).json == {'href': path, 'ttl': 60, 'age': 0, 'body': 1}


@pytest.mark.parametrize('count', [25, 1000])
def test_only_bytes_limit_the_number_of_messages(api: Api, queue: str, count: int) -> None:
    paths = api.post_messages(*range(count))

    assert len(paths) == len(set(paths)) == count
    assert api.stats()['total'] == count


def test_a_post_may_be_full_of_the_smallest_messages(api: Api, queue: str) -> None:
    message = '{"ttl":60,"body":1}'
    count = 262144 // (len(message) + 1) - 1

    response = api.post(
        f'{queue}/messages', f'[{",".join([message] * count)}]', client_id=CLIENT_ID
    )

    assert response.status_int == 201
    assert api.stats()['total'] == count


def test_a_post_to_a_missing_queue_is_a_404_and_makes_none(api: Api) -> None:
    response = api.post(
        '/v1/queues/missing/messages', [{'ttl': 60, 'body': 1}], client_id=CLIENT_ID
    )

    assert refusal(response) == (404, 'Not found')
    assert api.get('/v1/queues/missing').status_int == 404


@pytest.mark.parametrize(('length', 'status'), [(64, 404), (65, 400)])
def test_a_name_is_judged_before_the_queue_is_looked_for(
    api: Api, length: int, status: int
) -> None:
    response = api.post(
        f'/v1/queues/{"q" * length}/messages', [{'ttl': 60, 'body': 1}], client_id=CLIENT_ID
    )

    assert response.status_int == status


@pytest.mark.parametrize('ttl', [60, TTL_MOST])
def test_a_ttl_at_the_edge_is_taken(api: Api, queue: str, ttl: int) -> None:
    [path] = api.post_messages('x', ttl=ttl)

    assert api.get(path).json['ttl'] == ttl


@pytest.mark.parametrize('ttl', [59, TTL_MOST + 1, 0, -1, 2**31, 2**63 - 1, -(2**63)])
def test_a_ttl_out_of_range_is_refused(api: Api, queue: str, ttl: int) -> None:
    response = api.post(f'{queue}/messages', [{'ttl': ttl, 'body': 1}], client_id=CLIENT_ID)

    assert refusal(response) == (400, 'Invalid API request')


@pytest.mark.parametrize(
    'ttl',
    ['"60"', '60.0', '60.5', '6e1', '1E2', 'null', '[60]', '{}', '""', '10000000000000000000'],
)
def test_a_ttl_that_is_not_an_integer_is_refused(api: Api, queue: str, ttl: str) -> None:
    response = api.post(f'{queue}/messages', f'[{{"ttl": {ttl}, "body": 1}}]', client_id=CLIENT_ID)

    assert refusal(response) == (400, 'Invalid request body')


@pytest.mark.parametrize('ttl', [True, False])
def test_a_boolean_ttl_is_refused(api: Api, queue: str, ttl: bool) -> None:
    response = api.post(f'{queue}/messages', [{'ttl': ttl, 'body': 1}], client_id=CLIENT_ID)

    assert refusal(response)[0] == 400


@pytest.mark.parametrize(
    'document',
    [
        '{}',
        '{"messages": [{"ttl": 60, "body": 1}]}',
        '{"ttl": 60, "body": 1}',
        '[{}]',
        '[{"ttl": 60}]',
        '[{"body": 1}]',
        '[{"TTL": 60, "Body": 1}]',
        '[1]',
        '[null]',
        '["a"]',
        '[[]]',
        '[true]',
        '[[{"ttl": 60, "body": 1}]]',
    ],
)
def test_a_post_must_be_a_list_of_messages(api: Api, queue: str, document: str) -> None:
    response = api.post(f'{queue}/messages', document, client_id=CLIENT_ID)

    assert refusal(response) == (400, 'Invalid request body')


@pytest.mark.parametrize('document', ['[]', ' [ ] '])
def test_an_empty_list_is_refused(api: Api, queue: str, document: str) -> None:
    response = api.post(f'{queue}/messages', document, client_id=CLIENT_ID)

    assert refusal(response) == (400, 'Invalid API request')


@pytest.mark.parametrize(
    'bad', [{'ttl': 59, 'body': 1}, {'ttl': 60}, {'body': 1}, {'ttl': '60', 'body': 1}, 1]
)
@pytest.mark.parametrize('place', [0, 1, 2])
def test_a_post_with_one_malformed_message_stores_none(
    api: Api, queue: str, bad: Any, place: int
) -> None:
    document: list[Any] = [{'ttl': 60, 'body': 'good'}, {'ttl': 60, 'body': 'good'}]
    document.insert(place, bad)

    response = api.post(f'{queue}/messages', document, client_id=CLIENT_ID)

    assert refusal(response)[0] == 400
    assert api.stats()['total'] == 0


# ---------------------------------------------------------------- list


def test_messages_are_listed_in_the_order_posted(api: Api, queue: str) -> None:
    api.post_messages('a', 'b')
    api.post_messages('c', client_id=OTHER_CLIENT_ID)
    api.post_messages('d')

    assert bodies(api.listed('echo=true')) == ['a', 'b', 'c', 'd']


def test_a_list_has_messages_and_links(api: Api, queue: str) -> None:
    [path] = api.post_messages('x', ttl=300)

    document = api.get(f'{queue}/messages?echo=true', client_id=CLIENT_ID).json

    assert document.keys() == {'messages', 'links'}
    [message] = document['messages']
    assert message.keys() == {'href', 'ttl', 'age', 'body'}
    assert message['href'] == path
    [link] = document['links']
    assert link.keys() == {'rel', 'href'}
    assert link['rel'] == 'next'


@pytest.mark.parametrize(
    'query', ['?echo=true', '?limit=2&echo=true', '?echo=True&limit=02&x=%2f&&y', '?marker=&echo=1']
)
def test_a_list_says_where_it_was_read_as_it_was_asked(api: Api, queue: str, query: str) -> None:
    api.post_messages('x')

    response = api.get(f'{queue}/messages{query}', client_id=CLIENT_ID)

    assert response.status_int == 200
    assert response.headers['Content-Location'] == f'{queue}/messages{query}'


def test_an_empty_list_is_a_204_with_its_content_location(api: Api, queue: str) -> None:
    api.post_messages('own')

    response = api.get(f'{queue}/messages?limit=3', client_id=CLIENT_ID)

    assert response.status_int == 204
    assert is_empty(response)
    assert response.headers['Content-Location'] == f'{queue}/messages?limit=3'


def test_a_missing_queue_lists_nothing(api: Api) -> None:
    response = api.get('/v1/queues/missing/messages', client_id=CLIENT_ID)

    assert response.status_int == 204
    assert is_empty(response)


def test_a_page_has_10_messages_by_default(api: Api, queue: str) -> None:
    api.post_messages(*range(11))

    assert bodies(api.listed('echo=true')) == list(range(10))


def test_a_page_has_20_messages_at_most(api: Api, queue: str) -> None:
    api.post_messages(*range(21))

    assert bodies(api.listed('echo=true&limit=20')) == list(range(20))


def test_following_next_meets_every_message_once_and_ends(api: Api, queue: str) -> None:
    api.post_messages(*range(10))
    target, met = f'{queue}/messages?limit=3&echo=true', []

    while (response := api.get(target, client_id=CLIENT_ID)).status_int == 200:
        met.append(bodies(response.json['messages']))
        target = response.json['links'][0]['href']

    assert response.status_int == 204
    assert met == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]


def test_the_last_next_leads_to_later_messages(api: Api, queue: str) -> None:
    api.post_messages('a')
    page = api.get(f'{queue}/messages?echo=true', client_id=CLIENT_ID).json
    after_the_last = page['links'][0]['href']
    assert api.get(after_the_last, client_id=CLIENT_ID).status_int == 204
    api.post_messages('b')

    response = api.get(after_the_last, client_id=CLIENT_ID)

    assert bodies(response.json['messages']) == ['b']


@pytest.mark.parametrize('end', ['deleted', 'expired'])
def test_a_marker_outlives_its_message(
    api: Api, queue: str, age: Callable[[int], None], end: str
) -> None:
    api.post_messages('a', ttl=60)
    page = api.get(f'{queue}/messages?echo=true', client_id=CLIENT_ID).json
    api.post_messages('b', ttl=300)
    if end == 'deleted':
        api.delete(page['messages'][0]['href'])
    else:
        age(61)

    response = api.get(page['links'][0]['href'], client_id=CLIENT_ID)

    assert bodies(response.json['messages']) == ['b']


@pytest.mark.parametrize(
    ('query', 'repeated'),
    [
        ('', {}),
        ('limit=2', {'limit': ['2']}),
        ('echo=False', {'echo': ['false']}),
        ('echo=1&include_claimed=on', {'echo': ['true'], 'include_claimed': ['true']}),
        ('include_claimed=n&limit=20', {'include_claimed': ['false'], 'limit': ['20']}),
        ('x=y&limit=2&marker=', {'limit': ['2']}),
    ],
)
def test_next_repeats_what_was_asked_for(
    api: Api, queue: str, query: str, repeated: dict[str, list[str]]
) -> None:
    api.post_messages('x', client_id=OTHER_CLIENT_ID)

    response = api.get(f'{queue}/messages?{query}', client_id=CLIENT_ID)

    [link] = response.json['links']
    target = urlsplit(link['href'])
    asked = parse_qs(target.query)
    assert target.path == f'{queue}/messages'
    assert target.netloc == ''
    assert asked.pop('marker')
    assert asked == repeated


def test_next_replaces_the_marker(api: Api, queue: str) -> None:
    api.post_messages('a', 'b')
    first = api.get(f'{queue}/messages?limit=1&echo=true', client_id=CLIENT_ID).json

    second = api.get(first['links'][0]['href'], client_id=CLIENT_ID).json

    assert bodies(second['messages']) == ['b']
    assert second['links'][0]['href'].count('marker=') == 1


@pytest.mark.parametrize(
    'marker',
    ['sfhlsfdjh2048', 'invalid', '-1', '%00', 'a%00', '%FF', '%F0%9F%9A%80', '%27', 'x' * 5000],
)
def test_a_malformed_marker_lists_nothing(api: Api, queue: str, marker: str) -> None:
    api.post_messages('x')

    response = api.get(f'{queue}/messages?echo=true&marker={marker}', client_id=CLIENT_ID)

    assert response.status_int == 204
    assert is_empty(response)
    assert response.headers['Content-Location'] == f'{queue}/messages?echo=true&marker={marker}'


def test_a_reader_does_not_list_its_own_messages(api: Api, queue: str) -> None:
    api.post_messages('own', client_id=CLIENT_ID)
    api.post_messages('other', client_id=OTHER_CLIENT_ID)

    assert bodies(api.listed('')) == ['other']
    assert bodies(api.listed('echo=false')) == ['other']
    assert bodies(api.listed('echo=true')) == ['own', 'other']


def test_echoes_do_not_fill_a_page(api: Api, queue: str) -> None:
    for number in range(5):
        api.post_messages('own', client_id=CLIENT_ID)
        api.post_messages(number, client_id=OTHER_CLIENT_ID)

    assert bodies(api.listed('limit=4')) == [0, 1, 2, 3]


def test_claimed_messages_are_listed_only_on_demand(api: Api, queue: str) -> None:
    api.post_messages('claimed', 'free')
    api.claim(limit=1)

    assert bodies(api.listed('echo=true')) == ['free']
    assert bodies(api.listed('echo=true&include_claimed=false')) == ['free']
    messages = api.listed('echo=true&include_claimed=true')
    assert bodies(messages) == ['claimed', 'free']
    assert 'claim_id' not in messages[0]['href']


def test_a_list_is_in_posting_order_whatever_was_claimed_before(
    api: Api, queue: str, age: Callable[[int], None]
) -> None:
    api.post_messages('a', 'b', 'c', 'd')
    lapsed, released = api.claim(limit=1, ttl=60), api.claim(limit=1, ttl=60)
    api.delete(released.href)
    age(61)

    assert bodies(lapsed.messages) == ['a']
    assert bodies(api.listed('echo=true')) == ['a', 'b', 'c', 'd']
    assert bodies(api.listed('echo=true&limit=3')) == ['a', 'b', 'c']


def test_the_age_grows_and_the_ttl_does_not(
    api: Api, queue: str, age: Callable[[int], None]
) -> None:
    api.post_messages('x', ttl=60)
    age(30)

    [message] = api.listed()

    assert message['age'] in (30, 31)
    assert message['ttl'] == 60


def test_the_age_is_never_negative(api: Api, queue: str, age: Callable[[int], None]) -> None:
    [path] = api.post_messages('x')
    claim = api.claim()
    age(-50)

    assert api.get(path).json['age'] == 0
    assert api.get(claim.href).json['age'] == 0
    assert api.stats()['oldest']['age'] == 0


def test_expired_messages_are_never_seen(api: Api, queue: str, age: Callable[[int], None]) -> None:
    [path] = api.post_messages('x', ttl=60)
    age(60)

    assert api.get(path).status_int == 404
    assert api.listed('echo=true&include_claimed=true') == []
    assert api.get(f'{queue}/messages?ids={id_of(path)}').status_int == 204
    assert api.post(f'{queue}/claims', {'ttl': 60, 'grace': 60}).status_int == 204
    assert api.delete(path).status_int == 204
    assert api.delete(f'{path}?claim_id={NO_CLAIM}').status_int == 204


def test_a_message_lives_until_its_ttl_is_over(
    api: Api, queue: str, age: Callable[[int], None]
) -> None:
    [path] = api.post_messages('x', ttl=60)
    age(57)

    assert api.get(path).status_int == 200


# ---------------------------------------------------------------- by ids


def test_messages_are_read_by_their_ids(api: Api, queue: str) -> None:
    paths = api.post_messages('a', 'b', 'c')
    target = f'{queue}/messages?ids={ids_of(paths[:2])}'

    response = api.get(target)

    assert response.status_int == 200
    assert response.headers['Content-Location'] == target
    assert isinstance(response.json, list)
    assert sorted(bodies(response.json)) == ['a', 'b']
    for message in response.json:
        assert message.keys() == {'href', 'ttl', 'age', 'body'}
        assert message['href'] in paths


def test_ids_that_are_unknown_are_left_out(api: Api, queue: str) -> None:
    [path] = api.post_messages('x')

    response = api.get(f'{queue}/messages?ids=unknown,{id_of(path)},{NO_MESSAGE},%00,%FF')

    assert bodies(response.json) == ['x']


def test_one_id_twice_is_one_message(api: Api, queue: str) -> None:
    [path] = api.post_messages('x')

    response = api.get(f'{queue}/messages?ids={id_of(path)},{id_of(path)}')

    assert bodies(response.json) == ['x']


@pytest.mark.parametrize('ids', ['unknown', NO_MESSAGE, f'a,b,{NO_MESSAGE}', '%00', '%FF', '🚀'])
def test_a_list_of_unknown_ids_is_a_204(api: Api, queue: str, ids: str) -> None:
    response = api.get(f'{queue}/messages?ids={ids}')

    assert response.status_int == 204
    assert is_empty(response)


def test_ids_in_a_missing_queue_are_a_204(api: Api) -> None:
    response = api.get(f'/v1/queues/missing/messages?ids={NO_MESSAGE}')

    assert response.status_int == 204
    assert is_empty(response)


def test_claimed_messages_are_read_by_ids_without_their_claim(api: Api, queue: str) -> None:
    paths = api.post_messages('a')
    api.claim()

    response = api.get(f'{queue}/messages?ids={ids_of(paths)}')

    assert [message['href'] for message in response.json] == paths


@pytest.mark.parametrize(
    'others', ['limit=0', 'limit=x', 'echo=maybe', 'marker=x', 'include_claimed=2', 'limit=1']
)
def test_other_parameters_are_ignored_beside_ids(api: Api, queue: str, others: str) -> None:
    paths = api.post_messages('a', 'b')

    response = api.get(f'{queue}/messages?{others}&ids={ids_of(paths)}')

    assert response.status_int == 200
    assert len(response.json) == 2


@pytest.mark.parametrize('method', ['GET', 'DELETE'])
def test_20_ids_are_taken(api: Api, queue: str, method: str) -> None:
    response = api.request(method, f'{queue}/messages?ids={",".join(["a"] * 20)}')

    assert response.status_int == 204


@pytest.mark.parametrize('method', ['GET', 'DELETE'])
@pytest.mark.parametrize(
    'ids',
    [
        ','.join(['a'] * 21),
        ','.join(f'{number:016x}' for number in range(21)),
        '&ids='.join(['a'] * 21),
        ','.join(['a'] * 5000),
    ],
    ids=['21-copies', '21-ids', '21-repeated', '5000'],
)
def test_21_ids_are_refused(api: Api, queue: str, method: str, ids: str) -> None:
    response = api.request(method, f'{queue}/messages?ids={ids}')

    assert refusal(response) == (400, 'Invalid API request')


@pytest.mark.parametrize('ids', [',', ',,,', ',&ids=,'])
def test_only_commas_are_no_ids(api: Api, queue: str, ids: str) -> None:
    response = api.get(f'{queue}/messages?ids={ids}', client_id=CLIENT_ID)

    assert refusal(response) == (400, 'Invalid API request')


def test_empty_ids_are_a_page(api: Api, queue: str) -> None:
    api.post_messages('x')

    response = api.get(f'{queue}/messages?ids=&echo=true', client_id=CLIENT_ID)

    assert bodies(response.json['messages']) == ['x']
    assert refusal(api.get(f'{queue}/messages?ids=')) == (400, 'Missing header value')


# ---------------------------------------------------------------- bulk delete


def test_messages_are_deleted_by_their_ids(api: Api, queue: str) -> None:
    paths = api.post_messages('a', 'b', 'c')

    response = api.delete(f'{queue}/messages?ids={ids_of(paths[:2])}')

    assert response.status_int == 204
    assert is_empty(response)
    assert bodies(api.listed()) == ['c']


def test_unknown_ids_do_not_hinder_the_known(api: Api, queue: str) -> None:
    [path] = api.post_messages('a')
    target = f'{queue}/messages?ids=unknown,{NO_MESSAGE},{id_of(path)},%00'

    first, second = api.delete(target), api.delete(target)

    assert [first.status_int, second.status_int] == [204, 204]
    assert not api.exists(path)


def test_bulk_delete_does_not_look_at_claims(api: Api, queue: str) -> None:
    gone, kept = api.post_messages('gone', 'kept')
    claim = api.claim()

    response = api.delete(f'{queue}/messages?ids={id_of(gone)}')

    assert response.status_int == 204
    assert not api.exists(gone)
    assert bodies(api.get(claim.href).json['messages']) == ['kept']
    assert api.exists(kept)


def test_bulk_delete_in_a_missing_queue_is_a_204(api: Api) -> None:
    response = api.delete(f'/v1/queues/missing/messages?ids={NO_MESSAGE}')

    assert response.status_int == 204


@pytest.mark.parametrize('query', ['', '?', '?ids=', '?ids', '?limit=1', '?ids=&ids='])
def test_a_delete_of_all_messages_is_refused(api: Api, queue: str, query: str) -> None:
    api.post_messages('kept')

    response = api.delete(f'{queue}/messages{query}')

    assert refusal(response) == (400, 'Missing parameter')
    assert bodies(api.listed()) == ['kept']


def test_delete_with_only_commas_is_refused(api: Api, queue: str) -> None:
    api.post_messages('kept')

    response = api.delete(f'{queue}/messages?ids=,')

    assert refusal(response)[0] == 400
    assert bodies(api.listed()) == ['kept']


# ---------------------------------------------------------------- one message


@pytest.mark.parametrize('query', ['', '?x=1', '?claim_id=nonsense', f'?claim_id={NO_CLAIM}'])
def test_a_message_says_where_it_was_read_as_it_was_asked(api: Api, queue: str, query: str) -> None:
    [path] = api.post_messages('x')

    response = api.get(path + query)

    assert response.status_int == 200
    assert response.headers['Content-Location'] == path + query
    assert response.json['href'] == path


def test_a_claimed_message_is_read_like_any_other(api: Api, queue: str) -> None:
    [path] = api.post_messages('x')
    claim = api.claim()

    plain, with_claim = api.get(path), api.get(f'{path}?claim_id={claim.id}')

    assert plain.json['href'] == path
    assert with_claim.json == plain.json


@pytest.mark.parametrize('identity', [*BAD_IDS, NO_MESSAGE])
def test_an_unknown_message_is_a_404(api: Api, queue: str, identity: str) -> None:
    response = api.get(f'{queue}/messages/{identity}')

    assert refusal(response) == (404, 'Not found')


@pytest.mark.parametrize('claim_id', ['', f'?claim_id={NO_CLAIM}', '?claim_id=nonsense'])
@pytest.mark.parametrize('identity', [*BAD_IDS, NO_MESSAGE])
def test_deleting_an_unknown_message_is_a_204(
    api: Api, queue: str, identity: str, claim_id: str
) -> None:
    response = api.delete(f'{queue}/messages/{identity}{claim_id}')

    assert response.status_int == 204


def test_a_message_is_deleted_once(api: Api, queue: str) -> None:
    path, other = api.post_messages('a', 'b')

    first, second = api.delete(path), api.delete(path)

    assert [first.status_int, second.status_int] == [204, 204]
    assert is_empty(first)
    assert not api.exists(path)
    assert api.exists(other)


def test_a_message_of_a_missing_queue(api: Api) -> None:
    path = f'/v1/queues/missing/messages/{NO_MESSAGE}'

    assert refusal(api.get(path)) == (404, 'Not found')
    assert api.delete(path).status_int == 204


# ------------------------------------------------ the decision table (docs/protocol-v1.md, 6.6)

# What `claim_id` may say, apart from the claim that holds the message. Each makes what it
# names, while nothing else is free, and returns the query.


def absent(api: Api, age: Callable[[int], None]) -> str:
    return ''


def empty(api: Api, age: Callable[[int], None]) -> str:
    return '?claim_id='


def unparsable(api: Api, age: Callable[[int], None]) -> str:
    return '?claim_id=invalid'


def unparsable_nul(api: Api, age: Callable[[int], None]) -> str:
    return '?claim_id=%00'


def unparsable_bytes(api: Api, age: Callable[[int], None]) -> str:
    return '?claim_id=%FF%F0%9F%9A%80'


def unparsable_and_long(api: Api, age: Callable[[int], None]) -> str:
    return '?claim_id=' + '1' * 5000


def unknown(api: Api, age: Callable[[int], None]) -> str:
    return f'?claim_id={NO_CLAIM}'


def released(api: Api, age: Callable[[int], None]) -> str:
    api.post_messages('bait')
    claim = api.claim()
    api.delete(claim.href)
    api.claim(ttl=43200)
    return f'?claim_id={claim.id}'


def expired(api: Api, age: Callable[[int], None]) -> str:
    api.post_messages('bait')
    claim = api.claim(ttl=60)
    age(63)
    api.claim(ttl=43200)
    return f'?claim_id={claim.id}'


def another_live(api: Api, age: Callable[[int], None]) -> str:
    api.post_messages('bait')
    return f'?claim_id={api.claim(ttl=43200).id}'


def of_another_queue(api: Api, age: Callable[[int], None]) -> str:
    other = api.make_queue('other')
    api.post_messages('bait', queue=other)
    return f'?claim_id={api.claim(queue=other).id}'


def of_another_project(api: Api, age: Callable[[int], None]) -> str:
    api.make_queue(project='other')
    api.post_messages('bait', project='other')
    return f'?claim_id={api.claim(project="other").id}'


Says = Callable[[Api, Callable[[int], None]], str]

NO_CLAIM_AT_ALL = [absent, empty]
UNPARSABLE = [unparsable, unparsable_nul, unparsable_bytes, unparsable_and_long]
WELL_FORMED = [unknown, released, expired, another_live, of_another_queue, of_another_project]


@pytest.mark.parametrize('says', NO_CLAIM_AT_ALL)
def test_a_ready_message_is_deleted_without_a_claim(
    api: Api, queue: str, age: Callable[[int], None], says: Says
) -> None:
    query = says(api, age)
    [path] = api.post_messages('x')

    response = api.delete(path + query)

    assert response.status_int == 204
    assert not api.exists(path)


@pytest.mark.parametrize('says', [*UNPARSABLE, *WELL_FORMED])
def test_a_ready_message_is_not_deleted_by_a_claim_that_does_not_hold_it(
    api: Api, queue: str, age: Callable[[int], None], says: Says
) -> None:
    query = says(api, age)
    [path] = api.post_messages('x')

    response = api.delete(path + query)

    assert api.exists(path)
    assert refusal(response) == (400, 'Unable to delete')


@pytest.mark.parametrize('says', [*NO_CLAIM_AT_ALL, *WELL_FORMED])
def test_a_claimed_message_is_deleted_only_by_the_claim_that_holds_it(
    api: Api, queue: str, age: Callable[[int], None], says: Says
) -> None:
    query = says(api, age)
    [path] = api.post_messages('x')
    claim = api.claim()
    assert claim.held == [path]

    response = api.delete(path + query)

    assert api.exists(path)
    assert refusal(response) == (403, 'Unable to delete')
    assert api.get(claim.href).json['messages'][0]['body'] == 'x'


@pytest.mark.parametrize('says', UNPARSABLE)
def test_a_claimed_message_is_not_deleted_by_a_malformed_claim_id(
    api: Api, queue: str, age: Callable[[int], None], says: Says
) -> None:
    query = says(api, age)
    [path] = api.post_messages('x')
    api.claim()

    response = api.delete(path + query)

    assert api.exists(path)
    assert refusal(response) == (400, 'Unable to delete')


@pytest.mark.parametrize('says', [*NO_CLAIM_AT_ALL, *UNPARSABLE, *WELL_FORMED])
def test_a_message_that_is_gone_is_a_204_whatever_the_claim(
    api: Api, queue: str, age: Callable[[int], None], says: Says
) -> None:
    query = says(api, age)
    [path] = api.post_messages('x')
    api.delete(path)

    response = api.delete(path + query)

    assert response.status_int == 204
    assert is_empty(response)


def test_a_claimed_message_is_deleted_by_its_holder(api: Api, queue: str) -> None:
    path, other = api.post_messages('a', 'b')
    claim = api.claim()

    response = api.delete(claim.messages[0]['href'])

    assert response.status_int == 204
    assert not api.exists(path)
    assert bodies(api.get(claim.href).json['messages']) == ['b']
    assert api.exists(other)


def test_a_message_that_its_claim_deleted_stays_deleted(api: Api, queue: str) -> None:
    api.post_messages('a')
    claim = api.claim()

    first, second = (api.delete(claim.messages[0]['href']) for _ in range(2))

    assert [first.status_int, second.status_int] == [204, 204]
    assert api.stats()['total'] == 0


@pytest.mark.parametrize('end', ['released', 'expired'])
def test_a_lapsed_claim_deletes_nothing(
    api: Api, queue: str, age: Callable[[int], None], end: str
) -> None:
    [path] = api.post_messages('x')
    claim = api.claim(ttl=60)
    if end == 'released':
        api.delete(claim.href)
    else:
        age(63)

    response = api.delete(claim.messages[0]['href'])

    assert refusal(response) == (400, 'Unable to delete')
    assert api.exists(path)


@pytest.mark.parametrize('end', ['released', 'expired'])
def test_a_former_holder_deletes_nothing_from_the_next(
    api: Api, queue: str, age: Callable[[int], None], end: str
) -> None:
    [path] = api.post_messages('x')
    former = api.claim(ttl=60)
    if end == 'released':
        api.delete(former.href)
    else:
        age(63)
    api.claim()

    response = api.delete(former.messages[0]['href'])

    assert refusal(response) == (403, 'Unable to delete')
    assert api.exists(path)


def test_a_message_whose_claim_has_lapsed_is_deleted_without_a_claim(
    api: Api, queue: str, age: Callable[[int], None]
) -> None:
    [path] = api.post_messages('x')
    api.claim(ttl=60)
    age(63)

    response = api.delete(path)

    assert response.status_int == 204
    assert not api.exists(path)
