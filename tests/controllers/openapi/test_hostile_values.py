"""Whatever value stands in a field, the answer is not a fault of ours, and the queue goes on.

Every field of every body, every parameter, header and placeholder of the document gets every
value of ``hostile.py`` once; then several get some at once.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import cycle
from typing import Any
from urllib.parse import quote_from_bytes

import hypothesis
import pytest
from hypothesis import HealthCheck
from hypothesis import strategies as st
from webtest import TestApp, TestResponse

from marconi_api import model
from marconi_api.controllers.openstack import signed_urls
from marconi_api.model import QueueKey

from ..client import CLIENT_ID, PROJECT, LaterApi, id_of
from .document import OPERATIONS, resolved
from .examples import HOOK, OTHER_HOOK
from .hooked import make_delivery
from .hostile import DOCUMENTS, HEADS, choices, edges, places, written
from .redriven import REDRIVE, make_redrive

#: Of several at once, for each operation; a small part of what the profile allows.
EXAMPLES = hypothesis.settings().max_examples // 10

#: Headers of HTTP itself, which each operation heeds.
_OF_HTTP = ('Accept', 'Content-Type')


class Target:
    """An operation, and a client to send requests to it."""

    def __init__(self, api: LaterApi, method: str, path: str, known: dict[str, str]) -> None:
        self.api = api
        self.method = method
        self.path = path
        self.known = known
        #: Whether what it takes is kept.
        self.writes = method in ('PUT', 'PATCH') or path.endswith('/messages')
        self.operation = OPERATIONS[method, path]
        body = self.operation.get('requestBody')
        self.media_type, self.body = '', {}
        if body:
            [(self.media_type, content)] = body['content'].items()
            self.body = content['schema']

    @property
    def query(self) -> dict[str, dict[str, Any]]:
        """The schemas of the query's parameters, by their names."""
        return self._parameters('query')

    def _parameters(self, place: str) -> dict[str, dict[str, Any]]:
        declared = [resolved(parameter) for parameter in self.operation['parameters']]
        return {found['name']: found['schema'] for found in declared if found['in'] == place}

    def headers(self) -> list[str]:
        """The headers that are read."""
        credentials = {name for way in self.operation.get('security', ()) for name in way}
        return [*self._parameters('header'), *sorted(credentials), *_OF_HTTP]

    def send(
        self,
        body: str | None = None,
        query: Mapping[str, bytes] = {},
        headers: Mapping[str, bytes] = {},
        named: Mapping[str, bytes] = {},
    ) -> TestResponse:
        """Whatever is answered, once it is seen to be documented and no fault of ours."""
        quoted = {name: quote_from_bytes(value, safe='') for name, value in named.items()}
        target = self.path.format(**{**self.known, **quoted})
        if query:
            pairs = (f'{name}={quote_from_bytes(value)}' for name, value in query.items())
            target = f'{target}?{"&".join(pairs)}'
        usual = {'Client-ID': CLIENT_ID, 'X-Project-Id': PROJECT, 'X-Roles': 'admin'}
        if self.media_type:
            usual['Content-Type'] = self.media_type
        if any(name.startswith('URL-') for name in headers):
            usual |= signed(f'{self.path.format(**self.known)}', self.method)
        if body is None and self.body:
            body = self.written({}, 0)
        if self.method == 'PUT' and self.path.endswith('{queue}'):
            # The metadata of a queue that is there is left as it is.
            self.api.delete('/v2/queues/jobs')
        response = self.api.request(self.method, target, body, headers={**usual, **headers})
        assert response.status_int < 500, (body, query, headers, named, response.text)
        return response

    def written(self, hostile: Mapping[Any, str], choice: int) -> str:
        """A body with something hostile."""
        known = {'id': self.known['message'], 'name': 'jobs', 'subscriber': OTHER_HOOK}
        return written(self.body, hostile, choice, known)


def signed(path: str, method: str) -> dict[str, str]:
    """The headers of a request that bears a good signature."""
    grant = signed_urls.Grant((path,), (method,), PROJECT, signed_urls.now().replace(year=9999))
    return {
        'URL-Signature': signed_urls.signer.sign(grant),
        'URL-Expires': grant.expires.strftime(signed_urls.TIME_FORMAT),
        'URL-Methods': method,
        'URL-Paths': path,
    }


