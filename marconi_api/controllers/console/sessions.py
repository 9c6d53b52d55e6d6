"""Who looks at the console: a cookie that is signed, and the forms that go with it.

The cookie holds the id of a token, which is not secret, never the token itself. Each request asks
whether that token is still valid. The same cookie ties forms to one browser: a form has a value
that only the pages of this browser were told.
"""

import contextlib
import hmac
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import parse_qs, quote, urlsplit

from marconi_api import model
from marconi_api.controllers.access.identity import Identity
from marconi_api.controllers.access.modes import TOKEN, TRUSTED
from marconi_api.controllers.access.trusted import Asks
from marconi_api.controllers.console.failures import (
    FormFromElsewhere,
    FormTooLarge,
    SignInFirst,
)
from marconi_api.errors import MarconiError
from marconi_api.policy import OPERATOR
from marconi_api.wire.doors import Hook
from marconi_api.wire.failures import NotYourProject
from marconi_api.wire.requests import Request

PREFIX = '/console'

#: The name of the cookie, and seconds for which one sign-in holds.
COOKIE = 'marconi_console'
LASTS = 12 * 3600

#: The name of the field that ties a form to a browser.
FORM_KEY = 'form_key'

#: Bytes of a form, at most.
MOST_IN_A_FORM = 65536

#: Paths that need nobody to be signed in.
OPEN = frozenset((f'{PREFIX}/sign-in', f'{PREFIX}/static/{{file}}'))

_SESSION = 'marconi.console.session'


@dataclass(frozen=True)
class Session:
    """A browser, and the token with which somebody signed in.

    :param visit: a random text
    :param token: the token's id; '' where nobody signed in
    :param until: seconds since 1970
    """

    visit: str
    token: str
    until: int
    is_new: bool = False

    @classmethod
    def begun(cls, token: str = '') -> 'Session':
        """A new one, which no cookie has yet."""
        return cls(secrets.token_urlsafe(16), token, int(time.time()) + LASTS, is_new=True)

    @property
    def text(self) -> str:
        """What is signed of it."""
        return f'{self.visit}.{self.token}.{self.until}'


class Gate:
    """Lets people in.

    :param mode: of access
    :param asks: learns who sends a request with a credential
    :param keys: any of which may have signed a cookie; the first signs. None at all: a random
        one, so that sign-ins end with this process and its siblings
    """

    def __init__(self, mode: str, asks: Asks, keys: Sequence[str]) -> None:
        self.mode = mode
        self.asks = asks
        # Not the keys themselves, which sign something else.
        self._keys = [
            hmac.digest(key.encode(), b'marconi console', 'sha256')
            for key in keys or [secrets.token_hex()]
        ]

    def session_of(self, request: Request) -> Session:
        """That of the request's cookie; a new one if it has none that holds."""
        for cookie in request.environ.get('HTTP_COOKIE', '').split(';'):
            name, _, value = cookie.strip().partition('=')
            if name == COOKIE and (found := self._read(value)):
                return found
        return Session.begun()

    def _read(self, value: str) -> Session | None:
        text, _, signature = value.rpartition('.')
        parts = text.split('.')
        if len(parts) != 3 or not self._is_signed(text, signature):
            return None
        visit, token, until = parts
        return Session(visit, token, int(until)) if int(until) > time.time() else None

    def cookie(self, session: Session, request: Request, lasts: int = LASTS) -> tuple[str, str]:
        """The header that sets the cookie."""
        value = f'{session.text}.{self._sign(self._keys[0], session.text)}'
        environ = request.environ
        is_https = 'https' in (environ['wsgi.url_scheme'], environ.get('HTTP_X_FORWARDED_PROTO'))
        secure = '; Secure' if is_https else ''
        return (
            'Set-Cookie',
            f'{COOKIE}={value}; Path={PREFIX}; Max-Age={lasts}; HttpOnly; SameSite=Strict{secure}',
        )

    def form_key(self, session: Session) -> str:
        """What a form of this browser must send along."""
        return self._sign(self._keys[0], f'form {session.visit}')

    def check_form(self, session: Session, form: Mapping[str, list[str]]) -> None:
        """Make sure that a form comes from a page of this browser.

        :raises FormFromElsewhere: if not
        """
        sent = form.get(FORM_KEY, [''])[-1]
        if not self._is_signed(f'form {session.visit}', sent):
            raise FormFromElsewhere

    def _is_signed(self, text: str, signature: str) -> bool:
        sent = signature.encode()
        return any(
            [hmac.compare_digest(self._sign(key, text).encode(), sent) for key in self._keys]
        )

    @staticmethod
    def _sign(key: bytes, text: str) -> str:
        return hmac.new(key, text.encode(), sha256).hexdigest()


