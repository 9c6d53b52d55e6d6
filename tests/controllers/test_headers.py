"""What is asked of a request's headers and names, and in which order.

See docs/protocol-v1.md, 1.1 to 1.3.
"""

from typing import Any

import pytest

from .client import CLIENT_ID, NO_CLAIM, NO_MESSAGE, OTHER_CLIENT_ID, QUEUE, Api, refusal

FORM = 'application/x-www-form-urlencoded'
TERMS = {'ttl': 60, 'grace': 60}

#: One request of each kind: method, path, body.
REQUESTS: dict[str, tuple[str, str, Any]] = {
    'home': ('GET', '/v1', None),
    'health': ('GET', '/v1/health', None),
    'health-head': ('HEAD', '/v1/health', None),
    'list-queues': ('GET', '/v1/queues', None),
    'create-queue': ('PUT', QUEUE, None),
    'get-queue': ('GET', QUEUE, None),
    'head-queue': ('HEAD', QUEUE, None),
    'delete-queue': ('DELETE', QUEUE, None),
    'get-metadata': ('GET', f'{QUEUE}/metadata', None),
    'set-metadata': ('PUT', f'{QUEUE}/metadata', {}),
    'stats': ('GET', f'{QUEUE}/stats', None),
    'list-messages': ('GET', f'{QUEUE}/messages', None),
    'get-messages': ('GET', f'{QUEUE}/messages?ids={NO_MESSAGE}', None),
    'post-messages': ('POST', f'{QUEUE}/messages', [{'ttl': 60, 'body': 1}]),
    'delete-messages': ('DELETE', f'{QUEUE}/messages?ids={NO_MESSAGE}', None),
    'get-message': ('GET', f'{QUEUE}/messages/{NO_MESSAGE}', None),
    'delete-message': ('DELETE', f'{QUEUE}/messages/{NO_MESSAGE}', None),
    'create-claim': ('POST', f'{QUEUE}/claims', TERMS),
    'get-claim': ('GET', f'{QUEUE}/claims/{NO_CLAIM}', None),
    'renew-claim': ('PATCH', f'{QUEUE}/claims/{NO_CLAIM}', {'ttl': 60}),
    'release-claim': ('DELETE', f'{QUEUE}/claims/{NO_CLAIM}', None),
}
ANY_REQUEST = [pytest.param(*request, id=name) for name, request in REQUESTS.items()]
WITH_A_QUEUE = [
    pytest.param(*request, id=name) for name, request in REQUESTS.items() if QUEUE in request[1]
]
NEEDS_CLIENT_ID = ('post-messages', 'list-messages')


# ---------------------------------------------------------------- Client-ID


@pytest.mark.parametrize('name', NEEDS_CLIENT_ID)
def test_posting_and_listing_need_a_client_id(api: Api, queue: str, name: str) -> None:
    response = api.request(*REQUESTS[name])

    assert refusal(response) == (400, 'Missing header value')


@pytest.mark.parametrize('name', [name for name in REQUESTS if name not in NEEDS_CLIENT_ID])
def test_nothing_else_needs_a_client_id(api: Api, queue: str, name: str) -> None:
    without = api.request(*REQUESTS[name])
    api.put(queue)
    with_one = api.request(*REQUESTS[name], client_id=CLIENT_ID)

    assert without.status_int == with_one.status_int
    assert without.status_int in (200, 204, 404)


@pytest.mark.parametrize(('method', 'path', 'body'), ANY_REQUEST)
@pytest.mark.parametrize('client_id', ['xyz', '', '3381af92-2b9e-11e3-b191-71861300734'])
def test_a_client_id_that_is_no_uuid_is_refused_everywhere(
    api: Api, queue: str, method: str, path: str, body: Any, client_id: str
) -> None:
    response = api.request(method, path, body, client_id=client_id)

    assert response.status_int == 400
    if method != 'HEAD':
        assert refusal(response) == (400, 'Wrong UUID value')


