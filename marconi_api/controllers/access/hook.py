"""The hook that learns who sends a request, before any other check."""

from collections.abc import Sequence

from pecan.core import RoutingState
from pecan.hooks import PecanHook

from marconi_api import model
from marconi_api.controllers.access.credentials import PROBES, is_open, named_project
from marconi_api.controllers.access.identity import Identity
from marconi_api.controllers.access.trusted import Asks
from marconi_api.errors import MarconiError
from marconi_api.policy import SIGNED
from marconi_api.wire.doors import Door
from marconi_api.wire.requests import Request

_SIGNED = frozenset((SIGNED,))


class AccessHook(PecanHook):
    """Sets ``request.identity``. It is a hook of the application, and so sees each request.

    It runs after ``SignedUrlHook``, which refuses requests that their signature does not allow.

    :param asks: learns who sends a request, by the mode of access
    :param doors: a request for one of those that know their clients themselves is left to it
    """

    def __init__(self, asks: Asks, doors: Sequence[Door] = ()) -> None:
        self._asks = asks
        self._left_to_doors = [door.operation_header for door in doors if door.knows_clients]

    def on_route(self, state: RoutingState) -> None:
        """Learn who sends the request, and hold its project to its rate of requests."""
        request = state.request
        environ = request.environ
        for header in self._left_to_doors:
            if header in environ:
                return
        if 'HTTP_URL_SIGNATURE' in environ or environ['PATH_INFO'] in PROBES:
            identity = _without_being_asked(request)
        else:
            try:
                identity = self._asks(request)
            except MarconiError:
                if not is_open(environ):
                    raise
                identity = Identity(named_project(environ.get('HTTP_X_PROJECT_ID', '')))
        request.identity = identity
        quotas = model.store.quotas
        # Anybody may ask at any rate whether the service works.
        if quotas.is_on and not is_open(environ):
            quotas.admit_request(identity.project)


def _without_being_asked(request: Request) -> Identity:
    """The identity of a request that needs no credential: one with a signature, or a probe."""
    if request.environ['PATH_INFO'] in PROBES:
        return Identity('')
    return Identity(request.named_project or '', _SIGNED)