#: That of the running service; :func:`init_gate` sets it up.
gate: Gate


def init_gate(mode: str, asks: Asks, keys: Sequence[str]) -> None:
    """Let people in from now on as :class:`Gate` says."""
    global gate
    gate = Gate(mode, asks, keys)


def session_of(request: Request) -> Session:
    """The session of a request that :class:`ConsoleHook` has seen."""
    session: Session = request.environ[_SESSION]
    return session


def query_of(request: Request) -> dict[str, str]:
    """The parameters of the query, the last of each name."""
    query = request.environ.get('QUERY_STRING', '')
    return {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()}


def may_name_projects(request: Request) -> bool:
    """Whether whoever asks may look at any project.

    That is an operator, and in trusted mode whoever comes through no proxy that names one.
    """
    return OPERATOR in request.identity.roles or (
        gate.mode == TRUSTED and 'HTTP_X_PROJECT_ID' not in request.environ
    )


class ConsoleHook(Hook):
    """Learns who looks, and at which project; refuses forms that come from elsewhere."""

    def before(self, request: Request) -> None:
        """Tell the request its session, who asks, and the project.

        :raises SignInFirst: if nobody is signed in
        :raises NotYourProject: if the query names a project that is not theirs
        :raises FormFromElsewhere: for a form of another site, or of another browser
        """
        session = request.environ[_SESSION] = gate.session_of(request)
        if session.token and gate.mode == TOKEN and not request.identity.roles:
            _sign_in_again(request, session)
        if request.environ['REQUEST_METHOD'] != 'GET':
            _refuse_other_sites(request)
            gate.check_form(session, form_of(request))
        if request.resource.path in OPEN:
            return
        if not request.identity.roles:
            raise SignInFirst(_link_back(request) if gate.mode == TOKEN else None)
        project = request.identity.project
        named = query_of(request).get('project')
        if named is not None and named != project:
            if not may_name_projects(request):
                raise NotYourProject
            project = named
        request.project = project


def _sign_in_again(request: Request, session: Session) -> None:
    """Learn who asks from the token of the session; nothing if that is not valid any more."""
    valid = model.store.tokens.find_valid(session.token)
    if valid is None:
        return
    if not valid.is_noted:
        # It lets in, whether or not that can be written down.
        with contextlib.suppress(MarconiError):
            model.store.tokens.note_use(valid.id)
    request.identity = Identity(valid.project, valid.roles, valid.queues, valid.id)


def form_of(request: Request) -> dict[str, list[str]]:
    """The form that the request sends: the values of each field.

    :raises FormTooLarge: if it is larger than any form of ours
    """
    form: dict[str, list[str]] | None = request.environ.get('marconi.console.form')
    if form is None:
        size = request.content_size
        if size > MOST_IN_A_FORM:
            raise FormTooLarge(MOST_IN_A_FORM)
        content = request.environ['wsgi.input'].read(size) if size else b''
        form = parse_qs(content.decode('utf-8', 'replace'), keep_blank_values=True)
        request.environ['marconi.console.form'] = form
    return form


def _refuse_other_sites(request: Request) -> None:
    """Browsers say from which page a form was sent; other programs say nothing."""
    environ = request.environ
    fetched_from = environ.get('HTTP_SEC_FETCH_SITE')
    if fetched_from not in (None, 'same-origin'):
        raise FormFromElsewhere
    origin = environ.get('HTTP_ORIGIN')
    # Behind a proxy the scheme may be another one. Where a proxy changes Host, too, the
    # browser's word on the site has to do.
    if fetched_from or origin is None:
        return
    if urlsplit(origin).netloc != environ.get('HTTP_HOST'):
        raise FormFromElsewhere


def _link_back(request: Request) -> str:
    target = request.as_sent if request.environ['REQUEST_METHOD'] == 'GET' else PREFIX
    return f'{PREFIX}/sign-in?then={quote(target, safe="")}'
