"""Requests that no client should send: each gets an answer that the protocol knows."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from webtest import TestResponse

from .client import CLIENT_ID, NO_CLAIM, NO_MESSAGE, QUEUE, Api

STATUSES = {200, 201, 204, 300, 400, 403, 404, 405, 406}
METHODS = ('GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'BREW')


def check(response: TestResponse) -> None:
    """What every answer promises, whatever was asked."""
    method, status = response.request.method, response.status_int
    assert status in STATUSES, response
    for name, value in response.headers.items():
        assert name.isascii(), name
        assert all(character >= ' ' and character != '\x7f' for character in name + value), value
        value.encode('latin-1')
    assert 'Traceback' not in response.text
    if method == 'HEAD' or status == 204:
        assert response.body == b''
    elif status >= 400:
        missing_queue = status == 404 and 'Content-Location' in response.headers
        if missing_queue and method == 'GET':
            assert response.body == b''
        else:
            document = json.loads(response.body)
            assert isinstance(document['title'], str)
            assert response.headers['Content-Type'] == 'application/json'
    elif response.body:
        json.loads(response.body)
    if status >= 400:
        assert 'Location' not in response.headers
    if 'Location' in response.headers:
        assert response.headers['Location'].startswith('/v1/')


# ---------------------------------------------------------------- one at a time

PATHS = {
    'empty': '',
    'no-slash': 'v1/queues',
    'star': '*',
    'full-url': 'http://other.example/v1/queues',
    'only-slashes': '///////',
    'dots': '/v1/../v1/queues',
    'two-dots-as-queue': '/v1/queues/..',
    'encoded-slash': '/v1/queues/a%2Fb',
    'encoded-question-mark': '/v1/queues/a%3Flimit=1',
    'encoded-nul': '/v1/queues/%00',
    'nul-in-version': '/v1%00',
    'nul-as-message': f'{QUEUE}/messages/%00',
    'nul-as-claim': f'{QUEUE}/claims/%00',
    'bytes': '/%FF%FE/%80',
    'bytes-as-message': f'{QUEUE}/messages/%FF%FE',
    'surrogates': f'{QUEUE}/messages/%ED%A0%80',
    'header-injection': f'{QUEUE}/messages/a%0D%0AX-Evil:%201',
    'header-injection-in-claim': f'{QUEUE}/claims/a%0D%0AX-Evil:%201',
    'very-long': '/v1/' + 'a' * 100_000,
    'very-deep': '/v1' + '/a' * 10_000,
    'private-member': '/v1/__class__',
    'private-member-of-root': '/_route',
    'method-as-path': '/v1/queues/jobs/get',
    'index': '/index',
    'extension': '/v1/queues.json',
    'extension-of-queue': f'{QUEUE}.json',
    'extension-of-home': '/v1.html',
    'matrix': '/v1;a=b/queues',
}


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('path', PATHS.values(), ids=PATHS)
def test_no_path_does_harm(api: Api, queue: str, method: str, path: str) -> None:
    response = api.request(method, path, '{}', client_id=CLIENT_ID)

    check(response)
    assert 'X-Evil' not in response.headers


QUERIES = {
    'only-separators': '&&&===&&',
    'no-value': 'limit&echo&ids&marker&claim_id',
    'nul': 'marker=%00&ids=%00&claim_id=%00',
    'nul-in-name': '%00=1&limit%00=1',
    'bad-encoding': 'marker=%&ids=%G0%1&claim_id=%zz',
    'bytes': 'marker=%FF%FE&ids=%80&claim_id=%C3',
    'raw-bytes': 'marker=\xff\xfe&ids=ü',
    'surrogates': 'marker=%ED%A0%80&ids=%ED%B0%80&claim_id=%ED%A0%80',
    'header-injection': 'limit=1&marker=a%0D%0AX-Evil:%201&x=%0d%0aX-Evil:1',
    'raw-header-injection': 'echo=true&x=a\r\nX-Evil: 1',
    'raw-newline': 'echo=true&x=a\nX-Evil: 1',
    'raw-carriage-return': 'echo=true&x=a\rX-Evil: 1',
    'raw-nul': 'echo=true&x=\0',
    'raw-tab-and-delete': 'echo=true&x=\t\x1f\x7f',
    'many': '&'.join(f'p{number}={number}' for number in range(5000)),
    'many-limits': '&'.join(['limit=1'] * 5000),
    'brackets': 'limit[]=1&ids[0]=a&marker[$ne]=1',
    'long': 'marker=' + 'x' * 100_000,
    'sql': "marker=' OR 1=1 --&ids=1);DROP TABLE queues&claim_id=';",
    'percent-s': 'marker=%25s&ids=%25(id)s&claim_id=%25%25',
    'question-marks': '?limit=1?echo=true',
    'semicolons': 'limit=1;echo=true',
    'plus': 'marker=a+b&ids=a+b',
    'huge-integer': 'limit=' + '9' * 5000,
}


@pytest.mark.parametrize('method', ['GET', 'POST', 'DELETE'])
@pytest.mark.parametrize(
    'path',
    ['/v1/queues', f'{QUEUE}/messages', f'{QUEUE}/messages/{NO_MESSAGE}', f'{QUEUE}/claims'],
)
@pytest.mark.parametrize('query', QUERIES.values(), ids=QUERIES)
def test_no_query_does_harm(api: Api, queue: str, method: str, path: str, query: str) -> None:
    api.post_messages('x')

    response = api.request(
        method, f'{path}?{query}', '{"ttl": 60, "grace": 60}', client_id=CLIENT_ID
    )

    check(response)
    assert 'X-Evil' not in response.headers
    assert api.exists(queue)


HEADERS: dict[str, dict[str, str | bytes]] = {
    'accept-bytes': {'Accept': b'\xff\xfe'},
    'accept-empty': {'Accept': ''},
    'accept-nonsense': {'Accept': ';;;,,,q=='},
    'accept-bad-quality': {'Accept': 'application/json;q=high'},
    'accept-quality-2': {'Accept': 'application/json;q=2'},
    'accept-long': {'Accept': 'text/plain, ' * 5000},
    'type-bytes': {'Content-Type': b'\xff'},
    'type-long': {'Content-Type': 'a' * 50_000},
    'project-newline': {'X-Project-Id': 'a\r\nX-Evil: 1'},
    'project-quote': {'X-Project-Id': "'; DROP TABLE queues; --"},
    'project-bytes': {'X-Project-Id': b'\x01\x7f\x80\xff'},
    'client-newline': {'Client-ID': f'{CLIENT_ID}\r\nX-Evil: 1'},
    'cookie': {'Cookie': '=;=;"\\'},
    'expect': {'Expect': '100-continue'},
    'range': {'Range': 'bytes=0-1'},
    'conditional': {'If-None-Match': '*', 'If-Modified-Since': 'never'},
    'override': {'X-HTTP-Method-Override': 'DELETE', 'X-Method-Override': 'DELETE'},
    'forwarded': {'X-Forwarded-Host': 'other.example', 'X-Forwarded-Proto': 'gopher'},
    'host': {'Host': 'other.example:99999999'},
    'host-bytes': {'Host': b'\xff'},
    'encoding': {'Content-Encoding': 'gzip'},
    'authorization': {'Authorization': 'Basic !!!'},
}


@pytest.mark.parametrize('method', ['GET', 'HEAD', 'PUT'])
@pytest.mark.parametrize('headers', HEADERS.values(), ids=HEADERS)
def test_no_header_does_harm(
    api: Api, queue: str, method: str, headers: dict[str, str | bytes]
) -> None:
    response = api.request(method, queue, headers=headers)

    check(response)
    assert 'X-Evil' not in response.headers
    assert api.exists(queue)


@pytest.mark.parametrize(
    'method', ['', 'get', 'GET ', 'BREW', 'DELETE\x00', 'Ü', '__INIT__', 'X' * 999]
)
def test_no_method_does_harm(api: Api, queue: str, method: str) -> None:
    response = api.request(method, queue)

    assert response.status_int == 405
    assert api.exists(queue)


# ---------------------------------------------------------------- anything at all

# A live message and the claim that holds it; each example has its own.
LIVE = ('MESSAGE', 'CLAIM')
ids = st.sampled_from((*LIVE, NO_MESSAGE, NO_CLAIM, 'x', '%00', '%FF', 'a%0A', '..')) | st.text(
    max_size=8
)
words = st.sampled_from(
    ('v1', 'queues', 'jobs', 'messages', 'claims', 'metadata', 'stats', 'health', '', 'a!b')
)
anywhere = st.lists(words | ids, max_size=7).map(lambda segments: '/' + '/'.join(segments))
somewhere = st.one_of(
    st.sampled_from(
        ('/', '/v1', '/v1/health', '/v1/queues', QUEUE, f'{QUEUE}/metadata', f'{QUEUE}/stats')
    ),
    st.sampled_from((f'{QUEUE}/messages', f'{QUEUE}/claims')),
    st.builds('{}/messages/{}'.format, st.just(QUEUE), ids),
    st.builds('{}/claims/{}'.format, st.just(QUEUE), ids),
)
paths = st.one_of(somewhere, somewhere, anywhere).map(lambda path: path.replace('?', '%3F'))

parameters = st.tuples(
    st.sampled_from(('limit', 'marker', 'echo', 'include_claimed', 'detailed', 'ids', 'claim_id'))
    | st.text(max_size=5),
    st.sampled_from(('1', '20', '21', '-1', 'true', '', '%00', '%FF', NO_MESSAGE, *LIVE))
    | st.integers().map(str)
    | st.text(max_size=10),
)
queries = st.lists(parameters, max_size=4).map(
    lambda pairs: '&'.join(f'{name}={value}' for name, value in pairs)
)

scalars = (
    st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats() | st.text(max_size=5)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
numbers = st.sampled_from(
    (60, 300, 59, 0, -1, 43200, 43201, 2**63 - 1, 2**63, '60', 60.5, None, True)
)
messages = st.lists(
    st.fixed_dictionaries({}, optional={'ttl': numbers, 'body': values, 'x': values}), max_size=3
)
terms = st.fixed_dictionaries({}, optional={'ttl': numbers, 'grace': numbers, 'x': values})
bodies = st.one_of(
    st.none(), messages, terms, values, st.binary(max_size=30), st.text(max_size=30)
).map(lambda body: json.dumps(body) if isinstance(body, dict | list) else body)

header_texts = st.binary(max_size=20) | st.text(max_size=10)
header_sets = st.fixed_dictionaries(
    {'Client-ID': st.just(CLIENT_ID)},
    optional={
        'X-Project-Id': st.sampled_from(('', 'p' * 256, 'p' * 257, 'ü')) | header_texts,
        'Accept': st.sampled_from(('*/*', 'text/plain', 'application/json;q=0')) | header_texts,
        'Content-Type': st.sampled_from(('application/x-www-form-urlencoded',)) | header_texts,
    },
) | st.dictionaries(
    st.sampled_from(('Client-ID', 'X-Project-Id', 'Accept', 'Content-Type', 'Content-Length')),
    header_texts,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(METHODS),
    path=paths,
    query=queries,
    headers=header_sets,
    body=bodies,
)
@example('DELETE', f'{QUEUE}/messages/MESSAGE', 'claim_id=CLAIM', {}, None)
@example('DELETE', f'{QUEUE}/messages/MESSAGE', 'claim_id=%00', {}, None)
@example('PATCH', f'{QUEUE}/claims/CLAIM', '', {}, '{"ttl": 60, "grace": -1}')
def test_whatever_is_sent_gets_an_answer_that_the_protocol_knows(
    api: Api,
    method: str,
    path: str,
    query: str,
    headers: dict[str, str | bytes],
    body: Any,
) -> None:
    api.put(QUEUE)
    api.post_messages('x')
    claim = api.claim(limit=20)
    path, query = (
        text.replace('MESSAGE', claim.held[-1].rpartition('/')[2]).replace('CLAIM', claim.id)
        for text in (path, query)
    )
    target = f'{path}?{query}'.encode('utf-8', 'surrogatepass').decode('utf-8', 'replace')
    content = body.encode('utf-8', 'surrogatepass') if isinstance(body, str) else body
    if content is not None and not isinstance(content, bytes):
        content = json.dumps(content)

    check(api.request(method, target, content, headers=headers))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(body=values)
def test_whatever_is_posted_is_refused_or_comes_back(api: Api, body: Any) -> None:
    api.put(QUEUE)
    text = json.dumps(body)

    response = api.post_text(text)

    check(response)
    if response.status_int == 201:
        [path] = response.json['resources']
        assert f'"body":{text}'.encode() in api.get(path).body
    else:
        assert response.status_int == 400
