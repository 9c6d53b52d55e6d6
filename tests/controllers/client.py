"""A client of the API that sends whatever it is told to, also what no client should."""

import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from webtest import TestApp, TestRequest, TestResponse

from .openapi.document import OPERATIONS, check_status_and_headers

CLIENT_ID = '3381af92-2b9e-11e3-b191-71861300734c'
OTHER_CLIENT_ID = '7d3f0b1e-8c57-4b0e-9f5b-0c7a51c3a2d4'

#: A claim's id as it could be, of no claim.
NO_CLAIM = '11111111-2222-4333-8444-555555555555'
#: A message's id as it could be, of no message.
NO_MESSAGE = '7fffffffffffff00'

#: The queue that tests use where the name does not matter.
QUEUE = '/v1/queues/jobs'

#: The type of the document that changes a queue's metadata in version 2.
JSON_PATCH = 'application/openstack-messaging-v2.0-json-patch'

#: The project that clients of versions 1.1 and 2 name where it does not matter.
PROJECT = 'acme'


class Claim(NamedTuple):
    """A claim as its maker sees it."""

    href: str
    messages: list[dict[str, Any]]

    @property
    def id(self) -> str:
        return self.href.rpartition('/')[2]

    @property
    def held(self) -> list[str]:
        """The paths of its messages, without the claim's id."""
        return [message['href'].partition('?')[0] for message in self.messages]


class Api:
    """Sends requests, and makes what a test needs to begin with.

    A ``body`` of None is no body and no ``Content-Length``; text and bytes are sent as they
    are, anything else as JSON. Values of headers are sent as UTF-8, bytes as they are.
    """

    def __init__(self, app: TestApp) -> None:
        self._wsgi_app = app.app

    def request(
        self,
        method: str,
        target: str,
        body: Any = None,
        *,
        client_id: str | bytes | None = None,
        project: str | bytes | None = None,
        headers: Mapping[str, str | bytes] | None = None,
    ) -> TestResponse:
        """Whatever the service answers, be it an error or not."""
        sent = dict(headers or {})
        if client_id is not None:
            sent['Client-ID'] = client_id
        if project is not None:
            sent['X-Project-Id'] = project
        request = TestRequest(environ_of(method, target, body, sent))
        response = request.get_response(self._wsgi_app, catch_exc_info=True)
        response.request = request
        check_declared(request, response)
        return response

    def get(self, target: str, **options: Any) -> TestResponse:
        return self.request('GET', target, **options)

    def head(self, target: str, **options: Any) -> TestResponse:
        return self.request('HEAD', target, **options)

    def put(self, target: str, body: Any = None, **options: Any) -> TestResponse:
        return self.request('PUT', target, body, **options)

    def post(self, target: str, body: Any = None, **options: Any) -> TestResponse:
        return self.request('POST', target, body, **options)

    def patch(self, target: str, body: Any = None, **options: Any) -> TestResponse:
        return self.request('PATCH', target, body, **options)

    def delete(self, target: str, **options: Any) -> TestResponse:
        return self.request('DELETE', target, **options)

    def make_queue(
        self, name: str = 'jobs', project: str | None = None, metadata: Any = None
    ) -> str:
        """A new queue's path."""
        path = f'/v1/queues/{name}'
        assert self.put(path, project=project).status_int == 201
        if metadata is not None:
            assert self.put(f'{path}/metadata', metadata, project=project).status_int == 204
        return path

    def post_messages(
        self,
        *bodies: Any,
        queue: str = QUEUE,
        ttl: int = 300,
        client_id: str = CLIENT_ID,
        project: str | None = None,
    ) -> list[str]:
        """The paths of new messages, one for each body."""
        document = [{'ttl': ttl, 'body': body} for body in bodies]
        response = self.post(f'{queue}/messages', document, client_id=client_id, project=project)
        assert response.status_int == 201, response.text
        resources: list[str] = response.json['resources']
        return resources

    def post_text(self, body: str, queue: str = QUEUE) -> TestResponse:
        """Post one message, its body JSON as it is written."""
        return self.post(
            f'{queue}/messages', f'[{{"ttl": 300, "body": {body}}}]', client_id=CLIENT_ID
        )

    def claim(
        self,
        limit: int | None = None,
        ttl: int = 100,
        grace: int = 60,
        queue: str = QUEUE,
        project: str | None = None,
    ) -> Claim:
        """A new claim on what is free."""
        query = '' if limit is None else f'?limit={limit}'
        terms = {'ttl': ttl, 'grace': grace}
        response = self.post(f'{queue}/claims{query}', terms, project=project)
        assert response.status_int == 201, response.text
        return Claim(response.headers['Location'], response.json)

    def listed(
        self,
        query: str = 'echo=true&limit=20',
        queue: str = QUEUE,
        client_id: str = CLIENT_ID,
        project: str | None = None,
    ) -> list[dict[str, Any]]:
        """The messages on one page of a queue; none for a 204."""
        response = self.get(f'{queue}/messages?{query}', client_id=client_id, project=project)
        if response.status_int == 204:
            return []
        assert response.status_int == 200, response.text
        messages: list[dict[str, Any]] = response.json['messages']
        return messages

    def stats(self, queue: str = QUEUE) -> dict[str, Any]:
        """The numbers of a queue's messages."""
        messages: dict[str, Any] = self.get(f'{queue}/stats').json['messages']
        return messages

    def exists(self, resource: str) -> bool:
        """Whether there is something to GET at a path."""
        return self.get(resource).status_int in (200, 204)


