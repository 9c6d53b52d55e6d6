"""Signatures of webhooks, which the published library of receivers verifies."""

import asyncio
import base64
import time

import pytest
import standardwebhooks

from marconi_api.errors import InvalidRequest
from marconi_api.webhooks.calling import Caller
from marconi_api.webhooks.signatures import check_secret, new_secret, sign
from tests.webhooks.receivers import Call, receiver

BODY = '{"body": "gr\u00fc\u00dfe"}'.encode()


def arrived(secrets: list[str]) -> Call:
    """What a receiver gets of a call that was signed by these secrets."""
    now = int(time.time())
    headers = {
        'webhook-id': 'msg_1',
        'webhook-timestamp': str(now),
        'webhook-signature': sign(secrets, 'msg_1', now, BODY),
    }
    with receiver() as receiving:
        call = Caller(receiving.rules).call(receiving.rules.target(receiving.url), headers, BODY, 5)
        assert asyncio.run(call).has_delivered
    return receiving.calls[0]


def test_the_published_library_verifies_what_is_sent() -> None:
    secret = new_secret()
    call = arrived([secret])

    webhook = standardwebhooks.Webhook(secret)

    assert webhook.verify(call.body, call.headers) == {'body': 'gr\u00fc\u00dfe'}


def test_two_secrets_are_valid_at_a_time() -> None:
    new, old = new_secret(), new_secret()
    call = arrived([new, old])

    for secret in (new, old):
        standardwebhooks.Webhook(secret).verify(call.body, call.headers)


def test_another_secret_or_another_body_is_refused() -> None:
    secret = new_secret()
    call = arrived([secret])

    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(new_secret()).verify(call.body, call.headers)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(secret).verify(call.body + b' ', call.headers)


def secret_of(size: int) -> str:
    return 'whsec_' + base64.b64encode(b'x' * size).decode()


@pytest.mark.parametrize('size', [24, 32, 64])
def test_a_secret_has_24_to_64_bytes(size: int) -> None:
    check_secret(secret_of(size))


@pytest.mark.parametrize(
    'secret',
    [
        secret_of(23),
        secret_of(65),
        secret_of(32).removeprefix('whsec_'),
        'whsec_' + 'x' * 33,
        'whsec_' + '\u00e4' * 32,
        'whsec_ ' + 'x' * 32,
        '',
    ],
)
def test_another_secret_is_not_accepted(secret: str) -> None:
    with pytest.raises(InvalidRequest, match='whsec_'):
        check_secret(secret)
