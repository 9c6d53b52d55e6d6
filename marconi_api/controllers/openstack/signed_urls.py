"""Signatures that let their bearer do a few things with a queue, for a while.

See docs/protocol-v2.md, 9.

A signature is the HMAC-SHA256 of paths, methods, project and end. Times are in UTC, and are compared
with this machine's clock. If the clocks of several nodes differ, a signature ends earlier or later by
the difference.
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

#: The form of an end: UTC, in whole seconds.
TIME_FORMAT = '%Y-%m-%dT%H:%M:%S'

#: The file beside the embedded PostgreSQL's data that holds a key of the service's own.
KEY_FILE = 'signing.key'


@dataclass(frozen=True)
class Grant:
    """What a signature allows until ``expires``: methods on paths, and on their members.

    A member is one segment below a path, such as a message or a claim. Paths further down, such as
    that for verdicts, are not allowed (docs/protocol-v2.md, 14.3).
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
        """The text that is signed; its separators are a backslash and an n, as in Zaqar."""
        parts = (
            ','.join(sorted(self.paths)),
            ','.join(sorted(self.methods)),
            self.project,
            self.expires.strftime(TIME_FORMAT),
        )
        return r'\n'.join(parts)


class Signer:
    """Signs grants, and tells its own signatures from others.

    :param keys: the first key signs; each of them verifies. So a key can be replaced, and signatures
        of the old one stay valid.
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


def kept_key(directory: Path, name: str = KEY_FILE) -> str:
    """The key in a file of ``directory``, which is made if it does not exist.

    Only one process at a time may call this.

    :raises OSError: if the file can be neither read nor made
    """
    path = directory / name
    with contextlib.suppress(FileNotFoundError):
        return path.read_text().strip()
    # The file is renamed once it is whole, so a process that is killed leaves no half of a key.
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


#: The signer of the running service; :func:`init_signing` sets its keys.
signer = Signer([])


def init_signing(keys: Sequence[str]) -> None:
    """Sign and verify with these keys from now on."""
    global signer
    signer = Signer(keys)