VERSIONS = ('/v1', '/v1.1', '/v2')


def go_on(api: LaterApi, versions: Iterable[str] = VERSIONS) -> None:
    """Use the queue as others do, whose metadata and messages were just written."""
    for version in versions:
        queue = f'{version}/queues/jobs'
        for method, target, body in (
            ('GET', f'{version}/queues?detailed=true', None),
            ('GET', f'{version}/queues?a=1&unknown=1&_max_claim_count=60', None),
            ('GET', queue, None),
            ('GET', f'{queue}/messages?echo=true&include_claimed=true', None),
            ('POST', f'{queue}/claims?limit=1', {'ttl': 60, 'grace': 60}),
            ('GET', f'{queue}/stats', None),
        ):
            response = api.request(method, target, body)
            assert response.status_int < 400 or (version, response.status_int) == ('/v1', 404)
    posted = api.post(f'{api.queue}/messages', {'messages': [{'body': 1}]})
    # The queue's own ttl, delay and size may not allow it.
    assert posted.status_int in (201, 400)


@pytest.fixture
def target(
    request: pytest.FixtureRequest, app: TestApp, sql: Any, monkeypatch: Any
) -> Iterator[Target]:
    """An operation on a queue with messages, of which one is claimed."""
    monkeypatch.setattr(signed_urls, 'signer', signed_urls.Signer(['key']))
    method, path = request.param
    api = LaterApi(app, '/v2')
    api.make_queue()
    api.post_messages('held', *'abcdefgh', ttl=1000)
    claim = api.claim(limit=1)
    [message, *_] = api.listed()
    hook = model.store.subscriptions.create(QueueKey.of(PROJECT, 'jobs'), HOOK)
    make_redrive(sql, 'a redrive')
    known = {
        **{'queue': 'jobs', 'message': id_of(message['href']), 'claim': claim.id, 'token': 'x'},
        'subscription': hook.id,
        'redrive': REDRIVE,
        'delivery': make_delivery(QueueKey.of(PROJECT, 'jobs'), hook.id, id_of(message['href'])),
    }
    yield Target(api, method, path, known)
    go_on(api)


each_operation = pytest.mark.parametrize(
    'target',
    [pytest.param(of, id=' '.join(of)) for of in OPERATIONS],
    indirect=True,
)
each_with_a_body = pytest.mark.parametrize(
    'target',
    [pytest.param(of, id=' '.join(of)) for of, told in OPERATIONS.items() if 'requestBody' in told],
    indirect=True,
)


@each_with_a_body
def test_no_value_of_a_field_is_a_fault_of_ours(target: Target) -> None:
    # All look at the same rows: what one version makes of a value, the next sees of the next.
    looks = cycle(VERSIONS)
    for place, schema in places(target.body):
        for choice in range(choices(target.body)):
            for document in (*DOCUMENTS, *edges(schema)):
                response = target.send(target.written({place: document}, choice))
                if response.status_int in (200, 201, 204) and target.writes:
                    go_on(target.api, [next(looks)])


@each_operation
def test_no_value_in_a_head_is_a_fault_of_ours(target: Target) -> None:
    for name, schema in target.query.items():
        for value in (*HEADS, *map(str.encode, edges(schema))):
            target.send(query={name: value})
    for value in HEADS:
        for name in target.headers():
            target.send(headers={name: value})
        for name in re.findall(r'{(\w+)}', target.path):
            target.send(named={name: value})


@each_operation
def test_no_values_together_are_a_fault_of_ours(target: Target) -> None:
    in_body = [place for place, _ in places(target.body)] if target.body else []

    def some(names: list[str]) -> Any:
        return (
            st.dictionaries(st.sampled_from(names), st.sampled_from(HEADS))
            if names
            else st.just({})
        )

    @hypothesis.settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
    @hypothesis.given(
        body=st.dictionaries(st.sampled_from(in_body), st.sampled_from(DOCUMENTS))
        if in_body
        else st.none(),
        choice=st.integers(0, 20),
        query=some([*target.query]),
        headers=some(target.headers()),
    )
    def send(body: Any, choice: int, query: Any, headers: Any) -> None:
        target.send(None if body is None else target.written(body, choice), query, headers)

    send()
