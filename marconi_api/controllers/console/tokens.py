"""``/console/tokens``: the tokens of a project, without their secrets."""

from marconi_api import model
from marconi_api.controllers.console.pages import page
from marconi_api.model.tokens import is_within
from marconi_api.policy import OPERATOR
from marconi_api.wire.actions import Content, expose
from marconi_api.wire.replies import Reply
from marconi_api.wire.requests import Request


class TokensController:
    """``/console/tokens``."""

    @expose(replies={200: Content()})
    def get(self, request: Request) -> Reply:
        """Those that may do no more than whoever asks, as over the API."""
        identity = request.identity
        tokens = [
            token
            for token in model.store.tokens.list(request.project)
            if (OPERATOR in identity.roles or OPERATOR not in token.roles)
            and is_within(token.queues, identity.queues)
        ]
        return page(request, 'tokens.html', tokens=tokens)
