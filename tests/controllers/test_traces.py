"""A message keeps the ``traceparent`` with which it was posted, and gives it back when claimed."""

from collections.abc import Callable
from typing import Any

import pytest
from webtest import TestApp, TestResponse

from marconi_api import model
from marconi_api.model import QueueKey

from .client import CLIENT_ID, PROJECT, Api, LaterApi, id_of

TRACE = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
HEADER = 'Message-Traceparent'


class Client:
    """A client of any version that posts within a trace."""

    def __init__(self, app: TestApp, version: str) -> None:
        self.version = version
        self.api: Api = Api(app) if version == '/v1' else LaterApi(app, version)
        self.queue = self.api.make_queue()

    def post(self, *bodies: Any, traceparent: str | None = TRACE, **headers: str) -> list[str]:
        """The ids of new messages."""
        messages = [{'ttl': 300, 'body': body} for body in bodies]
        if traceparent is not None:
            headers['traceparent'] = traceparent
        response = self.api.post(
            f'{self.queue}/messages',
            messages if self.version == '/v1' else {'messages': messages},
            client_id=CLIENT_ID,
            headers=headers,
        )
        assert response.status_int == 201, response.text
        return [id_of(path) for path in response.json['resources']]

    def claim(self, **headers: str) -> TestResponse:
        terms = {'ttl': 60, 'grace': 60}
        path = f'{self.queue}/claims?limit=20'
        response = self.api.post(path, terms, headers=headers)
        assert response.status_int == 201, response.text
        return response


class LaterClient(Client):
    """The same of version 1.1 or 2."""

    api: LaterApi


def traces_in(response: TestResponse) -> dict[str, str]:
    """The traces in a reply, by the ids of messages."""
    pairs = (pair.split('=') for pair in response.headers[HEADER].split(', '))
    return {id: trace for id, trace in pairs}


@pytest.fixture(params=['/v1', '/v1.1', '/v2'])
def client(request: pytest.FixtureRequest, app: TestApp) -> Client:
    return Client(app, request.param)


@pytest.fixture
def newest(app: TestApp) -> LaterClient:
    return LaterClient(app, '/v2')


def test_a_claim_tells_the_traces_of_its_messages(client: Client) -> None:
    first, second = client.post('a', 'b')
    client.post('c', traceparent=None)
    [third] = client.post('d', traceparent=TRACE.replace('4bf9', 'beef'))

    claimed = client.claim()

    assert traces_in(claimed) == {
        first: TRACE,
        second: TRACE,
        third: TRACE.replace('4bf9', 'beef'),
    }
    again = client.api.get(claimed.headers['Location'])
    assert again.headers[HEADER] == claimed.headers[HEADER]


def test_a_message_has_the_members_that_clients_know_and_no_others(client: Client) -> None:
    client.post('a')

    document = client.claim().json

    [message] = document if client.version == '/v1' else document['messages']
    id = set() if client.version == '/v1' else {'id'}
    assert set(message) == {'href', 'ttl', 'age', 'body', *id}


def test_messages_without_a_trace_are_handed_out_without_the_header(client: Client) -> None:
    client.post('a', traceparent=None)

    assert HEADER not in client.claim().headers


@pytest.mark.parametrize(
    'sent',
    [
        '',
        'x',
        TRACE.upper(),
        TRACE[:-1],
        f'{TRACE}-more',
        f'{TRACE}, {TRACE}',
        TRACE.replace('00-', 'ff-', 1),
        f'00-{"0" * 32}-00f067aa0ba902b7-01',
        f'00-4bf92f3577b34da6a3ce929d0e0e4736-{"0" * 16}-01',
    ],
)
def test_a_traceparent_that_is_not_well_formed_is_dropped(newest: LaterClient, sent: str) -> None:
    newest.post('a', traceparent=sent)

    assert HEADER not in newest.claim().headers


@pytest.mark.parametrize('sent', [f' {TRACE}\t', f'01{TRACE[2:]}-more', f'cc{TRACE[2:]}'])
def test_of_a_later_version_of_the_header_the_part_that_all_have_is_kept(
    newest: LaterClient, sent: str
) -> None:
    [posted] = newest.post('a', traceparent=sent)

    assert traces_in(newest.claim()) == {posted: TRACE}


@pytest.mark.parametrize('version', ['/v1.1', '/v2'])
def test_a_pop_tells_the_traces(app: TestApp, version: str) -> None:
    client = Client(app, version)
    [posted] = client.post('a')

    popped = client.api.delete(f'{client.queue}/messages?pop=1')

    assert traces_in(popped) == {posted: TRACE}


def test_a_claim_across_queues_tells_the_traces(newest: LaterClient) -> None:
    [posted] = newest.post('a')

    claimed = newest.api.post('/v2/claims', {'queues': [{'name': 'jobs'}]})

    assert traces_in(claimed) == {posted: TRACE}


def test_a_post_under_a_key_keeps_the_trace_and_so_does_a_claim_that_is_sent_again(
    newest: LaterClient,
) -> None:
    [posted] = newest.post('a', **{'Idempotency-Key': 'post'})

    for _ in range(2):
        assert traces_in(newest.claim(**{'Idempotency-Key': 'claim'})) == {posted: TRACE}


def test_a_dead_letter_and_a_message_that_is_moved_back_keep_the_trace(
    newest: LaterClient, age: Callable[[int], None]
) -> None:
    newest.api.put('/v2/queues/dead')
    for name, value in (('_dead_letter_queue', 'dead'), ('_max_claim_count', 1)):
        change = {'op': 'add', 'path': f'/metadata/{name}', 'value': value}
        newest.api.change(change, queue=newest.queue)
    [posted] = newest.post('a')
    newest.claim()
    age(61)
    assert newest.api.post(f'{newest.queue}/claims').status_int == 204

    assert newest.api.post('/v2/queues/dead/redrive').json['moved'] == 1

    assert traces_in(newest.claim()) == {posted: TRACE}


def test_the_header_stays_below_what_proxies_take(newest: LaterClient) -> None:
    posted = newest.post(*range(100))

    key = QueueKey.of(PROJECT, 'jobs')
    claim = model.store.claims.create(key, 60, 60, 100)
    assert claim is not None
    response = newest.api.get(f'{newest.queue}/claims/{claim.id}')

    assert list(traces_in(response)) == posted[:32]
    assert len(response.headers[HEADER]) < 2400
