"""Keystone mode: a token of OpenStack's identity service says who asks (docs/keystone.md).

keystonemiddleware's ``auth_token`` asks Keystone, as it does in any service of OpenStack; it is an
extra of the package, ``pip install marconi-api[keystone]``. It does not wrap the application. Marconi
calls it once for each token, and ``TokenAsks`` remembers the answer. auth_token has a cache of its own,
but would parse the cached answer for each request, which takes eighty times as long.
"""

import logging
import re
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from webob import Request as AnyRequest
from webob import Response

from marconi_api.controllers.access.guessing import Guessing
from marconi_api.controllers.access.identity import Identity
from marconi_api.controllers.access.tokens import TokenAsks
from marconi_api.model.tokens import Valid
from marconi_api.policy import OPERATOR
from marconi_api.wire.failures import IdentityUnavailable, NoRoleHere
from marconi_api.wire.requests import Request

log = logging.getLogger(__name__)

#: The Keystone role that makes an operator of a user who has it for the whole system.
SYSTEM_ADMIN = 'admin'

#: Seconds for which Keystone is not asked after it has failed.
PAUSE = 1.0

#: Seconds after which another thread may ask Keystone, if the thread that asks has got no answer.
LONGEST_LOOK = 30.0

# The section of the configuration in which auth_token looks for its options.
_SECTION = 'keystone_authtoken'

# The form of a token of Keystone's, Fernet or JWS. Keystone is not asked about another text: a web
# server in front of it could refuse that in a way that looks as if Keystone had failed.
_FORM = re.compile(r'[A-Za-z0-9_.=+/-]{1,2048}')


class KeystoneAsks:
    """Learns the identity of a client from a token of Keystone's.

    :param settings: as in the section ``keystone_authtoken`` of OpenStack's services
    :param roles: Marconi's role for each of Keystone's roles in a project
    :param seconds: for how long a token is remembered, whether or not it is valid
    :param guessing: counts the wrong tokens of each address
    :raises ValueError: if the settings cannot be used
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        roles: Mapping[str, str],
        seconds: float,
        guessing: Guessing,
    ) -> None:
        uri = settings.get('www_authenticate_uri') or settings.get('auth_url')
        # OpenStack's clients look at the first challenge only.
        challenges = tuple(
            ('WWW-Authenticate', challenge) for challenge in (f'Keystone uri="{uri}"', 'Bearer')
        )
        keystone = Keystone(settings, roles)
        self._asks = TokenAsks(keystone.look_up, seconds, guessing, challenges)
        self._roles = sorted(roles)

    def __call__(self, request: Request) -> Identity:
        """The identity of the client that sent the request; it also raises what ``TokenAsks`` does.

        :raises NoRoleHere: if the token is for no project, or gives no role that Marconi knows
        :raises IdentityUnavailable: if the token is not remembered, and Keystone fails
        :raises MarconiError: what :class:`TokenAsks` raises
        """
        identity = self._asks(request)
        if not identity.roles:
            raise NoRoleHere(self._roles)
        return identity


class Keystone:
    """Asks Keystone about tokens.

    After a failure Keystone is not asked for a second, and then by one thread at a time until it
    answers. So a Keystone that hangs does not hold up requests whose tokens are remembered.

    :param settings: as in the section ``keystone_authtoken`` of OpenStack's services
    :param roles: Marconi's role for each of Keystone's roles in a project
    """

    def __init__(self, settings: Mapping[str, Any], roles: Mapping[str, str]) -> None:
        from keystoneauth1.exceptions import ClientException

        self._auth_token = _auth_token(settings)
        self._failures = ClientException
        self._roles = {name.lower(): role for name, role in roles.items()}
        self._lock = threading.Lock()
        self._is_failing = False
        self._alone_until = 0.0

    def look_up(self, token: str) -> Valid | None:
        """What a token says of its bearer; None if it is not valid.

        :raises IdentityUnavailable: if Keystone does not answer
        """
        if not _FORM.fullmatch(token):
            return None
        self._take_turn()
        # Until it has answered.
        is_failing = True
        try:
            said = self._ask(token)
            is_failing = False
        except self._failures as error:
            log.critical('Keystone does not tell whose token it is: %s', error)
            raise IdentityUnavailable from None
        finally:
            with self._lock:
                self._is_failing = is_failing
                self._alone_until = time.monotonic() + PAUSE if is_failing else 0.0
        return None if said is None else self._valid(said)

    def _take_turn(self) -> None:
        with self._lock:
            now = time.monotonic()
            if now < self._alone_until:
                raise IdentityUnavailable
            if self._is_failing:
                self._alone_until = now + LONGEST_LOOK

    def _ask(self, token: str) -> Mapping[str, Any] | None:
        """Keystone's description of a token; None if it knows no such token."""
        request = AnyRequest.blank('/', headers={'X-Auth-Token': token})
        status = request.get_response(self._auth_token).status_int
        if status == 401:
            return None
        if status != 204:
            # auth_token has logged the reason.
            raise IdentityUnavailable
        said: Mapping[str, Any] = request.environ['keystone.token_info']['token']
        return said

    def _valid(self, said: Mapping[str, Any]) -> Valid | None:
        if said.get('application_credential', {}).get('access_rules') is not None:
            # They are about single requests, and this is not asked for each of them.
            return None
        ends = datetime.fromisoformat(said['expires_at'])
        return Valid(
            id=said['audit_ids'][0],
            project=said.get('project', {}).get('id', ''),
            roles=self._roles_of(said),
            queues=None,
            expires_in=(ends - datetime.now(UTC)).total_seconds(),
            is_noted=True,
        )

    def _roles_of(self, said: Mapping[str, Any]) -> frozenset[str]:
        names = {role['name'].lower() for role in said.get('roles', ())}
        if 'project' in said:
            return frozenset(self._roles[name] for name in names & self._roles.keys())
        is_operator = 'system' in said and SYSTEM_ADMIN in names
        return frozenset((OPERATOR,)) if is_operator else frozenset()


def _auth_token(settings: Mapping[str, Any]) -> Any:
    """The middleware, around an application that answers 204."""
    from keystoneauth1 import loading
    from keystoneauth1.exceptions import ClientException
    from keystonemiddleware import auth_token
    from oslo_config import cfg

    # It would log a warning for each wrong token, with Keystone's answer.
    logging.getLogger('keystonemiddleware').setLevel(logging.CRITICAL)
    # Options of its own, so that it does not read files in /etc that are for other services.
    options = cfg.ConfigOpts()
    options([], default_config_files=[], default_config_dirs=[])
    for _, known in auth_token.AUTH_TOKEN_OPTS:
        options.register_opts(known, group=_SECTION)
    given = {'include_service_catalog': False, 'token_cache_time': -1} | dict(settings)
    try:
        plug_in: Any = loading.get_plugin_loader(given['auth_type'])
        options.register_opts(loading.get_auth_plugin_conf_options(plug_in), group=_SECTION)
        for name, value in given.items():
            if value is not None:
                options.set_override(name, value, group=_SECTION)
        return auth_token.AuthProtocol(Response(status=204), {'oslo_config_config': options})
    except (ClientException, auth_token.ConfigurationError, cfg.Error) as error:
        raise ValueError(str(error)) from None
