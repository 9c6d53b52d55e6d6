"""Trusted mode: the headers say who asks, and are believed."""

from collections.abc import Callable, Mapping
from functools import lru_cache

from marconi_api.controllers.access.credentials import named_project
from marconi_api.controllers.access.identity import Identity
from marconi_api.policy import ROLES, UNNAMED
from marconi_api.wire.requests import Request

#: Learns who asks; raises what the answer is to those who do not get in.
Asks = Callable[[Request], Identity]


def believing(roles: Mapping[str, str]) -> Asks:
    """Learns it from ``X-Project-Id`` and ``X-Roles``.

    :param roles: what a role in the header stands for, beyond our own, which are as they are
    """
    known = {role: role for role in ROLES} | dict(roles)
    unnamed = frozenset((UNNAMED,))

    # Who asks once asks again.
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
        # What is remembered must be short, or clients could fill the memory.
        remembers = len(project) + len(roles) < 400
        return (identity if remembers else identity.__wrapped__)(project, roles)

    return asks
