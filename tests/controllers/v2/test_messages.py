"""Messages: posted, listed, read and deleted.

See docs/protocol-v2.md, 2.3 and 6; docs/protocol-v1.md, 6.6.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ..client import (
    CLIENT_ID,
    NO_MESSAGE,
    OTHER_CLIENT_ID,
    LaterApi,
    bodies,
    id_of,
    ids_of,
    is_empty,
    next_of,
    refusal,
)
from ..v1.test_messages import BAD_IDS, NO_CLAIM_AT_ALL, UNPARSABLE, WELL_FORMED, Says
from .requests import LATER_VERSIONS

BODY_REFUSED = (400, 'Invalid request body')
OUT_OF_RANGE = (400, 'Invalid API request')
TTL_MOST = 1_209_600
NOTHING: dict[str, list[Any]] = {'messages': [], 'links': []}

both_versions = pytest.mark.parametrize('version', LATER_VERSIONS)


def posted(api: LaterApi, *messages: Any) -> list[dict[str, Any]]:
    """The messages, as they are read after a post."""
    response = api.post(f'{api.queue}/messages', {'messages': list(messages)})
    assert response.status_int == 201, response.text
    return [api.get(path).json for path in response.json['resources']]


def message_of(size: int) -> bytes:
    """A post of one message, of that many bytes."""
    head, tail = b'{"messages": [{"body": "', b'"}]}'
    return head + b'x' * (size - len(head) - len(tail)) + tail


# ---------------------------------------------------------------- post


@both_versions
def test_a_post_answers_with_the_paths_in_the_order_posted(api: LaterApi) -> None:
    api.make_queue()
    document = {'messages': [{'ttl': 300, 'body': {'event': 'x'}}, {'ttl': 60, 'body': None}]}

    response = api.post(f'{api.queue}/messages', document)

    assert response.status_int == 201
    assert response.json.keys() == {'resources'}
    first, second = response.json['resources']
    assert first.startswith(f'{api.queue}/messages/')
    ids = f'{id_of(first)},{id_of(second)}'
    assert response.headers['Location'] == f'{api.queue}/messages?ids={ids}'
    assert api.get(first).json['body'] == {'event': 'x'}
    assert api.get(second).json['body'] is None


@both_versions
def test_the_location_of_a_post_leads_to_its_messages(api: LaterApi) -> None:
    response = api.post(f'{api.queue}/messages', {'messages': [{'body': n} for n in range(20)]})

    assert bodies(api.get(response.headers['Location']).json['messages']) == list(range(20))


@both_versions
def test_a_post_makes_the_queue(api: LaterApi) -> None:
    [path] = api.post_messages('x')

    assert api.exists(path)
    assert api.queue_names() == ['jobs']
    assert api.put(api.queue).status_int == 204


@both_versions
def test_a_post_leaves_the_metadata_of_a_queue_alone(api: LaterApi) -> None:
    api.make_queue(metadata={'a': 1})

    api.post_messages('x')

    assert api.get(api.queue).json['a'] == 1


@both_versions
@pytest.mark.parametrize(('length', 'status'), [(64, 201), (65, 400)])
def test_a_post_to_a_long_name(api: LaterApi, length: int, status: int) -> None:
    response = api.post(
        f'{api.version}/queues/{"q" * length}/messages', {'messages': [{'body': 1}]}
    )

    assert response.status_int == status


@both_versions
def test_a_message_has_five_members(api: LaterApi) -> None:
    [path] = api.post_messages({'event': 'x'}, ttl=300)

    message = api.get(path).json

    assert message.keys() == {'id', 'href', 'ttl', 'age', 'body'}
    assert message['id'] == id_of(path)
    assert message['href'] == path
    assert message['ttl'] == 300
    assert message['age'] in (0, 1)
    assert message['body'] == {'event': 'x'}


@both_versions
def test_a_body_comes_back_as_it_was_sent(api: LaterApi) -> None:
    for text in ('{"b": 1, "a": [1.50, null, "ü\\u0000"], "b": 2}', '"x"', '0', 'false', '[]'):
        [path] = api.post_text(text).json['resources']

        assert text in api.get(path).text


@both_versions
def test_fields_that_no_one_knows_are_not_stored(api: LaterApi) -> None:
    [message] = posted(api, {'body': 1, 'id': 'x', 'age': 99, 'href': None, 'claim_count': 5})

    assert message.keys() == {'id', 'href', 'ttl', 'age', 'body'}
    assert message['id'] != 'x'
    assert message['age'] in (0, 1)


@both_versions
def test_only_bytes_limit_the_number_of_messages(api: LaterApi) -> None:
    paths = api.post_messages(*range(250))

    assert len(set(paths)) == 250
    assert api.stats()['total'] == 250


@both_versions
@pytest.mark.parametrize('message', [{'body': 1}, {'body': 1, 'ttl': None}], ids=['absent', 'null'])
def test_a_message_without_a_ttl_lives_an_hour(
    api: LaterApi, age: Callable[[int], None], message: Any
) -> None:
    [stored] = posted(api, message)

    assert stored['ttl'] == 3600
    age(3597)
    assert api.exists(stored['href'])
    age(4)
    assert not api.exists(stored['href'])


@pytest.mark.parametrize('message', [{'body': 1}, {'body': 1, 'ttl': None}], ids=['absent', 'null'])
def test_a_message_without_a_ttl_lives_as_long_as_its_queue_says(
    api: LaterApi, age: Callable[[int], None], message: Any
) -> None:
    api.make_queue(metadata={'_default_message_ttl': 90})

    [stored] = posted(api, message)

    assert stored['ttl'] == 90
    age(91)
    assert not api.exists(stored['href'])


@pytest.mark.parametrize('ttl', [60, 3600, TTL_MOST])
def test_a_ttl_of_its_own_outranks_that_of_the_queue(api: LaterApi, ttl: int) -> None:
    api.make_queue(metadata={'_default_message_ttl': 90})

    assert posted(api, {'body': 1, 'ttl': ttl})[0]['ttl'] == ttl


def test_a_queue_whose_default_ttl_is_null_has_none(api: LaterApi) -> None:
    api.make_queue(metadata={'_default_message_ttl': None})

    assert posted(api, {'body': 1})[0]['ttl'] == 3600


def test_each_message_of_a_post_has_its_own_ttl(api: LaterApi) -> None:
    api.make_queue(metadata={'_default_message_ttl': 90})

    messages = posted(api, {'body': 1, 'ttl': 60}, {'body': 2}, {'body': 3, 'ttl': 300})

    assert [message['ttl'] for message in messages] == [60, 90, 300]


@both_versions
@pytest.mark.parametrize('ttl', [59, TTL_MOST + 1, 0, -1, 2**31, 2**63 - 1])
def test_a_ttl_out_of_range_is_refused(api: LaterApi, ttl: int) -> None:
    response = api.post(f'{api.queue}/messages', {'messages': [{'body': 1, 'ttl': ttl}]})

    assert refusal(response) == OUT_OF_RANGE
    assert api.stats()['total'] == 0


@both_versions
@pytest.mark.parametrize(
    'ttl', ['"60"', '60.5', '6e1', '[60]', '{}', '""', 'true', 'false', '10000000000000000000']
)
def test_a_ttl_that_is_no_integer_is_refused(api: LaterApi, ttl: str) -> None:
    response = api.post(f'{api.queue}/messages', f'{{"messages": [{{"body": 1, "ttl": {ttl}}}]}}')

    assert refusal(response)[0] == 400
    assert api.stats()['total'] == 0


@both_versions
@pytest.mark.parametrize('body', [None, '', '[', '{', '.', '123', '"x"', 'null', b'\xff'])
def test_a_post_must_be_a_json_document(api: LaterApi, body: str | bytes | None) -> None:
    response = api.post(f'{api.queue}/messages', body)

    assert refusal(response) == BODY_REFUSED


@both_versions
@pytest.mark.parametrize('document', ['{}', '[]', '[{"ttl": 60, "body": 1}]', '{"Messages": []}'])
def test_a_post_must_have_messages(api: LaterApi, document: str) -> None:
    response = api.post(f'{api.queue}/messages', document)

    assert refusal(response) == OUT_OF_RANGE
    assert api.stats()['total'] == 0


@both_versions
@pytest.mark.parametrize(
    'messages',
    [
        '[]',
        '{}',
        'null',
        '"x"',
        '1',
        '{"ttl": 60, "body": 1}',
        '[1]',
        '[null]',
        '["a"]',
        '[[]]',
        '[true]',
        '[{}]',
        '[{"ttl": 60}]',
        '[{"Body": 1}]',
        '[{"body": 1}, {}]',
        '[[{"body": 1}]]',
    ],
)
def test_messages_are_a_list_of_objects_with_a_body(api: LaterApi, messages: str) -> None:
    response = api.post(f'{api.queue}/messages', f'{{"messages": {messages}}}')

    assert refusal(response)[0] == 400
    assert api.stats()['total'] == 0


@both_versions
def test_members_beside_the_messages_are_ignored(api: LaterApi) -> None:
    response = api.post(f'{api.queue}/messages', {'x': [None], 'messages': [{'body': 1}]})

    assert response.status_int == 201


@both_versions
@pytest.mark.parametrize('bad', [{'ttl': 59, 'body': 1}, {'ttl': 60}, 1], ids=repr)
@pytest.mark.parametrize('place', [0, 1, 2])
def test_one_bad_message_keeps_all_others_out(api: LaterApi, bad: Any, place: int) -> None:
    messages: list[Any] = [{'body': 'good'}, {'body': 'good'}]
    messages.insert(place, bad)

    response = api.post(f'{api.queue}/messages', {'messages': messages})

    assert refusal(response)[0] == 400
    assert api.stats()['total'] == 0


@both_versions
@pytest.mark.parametrize('existing', [True, False], ids=['existing', 'missing'])
def test_a_post_of_256_kib_is_taken(api: LaterApi, existing: bool) -> None:
    if existing:
        api.make_queue()

    assert api.post(f'{api.queue}/messages', message_of(262144)).status_int == 201


@both_versions
@pytest.mark.parametrize('existing', [True, False], ids=['existing', 'missing'])
def test_a_post_of_a_byte_more_is_refused(api: LaterApi, existing: bool) -> None:
    if existing:
        api.make_queue()

    response = api.post(f'{api.queue}/messages', message_of(262145))

    assert refusal(response) == OUT_OF_RANGE
    assert api.stats()['total'] == 0


@pytest.mark.parametrize(('size', 'status'), [(100, 201), (101, 400)])
def test_a_queue_may_take_less(api: LaterApi, size: int, status: int) -> None:
    api.make_queue(metadata={'_max_messages_post_size': 100})

    response = api.post(f'{api.queue}/messages', message_of(size))

    assert response.status_int == status
    if status == 400:
        assert refusal(response) == OUT_OF_RANGE


def test_whitespace_counts_for_the_size_too(api: LaterApi) -> None:
    api.make_queue(metadata={'_max_messages_post_size': 100})

    response = api.post(f'{api.queue}/messages', message_of(80).ljust(101))

    assert refusal(response) == OUT_OF_RANGE


def test_another_queue_takes_as_much_as_ever(api: LaterApi) -> None:
    api.make_queue('small', metadata={'_max_messages_post_size': 100})

    assert api.post(f'{api.queue}/messages', message_of(5000)).status_int == 201


# ---------------------------------------------------------------- list


@both_versions
def test_messages_are_listed_in_the_order_posted(api: LaterApi) -> None:
    api.post_messages('a', 'b')
    api.post_messages('c', client_id=OTHER_CLIENT_ID)
    api.post_messages('d')

    assert bodies(api.listed('echo=true')) == ['a', 'b', 'c', 'd']


@both_versions
def test_a_list_has_messages_and_links(api: LaterApi) -> None:
    [path] = api.post_messages('x', ttl=300)

    document = api.get(f'{api.queue}/messages?echo=true').json

    assert document.keys() == {'messages', 'links'}
    [message] = document['messages']
    assert message.keys() == {'id', 'href', 'ttl', 'age', 'body'}
    assert message['href'] == path
    assert message['id'] == id_of(path)


@both_versions
def test_a_missing_queue_lists_nothing_and_is_not_made(api: LaterApi) -> None:
    response = api.get(f'{api.queue}/messages')

    assert response.status_int == 200
    assert response.json == NOTHING
    assert api.queue_names() == []


@both_versions
@pytest.mark.parametrize('query', ['', '?limit=3', '?include_claimed=true'])
def test_when_all_is_hidden_there_are_no_links(api: LaterApi, query: str) -> None:
    api.post_messages('own')

    response = api.get(f'{api.queue}/messages{query}')

    assert response.status_int == 200
    assert response.json == NOTHING


@both_versions
@pytest.mark.parametrize(
    'marker', ['invalid', 'sfhlsfdjh2048', '%00', '%FF', '%F0%9F%9A%80', 'a' * 5000, NO_MESSAGE]
)
def test_what_is_no_marker_lists_nothing(api: LaterApi, marker: str) -> None:
    api.post_messages('x')

    response = api.get(f'{api.queue}/messages?echo=true&marker={marker}')

    assert response.status_int == 200
    assert response.json == NOTHING


@pytest.mark.parametrize('marker', BAD_IDS)
def test_any_text_is_a_marker(api: LaterApi, marker: str) -> None:
    api.post_messages('x')

    assert api.get(f'{api.queue}/messages?echo=true&marker={marker}').status_int == 200


@both_versions
@pytest.mark.parametrize(('query', 'count'), [('', 10), ('&limit=1', 1), ('&limit=20', 20)])
def test_a_page_has_10_messages_and_at_most_20(api: LaterApi, query: str, count: int) -> None:
    api.post_messages(*range(21))

    assert bodies(api.listed(f'echo=true{query}')) == list(range(count))


@both_versions
@pytest.mark.parametrize(
    ('query', 'title'),
    [
        ('limit=0', 'Invalid API request'),
        ('limit=21', 'Invalid API request'),
        ('limit=-100', 'Invalid API request'),
        ('limit=10000000000000000000', 'Invalid API request'),
        ('limit=x', 'Invalid parameter'),
        ('echo=maybe', 'Invalid parameter'),
        ('include_claimed=2', 'Invalid parameter'),
    ],
)
def test_a_page_that_no_one_gets(api: LaterApi, query: str, title: str) -> None:
    api.make_queue()

    assert refusal(api.get(f'{api.queue}/messages?{query}')) == (400, title)


@both_versions
def test_following_next_meets_every_message_once_and_ends(api: LaterApi) -> None:
    api.post_messages(*range(10))
    target, met = f'{api.queue}/messages?limit=3&echo=true', []

    while (response := api.get(target)).json['messages']:
        met.append(bodies(response.json['messages']))
        target = next_of(response)

    assert response.status_int == 200
    assert response.json == NOTHING
    assert met == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]


@both_versions
def test_the_last_next_leads_to_later_messages(api: LaterApi) -> None:
    api.post_messages('a')
    after_the_last = next_of(api.get(f'{api.queue}/messages?echo=true'))
    assert api.get(after_the_last).json == NOTHING

    api.post_messages('b')

    assert bodies(api.get(after_the_last).json['messages']) == ['b']


@both_versions
def test_the_id_of_the_last_message_is_a_marker_too(api: LaterApi) -> None:
    api.post_messages(*range(10))
    met: list[Any] = []
    marker = ''

    while page := api.listed(f'limit=3&echo=True{marker}'):
        met.append(bodies(page))
        marker = f'&marker={page[-1]["id"]}'

    assert met == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]


@both_versions
def test_the_id_of_any_message_is_a_marker(api: LaterApi) -> None:
    paths = api.post_messages('a', 'b', 'c')

    for place, path in enumerate(paths, 1):
        assert bodies(api.listed(f'echo=true&marker={id_of(path)}')) == ['a', 'b', 'c'][place:]


@both_versions
@pytest.mark.parametrize('marks', ['link', 'id'])
@pytest.mark.parametrize('end', ['deleted', 'expired', 'claimed', 'popped'])
def test_a_marker_outlives_its_message(
    api: LaterApi, age: Callable[[int], None], end: str, marks: str
) -> None:
    api.post_messages('a', ttl=60)
    page = api.get(f'{api.queue}/messages?echo=true')
    [message] = page.json['messages']
    if end == 'popped':
        api.popped(1)
    elif end == 'deleted':
        api.delete(message['href'])
    elif end == 'expired':
        age(61)
    else:
        api.claim(limit=1)
    api.post_messages('b', ttl=300)
    by_id = f'{api.queue}/messages?echo=true&marker={message["id"]}'

    response = api.get(next_of(page) if marks == 'link' else by_id)

    assert bodies(response.json['messages']) == ['b']


@both_versions
@pytest.mark.parametrize(
    ('query', 'repeated'),
    [
        ('limit=2', {'limit': ['2']}),
        ('echo=True', {'echo': ['true']}),
        ('include_claimed=off', {'include_claimed': ['false']}),
        (
            'limit=2&echo=1&include_claimed=yes',
            {'limit': ['2'], 'echo': ['true'], 'include_claimed': ['true']},
        ),
        ('x=y&limit=2', {'limit': ['2']}),
        ('', {}),
    ],
)
def test_next_repeats_what_was_asked_for(
    api: LaterApi, query: str, repeated: dict[str, list[str]]
) -> None:
    api.post_messages('a', 'b', client_id=OTHER_CLIENT_ID)

    target = urlsplit(next_of(api.get(f'{api.queue}/messages?{query}')))

    asked = parse_qs(target.query)
    assert target.path == f'{api.queue}/messages'
    assert target.netloc == ''
    assert len(asked.pop('marker')) == 1
    assert asked == repeated


@both_versions
def test_echo_shows_what_the_reader_posted(api: LaterApi) -> None:
    api.post_messages('own', client_id=CLIENT_ID)
    api.post_messages('foreign', client_id=OTHER_CLIENT_ID)

    assert bodies(api.listed('')) == ['foreign']
    assert bodies(api.listed('echo=false')) == ['foreign']
    assert bodies(api.listed('echo=true')) == ['own', 'foreign']


@both_versions
def test_a_claimed_message_is_listed_on_request_with_its_claim(api: LaterApi) -> None:
    held, free = api.post_messages('held', 'free')
    claim = api.claim(limit=1)

    shown = api.listed('echo=true&include_claimed=true')

    assert bodies(api.listed('echo=true')) == ['free']
    assert [message['href'] for message in shown] == [f'{held}?claim_id={claim.id}', free]
    assert shown[0].keys() == {'id', 'href', 'ttl', 'age', 'body'}
    assert shown[0]['id'] == id_of(held)


@both_versions
def test_expired_messages_are_not_listed(api: LaterApi, age: Callable[[int], None]) -> None:
    api.post_messages('short', ttl=60)
    api.post_messages('long', ttl=300)
    age(61)

    assert bodies(api.listed()) == ['long']


# ---------------------------------------------------------------- by ids


@both_versions
def test_messages_are_read_by_their_ids(api: LaterApi) -> None:
    paths = api.post_messages('a', 'b', 'c')

    response = api.get(f'{api.queue}/messages?ids={ids_of(paths[:2])}')

    assert response.status_int == 200
    assert response.json.keys() == {'messages'}
    assert bodies(response.json['messages']) == ['a', 'b']
    assert response.json['messages'][0].keys() == {'id', 'href', 'ttl', 'age', 'body'}
    assert response.json['messages'][0]['href'] == paths[0]


@both_versions
def test_ids_may_be_repeated_instead(api: LaterApi) -> None:
    first, second, third = map(id_of, api.post_messages('a', 'b', 'c'))

    response = api.get(f'{api.queue}/messages?ids={first}&ids={second},{third}')

    assert bodies(response.json['messages']) == ['a', 'b', 'c']


@both_versions
@pytest.mark.parametrize('unknown', [NO_MESSAGE, 'unknown', '%00', '0', 'a' * 5000])
def test_unknown_ids_are_left_out(api: LaterApi, unknown: str) -> None:
    [path] = api.post_messages('a')

    response = api.get(f'{api.queue}/messages?ids={unknown},{id_of(path)}')

    assert bodies(response.json['messages']) == ['a']


@both_versions
@pytest.mark.parametrize('existing', [True, False], ids=['existing', 'missing'])
@pytest.mark.parametrize('ids', [NO_MESSAGE, 'unknown', f'{NO_MESSAGE},x'])
def test_when_none_is_found_it_is_a_404(api: LaterApi, existing: bool, ids: str) -> None:
    if existing:
        api.make_queue()

    response = api.get(f'{api.queue}/messages?ids={ids}')

    assert refusal(response) == (404, 'Not found')


@both_versions
def test_ids_find_messages_whoever_posted_or_claimed_them(api: LaterApi) -> None:
    paths = api.post_messages('own', 'claimed')
    api.delete(api.claim(limit=1).href)
    claim = api.claim(limit=1)

    response = api.get(f'{api.queue}/messages?ids={ids_of(paths)}')

    by_body = {message['body']: message['href'] for message in response.json['messages']}
    assert by_body == {'own': f'{paths[0]}?claim_id={claim.id}', 'claimed': paths[1]}


@both_versions
@pytest.mark.parametrize(('count', 'status'), [(20, 404), (21, 400)])
def test_20_ids_are_read_at_once(api: LaterApi, count: int, status: int) -> None:
    response = api.get(f'{api.queue}/messages?ids={",".join([NO_MESSAGE] * count)}')

    assert response.status_int == status
    if status == 400:
        assert refusal(response) == OUT_OF_RANGE


@both_versions
def test_no_ids_at_all_is_a_list(api: LaterApi) -> None:
    api.post_messages('x')

    response = api.get(f'{api.queue}/messages?ids=&echo=true')

    assert response.json.keys() == {'messages', 'links'}
    assert bodies(response.json['messages']) == ['x']


@both_versions
def test_expired_messages_are_not_found(api: LaterApi, age: Callable[[int], None]) -> None:
    [path] = api.post_messages('x', ttl=60)
    age(61)

    assert api.get(f'{api.queue}/messages?ids={id_of(path)}').status_int == 404
    assert refusal(api.get(path)) == (404, 'Not found')


# ---------------------------------------------------------------- delete by ids


@both_versions
def test_messages_are_deleted_by_their_ids(api: LaterApi) -> None:
    paths = api.post_messages('a', 'b', 'c', 'd')
    first, second, third, _ = map(id_of, paths)

    response = api.delete(f'{api.queue}/messages?ids={first},{NO_MESSAGE},x&ids={second}')
    again = api.delete(f'{api.queue}/messages?ids={first},{third}')

    assert [response.status_int, again.status_int] == [204, 204]
    assert is_empty(response)
    assert bodies(api.listed()) == ['d']


@both_versions
def test_claims_do_not_keep_messages_from_being_deleted_by_ids(api: LaterApi) -> None:
    paths = api.post_messages('a', 'b')
    claim = api.claim(limit=1)

    response = api.delete(f'{api.queue}/messages?ids={ids_of(paths)}')

    assert response.status_int == 204
    assert api.stats()['total'] == 0
    assert api.get(claim.href).status_int == 404


@both_versions
def test_what_is_not_there_is_deleted_all_the_same(api: LaterApi) -> None:
    response = api.delete(f'{api.queue}/messages?ids={NO_MESSAGE},x')

    assert response.status_int == 204
    assert api.queue_names() == []


@both_versions
@pytest.mark.parametrize(('count', 'status'), [(20, 204), (21, 400)])
def test_20_ids_are_deleted_at_once(api: LaterApi, count: int, status: int) -> None:
    paths = api.post_messages(*range(count))

    response = api.delete(f'{api.queue}/messages?ids={ids_of(paths)}')

    assert response.status_int == status
    assert api.stats()['total'] == (0 if status == 204 else count)


@both_versions
@pytest.mark.parametrize('query', ['', '?', '?ids=', '?pop=', '?ids=&pop=', '?x=1'])
def test_there_is_no_deleting_of_all(api: LaterApi, query: str) -> None:
    api.post_messages('kept')

    response = api.delete(f'{api.queue}/messages{query}')

    assert refusal(response)[0] == 400
    assert bodies(api.listed()) == ['kept']


# ---------------------------------------------------------------- pop


@both_versions
def test_a_pop_returns_the_oldest_messages_and_deletes_them(api: LaterApi) -> None:
    api.post_messages('a', 'b', 'c')

    response = api.delete(f'{api.queue}/messages?pop=2')

    assert response.status_int == 200
    assert response.json.keys() == {'messages'}
    assert bodies(response.json['messages']) == ['a', 'b']
    assert bodies(api.listed()) == ['c']
    assert api.stats()['total'] == 1


@both_versions
def test_a_popped_message_has_six_members_and_no_path(
    api: LaterApi, age: Callable[[int], None]
) -> None:
    [path] = api.post_messages({'event': 'x'}, ttl=300)
    age(20)

    [message] = api.popped()

    assert message.pop('age') in (20, 21)
    assert message == {
        'id': id_of(path),
        'ttl': 300,
        'body': {'event': 'x'},
        'claim_id': None,
        'claim_count': 0,
    }


@both_versions
def test_what_was_popped_is_gone(api: LaterApi) -> None:
    [path] = api.post_messages('x')
    api.popped()

    assert api.popped() == []
    assert api.get(path).status_int == 404
    assert api.post(f'{api.queue}/claims').status_int == 204
    assert api.listed('echo=true&include_claimed=true') == []


@both_versions
@pytest.mark.parametrize('count', [1, 7, 20])
def test_a_pop_takes_as_many_at_most(api: LaterApi, count: int) -> None:
    api.post_messages(*range(21))

    assert bodies(api.popped(count)) == list(range(count))


@both_versions
def test_a_pop_takes_what_is_there(api: LaterApi) -> None:
    api.post_messages('a', 'b')

    assert bodies(api.popped(20)) == ['a', 'b']


@both_versions
@pytest.mark.parametrize('existing', [True, False], ids=['existing', 'missing'])
def test_nothing_to_pop_is_an_empty_list(api: LaterApi, existing: bool) -> None:
    if existing:
        api.make_queue()

    response = api.delete(f'{api.queue}/messages?pop=1')

    assert response.status_int == 200
    assert response.json == {'messages': []}
    assert api.queue_names() == ['jobs'] * existing


@both_versions
def test_a_pop_leaves_what_is_claimed(api: LaterApi) -> None:
    api.post_messages('held', 'free')
    claim = api.claim(limit=1)

    assert bodies(api.popped()) == ['free']
    assert bodies(api.get(claim.href).json['messages']) == ['held']


@both_versions
def test_a_pop_takes_returned_messages_first(api: LaterApi) -> None:
    api.post_messages('a', 'b', 'c')
    claim_on_a, claim_on_b = api.claim(limit=1), api.claim(limit=1)
    api.delete(claim_on_b.href)

    assert bodies(api.popped(1)) == ['b']
    api.delete(claim_on_a.href)
    assert bodies(api.popped(2)) == ['a', 'c']


@both_versions
def test_a_pop_takes_what_an_expired_claim_held(api: LaterApi, age: Callable[[int], None]) -> None:
    api.post_messages('a')
    api.claim(ttl=60)
    age(61)

    [message] = api.popped()

    assert message['body'] == 'a'
    assert message['claim_id'] is None


@both_versions
def test_a_popped_message_tells_how_often_it_was_claimed(
    api: LaterApi, age: Callable[[int], None]
) -> None:
    api.post_messages('released and lapsed', 'never')
    api.delete(api.claim(limit=1).href)
    api.claim(limit=1, ttl=60)
    age(61)

    counts = {message['body']: message['claim_count'] for message in api.popped()}

    assert counts == {'released and lapsed': 2, 'never': 0}


@both_versions
def test_a_pop_leaves_what_has_expired(api: LaterApi, age: Callable[[int], None]) -> None:
    api.post_messages('short', ttl=60)
    api.post_messages('long', ttl=300)
    age(61)

    assert bodies(api.popped()) == ['long']


@both_versions
def test_no_message_is_popped_or_claimed_twice(api: LaterApi) -> None:
    api.post_messages(*range(120))

    def take(number: int) -> list[Any]:
        if number % 2:
            return bodies(api.popped(5))
        response = api.post(f'{api.queue}/claims?limit=5')
        return bodies(response.json['messages']) if response.status_int == 201 else []

    with ThreadPoolExecutor(8) as workers:
        taken = [body for batch in workers.map(take, range(48)) for body in batch]

    assert len(taken) == len(set(taken))
    assert len(taken) + api.stats()['free'] == 120


@both_versions
def test_a_queue_is_made_once_by_posts_at_the_same_time(api: LaterApi) -> None:
    with ThreadPoolExecutor(8) as clients:
        paths = list(clients.map(lambda number: api.post_messages(number), range(16)))

    assert api.queue_names() == ['jobs']
    assert api.stats()['total'] == len({path for [path] in paths}) == 16


@both_versions
def test_anyone_pops_anything(api: LaterApi) -> None:
    api.post_messages('own', client_id=CLIENT_ID)
    api.post_messages('foreign', client_id=OTHER_CLIENT_ID)

    assert bodies(api.popped()) == ['own', 'foreign']


@both_versions
@pytest.mark.parametrize(
    'query',
    [
        'pop=0',
        'pop=-1',
        'pop=21',
        'pop=1000000',
        'pop=10000000000000000000',
        'pop=x',
        'pop=1.5',
        'pop=10&ids=1',
        f'pop=1&ids={NO_MESSAGE}',
    ],
)
def test_a_pop_that_no_one_gets(api: LaterApi, query: str) -> None:
    api.post_messages('kept')

    response = api.delete(f'{api.queue}/messages?{query}')

    assert refusal(response)[0] == 400
    assert bodies(api.listed()) == ['kept']


# ---------------------------------------------------------------- one message


@both_versions
def test_a_claimed_message_names_its_claim(api: LaterApi) -> None:
    [path] = api.post_messages('x')
    claim = api.claim()

    held = api.get(path).json
    api.delete(claim.href)
    free = api.get(path).json

    assert held['href'] == f'{path}?claim_id={claim.id}'
    assert held.keys() == {'id', 'href', 'ttl', 'age', 'body'}
    assert held['id'] == id_of(path)
    assert free['href'] == path


@both_versions
def test_a_message_no_longer_names_a_claim_that_has_expired(
    api: LaterApi, age: Callable[[int], None]
) -> None:
    [path] = api.post_messages('x')
    api.claim(ttl=60)
    age(61)

    assert api.get(path).json['href'] == path
    assert api.listed('echo=true&include_claimed=true')[0]['href'] == path
    [found] = api.get(f'{api.queue}/messages?ids={id_of(path)}').json['messages']
    assert found['href'] == path


@pytest.mark.parametrize('identity', [*BAD_IDS, NO_MESSAGE])
def test_an_unknown_message_is_a_404(api: LaterApi, identity: str) -> None:
    api.make_queue()

    assert refusal(api.get(f'{api.queue}/messages/{identity}')) == (404, 'Not found')


@pytest.mark.parametrize('claim_id', ['', '?claim_id=nonsense'], ids=['plain', 'with-a-claim'])
@pytest.mark.parametrize('identity', [*BAD_IDS, NO_MESSAGE])
def test_deleting_an_unknown_message_is_a_204(api: LaterApi, identity: str, claim_id: str) -> None:
    api.make_queue()

    assert api.delete(f'{api.queue}/messages/{identity}{claim_id}').status_int == 204


@both_versions
def test_a_message_of_a_missing_queue(api: LaterApi) -> None:
    path = f'{api.queue}/messages/{NO_MESSAGE}'

    assert refusal(api.get(path)) == (404, 'Not found')
    assert api.delete(path).status_int == 204
    assert api.queue_names() == []


@both_versions
def test_a_message_is_deleted_once(api: LaterApi) -> None:
    path, other = api.post_messages('a', 'b')

    first, second = api.delete(path), api.delete(path)

    assert [first.status_int, second.status_int] == [204, 204]
    assert is_empty(first)
    assert not api.exists(path)
    assert api.exists(other)


# ---------------------------------------------------------------- the decision table (v1, 6.6)


@both_versions
@pytest.mark.parametrize('says', NO_CLAIM_AT_ALL)
def test_a_free_message_is_deleted_without_a_claim(
    api: LaterApi, age: Callable[[int], None], says: Says
) -> None:
    query = says(api, age)
    [path] = api.post_messages('x')

    assert api.delete(path + query).status_int == 204
    assert not api.exists(path)


@both_versions
@pytest.mark.parametrize('says', [*UNPARSABLE, *WELL_FORMED])
def test_a_free_message_is_kept_from_who_claims_to_hold_it(
    api: LaterApi, age: Callable[[int], None], says: Says
) -> None:
    query = says(api, age)
    [path] = api.post_messages('x')

    response = api.delete(path + query)

    assert api.exists(path)
    assert refusal(response) == (400, 'Unable to delete')


@both_versions
@pytest.mark.parametrize('says', [*NO_CLAIM_AT_ALL, *WELL_FORMED])
def test_a_claimed_message_is_kept_from_all_but_its_holder(
    api: LaterApi, age: Callable[[int], None], says: Says
) -> None:
    query = says(api, age)
    [path] = api.post_messages('x')
    claim = api.claim()
    assert claim.held == [path]

    response = api.delete(path + query)

    assert api.exists(path)
    assert refusal(response) == (403, 'Unable to delete')


@both_versions
@pytest.mark.parametrize('says', UNPARSABLE)
def test_a_claimed_message_is_kept_from_what_is_no_claim_id(
    api: LaterApi, age: Callable[[int], None], says: Says
) -> None:
    query = says(api, age)
    [path] = api.post_messages('x')
    api.claim()

    response = api.delete(path + query)

    assert api.exists(path)
    assert refusal(response) == (400, 'Unable to delete')


@both_versions
@pytest.mark.parametrize('says', [*NO_CLAIM_AT_ALL, *UNPARSABLE, *WELL_FORMED])
def test_a_message_that_is_gone_is_a_204_whatever_the_claim(
    api: LaterApi, age: Callable[[int], None], says: Says
) -> None:
    query = says(api, age)
    [path] = api.post_messages('x')
    api.delete(path)

    assert api.delete(path + query).status_int == 204


@both_versions
def test_a_claimed_message_is_deleted_by_its_holder(api: LaterApi) -> None:
    path, other = api.post_messages('a', 'b')
    claim = api.claim()

    response = api.delete(claim.messages[0]['href'])

    assert response.status_int == 204
    assert not api.exists(path)
    assert bodies(api.get(claim.href).json['messages']) == ['b']
    assert api.exists(other)


@both_versions
@pytest.mark.parametrize('again', [True, False], ids=['claimed-again', 'free'])
@pytest.mark.parametrize('end', ['released', 'expired'])
def test_a_former_holder_deletes_nothing(
    api: LaterApi, age: Callable[[int], None], end: str, again: bool
) -> None:
    [path] = api.post_messages('x')
    former = api.claim(ttl=60)
    if end == 'released':
        api.delete(former.href)
    else:
        age(63)
    if again:
        api.claim()

    response = api.delete(former.messages[0]['href'])

    assert refusal(response) == (403 if again else 400, 'Unable to delete')
    assert api.exists(path)


@both_versions
def test_a_post_of_too_many_messages_says_how_many_there_may_be(api: LaterApi) -> None:
    response = api.post(f'{api.queue}/messages', {'messages': [{'body': 1}] * 16_385})

    assert refusal(response) == OUT_OF_RANGE
    assert response.json['description'] == (
        'One request can post 16384 messages at most, not 16385: send them in several requests.'
    )
    assert api.stats()['total'] == 0