@pytest.mark.parametrize(
    'client_id',
    [
        '3381AF92-2B9E-11E3-B191-71861300734C',
        '3381af922b9e11e3b19171861300734c',
        '3381AF922b9e11E3b19171861300734c',
        '{3381af92-2b9e-11e3-b191-71861300734c}',
        '{3381af922b9e11e3b19171861300734c}',
        'urn:uuid:3381af92-2b9e-11e3-b191-71861300734c',
        'urn:uuid:3381af922b9e11e3b19171861300734c',
        'urn:uuid:{3381AF92-2B9E-11E3-B191-71861300734C}',
        '3381-af92-2b9e-11e3-b191-7186-1300-734c',
    ],
)
def test_a_client_is_the_same_in_every_spelling_of_its_id(
    api: Api, queue: str, client_id: str
) -> None:
    api.post_messages('canonical', client_id=CLIENT_ID)
    api.post_messages('other spelling', client_id=client_id)

    assert api.listed('echo=false', client_id=CLIENT_ID) == []
    assert api.listed('echo=false', client_id=client_id) == []
    assert len(api.listed('echo=false', client_id=OTHER_CLIENT_ID)) == 2


@pytest.mark.parametrize(
    'client_id',
    [
        'g381af92-2b9e-11e3-b191-71861300734c',
        '3381af92-2b9e-11e3-b191-71861300734cc',
        'None',
        '0',
        'ünïcödé',
        b'\xff' * 32,
        '٣٣٨١af922b9e11e3b19171861300734c',
        'x' * 8000,
        "'; DROP TABLE queues; --",
        '%s%s%s%s',
    ],
)
def test_what_is_no_uuid_is_no_client_id(api: Api, queue: str, client_id: str) -> None:
    response = api.get(f'{queue}/messages', client_id=client_id)

    assert refusal(response) == (400, 'Wrong UUID value')


def test_a_uuid_of_any_version_is_a_client_id(api: Api, queue: str) -> None:
    for client_id in ('0' * 32, 'f' * 32, OTHER_CLIENT_ID):
        api.post_messages('x', client_id=client_id)
        assert api.listed('echo=true', client_id=client_id)


# ---------------------------------------------------------------- X-Project-Id


@pytest.mark.parametrize(('method', 'path', 'body'), ANY_REQUEST)
def test_an_empty_project_is_refused_everywhere(
    api: Api, queue: str, method: str, path: str, body: Any
) -> None:
    response = api.request(method, path, body, client_id=CLIENT_ID, project='')

    assert response.status_int == 400
    if method != 'HEAD':
        assert refusal(response) == (400, 'Empty project header not allowed')


@pytest.mark.parametrize(('method', 'path', 'body'), WITH_A_QUEUE)
def test_a_project_longer_than_256_is_refused_where_a_queue_is_named(
    api: Api, method: str, path: str, body: Any
) -> None:
    response = api.request(method, path, body, client_id=CLIENT_ID, project='p' * 257)

    assert response.status_int == 400
    if method != 'HEAD':
        assert refusal(response) == (400, 'Invalid queue identification')


def test_a_project_of_256_characters_passes(api: Api) -> None:
    api.make_queue(project='p' * 256)

    response = api.get('/v1/queues', project='p' * 256)

    assert [entry['name'] for entry in response.json['queues']] == ['jobs']


@pytest.mark.parametrize('path', ['/v1', '/v1/health', '/v1/queues'])
def test_a_project_longer_than_256_passes_where_no_queue_is_named(api: Api, path: str) -> None:
    response = api.get(path, project='p' * 257)

    assert response.status_int in (200, 204)


@pytest.mark.parametrize(
    'project',
    [
        '480924',
        'foo',
        'with a space',
        'a/b?c=d&e#f',
        '%s %(name)s %%',
        '\\',
        "O'Neill",
        'ünïcödé',
        '项目',
        '🚀',
        b'\xe9t\xe9',
        b'\xff\xfe',
        'None',
        'null',
        '0',
    ],
)
def test_any_text_names_a_project_of_its_own(api: Api, project: str | bytes) -> None:
    assert api.put(QUEUE, project=project).status_int == 201
    posted = api.post(
        f'{QUEUE}/messages', [{'ttl': 60, 'body': 'x'}], client_id=CLIENT_ID, project=project
    )

    assert posted.status_int == 201
    assert api.get(posted.json['resources'][0], project=project).json['body'] == 'x'
    assert api.get('/v1/queues', project=project).json['queues'][0]['name'] == 'jobs'
    assert api.get(QUEUE).status_int == 404
    assert api.put(QUEUE, project=project).status_int == 204


