"""Queues: made, read, listed, counted, deleted (docs/protocol-v2.md, 5; 3.1 where 1.1 differs)."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ..client import PROJECT, Api, LaterApi, is_empty, next_of, refusal
from .requests import LATER_VERSIONS

both_versions = pytest.mark.parametrize('version', LATER_VERSIONS)

#: What version 2 shows of a queue that says nothing else.
DEFAULTS = {
    '_max_messages_post_size': 262144,
    '_default_message_ttl': 3600,
    '_default_message_delay': 0,
    '_dead_letter_queue': None,
    '_dead_letter_queue_messages_ttl': None,
    '_max_claim_count': None,
    '_enable_encrypt_messages': False,
}
BODY_REFUSED = (400, 'Invalid request body')
OUT_OF_RANGE = (400, 'Invalid API request')
ZERO = {
    '/v1.1': {'messages': {'claimed': 0, 'free': 0, 'total': 0}},
    '/v2': {'messages': {'claimed': 0, 'free': 0, 'total': 0, 'parked': 0}},
}


def shown(api: LaterApi, metadata: dict[str, Any]) -> dict[str, Any]:
    """What a queue with that metadata shows: version 2 adds the defaults."""
    return metadata if api.version == '/v1.1' else DEFAULTS | metadata


def metadata_of(size: int) -> bytes:
    """Metadata of that many bytes."""
    return b'{"a": "%s"}' % (b'x' * (size - len(b'{"a": ""}')))


# ---------------------------------------------------------------- making one


@both_versions
@pytest.mark.parametrize('body', [None, '', '{}'], ids=['no-body', 'no-bytes', 'empty-object'])
def test_a_queue_is_made(api: LaterApi, body: str | None) -> None:
    response = api.put(api.queue, body)

    assert response.status_int == 201
    assert response.headers['Location'] == api.queue
    assert response.body == b''
    assert api.queue_names() == ['jobs']
    assert api.get(api.queue).json == shown(api, {})


@both_versions
def test_a_queue_is_made_with_its_metadata(api: LaterApi) -> None:
    metadata = {'messages': {'ttl': 600}, '名前': ['ü', None, 1.5]}

    response = api.put(api.queue, metadata)

    assert response.status_int == 201
    assert api.get(api.queue).json == shown(api, metadata)


@both_versions
@pytest.mark.parametrize('body', [None, {}, {'b': 2}], ids=['no-body', 'empty', 'other'])
def test_making_a_queue_again_changes_nothing(api: LaterApi, body: Any) -> None:
    api.make_queue(metadata={'a': 1})
    [message] = api.post_messages('kept')

    response = api.put(api.queue, body)

    assert response.status_int == 204
    assert response.headers['Location'] == api.queue
    assert is_empty(response)
    assert api.get(api.queue).json == shown(api, {'a': 1})
    assert api.exists(message)


@both_versions
@pytest.mark.parametrize(
    'body', ['[', '{', '.', '"x"', '[]', '[{"a": 1}]', '1', 'null', '  ', b'\xff', b'{"a": "\xff"}']
)
def test_metadata_must_be_an_object(api: LaterApi, body: str | bytes) -> None:
    response = api.put(api.queue, body)

    assert refusal(response) == BODY_REFUSED
    assert api.queue_names() == []


@both_versions
def test_bad_metadata_is_refused_for_a_queue_that_exists_too(api: LaterApi) -> None:
    api.make_queue(metadata={'a': 1})

    assert refusal(api.put(api.queue, '[]')) == BODY_REFUSED
    assert refusal(api.put(api.queue, {'_default_message_ttl': 0})) == OUT_OF_RANGE
    assert api.get(api.queue).json == shown(api, {'a': 1})


@both_versions
def test_metadata_of_64_kib_is_taken(api: LaterApi) -> None:
    assert api.put(api.queue, metadata_of(65536)).status_int == 201


@both_versions
def test_metadata_of_a_byte_more_is_refused(api: LaterApi) -> None:
    response = api.put(api.queue, metadata_of(65537))

    assert refusal(response) == OUT_OF_RANGE
    assert api.queue_names() == []


# ---------------------------------------------------------------- reserved attributes

GOOD = {
    '_default_message_ttl': (60, 3600, 1_209_600),
    '_max_messages_post_size': (1, 262144),
    '_max_claim_count': (1, 10, -1, 2**31 - 1),
    '_dead_letter_queue_messages_ttl': (60, 1_209_600),
    '_dead_letter_queue': ('dead', 'x' * 64),
    '_default_message_delay': (0, 1, 900),
    '_enable_encrypt_messages': (False,),
}
BAD = {
    '_default_message_ttl': ('59', '1209601', '0', '-1', '"60"', '60.5', '[]', '{}', 'true', '""'),
    '_max_messages_post_size': ('0', '262145', '-1', '"1"', '1.5', '[]', '{}'),
    '_max_claim_count': ('"1"', '1.5', '[1]', '{}', '2147483648', '9223372036854775807'),
    '_dead_letter_queue': ('5', 'true', '[]', '{}', '"a b"', '"ü"', '"a\\u0000"', f'"{"x" * 81}"'),
    '_dead_letter_queue_messages_ttl': ('59', '1209601', '-1', '"60"', '60.5', '[60]'),
    '_default_message_delay': ('-1', '901', '"1"', '1.5', '[1]'),
    '_enable_encrypt_messages': ('"true"', '1', '[true]', '{}'),
}
each_good = pytest.mark.parametrize(
    ('name', 'value'),
    [
        pytest.param(name, value, id=f'{name}={value}')
        for name, values in GOOD.items()
        for value in values
    ],
)
each_bad = pytest.mark.parametrize(
    ('name', 'value'),
    [
        pytest.param(name, value, id=f'{name}={value}')
        for name, values in BAD.items()
        for value in values
    ],
)


@both_versions
@each_good
def test_a_reserved_attribute_is_stored(api: LaterApi, name: str, value: Any) -> None:
    response = api.put(api.queue, {name: value, 'a': 1})

    assert response.status_int == 201
    assert api.get(api.queue).json == shown(api, {name: value, 'a': 1})


@both_versions
@each_bad
def test_a_reserved_attribute_keeps_its_rule(api: LaterApi, name: str, value: str) -> None:
    response = api.put(api.queue, f'{{"a": 1, "{name}": {value}}}')

    assert refusal(response) == OUT_OF_RANGE
    assert api.queue_names() == []


@both_versions
@pytest.mark.parametrize('name', DEFAULTS)
def test_null_for_a_reserved_attribute_passes(api: LaterApi, name: str) -> None:
    assert api.put(api.queue, {name: None}).status_int == 201


@pytest.mark.parametrize('name', DEFAULTS)
def test_null_for_a_reserved_attribute_shows_the_default(api: LaterApi, name: str) -> None:
    api.put(api.queue, {name: None})

    assert api.get(api.queue).json == DEFAULTS


@both_versions
@pytest.mark.parametrize('metadata', [{'_a': 1}, {'_': None}, {'_flavor': 'x', '_queue': {}}])
def test_other_names_with_an_underscore_in_front_are_free(
    api: LaterApi, metadata: dict[str, Any]
) -> None:
    response = api.put(api.queue, metadata)

    assert response.status_int == 201
    assert api.get(api.queue).json == shown(api, metadata)


@both_versions
def test_a_dead_letter_queue_that_cannot_be_is_refused_with_what_can(api: LaterApi) -> None:
    response = api.put(api.queue, {'_dead_letter_queue': 'x' * 60_000})

    assert response.json['description'] == (
        '_dead_letter_queue must be null or the name of a queue: '
        '1 to 64 of the characters A-Z a-z 0-9 _ - and dot.'
    )


@pytest.mark.parametrize(
    ('name', 'value'), [('_dead_letter_queue', 'a b'), ('_max_claim_count', 2**31)]
)
def test_a_patch_keeps_the_rules_of_reserved_attributes(
    api: LaterApi, name: str, value: Any
) -> None:
    api.make_queue()

    response = api.change({'op': 'add', 'path': f'/metadata/{name}', 'value': value})

    assert refusal(response)[0] == 400
    assert api.get(api.queue).json == DEFAULTS


@both_versions
@pytest.mark.parametrize('levels', [500, 501, 985])
def test_metadata_may_be_nested_500_levels_deep(api: LaterApi, levels: int) -> None:
    text = '{"a": ' + '[' * (levels - 1) + ']' * (levels - 1) + '}'

    response = api.put(api.queue, text)

    assert response.status_int == (201 if levels == 500 else 400)
    api.post_messages('x')
    assert len(api.claim().messages) == 1
    assert api.queue_names('detailed=true&a=x') == ([] if api.version == '/v2' else ['jobs'])


@both_versions
def test_encryption_is_refused_rather_than_ignored(api: LaterApi) -> None:
    response = api.put(api.queue, {'_enable_encrypt_messages': True})

    assert refusal(response)[0] == 400
    assert 'encrypt' in response.json['description'].lower()
    assert api.queue_names() == []


@both_versions
@pytest.mark.parametrize('value', ['9223372036854775808', '1e400', '10000000000000000000'])
@pytest.mark.parametrize('name', ['_default_message_ttl', '_max_claim_count'])
def test_a_number_beyond_64_bits_is_refused(api: LaterApi, name: str, value: str) -> None:
    response = api.put(api.queue, f'{{"{name}": {value}}}')

    assert refusal(response)[0] == 400


# ---------------------------------------------------------------- reading one


@both_versions
def test_a_missing_queue_shows_itself_as_an_empty_one_and_is_not_made(api: LaterApi) -> None:
    response = api.get(api.queue)

    assert response.status_int == 200
    assert response.json == shown(api, {})
    assert api.queue_names() == []


def test_a_falsy_reserved_attribute_shows_its_default(api: LaterApi) -> None:
    api.put(
        api.queue,
        {'_default_message_delay': 0, '_dead_letter_queue': '', '_enable_encrypt_messages': False},
    )

    assert api.get(api.queue).json == DEFAULTS


def test_a_falsy_attribute_of_ones_own_is_kept(api: LaterApi) -> None:
    falsy = {'zero': 0, 'no': False, 'nothing': None, 'empty': '', '_own': 0}
    api.put(api.queue, falsy)

    assert api.get(api.queue).json == DEFAULTS | falsy


@both_versions
def test_reading_a_queue_ignores_parameters(api: LaterApi) -> None:
    api.make_queue(metadata={'a': 1})

    response = api.get(f'{api.queue}?limit=x&marker=1')

    assert response.json == shown(api, {'a': 1})


# ---------------------------------------------------------------- deleting one


@both_versions
def test_a_queue_is_deleted_whether_or_not_it_exists(api: LaterApi) -> None:
    api.make_queue(metadata={'a': 1})

    first, second = api.delete(api.queue), api.delete(api.queue)

    assert [first.status_int, second.status_int] == [204, 204]
    assert is_empty(first)
    assert api.queue_names() == []
    assert api.get(api.queue).json == shown(api, {})


@both_versions
def test_a_deleted_queue_takes_all_that_was_in_it(api: LaterApi) -> None:
    held, free = api.post_messages('held', 'free')
    claim = api.claim(limit=1)

    api.delete(api.queue)

    for path in (held, free, claim.href):
        assert api.get(path).status_int == 404
    assert api.listed('echo=true&include_claimed=true') == []
    assert api.get(f'{api.queue}/stats').json == ZERO[api.version]


@both_versions
def test_a_queue_that_is_made_again_by_a_post_is_empty(api: LaterApi) -> None:
    api.make_queue(metadata={'a': 1})
    api.post_messages('old')
    api.delete(api.queue)

    api.post_messages('new')

    assert [message['body'] for message in api.listed()] == ['new']
    assert api.get(api.queue).json == shown(api, {})


# ---------------------------------------------------------------- the list


@both_versions
def test_no_queues_is_an_empty_list(api: LaterApi) -> None:
    response = api.get(f'{api.version}/queues')

    assert response.status_int == 200
    assert response.json == {'queues': [], 'links': []}


@both_versions
def test_queues_are_listed_by_name(api: LaterApi) -> None:
    names = ['b', 'a', 'C', '_', '1', '-', 'aa', 'a.b']
    for name in names:
        api.make_queue(name)

    assert api.queue_names() == sorted(names)


@both_versions
def test_a_queue_in_the_list_has_its_name_and_path_only(api: LaterApi) -> None:
    api.make_queue(metadata={'a': 1})

    document = api.get(f'{api.version}/queues').json

    assert document.keys() == {'queues', 'links'}
    assert document['queues'] == [{'name': 'jobs', 'href': api.queue}]


@both_versions
def test_a_detailed_list_shows_what_each_queue_shows(api: LaterApi) -> None:
    api.make_queue('q1', metadata={'node': 31})
    api.make_queue('q2', metadata={'_default_message_ttl': 60})

    queues = api.get(f'{api.version}/queues?detailed=true').json['queues']

    assert [entry.keys() for entry in queues] == [{'name', 'href', 'metadata'}] * 2
    assert queues[0]['metadata'] == shown(api, {'node': 31})
    assert queues[1]['metadata'] == shown(api, {'_default_message_ttl': 60})
    for entry in queues:
        assert entry['metadata'] == api.get(entry['href']).json


@both_versions
@pytest.mark.parametrize('detailed', ['true', 'True', 't', 'yes', 'y', '1', 'on'])
def test_the_list_is_detailed_in_every_spelling_of_true(api: LaterApi, detailed: str) -> None:
    api.make_queue()

    [entry] = api.get(f'{api.version}/queues?detailed={detailed}').json['queues']

    assert 'metadata' in entry


@both_versions
@pytest.mark.parametrize(('query', 'count'), [('', 10), ('limit=1', 1), ('limit=20', 20)])
def test_a_page_has_10_queues_and_at_most_20(api: LaterApi, query: str, count: int) -> None:
    names = [f'q{number:02}' for number in range(21)]
    for name in names:
        api.make_queue(name)

    assert api.queue_names(query) == names[:count]


@both_versions
@pytest.mark.parametrize(
    ('query', 'title'),
    [
        ('limit=0', 'Invalid API request'),
        ('limit=21', 'Invalid API request'),
        ('limit=-1', 'Invalid API request'),
        ('limit=1001', 'Invalid API request'),
        ('limit=x', 'Invalid parameter'),
        ('limit=1.5', 'Invalid parameter'),
        ('detailed=maybe', 'Invalid parameter'),
        ('detailed=TRUE', 'Invalid parameter'),
    ],
)
def test_a_page_that_no_one_gets(api: LaterApi, query: str, title: str) -> None:
    response = api.get(f'{api.version}/queues?{query}')

    assert refusal(response) == (400, title)


@both_versions
def test_a_parameter_without_a_value_is_absent(api: LaterApi) -> None:
    api.make_queue()

    response = api.get(f'{api.version}/queues?limit=&marker=&detailed=')

    assert response.json['queues'] == [{'name': 'jobs', 'href': api.queue}]
    assert parse_qs(urlsplit(next_of(response)).query) == {'marker': ['jobs']}


@both_versions
@pytest.mark.parametrize(
    ('query', 'repeated'),
    [
        ('', {}),
        ('limit=2', {'limit': ['2']}),
        ('detailed=True', {'detailed': ['true']}),
        ('detailed=off', {'detailed': ['false']}),
        ('limit=2&detailed=1', {'limit': ['2'], 'detailed': ['true']}),
        ('marker=a&limit=2', {'limit': ['2']}),
    ],
)
def test_next_repeats_what_was_asked_for(
    api: LaterApi, query: str, repeated: dict[str, list[str]]
) -> None:
    api.make_queue('q1')
    api.make_queue('q2')

    target = urlsplit(next_of(api.get(f'{api.version}/queues?{query}')))

    assert target.path == f'{api.version}/queues'
    assert target.netloc == ''
    assert parse_qs(target.query) == repeated | {'marker': ['q2']}


@both_versions
def test_following_next_meets_every_queue_once_and_ends(api: LaterApi) -> None:
    for number in range(7):
        api.make_queue(f'q{number}')
    target, met = f'{api.version}/queues?limit=3', []

    while (response := api.get(target)).json['queues']:
        met.append([entry['name'] for entry in response.json['queues']])
        target = next_of(response)

    assert response.status_int == 200
    assert response.json == {'queues': [], 'links': []}
    assert met == [['q0', 'q1', 'q2'], ['q3', 'q4', 'q5'], ['q6']]


@both_versions
def test_a_marker_is_exclusive_and_need_not_exist(api: LaterApi) -> None:
    for name in ('a', 'c'):
        api.make_queue(name)

    assert api.queue_names('marker=a') == ['c']
    assert api.queue_names('marker=b') == ['c']
    assert api.queue_names('marker=Z') == ['a', 'c']
    assert api.queue_names('marker=c') == []
    assert api.queue_names('marker=zzz') == []


@both_versions
@pytest.mark.parametrize('marker', ['%FF', '%C3%BC', 'z%00', '%F0%9F%9A%80', 'z' * 5000, '%27%3B'])
def test_any_text_is_a_marker(api: LaterApi, marker: str) -> None:
    api.make_queue()

    assert api.get(f'{api.version}/queues?marker={marker}').status_int == 200


@both_versions
def test_the_list_is_of_the_own_project_only(api: LaterApi) -> None:
    api.make_queue('own')
    api.make_queue('of-b', project='b')

    assert api.queue_names() == ['own']


# ---------------------------------------------------------------- the list: with_count


@pytest.mark.parametrize('spelling', ['true', 'True', '1'])
def test_the_count_is_of_all_queues_of_the_project(api: LaterApi, spelling: str) -> None:
    for name in ('a', 'b', 'c'):
        api.make_queue(name)
    api.make_queue('foreign', project='other')

    document = api.get(f'/v2/queues?limit=1&marker=a&with_count={spelling}').json

    assert document.keys() == {'queues', 'links', 'count'}
    assert document['count'] == 3


@pytest.mark.parametrize('query', ['name=a', 'node=1', 'marker=zzz'])
def test_the_count_is_not_of_the_page(api: LaterApi, query: str) -> None:
    api.make_queue('a', metadata={'node': 1})
    api.make_queue('b')

    assert api.get(f'/v2/queues?with_count=true&{query}').json['count'] == 2


@pytest.mark.parametrize('query', ['', '?with_count=false', '?with_count='])
def test_nobody_counts_unasked(api: LaterApi, query: str) -> None:
    api.make_queue()

    assert 'count' not in api.get(f'/v2/queues{query}').json


def test_a_count_of_0_is_absent(api: LaterApi) -> None:
    assert api.get('/v2/queues?with_count=true').json == {'queues': [], 'links': []}


def test_whether_to_count_is_a_truth_value(api: LaterApi) -> None:
    assert refusal(api.get('/v2/queues?with_count=maybe')) == (400, 'Invalid parameter')


# ---------------------------------------------------------------- the list: name


@pytest.mark.parametrize(
    ('text', 'found'),
    [
        ('q', ['q1', 'q2', 'xq.3', 'xq_4']),
        ('q1', ['q1']),
        ('.', ['xq.3']),
        ('_', ['xq_4']),
        ('q.', ['xq.3']),
        ('x', ['xq.3', 'xq_4']),
        ('Q', ['Q5']),
        ('%25', []),
        ('q%25', []),
        ('q.*', []),
        ('%5Eq', []),
        ('%5Bq%5D', []),
        ('%5C', []),
        ('%5C_', []),
        ('%27', []),
        ('%00', []),
        ('%FF', []),
        ('%C3%BC', []),
        ('nothing', []),
        ('', ['Q5', 'a', 'q1', 'q2', 'xq.3', 'xq_4']),
    ],
)
def test_a_name_finds_the_queues_that_contain_it_literally(
    api: LaterApi, text: str, found: list[str]
) -> None:
    for name in ('q1', 'q2', 'xq.3', 'xq_4', 'Q5', 'a'):
        api.make_queue(name)

    assert api.queue_names(f'name={text}') == found


def test_next_repeats_the_name_so_that_its_pages_follow(api: LaterApi) -> None:
    for name in ('q1', 'x', 'q2', 'a-q', 'y'):
        api.make_queue(name)
    target, met = '/v2/queues?limit=1&name=q&with_count=True', list[str]()

    while (response := api.get(target)).json['queues']:
        met.extend(entry['name'] for entry in response.json['queues'])
        target = next_of(response)
        query = parse_qs(urlsplit(target).query)
        assert query == {
            'limit': ['1'],
            'name': ['q'],
            'with_count': ['true'],
            'marker': [met[-1]],
        }

    assert met == ['a-q', 'q1', 'q2']


# ---------------------------------------------------------------- the list: metadata filters


@pytest.fixture
def filtered(api: LaterApi) -> LaterApi:
    """A project with queues of differing metadata."""
    api.make_queue('q1', metadata={'key1': 'one', 'node': 31, 'deep': {'node': 34}})
    api.make_queue('q2', metadata={'key1': 'one', 'node': 32, '_max_messages_post_size': 2000})
    api.make_queue('q3', metadata={'key1': 'tree', 'node': -5, 'key2': 30, 'ü': "it's"})
    api.make_queue('x4')
    return api


@pytest.mark.parametrize(
    ('query', 'found'),
    [
        ('node=31', ['q1']),
        ('node=-5', ['q3']),
        ('node=34', []),
        ('key1=one', ['q1', 'q2']),
        ('key1=on', []),
        ('key1=ONE', []),
        ('key1=one&node=32', ['q2']),
        ('key1=tree&node=32', []),
        ('name=q&key2=30', ['q3']),
        ('name=x&key2=30', []),
        ('_max_messages_post_size=2000', ['q2']),
        ('%C3%BC=it%27s', ['q3']),
        ('nothing=1', []),
        ('key1=%00', []),
        ('%00=1', []),
        ('key1=%FF', []),
        ('node=99999999999999999999999', []),
        ('%27%20OR%201%3D1--=x', []),
        ('deep.node=34', []),
        ('node=', ['q1', 'q2', 'q3', 'x4']),
        ('key1=one&limit=1', ['q1']),
        ('key1=one&marker=q1', ['q2']),
    ],
)
def test_metadata_filters_the_list(filtered: LaterApi, query: str, found: list[str]) -> None:
    assert filtered.queue_names(query) == found


def test_a_page_of_a_filter_that_finds_little_is_short_and_has_a_link(
    api: LaterApi, sql: Callable[..., Any]
) -> None:
    sql(
        """
        INSERT INTO queues
        SELECT g, %s, lpad(g::text, 6, '0'), '{}', now(), 0 FROM generate_series(1, 10010) AS g""",
        PROJECT,
    )
    api.make_queue('last', metadata={'foo': 1})

    page = api.get('/v2/queues?foo=1&limit=1')

    assert page.json['queues'] == []
    target = next_of(page)
    assert parse_qs(urlsplit(target).query) == {'limit': ['1'], 'marker': ['010000']}
    [found] = api.get(f'{target}&foo=1').json['queues']
    assert found['name'] == 'last'


def test_next_does_not_repeat_the_filters(filtered: LaterApi) -> None:
    response = filtered.get('/v2/queues?limit=1&key1=one&node=31')

    assert parse_qs(urlsplit(next_of(response)).query) == {'limit': ['1'], 'marker': ['q1']}


# ---------------------------------------------------------------- stats


@both_versions
def test_the_stats_of_a_missing_queue_are_zeros_and_make_none(api: LaterApi) -> None:
    response = api.get(f'{api.queue}/stats')

    assert response.status_int == 200
    assert response.json == ZERO[api.version]
    assert api.queue_names() == []


@both_versions
def test_the_stats_of_an_empty_queue_have_no_ends(api: LaterApi) -> None:
    api.make_queue()

    assert api.get(f'{api.queue}/stats').json == ZERO[api.version]


@both_versions
def test_stats_count_what_is_free_and_claimed(api: LaterApi) -> None:
    api.post_messages(*range(5))
    api.claim(limit=2)

    stats = api.stats()

    assert (stats['free'], stats['claimed'], stats['total']) == (3, 2, 5)


@both_versions
def test_stats_name_the_ends_of_the_line(api: LaterApi, age: Callable[[int], None]) -> None:
    oldest, _ = api.post_messages('first', 'second')
    age(50)
    _, newest = api.post_messages('third', 'last')

    stats = api.stats()

    counts = ZERO[api.version]['messages'].keys()
    assert stats.keys() == {*counts, 'oldest', 'newest'}
    assert stats['oldest'].keys() == stats['newest'].keys() == {'href', 'age', 'created'}
    assert stats['oldest']['href'] == oldest
    assert stats['newest']['href'] == newest
    assert stats['oldest']['age'] in (50, 51)
    for end in ('oldest', 'newest'):
        assert re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ', stats[end]['created'])


# ---------------------------------------------------------------- beside version 1


@both_versions
def test_a_queue_that_version_1_made_is_listed(api: LaterApi, app: Any) -> None:
    Api(app).make_queue('old', project='acme', metadata={'a': 1})

    [entry] = api.get(f'{api.version}/queues?detailed=true').json['queues']

    assert entry['metadata'] == shown(api, {'a': 1})
