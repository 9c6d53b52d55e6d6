"""``/v2/tokens``: the tokens of a project (docs/protocol-v2.md, 15.9)."""

from typing import Any

from marconi_api import model
from marconi_api.controllers.access.identity import Identity
from marconi_api.controllers.openstack.audited import actor_of
from marconi_api.controllers.openstack.v1_1.controller import Controller
from marconi_api.controllers.openstack.v2.types import MadeToken, NewToken, Tokens
from marconi_api.errors import NotAuthorized, QuotaExceeded, TokenNotFound
from marconi_api.model.tokens import Token, described, is_within
from marconi_api.policy import OPERATOR
from marconi_api.wire.actions import EMPTY, Content, expose
from marconi_api.wire.failures import WiderThanYours
from marconi_api.wire.replies import Reply, empty_reply, json_reply
from marconi_api.wire.requests import Request


class TokensController(Controller):
    """``/v2/tokens``."""

    @expose(replies={200: Content(Tokens)})
    def get(self, request: Request) -> Reply:
        """The tokens of the project, without their secrets."""
        tokens = model.store.tokens.list(request.project)
        return json_reply(
            {'tokens': [described(one) for one in tokens if _may_see(request.identity, one)]}
        )

    @expose(
        body=NewToken,
        replies={201: Content(MadeToken, 'Location')},
        raises=(NotAuthorized, WiderThanYours, QuotaExceeded),
    )
    def post(self, request: Request, body: Any) -> Reply:
        """Make a token; this is the only time that it is shown."""
        if OPERATOR in body.roles and OPERATOR not in request.identity.roles:
            raise NotAuthorized([OPERATOR])
        if not is_within(body.queues, request.identity.queues):
            raise WiderThanYours
        with model.store.database.transaction():
            made = model.store.tokens.create(
                request.project, body.roles, body.name or '', body.queues, body.expires_in
            )
            model.store.audit.note(
                'token create',
                project=request.project,
                by=actor_of(request),
                token=made.token.id,
                roles=made.token.roles,
            )
        return json_reply(
            {'token': made.text, **described(made.token)},
            201,
            ('Location', f'{self.prefix}/tokens/{made.token.id}'),
        )


class TokenController(Controller):
    """``/v2/tokens/{token}``."""

    @expose(replies={204: EMPTY}, raises=(TokenNotFound,))
    def delete(self, request: Request, token: str) -> Reply:
        """Revoke a token; it lets in for ``access.cache_seconds`` more at most."""
        if not _may_see(request.identity, model.store.tokens.get(token, request.project)):
            raise TokenNotFound(token)
        with model.store.database.transaction():
            model.store.tokens.revoke(token, request.project)
            model.store.audit.note(
                'token revoke', project=request.project, by=actor_of(request), token=token
            )
        return empty_reply()


def _may_see(identity: Identity, token: Token) -> bool:
    """Whether a token may do no more than whoever asks."""
    is_mine = OPERATOR in identity.roles or OPERATOR not in token.roles
    return is_mine and is_within(token.queues, identity.queues)