def test_projects_differ_by_case_and_by_where_they_end(api: Api) -> None:
    for project, name in (('ab', 'c'), ('a', 'bc'), ('AB', 'c'), ('', '')):
        if project:
            api.make_queue(name, project=project)

    assert api.get('/v1/queues/bc', project='ab').status_int == 404
    assert api.get('/v1/queues/c', project='a').status_int == 404
    assert [entry['name'] for entry in api.get('/v1/queues', project='ab').json['queues']] == ['c']


# ---------------------------------------------------------------- Accept


@pytest.mark.parametrize(('method', 'path', 'body'), ANY_REQUEST)
@pytest.mark.parametrize('accept', ['text/plain', 'application/xml'])
def test_who_takes_no_json_gets_a_406_everywhere(
    api: Api, queue: str, method: str, path: str, body: Any, accept: str
) -> None:
    response = api.request(method, path, body, client_id=CLIENT_ID, headers={'Accept': accept})

    assert response.status_int == 406


@pytest.mark.parametrize(
    'accept',
    [
        'text/html, application/xml;q=0.9',
        'application/json;q=0',
        '*/*, application/json;q=0',
        'text/*',
        'application/json-home',
        'application/jsonx',
    ],
)
def test_what_excludes_json_is_a_406(api: Api, queue: str, accept: str) -> None:
    response = api.get(f'{queue}/stats', headers={'Accept': accept})

    assert response.status_int == 406


@pytest.mark.parametrize(
    'accept',
    [
        '*/*',
        'application/*',
        'application/json',
        'APPLICATION/JSON',
        'application/json;q=0.1',
        'text/html, application/xml;q=0.9, */*;q=0.8',
        'text/plain, application/json',
        'application/json, text/plain;q=0',
        'application/json;charset=utf-8',
    ],
)
def test_who_takes_json_gets_it(api: Api, queue: str, accept: str) -> None:
    response = api.get(f'{queue}/stats', headers={'Accept': accept})

    assert response.status_int == 200
    assert response.headers['Content-Type'] == 'application/json'


# ---------------------------------------------------------------- Content-Type


@pytest.mark.parametrize(('method', 'path', 'body'), ANY_REQUEST)
@pytest.mark.parametrize('length', ['0', '2'])
def test_a_form_is_refused_everywhere(
    api: Api, queue: str, method: str, path: str, body: Any, length: str
) -> None:
    response = api.request(
        method,
        path,
        '{}',
        client_id=CLIENT_ID,
        headers={'Content-Type': FORM, 'Content-Length': length},
    )

    assert response.status_int == 400
    if method != 'HEAD':
        assert refusal(response) == (400, 'Invalid Content-Type')


def test_a_form_is_refused_in_any_case(api: Api, queue: str) -> None:
    response = api.put(f'{queue}/metadata', {}, headers={'Content-Type': FORM.title()})

    assert refusal(response) == (400, 'Invalid Content-Type')


def test_a_form_without_a_length_is_no_form(api: Api) -> None:
    response = api.put(QUEUE, headers={'Content-Type': FORM})

    assert response.status_int == 201


@pytest.mark.parametrize(
    'content_type',
    ['application/json', 'text/plain', 'text/xml', '', 'nonsense', f'{FORM}; charset=utf-8', '\\'],
)
def test_any_other_type_is_taken_for_json(api: Api, queue: str, content_type: str) -> None:
    response = api.put(f'{queue}/metadata', {'a': 1}, headers={'Content-Type': content_type})

    assert response.status_int == 204
    assert api.get(f'{queue}/metadata').json == {'a': 1}


def test_no_type_is_needed(api: Api, queue: str) -> None:
    response = api.put(f'{queue}/metadata', {'a': 1})

    assert response.status_int == 204


@pytest.mark.parametrize(
    'headers',
    [{'User-Agent': ''}, {'X-Auth-Token': 'x'}, {'Host': ''}, {'Cookie': 'a="'}],
    ids=lambda headers: next(iter(headers)),
)
def test_other_headers_do_not_matter(api: Api, queue: str, headers: dict[str, str]) -> None:
    response = api.get(f'{queue}/stats', headers=headers)

    assert response.status_int == 200


# ---------------------------------------------------------------- names