class LaterApi(Api):
    """A client of version 1.1 or 2, whose requests all say who asks and for which project.

    A ``client_id`` or ``project`` of None leaves the header out.
    """

    def __init__(self, app: TestApp, version: str) -> None:
        super().__init__(app)
        self.version = version
        self.queue = f'{version}/queues/jobs'

    def request(
        self,
        method: str,
        target: str,
        body: Any = None,
        *,
        client_id: str | bytes | None = CLIENT_ID,
        project: str | bytes | None = PROJECT,
        headers: Mapping[str, str | bytes] | None = None,
    ) -> TestResponse:
        return super().request(
            method, target, body, client_id=client_id, project=project, headers=headers
        )

    def make_queue(
        self, name: str = 'jobs', project: str | None = PROJECT, metadata: Any = None
    ) -> str:
        path = f'{self.version}/queues/{name}'
        response = self.put(path, metadata, project=project)
        assert response.status_int == 201, response.text
        return path

    def post_messages(
        self,
        *bodies: Any,
        queue: str | None = None,
        ttl: int | None = 300,
        client_id: str = CLIENT_ID,
        project: str | None = PROJECT,
        delay: int | None = None,
    ) -> list[str]:
        """The paths of new messages, one for each body; no ``ttl`` or ``delay`` sends none."""
        terms = {'ttl': ttl, 'delay': delay}
        given = {name: value for name, value in terms.items() if value is not None}
        response = self.post(
            f'{queue or self.queue}/messages',
            {'messages': [{**given, 'body': body} for body in bodies]},
            client_id=client_id,
            project=project,
        )
        assert response.status_int == 201, response.text
        resources: list[str] = response.json['resources']
        return resources

    def post_text(self, body: str, queue: str | None = None) -> TestResponse:
        return self.post(f'{queue or self.queue}/messages', f'{{"messages": [{{"body": {body}}}]}}')

    def claim(
        self,
        limit: int | None = None,
        ttl: int = 100,
        grace: int = 60,
        queue: str | None = None,
        project: str | None = PROJECT,
    ) -> Claim:
        query = '' if limit is None else f'?limit={limit}'
        terms = {'ttl': ttl, 'grace': grace}
        response = self.post(f'{queue or self.queue}/claims{query}', terms, project=project)
        assert response.status_int == 201, response.text
        return Claim(response.headers['Location'], response.json['messages'])

    def listed(
        self,
        query: str = 'echo=true&limit=20',
        queue: str | None = None,
        client_id: str = CLIENT_ID,
        project: str | None = PROJECT,
    ) -> list[dict[str, Any]]:
        """The messages on one page of a queue."""
        response = self.get(
            f'{queue or self.queue}/messages?{query}', client_id=client_id, project=project
        )
        assert response.status_int == 200, response.text
        messages: list[dict[str, Any]] = response.json['messages']
        return messages

    def popped(self, count: int = 20, queue: str | None = None) -> list[dict[str, Any]]:
        """The messages that a pop returns."""
        response = self.delete(f'{queue or self.queue}/messages?pop={count}')
        assert response.status_int == 200, response.text
        messages: list[dict[str, Any]] = response.json['messages']
        return messages

    def stats(self, queue: str | None = None) -> dict[str, Any]:
        return super().stats(queue or self.queue)

    def change(self, *operations: Any, queue: str | None = None) -> TestResponse:
        """PATCH the metadata of a queue by JSON-patch operations (docs/protocol-v2.md, 5.4)."""
        return self.patch(
            queue or self.queue, list(operations), headers={'Content-Type': JSON_PATCH}
        )

    def queue_names(self, query: str = 'limit=20') -> list[str]:
        """The names on one page of queues."""
        response = self.get(f'{self.version}/queues?{query}')
        assert response.status_int == 200, response.text
        return [entry['name'] for entry in response.json['queues']]


