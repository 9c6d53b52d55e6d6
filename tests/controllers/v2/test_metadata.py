"""The metadata of a queue, changed by JSON-patch (docs/protocol-v2.md, 5.4 and 14.2)."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ..client import JSON_PATCH, LaterApi, refusal
from .test_queues import DEFAULTS, each_bad, each_good

BODY_REFUSED = (400, 'Invalid request body')
CONFLICT = (409, 'Resource conflict')
BEFORE = {'a': 1, 'b': {'c': [2]}}


@pytest.fixture
def made(api: LaterApi) -> LaterApi:
    """A client whose queue has metadata."""
    api.make_queue(metadata=BEFORE)
    return api


def add(path: Any, value: Any) -> dict[str, Any]:
    return {'op': 'add', 'path': path, 'value': value}


def replace(path: Any, value: Any) -> dict[str, Any]:
    return {'op': 'replace', 'path': path, 'value': value}


def remove(path: Any) -> dict[str, Any]:
    return {'op': 'remove', 'path': path}


OPERATIONS = pytest.mark.parametrize(
    'operation',
    [lambda path: add(path, 9), lambda path: replace(path, 9), remove],
    ids=['add', 'replace', 'remove'],
)


# ---------------------------------------------------------------- what changes


@pytest.mark.parametrize(
    ('operations', 'after'),
    [
        ([], BEFORE),
        ([add('/metadata/x', 5)], {**BEFORE, 'x': 5}),
        ([add('/metadata/a', 5)], {**BEFORE, 'a': 5}),
        ([add('/metadata/x', None)], {**BEFORE, 'x': None}),
        ([add('/metadata/x', {'y': ['ü']})], {**BEFORE, 'x': {'y': ['ü']}}),
        ([add('/Metadata/x', 5)], {**BEFORE, 'x': 5}),
        ([add('/METADATA/x', 5)], {**BEFORE, 'x': 5}),
        ([replace('/metadata/a', 5)], {**BEFORE, 'a': 5}),
        ([replace('/metadata/b', None)], {**BEFORE, 'b': None}),
        ([remove('/metadata/a')], {'b': {'c': [2]}}),
        ([remove('/metadata/a'), remove('/metadata/b')], {}),
        ([add('/metadata/x~1y', 5)], {**BEFORE, 'x/y': 5}),
        ([add('/metadata/x~0y', 5)], {**BEFORE, 'x~y': 5}),
        ([add('/metadata/~01', 5)], {**BEFORE, '~1': 5}),
        ([add('/metadata/ü', 5)], {**BEFORE, 'ü': 5}),
        ([add('/metadata/_own', 5)], {**BEFORE, '_own': 5}),
        ([add('/metadata/x', 5), replace('/metadata/x', 6)], {**BEFORE, 'x': 6}),
        ([add('/metadata/x', 5), remove('/metadata/x')], BEFORE),
        ([remove('/metadata/a'), add('/metadata/a', 7)], {**BEFORE, 'a': 7}),
        ([{**add('/metadata/x', 5), 'from': '/y', 'z': []}], {**BEFORE, 'x': 5}),
        ([{**remove('/metadata/a'), 'value': 'ignored'}], {'b': {'c': [2]}}),
    ],
    ids=[
        'no-operation',
        'add',
        'add-over-an-old-one',
        'add-null',
        'add-a-document',
        'metadata-capitalized',
        'metadata-upper-case',
        'replace',
        'replace-by-null',
        'remove',
        'remove-all',
        'escaped-slash',
        'escaped-tilde',
        'escaped-tilde-before-1',
        'unicode',
        'own-name-with-underscore',
        'add-then-replace',
        'add-then-remove',
        'remove-then-add',
        'unknown-members-of-add',
        'value-of-remove',
    ],
)
def test_operations_apply_in_order(
    made: LaterApi, operations: list[Any], after: dict[str, Any]
) -> None:
    response = made.change(*operations)

    assert response.status_int == 200, response.text
    assert response.headers['Content-Type'] == 'application/json'
    assert response.json == DEFAULTS | after
    assert made.get(made.queue).json == DEFAULTS | after


@pytest.mark.parametrize('operation', [add, replace])
@each_good
def test_a_reserved_attribute_is_set_whether_or_not_it_was(
    made: LaterApi, operation: Any, name: str, value: Any
) -> None:
    for _ in range(2):
        response = made.change(operation(f'/metadata/{name}', value))

        assert response.status_int == 200
        assert response.json == DEFAULTS | BEFORE | {name: value}


@pytest.mark.parametrize('name', DEFAULTS)
def test_removing_a_reserved_attribute_that_is_not_set_changes_nothing(
    made: LaterApi, name: str
) -> None:
    response = made.change(remove(f'/metadata/{name}'))

    assert response.status_int == 200
    assert response.json == DEFAULTS | BEFORE


@pytest.mark.parametrize('name', DEFAULTS)
def test_null_for_a_reserved_attribute_shows_the_default(made: LaterApi, name: str) -> None:
    response = made.change(replace(f'/metadata/{name}', None))

    assert response.json == DEFAULTS | BEFORE


def test_a_client_may_replace_all_there_is(made: LaterApi) -> None:
    current = made.get(made.queue).json

    response = made.change(
        add('/metadata/new', 1), *(remove(f'/metadata/{name}') for name in current)
    )

    assert response.json == DEFAULTS | {'new': 1}


def test_the_chain_of_changes_that_clients_rely_on(api: LaterApi) -> None:
    api.make_queue()

    def change(*operations: Any) -> Any:
        response = api.change(*operations)
        return response.json if response.status_int == 200 else refusal(response)

    one_and_two = DEFAULTS | {'key1': 1, 'key2': 2}
    assert change(add('/metadata/key1', 1), add('/metadata/key2', 2)) == one_and_two
    assert change(remove('/metadata/_default_message_ttl')) == one_and_two
    assert change(replace('/metadata/key1', 3)) == one_and_two | {'key1': 3}
    shorter = change(replace('/metadata/_default_message_ttl', 300))
    assert shorter == one_and_two | {'key1': 3, '_default_message_ttl': 300}
    assert change(remove('/metadata/_default_message_ttl')) == one_and_two | {'key1': 3}
    assert change(replace('/metadata/key3', 4)) == CONFLICT
    assert change(remove('/metadata/key3')) == CONFLICT
    api.delete(api.queue)
    assert change(add('/metadata/key1', 1)) == (404, 'Not found')
    assert change(remove('/metadata/key1')) == (404, 'Not found')


def test_a_changed_default_is_that_of_later_messages(made: LaterApi) -> None:
    [before] = made.post_messages('x', ttl=None)
    made.change(add('/metadata/_default_message_ttl', 300))

    [after] = made.post_messages('x', ttl=None)

    assert made.get(before).json['ttl'] == 3600
    assert made.get(after).json['ttl'] == 300


def test_a_change_does_not_touch_the_messages(made: LaterApi) -> None:
    held, free = made.post_messages('held', 'free')
    claim = made.claim(limit=1)

    made.change(remove('/metadata/a'))

    assert made.exists(held)
    assert made.exists(free)
    assert made.exists(claim.href)


# ---------------------------------------------------------------- what conflicts


@pytest.mark.parametrize('operation', [replace('/metadata/x', 1), remove('/metadata/x')])
@pytest.mark.parametrize('others', [[], [add('/metadata/a', 9)]], ids=['alone', 'after-a-good-one'])
def test_what_is_not_there_is_neither_replaced_nor_removed(
    made: LaterApi, operation: Any, others: list[Any]
) -> None:
    response = made.change(*others, operation)

    assert refusal(response) == CONFLICT
    assert made.get(made.queue).json == DEFAULTS | BEFORE


def test_what_was_removed_is_not_there(made: LaterApi) -> None:
    response = made.change(remove('/metadata/a'), replace('/metadata/a', 1))

    assert refusal(response) == CONFLICT
    assert made.get(made.queue).json == DEFAULTS | BEFORE


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    'type_',
    [
        None,
        '',
        'application/json',
        f'{JSON_PATCH}; charset=utf-8',
        f'{JSON_PATCH};charset=utf-8',
        'application/json-patch+json',
        'application/openstack-messaging-v2-json-patch',
        f'{JSON_PATCH}x',
        '*/*',
    ],
)
def test_only_the_one_type_is_read(made: LaterApi, type_: str | None) -> None:
    headers = {} if type_ is None else {'Content-Type': type_}

    response = made.patch(made.queue, [add('/metadata/x', 1)], headers=headers)

    status, title = refusal(response)
    assert status == 415
    assert JSON_PATCH in title
    assert response.json.keys() == {'title'}
    assert made.get(made.queue).json == DEFAULTS | BEFORE


@pytest.mark.parametrize(
    'body',
    [
        None,
        '',
        '[',
        '.',
        '{}',
        '{"op": "remove", "path": "/metadata/a"}',
        '"x"',
        '1',
        'null',
        '[1]',
        '["remove"]',
        '[null]',
        '[[]]',
        '[{}]',
        b'[\xff]',
    ],
)
def test_a_change_is_a_list_of_operations(made: LaterApi, body: str | bytes | None) -> None:
    response = made.patch(made.queue, body, headers={'Content-Type': JSON_PATCH})

    assert refusal(response) == BODY_REFUSED
    assert made.get(made.queue).json == DEFAULTS | BEFORE


@pytest.mark.parametrize('others', [[], [remove('/metadata/b')]], ids=['alone', 'after-a-good-one'])
@pytest.mark.parametrize(
    'operation',
    [
        {'path': '/metadata/a', 'value': 1},
        {'op': 'copy', 'from': '/metadata/a', 'path': '/metadata/x', 'value': 1},
        {'op': 'move', 'from': '/metadata/a', 'path': '/metadata/x'},
        {'op': 'test', 'path': '/metadata/a', 'value': 1},
        {'op': 'a', 'path': '/metadata/a', 'value': 1},
        {'op': '', 'path': '/metadata/a', 'value': 1},
        {'op': None, 'path': '/metadata/a', 'value': 1},
        {'op': ['add'], 'path': '/metadata/a', 'value': 1},
        {'op': 5, 'path': '/metadata/a', 'value': 1},
        {'op': 'add', 'value': 1},
        {'op': 'remove'},
        {'op': 'add', 'path': '/metadata/a'},
        {'op': 'replace', 'path': '/metadata/a'},
        add('/foo/a', 1),
        replace('/foo/a', 1),
    ],
    ids=[
        'no-op',
        'copy',
        'move',
        'test',
        'unknown-op',
        'empty-op',
        'null-op',
        'list-for-op',
        'number-for-op',
        'add-without-path',
        'remove-without-path',
        'add-without-value',
        'replace-without-value',
        'add-elsewhere',
        'replace-elsewhere',
    ],
)
def test_an_operation_says_what_where_and_which_value(
    made: LaterApi, operation: Any, others: list[Any]
) -> None:
    response = made.change(*others, operation)

    assert refusal(response) == BODY_REFUSED
    assert made.get(made.queue).json == DEFAULTS | BEFORE


@OPERATIONS
@pytest.mark.parametrize(
    'path',
    [
        '',
        '/',
        '/a',
        '/metadata',
        '/metadata/',
        'metadata/a',
        '/metadata/a/',
        '/metadata//a',
        '//metadata/a',
        '/metadata/a/b',
        '/metadata/b/c',
        None,
        5,
        ['/metadata/a'],
    ],
    ids=repr,
)
def test_a_path_has_two_segments(made: LaterApi, operation: Any, path: Any) -> None:
    response = made.change(operation(path))

    assert refusal(response) == BODY_REFUSED
    assert made.get(made.queue).json == DEFAULTS | BEFORE


@each_bad
def test_a_reserved_attribute_keeps_its_rule(made: LaterApi, name: str, value: str) -> None:
    response = made.patch(
        made.queue,
        f'[{{"op": "add", "path": "/metadata/{name}", "value": {value}}}]',
        headers={'Content-Type': JSON_PATCH},
    )

    assert refusal(response) == BODY_REFUSED
    assert made.get(made.queue).json == DEFAULTS | BEFORE


def test_encryption_is_refused_rather_than_ignored(made: LaterApi) -> None:
    response = made.change(add('/metadata/_enable_encrypt_messages', True))

    assert refusal(response)[0] == 400
    assert 'encrypt' in response.json['description'].lower()
    assert made.get(made.queue).json == DEFAULTS | BEFORE


def test_a_missing_queue_is_not_changed_nor_made(api: LaterApi) -> None:
    for operations in ([add('/metadata/a', 1)], [remove('/metadata/_default_message_ttl')], []):
        assert refusal(api.change(*operations)) == (404, 'Not found')
    assert api.queue_names() == []


def test_a_queue_of_another_project_is_not_changed(made: LaterApi) -> None:
    response = made.patch(
        made.queue,
        [remove('/metadata/a')],
        project='stranger',
        headers={'Content-Type': JSON_PATCH},
    )

    assert refusal(response) == (404, 'Not found')
    assert made.get(made.queue).json == DEFAULTS | BEFORE


@pytest.mark.parametrize(('size', 'status'), [(65536, 200), (65537, 400)])
def test_a_change_is_of_64_kib_at_most(made: LaterApi, size: int, status: int) -> None:
    body = '[{"op": "remove", "path": "/metadata/a"}]'

    response = made.patch(made.queue, body.ljust(size), headers={'Content-Type': JSON_PATCH})

    assert response.status_int == status


def test_changes_at_the_same_time_all_count(made: LaterApi) -> None:
    names = [f'key{number}' for number in range(16)]

    with ThreadPoolExecutor(8) as clients:
        replies = list(clients.map(lambda name: made.change(add(f'/metadata/{name}', 1)), names))

    assert {reply.status_int for reply in replies} == {200}
    assert made.get(made.queue).json == DEFAULTS | BEFORE | dict.fromkeys(names, 1)


def test_metadata_does_not_grow_beyond_its_limit_by_patches(api: LaterApi) -> None:
    api.make_queue()
    assert api.change({'op': 'add', 'path': '/metadata/a', 'value': 'x' * 40_000}).status_int == 200

    response = api.change({'op': 'add', 'path': '/metadata/b', 'value': 'x' * 40_000})

    assert refusal(response) == (400, 'Invalid API request')
    assert 'b' not in api.get(api.queue).json