BAD_NAMES = {
    '65-characters': 'a' * 65,
    'very-long': 'a' * 9000,
    'space': 'a%20b',
    'only-space': '%20',
    'exclamation': 'a!',
    'encoded-slash-free': 'a%2',
    'percent': 'a%25',
    'plus': 'a+b',
    'colon': 'a:b',
    'semicolon': 'a;b',
    'at': 'a@b',
    'star': '*',
    'tilde': '~',
    'quote': "a'b",
    'backslash': 'a\\b',
    'raw-utf-8': 'ünïcödé',
    'encoded-utf-8': '%C3%BC',
    'encoded-latin-1': '%FC',
    'arabic-digit': '%D9%A3',
    'full-width': '%EF%BD%81',
    'emoji': '%F0%9F%9A%80',
    'nul': 'a%00b',
    'only-nul': '%00',
    'newline-at-the-end': 'a%0A',
    'header-injection': 'a%0D%0ASet-Cookie:%20x=1',
    'tab': 'a%09',
}


@pytest.mark.parametrize('name', BAD_NAMES.values(), ids=BAD_NAMES)
def test_a_bad_queue_name_is_refused(api: Api, name: str) -> None:
    response = api.put(f'/v1/queues/{name}')

    assert refusal(response) == (400, 'Invalid queue identification')
    assert api.get('/v1/queues').status_int == 204


@pytest.mark.parametrize(('method', 'path', 'body'), WITH_A_QUEUE)
@pytest.mark.parametrize('name', ['a' * 65, 'a!b', '%FC'])
def test_a_bad_queue_name_is_refused_by_every_route(
    api: Api, method: str, path: str, body: Any, name: str
) -> None:
    response = api.request(method, path.replace('jobs', name, 1), body, client_id=CLIENT_ID)

    assert response.status_int == 400
    if method != 'HEAD':
        assert refusal(response) == (400, 'Invalid queue identification')


@pytest.mark.parametrize('name', ['a', '0', '_', '-', 'A-Z_a-z.0-9', 'a.b', 'a' * 64, '-' * 64])
def test_a_good_queue_name_is_taken(api: Api, name: str) -> None:
    response = api.put(f'/v1/queues/{name}')

    assert response.status_int == 201
    assert response.headers['Location'] == f'/v1/queues/{name}'


def test_queue_names_differ_by_case(api: Api) -> None:
    api.make_queue('jobs')

    assert api.get('/v1/queues/Jobs').status_int == 404


# ---------------------------------------------------------------- the order of the checks

#: Titles, in the order of the checks that give them.
CHECKS = (
    'Invalid Content-Type',
    None,
    'Wrong UUID value',
    'Empty project header not allowed',
    'Invalid queue identification',
    '405 Method Not Allowed',
    'Invalid parameter',
)


def with_everything_wrong_from(step: int) -> tuple[str, str, dict[str, str]]:
    """A request that passes the checks before ``step`` and fails all others."""
    headers: dict[str, str] = {}
    if step <= 0:
        headers |= {'Content-Type': FORM, 'Content-Length': '0'}
    if step <= 1:
        headers['Accept'] = 'text/plain'
    if step <= 2:
        headers['Client-ID'] = 'xyz'
    if step <= 3:
        headers['X-Project-Id'] = ''
    name = 'a!b' if step <= 4 else 'jobs'
    method = 'BREW' if step <= 5 else 'GET'
    return method, f'/v1/queues/{name}/messages?limit=x', headers


@pytest.mark.parametrize('step', range(len(CHECKS)), ids=[str(title) for title in CHECKS])
def test_the_first_check_that_fails_decides(api: Api, step: int) -> None:
    method, path, headers = with_everything_wrong_from(step)

    response = api.request(method, path, headers={'Client-ID': CLIENT_ID} | headers)

    if CHECKS[step] is None:
        assert response.status_int == 406
    else:
        assert refusal(response)[1] == CHECKS[step]


@pytest.mark.parametrize('step', range(len(CHECKS) - 1), ids=[str(t) for t in CHECKS[:-1]])
def test_an_unknown_path_is_told_before_any_header_is_looked_at(api: Api, step: int) -> None:
    method, path, headers = with_everything_wrong_from(step)

    response = api.request(method, path.replace('messages', 'nonsense'), headers=headers)

    assert refusal(response) == (404, '404 Not Found')