def check_declared(request: TestRequest, response: TestResponse) -> None:
    """What an action replied is what it declared: its status and headers (``expose``).

    Nothing is declared of what was refused before a door was found, nor of other methods.
    """
    resource = request.environ['pecan.locals']['request'].resource
    if resource and (request.method, resource.path) in OPERATIONS:
        check_status_and_headers(request.method, resource.path, response)


def environ_of(
    method: str, target: str, body: Any = None, headers: Mapping[str, str | bytes] | None = None
) -> dict[str, Any]:
    """The WSGI environment of a request, as a server would make it."""
    path, _, query = target.partition('?')
    environ: dict[str, Any] = {
        'REQUEST_METHOD': method,
        'SCRIPT_NAME': '',
        'REQUEST_URI': as_received(target),
        'PATH_INFO': unquote_to_bytes(path).decode('latin-1'),
        'QUERY_STRING': as_received(query),
        'SERVER_NAME': 'marconi.example',
        'SERVER_PORT': '80',
        'SERVER_PROTOCOL': 'HTTP/1.1',
        'HTTP_HOST': 'marconi.example',
        'REMOTE_ADDR': '192.0.2.1',
        'wsgi.version': (1, 0),
        'wsgi.url_scheme': 'http',
        'wsgi.multithread': False,
        'wsgi.multiprocess': False,
        'wsgi.run_once': False,
        'wsgi.errors': BytesIO(),
        'wsgi.input': BytesIO(),
    }
    if body is not None:
        content = bytes_of(body)
        environ['wsgi.input'] = BytesIO(content)
        environ['CONTENT_LENGTH'] = str(len(content))
    for name, value in (headers or {}).items():
        key = name.upper().replace('-', '_')
        if key not in ('CONTENT_TYPE', 'CONTENT_LENGTH'):
            key = f'HTTP_{key}'
        environ[key] = as_received(value)
    return environ


def bytes_of(body: Any) -> bytes:
    """What goes over the wire as the body."""
    if isinstance(body, bytes):
        return body
    return (body if isinstance(body, str) else json.dumps(body)).encode()


def as_received(value: str | bytes) -> str:
    """Bytes of a request's head, as WSGI hands them over."""
    return (value.encode() if isinstance(value, str) else value).decode('latin-1')


def refusal(response: TestResponse) -> tuple[int, str]:
    """An error's status and title, once it is seen to have the form that all errors have."""
    assert response.status_int >= 400, response.status
    assert response.headers['Content-Type'] == 'application/json'
    assert response.headers['Vary'] == 'Accept'
    assert 'Location' not in response.headers
    assert 'Content-Location' not in response.headers
    document = response.json
    assert set(document) <= {'title', 'description', 'link', 'code'}
    assert isinstance(document['title'], str)
    assert isinstance(document.get('description', ''), str)
    return response.status_int, document['title']


def bodies(messages: list[dict[str, Any]]) -> list[Any]:
    """What was posted in each message."""
    return [message['body'] for message in messages]


def id_of(path: str) -> str:
    """The id at the end of a message's or claim's path."""
    return path.partition('?')[0].rpartition('/')[2]


def ids_of(paths: list[str]) -> str:
    """The ids of messages, as the parameter ``ids`` takes them."""
    return ','.join(id_of(path) for path in paths)


def next_of(response: TestResponse) -> str:
    """Where the one link of a page leads."""
    [link] = response.json['links']
    assert link.keys() == {'rel', 'href'}
    assert link['rel'] == 'next'
    href: str = link['href']
    return href


def is_empty(response: TestResponse) -> bool:
    """Whether a reply has neither a body nor a type of one."""
    return response.body == b'' and 'Content-Type' not in response.headers
