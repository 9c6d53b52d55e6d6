"""Trusted mode: the service believes the headers that say who sends a request."""

from collections.abc import Callable, Mapping
from functools import lru_cache

from marconi_api.controllers.access.credentials import named_project
from marconi_api.controllers.access.identity import Identity
from marconi_api.policy import ROLES, UNNAMED
from marconi_api.wire.requests import Request

#: Learns who sends a request; raises the error for a client that must not get in.
Asks = Callable[[Request], Identity]


def believing(roles: Mapping[str, str]) -> Asks:
    """A function that learns the identity from ``X-Project-Id`` and ``X-Roles``.

    :param roles: Marconi's role for other roles in the header; Marconi's own stand for themselves
    """
    known = {role: role for role in ROLES} | dict(roles)
    unnamed = frozenset((UNNAMED,))

    # A client mostly sends many requests.
    @lru_cache(maxsize=1024)
    def identity(project: str, roles: str) -> Identity:
        names = {name.strip().lower() for name in roles.split(',')}
        return Identity(
            named_project(project),
            frozenset(known[name] for name in names & known.keys()) or unnamed,
        )

    def asks(request: Request) -> Identity:
        sent = request.environ.get
        project, roles = sent('HTTP_X_PROJECT_ID', ''), sent('HTTP_X_ROLES', '')
        # Only short texts are remembered, or clients could fill the memory.
        remembers = len(project) + len(roles) < 400
        return (identity if remembers else identity.__wrapped__)(project, roles)

    return asks