def test_a_long_project_is_told_before_the_method(api: Api) -> None:
    response = api.request('BREW', f'{QUEUE}/messages', project='p' * 257)

    assert refusal(response) == (400, 'Invalid queue identification')


@pytest.mark.parametrize('step', range(5), ids=[str(title) for title in CHECKS[:5]])
def test_options_is_answered_before_headers_and_names_are_looked_at(api: Api, step: int) -> None:
    _, path, headers = with_everything_wrong_from(step)

    response = api.request('OPTIONS', path, headers=headers)

    assert response.status_int == 200
    assert response.headers['Allow']


TOO_MUCH = ' ' * 262145


@pytest.mark.parametrize(
    ('client_id', 'body', 'refused'),
    [
        pytest.param(None, TOO_MUCH, (400, 'Missing header value'), id='client-id'),
        pytest.param(CLIENT_ID, TOO_MUCH, (400, 'Invalid API request'), id='size'),
        pytest.param(CLIENT_ID, '[{"ttl": 1,', (400, 'Invalid request body'), id='parse'),
        pytest.param(CLIENT_ID, '{"ttl": 1}', (400, 'Invalid request body'), id='list'),
        pytest.param(
            CLIENT_ID, '[{"ttl": 1, "body": 1}, {}]', (400, 'Invalid request body'), id='fields'
        ),
        pytest.param(CLIENT_ID, '[]', (400, 'Invalid API request'), id='empty-list'),
        pytest.param(
            CLIENT_ID, '[{"ttl": 1, "body": 1}]', (400, 'Invalid API request'), id='ttl-range'
        ),
        pytest.param(CLIENT_ID, '[{"ttl": 60, "body": 1}]', (404, 'Not found'), id='queue'),
    ],
)
def test_a_post_to_a_missing_queue_is_checked_in_order(
    api: Api, client_id: str | None, body: str, refused: tuple[int, str]
) -> None:
    response = api.post('/v1/queues/missing/messages', body, client_id=client_id)

    assert refusal(response) == refused


@pytest.mark.parametrize(
    ('limit', 'body', 'refused'),
    [
        pytest.param('x', '{', (400, 'Invalid parameter'), id='type-of-limit'),
        pytest.param('0', '{', (400, 'Invalid request body'), id='parse'),
        pytest.param('0', '{}', (400, 'Invalid request body'), id='fields'),
        pytest.param(
            '0', '{"ttl": 60, "grace": 60}', (400, 'Invalid API request'), id='range-of-limit'
        ),
        pytest.param('1', '{"ttl": 1, "grace": 60}', (400, 'Invalid API request'), id='ttl'),
    ],
)
def test_a_claim_on_a_missing_queue_is_checked_in_order(
    api: Api, limit: str, body: str, refused: tuple[int, str]
) -> None:
    response = api.post(f'/v1/queues/missing/claims?limit={limit}', body)

    assert refusal(response) == refused


@pytest.mark.parametrize(
    ('path', 'body', 'refused'),
    [
        pytest.param('metadata', ' ' * 65537, (400, 'Invalid API request'), id='size'),
        pytest.param('metadata', '{', (400, 'Invalid request body'), id='parse'),
        pytest.param('metadata', '[]', (400, 'Invalid request body'), id='object'),
        pytest.param('metadata', '{"_a": 1}', (400, 'Invalid API request'), id='reserved'),
        pytest.param('metadata', '{}', (404, 'Not found'), id='queue'),
    ],
)
def test_metadata_of_a_missing_queue_is_checked_first(
    api: Api, path: str, body: str, refused: tuple[int, str]
) -> None:
    response = api.put(f'/v1/queues/missing/{path}', body)

    assert refusal(response) == refused


@pytest.mark.parametrize(
    ('body', 'refused'),
    [
        pytest.param('{', (400, 'Invalid request body'), id='parse'),
        pytest.param('{}', (400, 'Invalid request body'), id='fields'),
        pytest.param('{"ttl": 59}', (400, 'Invalid API request'), id='range'),
        pytest.param('{"ttl": 60}', (404, 'Not found'), id='claim'),
    ],
)
def test_the_renewal_of_a_missing_claim_is_checked_first(
    api: Api, queue: str, body: str, refused: tuple[int, str]
) -> None:
    response = api.patch(f'{queue}/claims/{NO_CLAIM}', body)

    assert refusal(response) == refused
