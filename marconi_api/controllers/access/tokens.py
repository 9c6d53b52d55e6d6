"""Token mode: a token of ours says who asks."""

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from math import inf
from typing import Any, TypeVar

from marconi_api.controllers.access.credentials import named_project, sent_token
from marconi_api.controllers.access.guessing import Guessing
from marconi_api.controllers.access.identity import Identity
from marconi_api.errors import MarconiError
from marconi_api.model.tokens import Tokens, Valid
from marconi_api.policy import OPERATOR
from marconi_api.wire.failures import BEARER, InvalidCredential, NoCredential, NotYourProject
from marconi_api.wire.requests import Request

#: Valid tokens that a process remembers, at most, and as many wrong ones. An entry takes half a
#: kilobyte, or a kilobyte with the longest names. Of a wrong token only the hash is kept.
MOST_REMEMBERED = 10_000
MOST_WRONG_REMEMBERED = 1_000


Entry = TypeVar('Entry')


class _Known:
    """What a process remembers of a token.

    :param until: the time of ``time.monotonic()`` after which the token is looked up again
    """

    __slots__ = ('identity', 'is_operator', 'until')

    def __init__(self, valid: Valid, until: float) -> None:
        self.identity = Identity(valid.project, valid.roles, valid.queues, valid.id)
        self.is_operator = OPERATOR in valid.roles
        self.until = until


class TokenAsks:
    """Learns the identity of a client from its token, and remembers it for a while.

    :param look_up: returns what a token says of its bearer; None if it is not valid
    :param seconds: for how long a token is remembered, whether or not it is valid
    :param guessing: counts the wrong tokens of each address
    :param challenges: headers of a 401, which tell the client what credential to send
    """

    def __init__(
        self,
        look_up: Callable[[str], Valid | None],
        seconds: float,
        guessing: Guessing,
        challenges: tuple[tuple[str, str], ...] = BEARER,
    ) -> None:
        self._look_up = look_up
        self._seconds = seconds
        self._guessing = guessing
        self._challenges = challenges
        self._known: dict[bytes, _Known] = {}
        self._wrong: dict[bytes, float] = {}
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Identity:
        """The identity of the client that sent the request.

        :raises NoCredential: if the request has no credential
        :raises InvalidCredential: if its credential is not valid
        :raises TooManyFailures: if too many wrong credentials came from this address
        :raises NotYourProject: if the client names another project than its token's
        :raises MarconiError: if the token is not remembered, and cannot be looked up
        """
        environ = request.environ
        try:
            token = sent_token(environ)
            if token is None:
                raise NoCredential(self._challenges)
            known = self._recall(token, environ)
        except InvalidCredential:
            self._guessing.check(environ)
            self._guessing.note_failure(environ)
            raise InvalidCredential(self._challenges) from None
        return _in_project(known, request)

    def _recall(self, token: str, environ: Mapping[str, Any]) -> _Known:
        # Only the hash is kept and compared, so that no secret lies in memory.
        digest = sha256(token.encode()).digest()
        known = self._known.get(digest)
        now = time.monotonic()
        if known is None:
            # A token that was valid a moment ago is looked up even if others guess at its address.
            self._guessing.check(environ)
            if self._wrong.get(digest, 0.0) > now:
                raise InvalidCredential
        elif known.until > now:
            return known
        return self._learn(token, digest, now)

    def _learn(self, token: str, digest: bytes, now: float) -> _Known:
        valid = self._look_up(token)
        if valid is None:
            with self._lock:
                self._known.pop(digest, None)
                _remember(self._wrong, digest, now + self._seconds, MOST_WRONG_REMEMBERED)
            raise InvalidCredential
        expires_in = inf if valid.expires_in is None else valid.expires_in
        known = _Known(valid, now + min(self._seconds, expires_in))
        with self._lock:
            _remember(self._known, digest, known, MOST_REMEMBERED)
        return known


def looked_up(token: str, tokens: Tokens) -> Valid | None:
    """What a token of Marconi's says of its bearer; None if it is not valid. Its use is noted.

    :raises StorageUnavailable: if the database cannot be asked
    """
    valid = tokens.look_up(token)
    if valid is not None and not valid.is_noted:
        # The token is valid, whether or not its use can be noted.
        with contextlib.suppress(MarconiError):
            tokens.note_use(valid.id)
    return valid


def _remember(entries: dict[bytes, Entry], digest: bytes, entry: Entry, most: int) -> None:
    entries.pop(digest, None)
    if len(entries) >= most:
        # Drop the entry that was looked up longest ago.
        del entries[next(iter(entries))]
    entries[digest] = entry


def _in_project(known: _Known, request: Request) -> Identity:
    """The identity of a client in the project that it names; only an operator may name any project.

    :raises NotYourProject: if another client names another project than its token's
    """
    identity = known.identity
    sent = request.environ.get('HTTP_X_PROJECT_ID')
    if sent is None or sent == identity.project:
        return identity
    named = named_project(sent)
    # Some clients send an empty header where they know of no project.
    if named == identity.project or not sent:
        return identity
    if not known.is_operator:
        raise NotYourProject
    return Identity(named, identity.roles, identity.queues, identity.token)
