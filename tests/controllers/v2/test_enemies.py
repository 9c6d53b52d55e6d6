"""What no client should send, where versions 1.1 and 2 read more than version 1 does."""

from typing import Any

import pytest

from ..client import JSON_PATCH, LaterApi, bodies, refusal
from .requests import LATER_VERSIONS

both_versions = pytest.mark.parametrize('version', LATER_VERSIONS)

#: Metadata that is JSON, though not every reader of JSON takes it.
STRANGE = {
    'nul-in-value': '{"k": "\\u0000", "node": 1}',
    'nul-in-name': '{"\\u0000": 1, "node": 1}',
    'lone-surrogate': '{"k": "\\ud800", "node": 1}',
    'lone-surrogate-in-name': '{"\\udc00": 1, "node": 1}',
    'number-beyond-double': '{"k": 1e400, "node": 1}',
    'number-beyond-numeric': '{"k": 1e200000, "node": 1}',
    'number-of-many-digits': f'{{"k": {"1" * 4000}, "node": 1}}',
    'deep': f'{{"k": {"[" * 900}{"]" * 900}, "node": 1}}',
    'very-deep': f'{{"k": {"[" * 30000}{"]" * 30000}, "node": 1}}',
    'name-twice': '{"node": 2, "k": 1, "k": 2, "node": 1}',
    'empty-name': '{"": 1, "node": 1}',
    'long-name': f'{{"{"x" * 60000}": 1, "node": 1}}',
}
each_strange = pytest.mark.parametrize('text', STRANGE.values(), ids=STRANGE)


@both_versions
@each_strange
def test_strange_metadata_is_refused_or_served(api: LaterApi, text: str) -> None:
    api.make_queue('other', metadata={'node': 1})

    made = api.put(api.queue, text)

    if made.status_int == 400:
        refusal(made)
        assert api.queue_names() == ['other']
        return
    assert made.status_int == 201
    assert api.queue_names() == ['jobs', 'other']
    assert api.get(api.queue).status_int == 200
    assert api.get(f'{api.version}/queues?detailed=true').status_int == 200
    assert api.stats()['total'] == 0
    [path] = api.post_messages('x')
    assert bodies(api.claim().messages) == ['x']
    assert api.exists(path)


@each_strange
def test_strange_metadata_breaks_no_filter(api: LaterApi, text: str) -> None:
    api.make_queue('other', metadata={'node': 1})
    api.put(api.queue, text)

    found = api.queue_names('node=1')

    assert found in (['other'], ['jobs', 'other'])
    assert api.queue_names('k=zzz') == []
    assert api.queue_names('name=other&node=1') == ['other']


@each_strange
def test_strange_metadata_is_changed_or_refused(api: LaterApi, text: str) -> None:
    api.make_queue(metadata={'a': 1})
    operation = f'[{{"op": "add", "path": "/metadata/x", "value": {text}}}]'

    response = api.patch(api.queue, operation, headers={'Content-Type': JSON_PATCH})

    assert response.status_int in (200, 400)
    if response.status_int == 400:
        refusal(response)
    assert api.get(api.queue).json['a'] == 1
    assert api.queue_names('a=1') == ['jobs']


@both_versions
@pytest.mark.parametrize(
    'text',
    [
        '{"\\u005fdefault_message_ttl": 5}',
        '{"_default_message_tt\\u006c": 5}',
        '{"_default_message_ttl": 60, "_default_message_ttl": 5}',
        '{"_max_messages_post_size": 100, "\\u005fmax_messages_post_size": 0}',
        '{"_enable_encrypt_messages": false, "_enable_encrypt_messages": true}',
        '{"_enable_encrypt\\u005fmessages": true}',
    ],
)
def test_a_rule_is_not_evaded_by_spelling(api: LaterApi, text: str) -> None:
    assert refusal(api.put(api.queue, text))[0] == 400
    assert api.queue_names() == []


@pytest.mark.parametrize(
    'path', ['/metadata/\\u005fdefault_message_ttl', '/metadata/_default_message_tt\\u006c']
)
def test_a_rule_is_not_evaded_by_the_spelling_of_a_path(api: LaterApi, path: str) -> None:
    api.make_queue()

    response = api.patch(
        api.queue,
        f'[{{"op": "add", "path": "{path}", "value": 5}}]',
        headers={'Content-Type': JSON_PATCH},
    )

    assert refusal(response) == (400, 'Invalid request body')


