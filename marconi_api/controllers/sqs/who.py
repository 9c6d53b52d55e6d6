"""Who sends a request to SQS: the access key by which it is signed says so, in each mode of access.

Where clients show who they are, a key is a token of Marconi's that was made for SQS, and the signature is
checked by its secret. In trusted mode there is no secret: the headers ``X-Project-Id`` and ``X-Roles`` say
who it is or, without them, the key's id names the project.
"""

import contextlib
import threading
import time
from typing import NamedTuple

from marconi_api import model
from marconi_api.controllers.access import modes
from marconi_api.controllers.access.guessing import Guessing
from marconi_api.controllers.access.identity import Identity
from marconi_api.controllers.access.trusted import Asks
from marconi_api.controllers.sqs import signing
from marconi_api.controllers.sqs.addresses import PATH
from marconi_api.controllers.sqs.aws_json import LONGEST_BODY
from marconi_api.controllers.sqs.failures import InvalidSignature, UnknownKey
from marconi_api.errors import MarconiError
from marconi_api.wire import framing
from marconi_api.wire.doors import Hook
from marconi_api.wire.failures import UnknownPath
from marconi_api.wire.requests import Request

# Keys that a process remembers, at most, valid or not.
_MOST_REMEMBERED = 10_000


class _Known(NamedTuple):
    """What a process remembers of a key; without an identity there is none of that id."""

    identity: Identity | None
    secret: str
    #: By ``time.monotonic()``.
    until: float


class KeyAsks:
    """Learns who signed a request, and remembers for a while what a key says.

    :param seconds: for how long a key is remembered, whether or not it is valid
    :param guessing: counts the wrong keys and signatures of each address
    """

    def __init__(self, seconds: float, guessing: Guessing) -> None:
        self._seconds = seconds
        self._guessing = guessing
        self._known: dict[str, _Known] = {}
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Identity:
        """The identity of the client.

        :raises SqsError: if the request is not signed, or not as it must be
        :raises TooManyFailures: if too many wrong credentials came from this address
        """
        environ = request.environ
        signature = signing.signature_of(environ)
        try:
            known = self._recall(signature.key_id, request)
            if known.identity is None:
                raise UnknownKey
            body = request.read_content(LONGEST_BODY)
            signing.check(environ, body, signature, known.secret, time.time())
        except (UnknownKey, InvalidSignature):
            self._guessing.check(environ)
            self._guessing.note_failure(environ)
            raise
        return known.identity

    def _recall(self, key_id: str, request: Request) -> _Known:
        known, now = self._known.get(key_id), time.monotonic()
        if known is not None and known.until > now:
            return known
        if known is None:
            # A key that was valid a moment ago is looked up even if others guess at its address.
            self._guessing.check(request.environ)
        known = self._look_up(key_id, now)
        with self._lock:
            if key_id not in self._known and len(self._known) >= _MOST_REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[key_id] = known
        return known

    def _look_up(self, key_id: str, now: float) -> _Known:
        tokens = model.store.tokens
        found = tokens.look_up_key(key_id)
        if found is None:
            return _Known(None, '', now + self._seconds)
        valid, secret = found
        if not valid.is_noted:
            # The key is valid, whether or not its use can be noted.
            with contextlib.suppress(MarconiError):
                tokens.note_use(valid.id)
        seconds = self._seconds
        if valid.expires_in is not None:
            seconds = min(seconds, valid.expires_in)
        identity = Identity(valid.project, valid.roles, valid.queues, valid.id)
        return _Known(identity, secret, now + seconds)


def believing(asks: Asks) -> Asks:
    """A function that learns the identity in trusted mode.

    :param asks: learns it from the headers of the request
    """

    def believe(request: Request) -> Identity:
        identity = asks(request)
        if identity.project:
            return identity
        key_id = signing.signature_of(request.environ).key_id
        return Identity(key_id, identity.roles, token=key_id)

    return believe


def asks_of(mode: str, asks: Asks, seconds: float, guessing: Guessing) -> Asks:
    """A function that learns who signed a request; see :class:`KeyAsks` for its parameters.

    :param mode: the mode of access
    :param asks: learns who sends a request to other doors
    """
    return believing(asks) if mode == modes.TRUSTED else KeyAsks(seconds, guessing)


class AddressHook(Hook):
    """Refuses paths that are neither the root nor that of a queue; sets the request's project."""

    headers = ('Authorization', 'X-Amz-Date')
    raises = (UnknownPath,)

    def before(self, request: Request) -> None:
        """Look at the path."""
        if not PATH.fullmatch(framing.path_as_sent(request.environ)):
            raise UnknownPath('Send requests to / or to the URL of a queue.')
        request.project = request.identity.project
