"""Keystone mode: a token of OpenStack's identity service says who asks.

keystonemiddleware does what is to be done with such a token, as in any service of OpenStack; it
is an extra of the package, ``pip install marconi-api[keystone]``.
"""

import logging
import threading
import time
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from marconi_api.controllers.access.credentials import named_project, sent_token
from marconi_api.controllers.access.guessing import Guessing
from marconi_api.controllers.access.identity import Identity
from marconi_api.policy import ADMIN, OPERATOR
from marconi_api.wire.failures import (
    IdentityUnavailable,
    InvalidCredential,
    NoCredential,
    NotYourProject,
)
from marconi_api.wire.requests import Request

log = logging.getLogger(__name__)

#: The member of an environment in which keystonemiddleware finds what remembers tokens.
_CACHE = 'marconi.cache'

#: Bytes of what Keystone said of tokens that a process remembers; with a large catalogue of
#: services, one has some kilobytes.
MOST_REMEMBERED_BYTES = 32 * 1024 * 1024

#: Tokens that were valid, by their hashes: guesses from the same address do not stop them.
MOST_KNOWN = 10_000


class KeystoneAsks:
    """Learns who asks from a token of Keystone's.

    :param settings: as in the section ``keystone_authtoken`` of OpenStack's services
    :param roles: which role here one of Keystone's stands for
    :param seconds: for which a valid token is remembered
    :raises ImportError: if keystonemiddleware is not installed
    :raises ValueError: if the settings cannot be used
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        roles: Mapping[str, str],
        seconds: float,
        guessing: Guessing,
    ) -> None:
        from keystoneauth1.exceptions import ClientException
        from keystonemiddleware.auth_token import AuthProtocol, ConfigurationError

        conf = {name: value for name, value in settings.items() if value is not None}
        conf.setdefault('token_cache_time', max(1, int(seconds)))
        if 'memcached_servers' not in conf:
            conf['cache'] = _CACHE
        try:
            self._middleware = AuthProtocol(_say_yes, conf)
        except (ClientException, ConfigurationError) as error:
            raise ValueError(str(error)) from None
        self._failures = ClientException
        self._roles = dict(roles)
        self._guessing = guessing
        self._cache = _Cache()
        self._known: dict[bytes, None] = {}
        uri = settings.get('www_authenticate_uri') or settings.get('auth_url') or ''
        self._challenges = (
            ('WWW-Authenticate', f'Keystone uri="{uri}"'),
            ('WWW-Authenticate', 'Bearer'),
        )

    def __call__(self, request: Request) -> Identity:
        """Who asks.

        :raises NoCredential: if there is none
        :raises InvalidCredential: if there is one that does not let in
        :raises TooManyFailures: if there were too many of those from this address
        :raises NotYourProject: if the client names another project than its token's
        :raises IdentityUnavailable: if Keystone cannot be asked
        """
        environ = request.environ
        address = environ.get('REMOTE_ADDR', '')
        try:
            token = sent_token(environ)
            if token is None:
                raise NoCredential(self._challenges)
            confirmed = self._confirmed(token, environ, address)
        except InvalidCredential:
            self._guessing.check(address)
            self._guessing.note_failure(address)
            raise InvalidCredential(self._challenges) from None
        return self._identity(confirmed, request)

    def _confirmed(self, token: str, environ: dict[str, Any], address: str) -> dict[str, Any]:
        """An environment with the headers that the middleware sets."""
        digest = sha256(token.encode()).digest()
        if digest not in self._known:
            self._guessing.check(address)
        # A copy: what the client says of its project is compared with this later.
        asked = {**environ, 'HTTP_X_AUTH_TOKEN': token, _CACHE: self._cache}
        status = ''

        def start(given: str, headers: Any, exc_info: Any = None) -> None:
            nonlocal status
            status = given

        try:
            self._middleware(asked, start)
        except self._failures as error:
            log.warning('Keystone: %s', error)
            raise IdentityUnavailable from None
        if status.startswith('503'):
            raise IdentityUnavailable
        if not status.startswith('204'):
            raise InvalidCredential
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[digest] = None
        return asked

    def _identity(self, confirmed: dict[str, Any], request: Request) -> Identity:
        names = confirmed.get('HTTP_X_ROLES', '').split(',')
        project = confirmed.get('HTTP_X_PROJECT_ID') or ''
        roles = frozenset(
            self._roles[name.lower()] for name in names if name.lower() in self._roles
        )
        if not project:
            # A token for the whole system, or for a domain; the latter has nothing here.
            is_operator = confirmed.get('HTTP_OPENSTACK_SYSTEM_SCOPE') == 'all' and ADMIN in roles
            return Identity(named_project(request), frozenset((OPERATOR,) if is_operator else ()))
        # Some clients send an empty header where they know of no project.
        if not request.environ.get('HTTP_X_PROJECT_ID'):
            return Identity(project, roles)
        named = named_project(request)
        if named != project and OPERATOR not in roles:
            raise NotYourProject
        return Identity(named, roles)


def _say_yes(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Where the middleware passes on whom it knows."""
    start_response('204 No Content', [])
    return []


class _Cache:
    """Remembers what Keystone said of tokens, in the form that keystonemiddleware asks for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, tuple[bytes, float]] = {}
        self._bytes = 0

    def get(self, key: str) -> bytes | None:
        """What is remembered, for as long as it is to be."""
        entry = self._entries.get(key)
        return entry[0] if entry and entry[1] > time.monotonic() else None

    def set(self, key: str, value: bytes, **options: float) -> None:
        """Remember this for ``time`` seconds; that which was put in longest ago makes room."""
        with self._lock:
            self._drop(key)
            self._entries[key] = value, time.monotonic() + options['time']
            self._bytes += len(value)
            while self._bytes > MOST_REMEMBERED_BYTES:
                self._drop(next(iter(self._entries)))

    def _drop(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        self._bytes -= len(entry[0]) if entry else 0
