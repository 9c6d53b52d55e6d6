"""Secrets that must be read again: they are stored encrypted, by keys that the database does not have.

The secret of an access key is needed whole, to check signatures. Encrypted, it is of no use to those who
come by a copy of the database.
"""

from base64 import urlsafe_b64encode
from collections.abc import Sequence
from hashlib import sha256

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from marconi_api.errors import InvalidRequest


class Cipher:
    """Encrypts by the first of its keys, and decrypts by any of them.

    :param keys: any texts; without any, nothing can be encrypted
    """

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._fernet = MultiFernet([Fernet(_key_of(key)) for key in keys]) if keys else None

    def encrypt(self, secret: str) -> str:
        """The secret as it is stored.

        :raises InvalidRequest: if there is no key
        """
        if self._fernet is None:
            raise InvalidRequest(
                'This service keeps no secrets of access keys: its operator must set '
                'MARCONI_SECRET_KEYS first.'
            )
        return self._fernet.encrypt(secret.encode()).decode()

    def decrypt(self, stored: str) -> str | None:
        """The secret; None if it was encrypted by another key."""
        if self._fernet is None:
            return None
        try:
            return self._fernet.decrypt(stored.encode()).decode()
        except InvalidToken:
            return None


def _key_of(text: str) -> bytes:
    """A key of Fernet, which has 32 bytes, from any text."""
    return urlsafe_b64encode(sha256(text.encode()).digest())
