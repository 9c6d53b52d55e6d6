"""``/`` and the table of routes (docs/protocol-v1.md, 2 and 3.1)."""

import pytest

from .client import CLIENT_ID, NO_CLAIM, NO_MESSAGE, QUEUE, Api, is_empty, refusal

ROUTES = {
    '/': {'GET'},
    '/v1': {'GET'},
    '/v1/health': {'GET', 'HEAD'},
    '/v1/queues': {'GET'},
    QUEUE: {'GET', 'HEAD', 'PUT', 'DELETE'},
    f'{QUEUE}/metadata': {'GET', 'PUT'},
    f'{QUEUE}/stats': {'GET'},
    f'{QUEUE}/messages': {'GET', 'POST', 'DELETE'},
    f'{QUEUE}/messages/{NO_MESSAGE}': {'GET', 'DELETE'},
    f'{QUEUE}/claims': {'POST'},
    f'{QUEUE}/claims/{NO_CLAIM}': {'GET', 'PATCH', 'DELETE'},
}
METHODS = ('GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'TRACE', 'CONNECT', 'BREW', 'get')
NOT_OFFERED = [
    (method, path)
    for path, offered in ROUTES.items()
    for method in METHODS
    if method not in offered
]
UNKNOWN_PATHS = (
    '/nonsense',
    '/v0',
    '/V1',
    '/v1/nonsense',
    '/v1/Queues',
    '/v1/health/x',
    '/v1/pools',
    '/v1/shards',
    f'{QUEUE}/nonsense',
    f'{QUEUE}/metadata/x',
    f'{QUEUE}/stats/x',
    f'{QUEUE}/messages/a/b',
    f'{QUEUE}/claims/a/b',
    '//v1/queues',
    '/v1//queues',
    f'{QUEUE}//messages',
    f'{QUEUE}//messages/',
    f'{QUEUE}/messages//a/',
    f'{QUEUE}/claims//a/',
    f'{QUEUE}/messages/a//',
)


def test_the_root_lists_version_1_as_clients_know_it(api: Api) -> None:
    response = api.get('/')

    assert response.status_int == 300
    assert response.headers['Content-Type'] == 'application/json'
    assert response.json['versions'][0] == {
        'id': '1',
        'status': 'DEPRECATED',
        'updated': '2014-9-11T17:47:05Z',
        'media-types': [
            {'base': 'application/json', 'type': 'application/vnd.openstack.messaging-v1+json'}
        ],
        'links': [{'href': '/v1/', 'rel': 'self'}],
    }


def test_the_root_lists_only_versions_that_are_served(api: Api) -> None:
    versions = api.get('/').json['versions']

    for version in versions:
        [link] = version['links']
        response = api.get(link['href'], client_id=CLIENT_ID, project='any')
        assert response.status_int == 200


@pytest.mark.parametrize('path', UNKNOWN_PATHS)
def test_an_unknown_path_is_a_404_with_a_title_only(api: Api, path: str) -> None:
    response = api.get(path)

    assert refusal(response) == (404, '404 Not Found')
    assert response.json == {'title': '404 Not Found'}


@pytest.mark.parametrize('method', METHODS)
def test_an_unknown_path_is_a_404_to_every_method(api: Api, method: str) -> None:
    response = api.request(method, '/v1/nonsense')

    assert response.status_int == 404


@pytest.mark.parametrize('path', [f'{QUEUE}//messages/', f'{QUEUE}//', f'{QUEUE}//stats/'])
def test_an_empty_segment_never_leads_to_the_queue_before_it(
    api: Api, queue: str, path: str
) -> None:
    api.delete(path)

    assert api.exists(queue)


@pytest.mark.parametrize(('method', 'path'), NOT_OFFERED)
def test_a_method_that_is_not_offered_is_a_405(api: Api, method: str, path: str) -> None:
    response = api.request(method, path)

    assert response.status_int == 405
    allowed = {name.strip() for name in response.headers['Allow'].split(',')}
    assert allowed == ROUTES[path] | {'OPTIONS'}
    if method == 'HEAD':
        assert response.body == b''
    else:
        assert refusal(response) == (405, '405 Method Not Allowed')
        assert response.json == {'title': '405 Method Not Allowed'}


@pytest.mark.parametrize('path', ROUTES)
def test_options_names_the_methods_of_a_path(api: Api, path: str) -> None:
    response = api.request('OPTIONS', path)

    assert response.status_int == 200
    assert response.body == b''
    allowed = {name.strip() for name in response.headers['Allow'].split(',')}
    assert allowed == ROUTES[path] | {'OPTIONS'}


@pytest.mark.parametrize('path', ROUTES)
def test_options_does_nothing_else(api: Api, queue: str, path: str) -> None:
    [message] = api.post_messages('kept')

    api.request('OPTIONS', path)

    assert api.exists(queue)
    assert api.exists(message)


@pytest.mark.parametrize(
    'path', ['/v1/', '/v1/health/', '/v1/queues/jobs/', f'{QUEUE}/stats/', f'{QUEUE}/metadata/']
)
def test_a_slash_at_the_end_is_tolerated(api: Api, queue: str, path: str) -> None:
    response = api.get(path)

    assert response.status_int == api.get(path.rstrip('/')).status_int
    assert response.status_int in (200, 204)


def test_a_slash_at_the_end_is_tolerated_where_something_is_made(api: Api) -> None:
    made = api.put('/v1/queues/jobs/')
    posted = api.post('/v1/queues/jobs/messages/', [{'ttl': 60, 'body': 1}], client_id=CLIENT_ID)
    claimed = api.post('/v1/queues/jobs/claims/', {'ttl': 60, 'grace': 60})

    assert [made.status_int, posted.status_int, claimed.status_int] == [201, 201, 201]
    assert made.headers['Location'] == '/v1/queues/jobs'
    assert posted.headers['Location'].startswith('/v1/queues/jobs/messages?ids=')
    assert api.exists(claimed.headers['Location'] + '/')


@pytest.mark.parametrize('method', ['GET', 'PUT', 'DELETE', 'POST'])
def test_an_empty_queue_name_is_a_bad_name(api: Api, method: str) -> None:
    response = api.request(method, '/v1/queues/')

    assert refusal(response) == (400, 'Invalid queue identification')


@pytest.mark.parametrize('name', ['messages', 'claims', 'metadata', 'stats', 'queues', 'health'])
def test_a_queue_may_be_named_like_a_resource(api: Api, name: str) -> None:
    path = api.make_queue(name)

    [message] = api.post_messages('x', queue=path)

    assert message.startswith(f'/v1/queues/{name}/messages/')
    assert api.exists(message)


@pytest.mark.parametrize('name', ['a.json', 'b.html', 'c.txt', 'd.'])
def test_a_queue_may_be_named_like_a_file(api: Api, name: str) -> None:
    path = api.make_queue(name)

    response = api.get('/v1/queues')

    assert response.json['queues'] == [{'name': name, 'href': path}]


def test_a_204_has_neither_body_nor_type(api: Api, queue: str) -> None:
    responses = [
        api.put(queue),
        api.head(queue),
        api.get(queue),
        api.put(f'{queue}/metadata', {}),
        api.get(f'{queue}/messages', client_id=CLIENT_ID),
        api.get(f'{queue}/messages?ids={NO_MESSAGE}'),
        api.delete(f'{queue}/messages?ids={NO_MESSAGE}'),
        api.delete(f'{queue}/messages/{NO_MESSAGE}'),
        api.post(f'{queue}/claims', {'ttl': 60, 'grace': 60}),
        api.delete(f'{queue}/claims/{NO_CLAIM}'),
        api.delete(queue),
        api.get('/v1/queues'),
        api.get('/v1/health'),
        api.head('/v1/health'),
    ]

    assert {response.status_int for response in responses} == {204}
    assert all(is_empty(response) for response in responses)


def test_json_is_called_application_json(api: Api, queue: str) -> None:
    [message] = api.post_messages('x')
    claim = api.post(f'{queue}/claims', {'ttl': 60, 'grace': 60})

    for response in (
        claim,
        api.get('/v1/queues'),
        api.get(f'{queue}/metadata'),
        api.get(f'{queue}/stats'),
        api.get(message),
        api.get(f'{queue}/messages?include_claimed=true&echo=true', client_id=CLIENT_ID),
        api.get(f'{queue}/messages?ids={message.rpartition("/")[2]}'),
        api.get(claim.headers['Location']),
    ):
        assert response.status_int in (200, 201)
        assert response.headers['Content-Type'] == 'application/json'
        assert int(response.headers['Content-Length']) == len(response.body)
