"""The hook that learns who sends a request, before any other check."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pecan.core import RoutingState
from pecan.hooks import PecanHook

from marconi_api import model
from marconi_api.controllers.access.credentials import PROBES, is_open, named_project
from marconi_api.controllers.access.identity import Identity
from marconi_api.controllers.access.trusted import Asks
from marconi_api.errors import MarconiError
from marconi_api.policy import SIGNED
from marconi_api.wire.requests import Request

_SIGNED = frozenset((SIGNED,))


class AccessHook(PecanHook):
    """Sets ``request.identity``. It is a hook of the application, and so sees each request.

    It runs after ``SignedUrlHook``, which refuses requests that their signature does not allow.

    :param asks: learns who sends a request, by the mode of access
    :param of_doors: what learns it of the requests of certain doors, each with what tells that a request
        is one of these, by its WSGI environment
    """

    def __init__(
        self, asks: Asks, of_doors: Sequence[tuple[Callable[[Mapping[str, Any]], bool], Asks]] = ()
    ) -> None:
        self._asks = asks
        self._of_doors = of_doors

    def on_route(self, state: RoutingState) -> None:
        """Learn who sends the request, and hold its project to its rate of requests."""
        request = state.request
        environ = request.environ
        for is_its, asks in self._of_doors:
            # First of all: whatever path such a request has, and whatever else it shows, its door gets it.
            if is_its(environ):
                request.identity = identity = asks(request)
                if model.store.quotas.is_on:
                    model.store.quotas.admit_request(identity.project)
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
