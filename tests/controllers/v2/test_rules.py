"""What is asked of every request, and in which order.

See docs/protocol-v2.md, 1 and 2; docs/protocol-v1.md, 1.
"""

from typing import Any

import pytest
from webtest import TestResponse

from ..client import (
    CLIENT_ID,
    NO_CLAIM,
    NO_MESSAGE,
    OTHER_CLIENT_ID,
    PROJECT,
    LaterApi,
    is_empty,
    refusal,
)
from .requests import HEADERS, LATER_VERSIONS, REQUESTS, each

ROUTES_ALIKE = {
    '': {'GET'},
    '/ping': {'GET', 'HEAD'},
    '/queues': {'GET'},
    '/queues/jobs': {'GET', 'PUT', 'DELETE'},
    '/queues/jobs/stats': {'GET'},
    '/queues/jobs/messages': {'GET', 'POST', 'DELETE'},
    f'/queues/jobs/messages/{NO_MESSAGE}': {'GET', 'DELETE'},
    '/queues/jobs/claims': {'POST'},
    f'/queues/jobs/claims/{NO_CLAIM}': {'GET', 'PATCH', 'DELETE'},
}
ROUTES = {
    **{f'/v1.1{path}': methods for path, methods in ROUTES_ALIKE.items()},
    **{f'/v2{path}': methods for path, methods in ROUTES_ALIKE.items()},
    '/v2/queues/jobs': {'GET', 'PUT', 'DELETE', 'PATCH'},
    '/v2/health': {'GET'},
    '/v2/queues/jobs/purge': {'POST'},
}
METHODS = ('GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'BREW')
NOT_OFFERED = [
    (method, path)
    for path, offered in ROUTES.items()
    for method in METHODS
    if method not in offered
]
UNKNOWN_ALIKE = (
    '/nonsense',
    '/Queues',
    '/ping/x',
    '/queues/jobs/nonsense',
    '/queues/jobs/metadata',
    '/queues/jobs/stats/x',
    '/queues/jobs/messages/a/b',
    '/queues/jobs/claims/a/b',
    '//queues',
    '/queues/jobs//messages',
)
UNKNOWN_PATHS = (
    *(version + path for version in LATER_VERSIONS for path in UNKNOWN_ALIKE),
    '/v1.1/queues/jobs/purge',
    '/v1.1/queues/jobs/share',
    '/v1.1/queues/jobs/subscriptions',
    '/v1.1/topics',
    '/v1.0',
    '/v1_1/queues',
    '/v2.0/queues',
    '/V2/queues',
    '/v3',
    '/v1/ping',
)


def ask(api: LaterApi, name: str, **options: Any) -> TestResponse:
    """Send the request of that name."""
    return api.request(*REQUESTS[api.version, name], headers=HEADERS.get(name), **options)


def told(response: TestResponse) -> tuple[int, str | None]:
    """The status and, where there is a body, the title of an error."""
    if response.request.method == 'HEAD':
        assert response.body == b''
        return response.status_int, None
    return refusal(response)


def as_told(response: TestResponse, status: int, title: str) -> bool:
    """Whether an error is what it should be; a reply to HEAD has no title."""
    return told(response) in ((status, title), (status, None))


# ---------------------------------------------------------------- Client-ID


@each()
def test_every_route_needs_a_client_id(api: LaterApi, name: str) -> None:
    response = ask(api, name, client_id=None)

    assert as_told(response, 400, 'Missing header value')


@each()
def test_a_client_id_that_is_no_uuid_is_refused_on_every_route(api: LaterApi, name: str) -> None:
    response = ask(api, name, client_id='0xdeadbeef')

    assert as_told(response, 400, 'Wrong UUID value')


@pytest.mark.parametrize('version', LATER_VERSIONS)
@pytest.mark.parametrize(
    'client_id',
    ['', '3381af92-2b9e-11e3-b191-71861300734', 'None', b'\xff' * 32],
    ids=['empty', 'one-digit-short', 'text', 'bytes'],
)
def test_what_is_no_uuid_is_no_client_id(api: LaterApi, client_id: str | bytes) -> None:
    response = api.get(f'{api.queue}/messages', client_id=client_id)

    assert refusal(response) == (400, 'Wrong UUID value')


@pytest.mark.parametrize('version', LATER_VERSIONS)
@pytest.mark.parametrize(
    'client_id',
    [
        '3381AF92-2B9E-11E3-B191-71861300734C',
        '3381af922b9e11e3b19171861300734c',
        '{3381af92-2b9e-11e3-b191-71861300734c}',
        'urn:uuid:3381af92-2b9e-11e3-b191-71861300734c',
    ],
)
def test_a_client_is_the_same_in_every_spelling_of_its_id(api: LaterApi, client_id: str) -> None:
    api.post_messages('x', client_id=client_id)

    assert api.listed('echo=false', client_id=CLIENT_ID) == []
    assert len(api.listed('echo=false', client_id=OTHER_CLIENT_ID)) == 1


# ---------------------------------------------------------------- X-Project-Id


@each()
def test_every_route_needs_a_project(api: LaterApi, name: str) -> None:
    response = ask(api, name, project=None)

    assert as_told(response, 400, 'Project-Id Missing')


@each()
def test_an_empty_project_is_refused_on_every_route(api: LaterApi, name: str) -> None:
    response = ask(api, name, project='')

    assert as_told(response, 400, 'Empty project header not allowed')


@each(with_a_queue=True)
def test_a_project_longer_than_256_is_refused_where_a_queue_is_named(
    api: LaterApi, name: str
) -> None:
    response = ask(api, name, project='p' * 257)

    assert as_told(response, 400, 'Invalid queue identification')


@pytest.mark.parametrize('version', LATER_VERSIONS)
def test_a_project_of_256_characters_passes(api: LaterApi) -> None:
    api.make_queue(project='p' * 256)

    response = api.get(f'{api.version}/queues', project='p' * 256)

    assert [entry['name'] for entry in response.json['queues']] == ['jobs']


@pytest.mark.parametrize('version', LATER_VERSIONS)
@pytest.mark.parametrize('path', ['/', '/ping', '/queues'])
def test_a_project_longer_than_256_passes_where_no_queue_is_named(api: LaterApi, path: str) -> None:
    response = api.get(api.version + path, project='p' * 257)

    assert response.status_int in (200, 204)


@pytest.mark.parametrize('version', LATER_VERSIONS)
def test_a_stranger_sees_and_changes_nothing(api: LaterApi) -> None:
    claimed, free = api.post_messages('claimed', 'free')
    claim = api.claim(limit=1)
    jobs = api.queue

    seen = [
        api.get(free, project='stranger').status_int,
        api.get(f'{jobs}/messages?ids={free.rpartition("/")[2]}', project='stranger').status_int,
        api.get(claim.href, project='stranger').status_int,
        api.patch(claim.href, {}, project='stranger').status_int,
    ]
    done = [
        api.delete(free, project='stranger').status_int,
        api.delete(claim.messages[0]['href'], project='stranger').status_int,
        api.delete(claim.href, project='stranger').status_int,
        api.delete(jobs, project='stranger').status_int,
        api.post(f'{jobs}/claims', project='stranger').status_int,
    ]

    assert seen == [404] * 4
    assert done == [204] * 5
    assert api.delete(f'{jobs}/messages?pop=20', project='stranger').json == {'messages': []}
    assert api.listed('echo=true&include_claimed=true', project='stranger') == []
    assert api.exists(claimed)
    assert api.exists(free)
    assert len(api.get(claim.href).json['messages']) == 1


# ---------------------------------------------------------------- Accept, Content-Type


@each()
def test_who_takes_no_json_is_refused_on_every_route(api: LaterApi, name: str) -> None:
    method, path, body = REQUESTS[api.version, name]

    response = api.request(method, path, body, headers={'Accept': 'application/xml'})

    assert told(response)[0] == 406


@pytest.mark.parametrize('version', LATER_VERSIONS)
@pytest.mark.parametrize('accept', ['*/*', 'application/*', 'application/json', 'text/html, */*'])
def test_who_takes_json_is_served(api: LaterApi, accept: str) -> None:
    response = api.get(f'{api.version}/queues', headers={'Accept': accept})

    assert response.status_int == 200


@pytest.mark.parametrize('version', LATER_VERSIONS)
def test_a_form_is_refused(api: LaterApi) -> None:
    response = api.post(
        f'{api.queue}/messages',
        {'messages': [{'body': 1}]},
        headers={'Content-Type': 'application/x-www-form-urlencoded'},
    )

    assert refusal(response) == (400, 'Invalid Content-Type')


@pytest.mark.parametrize('version', LATER_VERSIONS)
def test_a_type_on_a_request_without_body_does_not_matter(api: LaterApi) -> None:
    for type_ in ('application/json', 'text/plain'):
        response = api.get(f'{api.version}/queues', headers={'Content-Type': type_})

        assert response.status_int == 200


@pytest.mark.parametrize('version', LATER_VERSIONS)
def test_a_body_on_a_get_does_not_matter(api: LaterApi) -> None:
    response = api.request('GET', f'{api.version}/queues', {'x': 1})

    assert response.status_int == 200


# ---------------------------------------------------------------- names


@each(with_a_queue=True)
def test_a_bad_queue_name_is_refused_wherever_it_stands(api: LaterApi, name: str) -> None:
    method, path, body = REQUESTS[api.version, name]

    response = api.request(
        method, path.replace('jobs', 'caf%C3%A9'), body, headers=HEADERS.get(name)
    )

    assert as_told(response, 400, 'Invalid queue identification')


@pytest.mark.parametrize('version', LATER_VERSIONS)
@pytest.mark.parametrize('name', ['q' * 65, 'a%20b', 'a!', '%00', '%FF', ''], ids=repr)
@pytest.mark.parametrize('method', ['PUT', 'GET'])
def test_what_is_no_queue_name(api: LaterApi, method: str, name: str) -> None:
    response = api.request(method, f'{api.version}/queues/{name}')

    assert refusal(response) == (400, 'Invalid queue identification')


@pytest.mark.parametrize('version', LATER_VERSIONS)
@pytest.mark.parametrize(
    'name', ['Service.test_queue', 'a.json', 'q' * 64, '-', '_x', 'messages', 'claims', '1']
)
def test_a_queue_may_be_named_like_that(api: LaterApi, name: str) -> None:
    path = api.make_queue(name)
    [message] = api.post_messages('x', queue=path)

    assert message.startswith(f'{path}/messages/')
    assert api.exists(message)
    assert api.queue_names() == [name]


# ---------------------------------------------------------------- routes


@pytest.mark.parametrize('path', UNKNOWN_PATHS)
@pytest.mark.parametrize('method', ['GET', 'POST'])
def test_an_unknown_path_is_a_404_before_any_header_is_looked_at(
    api: LaterApi, method: str, path: str
) -> None:
    response = api.request(method, path, client_id=None, project=None)

    assert refusal(response) == (404, '404 Not Found')
    assert response.json == {'title': '404 Not Found'}


@pytest.mark.parametrize(('method', 'path'), NOT_OFFERED)
def test_a_method_that_is_not_offered_is_a_405(api: LaterApi, method: str, path: str) -> None:
    response = api.request(method, path)

    allowed = {name.strip() for name in response.headers['Allow'].split(',')}
    assert as_told(response, 405, '405 Method Not Allowed')
    assert allowed == ROUTES[path] | {'OPTIONS'}


@pytest.mark.parametrize('version', LATER_VERSIONS)
@pytest.mark.parametrize(
    ('client_id', 'project', 'title'),
    [
        (None, PROJECT, 'Missing header value'),
        ('xyz', PROJECT, 'Wrong UUID value'),
        (CLIENT_ID, None, 'Project-Id Missing'),
        (CLIENT_ID, '', 'Empty project header not allowed'),
    ],
    ids=['no-client-id', 'bad-client-id', 'no-project', 'empty-project'],
)
@pytest.mark.parametrize(('method', 'path'), [('POST', '/queues'), ('PUT', '/queues/jobs/stats')])
def test_headers_are_looked_at_before_the_method(
    api: LaterApi,
    method: str,
    path: str,
    client_id: str | None,
    project: str | None,
    title: str,
) -> None:
    response = api.request(method, api.version + path, client_id=client_id, project=project)

    assert refusal(response) == (400, title)


@pytest.mark.parametrize('version', LATER_VERSIONS)
def test_head_of_a_queue_is_not_offered_whether_or_not_it_exists(api: LaterApi) -> None:
    missing = api.head(api.queue)
    api.make_queue()
    existing = api.head(api.queue)

    assert [missing.status_int, existing.status_int] == [405, 405]


@pytest.mark.parametrize('path', ROUTES)
def test_options_names_the_methods_of_a_path(api: LaterApi, path: str) -> None:
    response = api.request('OPTIONS', path)

    assert response.status_int == 200
    assert response.body == b''
    allowed = {name.strip() for name in response.headers['Allow'].split(',')}
    assert allowed == ROUTES[path] | {'OPTIONS'}


@pytest.mark.parametrize('version', LATER_VERSIONS)
@pytest.mark.parametrize('path', ['/ping', '/queues/jobs', '/queues/jobs/stats'])
def test_a_slash_at_the_end_is_tolerated(api: LaterApi, path: str) -> None:
    response = api.get(f'{api.version}{path}/')

    assert response.status_int in (200, 204)


# ---------------------------------------------------------------- replies


@each()
def test_no_reply_says_where_it_was_read(api: LaterApi, name: str) -> None:
    api.post_messages('x')

    response = ask(api, name)

    assert 'Content-Location' not in response.headers


@pytest.mark.parametrize('version', LATER_VERSIONS)
def test_a_204_has_neither_body_nor_type(api: LaterApi) -> None:
    jobs = api.make_queue()

    responses = [
        api.get(f'{api.version}/ping'),
        api.head(f'{api.version}/ping'),
        api.put(jobs),
        api.delete(f'{jobs}/messages?ids={NO_MESSAGE}'),
        api.delete(f'{jobs}/messages/{NO_MESSAGE}'),
        api.post(f'{jobs}/claims'),
        api.delete(f'{jobs}/claims/{NO_CLAIM}'),
        api.delete(jobs),
    ]

    assert {response.status_int for response in responses} == {204}
    assert all(is_empty(response) for response in responses)


@pytest.mark.parametrize('version', LATER_VERSIONS)
def test_json_is_called_application_json(api: LaterApi) -> None:
    [message] = api.post_messages('x')
    claim = api.claim()

    for response in (
        api.get(f'{api.version}/queues'),
        api.get(api.queue),
        api.get(f'{api.queue}/stats'),
        api.get(f'{api.queue}/messages'),
        api.get(f'{api.queue}/messages?ids={message.rpartition("/")[2]}'),
        api.get(message),
        api.get(claim.href),
        api.delete(f'{api.queue}/messages?pop=1'),
    ):
        assert response.status_int == 200
        assert response.headers['Content-Type'] == 'application/json'
        assert int(response.headers['Content-Length']) == len(response.body)
