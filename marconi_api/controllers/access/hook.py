"""Learns who asks, before anything else is asked."""

from functools import lru_cache

from pecan.core import RoutingState
from pecan.hooks import PecanHook

from marconi_api.controllers.access.identity import ROLES, SIGNED, UNNAMED, Identity
from marconi_api.errors import InvalidQueueName
from marconi_api.wire.requests import Request


class AccessHook(PecanHook):
    """Sets ``request.identity``. It is the application's, and looks at each request.

    It stands behind ``SignedUrlHook``, which has refused what its signature does not allow.
    """

    def on_route(self, state: RoutingState) -> None:
        """Learn who asks."""
        request = state.request
        if 'HTTP_URL_SIGNATURE' in request.environ:
            request.identity = Identity(request.named_project or '', frozenset((SIGNED,)))
        else:
            request.identity = _believed(request)


def _believed(request: Request) -> Identity:
    """Who the headers say that it is."""
    try:
        project = request.named_project or ''
    except InvalidQueueName:
        # For the door to refuse, in its order.
        project = ''
    roles = request.environ.get('HTTP_X_ROLES', '')
    # What is remembered must be short, or clients could fill the memory.
    remembers = len(project) + len(roles) < 400
    return (_identity if remembers else _identity.__wrapped__)(project, roles)


@lru_cache(maxsize=1024)
def _identity(project: str, roles: str) -> Identity:
    known = frozenset(role.strip() for role in roles.split(',')).intersection(ROLES)
    return Identity(project, known or frozenset((UNNAMED,)))
