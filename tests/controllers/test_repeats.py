"""``Idempotency-Key``, in all versions: a request that is sent again is not done again."""

from typing import Any

import pytest
from webtest import TestApp, TestResponse

from marconi_api import model
from marconi_api.model import QueueKey

from .client import CLIENT_ID, PROJECT, Api, LaterApi, refusal

VERSIONS = ('/v1', '/v1.1', '/v2')


class Client:
    """A client of any version that posts under a key."""

    def __init__(self, app: TestApp, version: str) -> None:
        self.version = version
        self.api: Api = Api(app) if version == '/v1' else LaterApi(app, version)
        self.queue = self.api.make_queue()

    def post(self, key: str, body: Any = 1) -> TestResponse:
        message = {'ttl': 300, 'body': body}
        return self.api.post(
            f'{self.queue}/messages',
            [message] if self.version == '/v1' else {'messages': [message]},
            client_id=CLIENT_ID,
            headers={'Idempotency-Key': key},
        )

    def stored(self) -> int:
        return len(self.api.listed(queue=self.queue))


@pytest.fixture(params=VERSIONS)
def client(request: pytest.FixtureRequest, app: TestApp) -> Client:
    return Client(app, request.param)


def test_a_post_that_is_sent_again_gets_the_first_answer(client: Client) -> None:
    first, second = client.post('"key"'), client.post('"key"')

    assert first.status_int == second.status_int == 201
    assert second.body == first.body
    assert second.headers['Location'] == first.headers['Location']
    assert client.stored() == 1


def test_a_key_with_another_body_is_refused(client: Client) -> None:
    client.post('"key"', 1)

    assert refusal(client.post('"key"', 2)) == (422, 'Idempotency key reused')
    assert client.stored() == 1


@pytest.mark.parametrize('key', ['key', ' key ', '"key"', ' "key"\t'])
def test_a_key_is_the_same_with_quotation_marks_and_without(client: Client, key: str) -> None:
    first = client.post('key')

    assert client.post(key).json == first.json


@pytest.mark.parametrize(
    ('key', 'same'), [(r'"a\"b"', 'a"b'), (r'"a\\b"', r'a\b'), ('x' * 255, f'"{"x" * 255}"')]
)
def test_a_key_may_have_all_visible_characters(client: Client, key: str, same: str) -> None:
    first = client.post(key)

    assert first.status_int == 201
    assert client.post(same).json == first.json


@pytest.mark.parametrize(
    'key',
    ['', '""', '"', '"a', 'x' * 256, 'a b', '"a b"', 'ä', 'a\x7f', r'"a\b"', '"a"b', '"a", "b"'],
)
def test_a_key_of_another_form_is_refused(client: Client, key: str) -> None:
    assert refusal(client.post(key)) == (400, 'Invalid idempotency key')
    assert client.stored() == 0


def claim(client: Client, key: str, query: str = '', **terms: int) -> TestResponse:
    body = {'ttl': 60, 'grace': 60, **terms}
    headers = {'Idempotency-Key': key}
    return client.api.post(f'{client.queue}/claims{query}', body, headers=headers)


def test_a_claim_that_is_sent_again_gets_the_same_claim(client: Client) -> None:
    for number in range(4):
        client.post(f'post-{number}', number)

    first, second = claim(client, 'key', '?limit=2'), claim(client, '"key"', '?limit=2')

    assert first.status_int == second.status_int == 201
    assert second.json == first.json
    assert second.headers['Location'] == first.headers['Location']


def test_a_claim_with_another_body_or_limit_is_refused(client: Client) -> None:
    client.post('post')
    claim(client, 'key', '?limit=2')

    reused = (422, 'Idempotency key reused')
    assert refusal(claim(client, 'key', '?limit=3')) == reused
    assert refusal(claim(client, 'key', '?limit=2', ttl=61)) == reused


def test_a_claim_that_has_ended_is_refused(client: Client) -> None:
    client.post('post')
    client.api.delete(claim(client, 'key').headers['Location'])

    assert refusal(claim(client, 'key')) == (409, 'Claim has ended')


def test_a_claim_with_a_key_of_another_form_is_refused(client: Client) -> None:
    assert refusal(claim(client, '"')) == (400, 'Invalid idempotency key')


def test_a_claim_across_queues_that_is_sent_again_gets_the_same_claims(app: TestApp) -> None:
    client = Client(app, '/v2')
    client.post('post')
    name = client.queue.rpartition('/')[2]
    body, headers = {'queues': [{'name': name}]}, {'Idempotency-Key': 'key'}

    first, second = (client.api.post('/v2/claims', body, headers=headers) for _ in range(2))

    assert first.status_int == second.status_int == 201
    assert second.json == first.json


def test_a_verdict_with_a_key_is_as_without(app: TestApp) -> None:
    client = Client(app, '/v2')
    client.post('post')
    made = claim(client, 'key')
    body = {'verdicts': [{'id': made.json['messages'][0]['id'], 'verdict': 'delete'}]}
    headers = {'Idempotency-Key': 'key'}

    replies = [
        client.api.post(f'{made.headers["Location"]}/verdicts', body, headers=headers)
        for _ in range(2)
    ]

    assert [reply.status_int for reply in replies] == [200, 200]


def test_a_post_that_is_sent_again_is_not_refused_for_what_holds_since_then(app: TestApp) -> None:
    client = Client(app, '/v2')
    first = client.post('key')
    queue = QueueKey.of(PROJECT, client.queue.rpartition('/')[2])
    model.store.queues.set_metadata(queue, '{"_max_messages_post_size": 1}')
    assert client.post('another').status_int == 400

    assert client.post('key').json == first.json
