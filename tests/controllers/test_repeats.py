"""``Idempotency-Key``, in all versions: a request that is sent again is not done again."""

from typing import Any

import pytest
from webtest import TestApp, TestResponse

from .client import CLIENT_ID, Api, LaterApi, refusal

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
