"""``/v2/tokens``: the tokens of a project (docs/protocol-v2.md, 15.9)."""

from typing import Any

from marconi_api.controllers.access import own_tokens
from marconi_api.controllers.openstack.audited import actor_of
from marconi_api.controllers.openstack.v1_1.controller import Controller
from marconi_api.controllers.openstack.v2.types import MadeToken, NewToken, Tokens
from marconi_api.errors import NotAuthorized, QuotaExceeded, TokenNotFound
from marconi_api.model.tokens import described
from marconi_api.wire.actions import EMPTY, Content, expose
from marconi_api.wire.failures import WiderThanYours
from marconi_api.wire.replies import Reply, empty_reply, json_reply
from marconi_api.wire.requests import Request


class TokensController(Controller):
    """``/v2/tokens``."""

    @expose(replies={200: Content(Tokens)})
    def get(self, request: Request) -> Reply:
        """The tokens of the project, without their secrets."""
        return json_reply({'tokens': [described(one) for one in own_tokens.visible(request)]})

    @expose(
        body=NewToken,
        replies={201: Content(MadeToken, 'Location')},
        raises=(NotAuthorized, WiderThanYours, QuotaExceeded),
    )
    def post(self, request: Request, body: Any) -> Reply:
        """Make a token; this is the only time that it is shown."""
        made = own_tokens.create(
            request,
            actor_of(request),
            body.roles,
            body.name or '',
            body.queues,
            body.expires_in,
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
        own_tokens.revoke(request, actor_of(request), token)
        return empty_reply()
