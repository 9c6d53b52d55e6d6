"""Learns who asks, before anything else is asked."""

from pecan.core import RoutingState
from pecan.hooks import PecanHook

from marconi_api.controllers.access.credentials import is_open, named_project
from marconi_api.controllers.access.identity import Identity
from marconi_api.controllers.access.trusted import Asks
from marconi_api.errors import MarconiError
from marconi_api.policy import SIGNED

_SIGNED = frozenset((SIGNED,))


class AccessHook(PecanHook):
    """Sets ``request.identity``. It is the application's, and looks at each request.

    It stands behind ``SignedUrlHook``, which has refused what its signature does not allow.

    :param asks: learns who asks, by the mode of access
    """

    def __init__(self, asks: Asks) -> None:
        self._asks = asks

    def on_route(self, state: RoutingState) -> None:
        """Learn who asks."""
        request = state.request
        if 'HTTP_URL_SIGNATURE' in request.environ:
            request.identity = Identity(request.named_project or '', _SIGNED)
            return
        try:
            request.identity = self._asks(request)
        except MarconiError:
            if not is_open(request.environ):
                raise
            request.identity = Identity(named_project(request))
