"""``/console/sign-in`` and ``/console/sign-out``."""

import re

from marconi_api.controllers.access.modes import TOKEN
from marconi_api.controllers.console import sessions
from marconi_api.controllers.console.pages import link, page, see
from marconi_api.controllers.console.sessions import PREFIX, Session, form_of, query_of
from marconi_api.errors import MarconiError
from marconi_api.wire.actions import Content, expose
from marconi_api.wire.replies import Reply
from marconi_api.wire.requests import Request

# A page of ours: with two slashes, or a backslash, it could be that of another host.
_OURS = re.compile(rf'{PREFIX}(/[A-Za-z0-9_.-]+)*/?(\?[!-~]*)?')


class SignInController:
    """``/console/sign-in``: a form that takes a token."""

    @expose(replies={200: Content()}, needs_storage=False)
    def get(self, request: Request) -> Reply:
        """The form; in other modes of access there is none."""
        if sessions.gate.mode != TOKEN:
            return see(PREFIX)
        return page(request, 'sign_in.html', then=query_of(request).get('then', ''), failure=None)

    @expose(replies={303: Content(), 401: Content()})
    def post(self, request: Request) -> Reply:
        """Sign in with the token of the form."""
        form = form_of(request)
        token, then = form.get('token', [''])[-1].strip(), form.get('then', [''])[-1]
        request.environ['HTTP_X_AUTH_TOKEN'] = token
        request.environ.pop('HTTP_AUTHORIZATION', None)
        try:
            identity = sessions.gate.asks(request)
        except MarconiError as error:
            return page(request, 'sign_in.html', error.status, then=then, failure=str(error))
        # Another visit: what was known of the one before does not help.
        session = Session.begun(identity.token or '')
        location = then if _OURS.fullmatch(then) else link('')
        return see(location, sessions.gate.cookie(session, request))


class SignOutController:
    """``/console/sign-out``."""

    @expose(replies={303: Content()}, needs_storage=False)
    def post(self, request: Request) -> Reply:
        """Forget who signed in."""
        return see(f'{PREFIX}/sign-in', sessions.gate.cookie(Session.begun(), request, lasts=0))