def test_a_client_keeps_every_value_that_it_did_not_change(api: LaterApi) -> None:
    text = '{"big": 9223372036854775807, "exact": 1.10, "ü": "\\u00fc", "a": 1}'
    assert api.put(api.queue, text).status_int == 201

    api.change({'op': 'add', 'path': '/metadata/a', 'value': 2})

    shown = api.get(api.queue).json
    assert shown['big'] == 9223372036854775807
    assert (shown['exact'], shown['ü'], shown['a']) == (1.1, 'ü', 2)


@both_versions
@pytest.mark.parametrize(
    'document',
    [
        '[' * 100_000,
        '{"messages": ' * 20_000,
        '{"messages": [{"body": ' + '[' * 100_000,
        '{"messages": [{"body": ' + '[' * 50_000 + ']' * 50_000 + '}]}',
        '{"messages": [{"body": 1}], "messages": [{"ttl": 5}]}',
        '{"messages": [{"body": 1, "ttl": 60, "ttl": 5}]}',
        '\ufeff{"messages": [{"body": 1}]}',
        '{"messages": [{"body": 1}]} x',
        '{"messages": [{"body": NaN}]}',
        '{"messages": [{"body": "\ud83d"}]}'.encode('utf-8', 'surrogatepass'),
    ],
    ids=[
        'open-lists',
        'open-objects',
        'open-body',
        'deep-body',
        'messages-twice',
        'ttl-twice',
        'byte-order-mark',
        'more-behind',
        'not-a-number',
        'surrogate',
    ],
)
def test_a_strange_post_is_refused_or_served(api: LaterApi, document: str | bytes) -> None:
    response = api.post(f'{api.queue}/messages', document)

    assert response.status_int in (201, 400)
    if response.status_int == 400:
        refusal(response)
        assert api.stats()['total'] == 0
    else:
        assert len(api.listed()) == 1


@both_versions
@pytest.mark.parametrize('target', ['/claims', '/purge'])
@pytest.mark.parametrize('document', ['[' * 100_000, '{"ttl": ' * 20_000, b'\x00', '{"ttl": NaN}'])
def test_a_strange_document_is_refused(api: LaterApi, target: str, document: Any) -> None:
    if (api.version, target) == ('/v1.1', '/purge'):
        target = '/claims'
    api.post_messages('kept')

    assert refusal(api.post(api.queue + target, document))[0] == 400
    assert api.stats()['free'] == 1


@pytest.mark.parametrize('depth', [900, 2_000, 50_000])
def test_a_strange_purge_is_refused(api: LaterApi, depth: int) -> None:
    api.post_messages('kept')

    response = api.post(f'{api.queue}/purge', f'{{"resource_types": {"[" * depth}{"]" * depth}}}')

    assert refusal(response)[0] == 400
    assert api.stats()['free'] == 1


@pytest.mark.parametrize('document', ['[' * 60_000, '[{"op": ' * 8_000, b'\x00', '[NaN]'])
def test_a_strange_change_is_refused(api: LaterApi, document: str | bytes) -> None:
    api.make_queue()

    response = api.patch(api.queue, document, headers={'Content-Type': JSON_PATCH})

    assert refusal(response) == (400, 'Invalid request body')


@pytest.mark.parametrize(
    'query',
    [
        '&'.join(f'k{n}=1' for n in range(500)),
        f'{"k" * 5000}=1',
        f'k={"v" * 5000}',
        'k=1&k=2',
        '%=%',
        '=&&=x',
        'k=%ED%A0%80',
        '%ED%A0%80=1',
        "'=1&%22=2&%5C=3",
        'k=-0',
        'k=+1',
        'k=%D9%A1',
        'k=1_000',
        'k=%201',
        f'k={"9" * 5000}',
        'k=%24%7B%7D&%3Ak=1&%25s=1&%25(k)s=1',
        'name=%25(x)s&k=%25(k)s',
        'metadata=1&queue_id=1&project=x',
    ],
)
def test_any_filter_is_answered(api: LaterApi, query: str) -> None:
    api.make_queue(metadata={'k': 'other'})

    response = api.get(f'/v2/queues?{query}')

    assert response.status_int == 200
    assert response.json['queues'] in ([], [{'name': 'jobs', 'href': api.queue}])
