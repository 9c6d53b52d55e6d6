"""``/console/tokens``: the tokens of a project, without their secrets; they are made and revoked."""

from marconi_api.controllers.access import own_tokens
from marconi_api.controllers.console.pages import page
from marconi_api.controllers.console.sessions import form_of, query_of
from marconi_api.controllers.console.verbs import actor_of
from marconi_api.errors import InvalidRequest
from marconi_api.limits import TOKEN_LIFE
from marconi_api.policy import OPERATOR, ROLES
from marconi_api.wire.actions import Content, expose
from marconi_api.wire.replies import Reply
from marconi_api.wire.requests import Request

_DAY = 86400

#: Days for which a token can last.
MOST_DAYS = TOKEN_LIFE.most // _DAY


class TokensController:
    """``/console/tokens``."""

    @expose(replies={200: Content()})
    def get(self, request: Request) -> Reply:
        """Those that may do no more than whoever asks, as over the API."""
        return page(request, 'tokens.html', tokens=own_tokens.visible(request))


class NewTokenController:
    """``/console/tokens/new``."""

    @expose(replies={200: Content()})
    def get(self, request: Request) -> Reply:
        """A form that makes a token."""
        is_operator = OPERATOR in request.identity.roles
        return page(
            request,
            'new_token.html',
            roles=[role for role in ROLES if is_operator or role != OPERATOR],
            queues=request.identity.queues,
            most_days=MOST_DAYS,
        )

    @expose(replies={200: Content()})
    def post(self, request: Request) -> Reply:
        """Make it; this is the only page that shows its secret."""
        form = form_of(request)
        name, queues, days = (
            form.get(field, [''])[-1].strip() for field in ('name', 'queues', 'days')
        )
        made = own_tokens.create(
            request, actor_of(request), form.get('role', []), name, queues or None, _seconds(days)
        )
        return page(request, 'made_token.html', made=made)


class RevokeTokenController:
    """``/console/tokens/revoke``."""

    @expose(replies={200: Content()})
    def get(self, request: Request) -> Reply:
        """What is known of the token, and a form that revokes it."""
        token = own_tokens.find(request, query_of(request).get('token', ''))
        return page(request, 'revoke_token.html', token=token, is_done=False)

    @expose(replies={200: Content()})
    def post(self, request: Request) -> Reply:
        """Revoke it."""
        token = own_tokens.find(request, form_of(request).get('token', [''])[-1])
        own_tokens.revoke(request, actor_of(request), token.id)
        return page(request, 'revoke_token.html', token=token, is_done=True)


def _seconds(days: str) -> int | None:
    """A number of days in seconds; None for no end.

    :raises InvalidRequest: if it is not one
    """
    if not days:
        return None
    if not (days.isascii() and days.isdigit() and len(days) < 10 and 0 < int(days) <= MOST_DAYS):
        raise InvalidRequest(f'A token lasts for 1 to {MOST_DAYS} days, or without an end.')
    return int(days) * _DAY
