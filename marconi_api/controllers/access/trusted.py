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
    def identity(project: str, sent: str) -> Identity:
        names = {name.strip().lower() for name in sent.split(',')}
        return Identity(project, frozenset(known[name] for name in names & known.keys()) or unnamed)

    def asks(request: Request) -> Identity:
        project = named_project(request)
        sent = request.environ.get('HTTP_X_ROLES', '')
        # What is remembered must be short, or clients could fill the memory.
        remembers = len(project) + len(sent) < 400
        return (identity if remembers else identity.__wrapped__)(project, sent)

    return asks
