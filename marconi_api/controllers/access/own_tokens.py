"""Tokens that a client may see, make and revoke: those that allow no more than its own. For any door."""

from typing import Any

from marconi_api import model
from marconi_api.controllers.access.identity import Identity
from marconi_api.errors import NotAuthorized, TokenNotFound
from marconi_api.model import Actor
from marconi_api.model.tokens import NewToken, Token, is_within
from marconi_api.policy import OPERATOR
from marconi_api.wire.failures import WiderThanYours
from marconi_api.wire.requests import Request


def visible(request: Request) -> list[Token]:
    """The tokens of the project that allow no more than the client's own credential."""
    return [
        one for one in model.store.tokens.list(request.project) if _may_see(request.identity, one)
    ]


def find(request: Request, token: str) -> Token:
    """One of the :func:`visible` tokens.

    :raises TokenNotFound: if there is no such token, or it allows more
    """
    found = model.store.tokens.get(token, request.project)
    if not _may_see(request.identity, found):
        raise TokenNotFound(token)
    return found


def create(
    request: Request,
    by: Actor,
    roles: list[str],
    name: str,
    queues: str | None,
    expires_in: int | None,
) -> NewToken:
    """Make a token of the project, and note in the audit log who made it.

    It also raises what ``Tokens.create`` raises.

    :raises NotAuthorized: if the token would have roles that the client's credential lacks
    :raises WiderThanYours: if the token would be for queues for which the client's is not
    """
    if OPERATOR in roles and OPERATOR not in request.identity.roles:
        raise NotAuthorized([OPERATOR])
    if not is_within(queues, request.identity.queues):
        raise WiderThanYours
    with model.store.database.transaction():
        made = model.store.tokens.create(request.project, roles, name, queues, expires_in)
        _note(request, 'token create', by, token=made.token.id, roles=made.token.roles)
    return made


def revoke(request: Request, by: Actor, token: str) -> None:
    """Revoke a token, and note by whom; it stays valid for ``access.cache_seconds`` more at most.

    :raises TokenNotFound: as :func:`find`
    """
    find(request, token)
    with model.store.database.transaction():
        model.store.tokens.revoke(token, request.project)
        _note(request, 'token revoke', by, token=token)


def _note(request: Request, action: str, by: Actor, **details: Any) -> None:
    model.store.audit.note(action, project=request.project, by=by, **details)


def _may_see(identity: Identity, token: Token) -> bool:
    is_mine = OPERATOR in identity.roles or OPERATOR not in token.roles
    return is_mine and is_within(token.queues, identity.queues)
