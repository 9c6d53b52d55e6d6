"""Signatures of the Standard Webhooks specification: they prove to a receiver that Marconi calls it.

https://github.com/standard-webhooks/standard-webhooks: the HMAC-SHA256 of id, time and body.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Iterable

from marconi_api.errors import InvalidRequest

PREFIX = 'whsec_'

#: Bytes of a secret: the least, the most, and those of a secret that Marconi makes.
LEAST, MOST, MADE = 24, 64, 32


def new_secret() -> str:
    """A secret, as it is shown to the receiver."""
    return PREFIX + base64.b64encode(secrets.token_bytes(MADE)).decode()


def check_secret(secret: str) -> None:
    """Refuse a secret that the libraries of receivers do not accept.

    :raises InvalidRequest: if it does not have the form
    """
    try:
        size = len(_key(secret))
    except (ValueError, binascii.Error):
        size = 0
    if not (secret.startswith(PREFIX) and LEAST <= size <= MOST):
        raise InvalidRequest(
            f'A secret must be {PREFIX} and {LEAST} to {MOST} bytes in base64 after it.'
        )


def sign(secrets_: Iterable[str], call_id: str, timestamp: int, body: bytes) -> str:
    """The value of the header webhook-signature: a signature by each secret, separated by spaces.

    :param timestamp: seconds since 1970
    """
    signed = f'{call_id}.{timestamp}.'.encode() + body
    return ' '.join(f'v1,{_signature(_key(secret), signed)}' for secret in secrets_)


def _key(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix(PREFIX), validate=True)


def _signature(key: bytes, signed: bytes) -> str:
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
