"""Signatures that let their bearer do a few things with a queue, for a while.

See docs/protocol-v2.md, 9.

A signature is the HMAC-SHA256 of paths, methods, project and end. Times are UTC, and compared
with this machine's clock: the clocks of several nodes must agree within the minute or so by
which you would let a link live longer or shorter.
"""

import contextlib
import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

#: How an end is written: UTC, in whole seconds.
TIME_FORMAT = '%Y-%m-%dT%H:%M:%S'

#: The file beside the embedded PostgreSQL's data that holds a key of the service's own.
KEY_FILE = 'signing.key'


@dataclass(frozen=True)
class Grant:
    """What a signature allows, until ``expires``: methods on paths, and on what they collect.

    That is one segment below them, a message or a claim; not what can be done with that, such
    as giving verdicts (docs/protocol-v2.md, 14.3).
    """

    paths: tuple[str, ...]
    methods: tuple[str, ...]
    project: str
    expires: datetime

    def allows(self, method: str, path: str, project: str, now: datetime) -> bool:
        """Whether a request is among what was granted."""
        return (
            project == self.project
            and method in self.methods
            and now < self.expires
            and any(path == granted or path.rpartition('/')[0] == granted for granted in self.paths)
        )

    @property
    def text(self) -> str:
        """What is signed; the separators are a backslash and an n, as upstream has them."""
        parts = (
            ','.join(sorted(self.paths)),
            ','.join(sorted(self.methods)),
            self.project,
            self.expires.strftime(TIME_FORMAT),
        )
        return r'\n'.join(parts)


class Signer:
    """Signs grants, and tells its own signatures from others.

    :param keys: the first signs; any of them verifies, so that a key can be replaced while
        what the old one signed still holds
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = [key.encode() for key in keys]

    @property
    def can_sign(self) -> bool:
        """Whether there is a key."""
        return bool(self._keys)

    def sign(self, grant: Grant) -> str:
        """The signature, 64 hexadecimal digits."""
        return _digest(self._keys[0], grant)

    def is_signed(self, grant: Grant, signature: str) -> bool:
        """Whether the signature is that of the grant; takes as long whether or not it is."""
        sent = signature.encode()
        return any([hmac.compare_digest(_digest(key, grant).encode(), sent) for key in self._keys])


def _digest(key: bytes, grant: Grant) -> str:
    return hmac.new(key, grant.text.encode(), hashlib.sha256).hexdigest()


def kept_key(directory: Path) -> str:
    """The key that is kept in ``directory``, for one process at a time; made if there is none.

    :raises OSError: if it can be neither read nor made
    """
    path = directory / KEY_FILE
    with contextlib.suppress(FileNotFoundError):
        return path.read_text().strip()
    # A process that is killed midway leaves no half of a key.
    unfinished = path.with_suffix('.new')
    unfinished.unlink(missing_ok=True)
    key = secrets.token_hex(32)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, 'w') as file:
        file.write(f'{key}\n')
        file.flush()
        os.fsync(descriptor)
    unfinished.rename(path)
    return key


def now() -> datetime:
    """The time by which signatures end."""
    return datetime.now(UTC)


#: That of the running service; :func:`init_signing` gives it its keys.
signer = Signer([])


def init_signing(keys: Sequence[str]) -> None:
    """Sign and verify with these keys from now on."""
    global signer
    signer = Signer(keys)
