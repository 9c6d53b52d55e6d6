"""The credential of a request, and the paths that need none."""

from typing import Any

from marconi_api.errors import InvalidQueueName
from marconi_api.wire import framing
from marconi_api.wire.failures import InvalidCredential
from marconi_api.wire.requests import project_in

#: The paths at which no credential is looked at, since to look up a token may wait for the database.
PROBES = frozenset(('/livez', '/readyz'))

#: The paths that need no credential: the versions of the API, and whether the service works.
OPEN = PROBES | {'/', '/v1/health', '/v1.1/ping', '/v2/ping'}
_OPEN_METHODS = ('GET', 'HEAD', 'OPTIONS')
_CONSOLE = '/console'


def is_open(environ: dict[str, Any]) -> bool:
    """Whether a request is one that anybody may make."""
    if environ['REQUEST_METHOD'] not in _OPEN_METHODS:
        return _is_of_console(framing.path_as_sent(environ))
    path = framing.path_as_sent(environ).rstrip('/') or '/'
    return path in OPEN or _is_of_console(path)


def _is_of_console(path: str) -> bool:
    """Whether the path is the console's, whose door checks by itself who comes in."""
    return path.startswith(_CONSOLE) and path[len(_CONSOLE) :][:1] in ('', '/')


def named_project(header: str) -> str:
    """The project that ``X-Project-Id`` names; '' if it names none or cannot be read.

    The door's hooks refuse a header that cannot be read, later on.
    """
    try:
        return project_in(header)
    except InvalidQueueName:
        return ''


def sent_token(environ: dict[str, Any]) -> str | None:
    """The token in ``Authorization`` or ``X-Auth-Token``; None if neither is there.

    :raises InvalidCredential: if there are two that differ, or a credential of another kind
    """
    token: str | None = environ.get('HTTP_X_AUTH_TOKEN')
    authorization: str | None = environ.get('HTTP_AUTHORIZATION')
    if authorization is None:
        return token
    scheme, _, bearer = authorization.partition(' ')
    bearer = bearer.strip(' ')
    if scheme.lower() != 'bearer' or token not in (None, bearer):
        raise InvalidCredential
    return bearer
