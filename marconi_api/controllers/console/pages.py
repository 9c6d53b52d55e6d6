"""How a page is made: from a template, with the headers that keep it harmless."""

from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from marconi_api.controllers.console import sessions
from marconi_api.controllers.console.failures import SignInFirst
from marconi_api.controllers.console.sessions import FORM_KEY, PREFIX
from marconi_api.controllers.console.static import link_to
from marconi_api.controllers.console.texts import duration, estimate, number, utc, visible
from marconi_api.errors import MarconiError, NotAuthorized
from marconi_api.wire.failures import MethodNotAllowed
from marconi_api.wire.replies import RETRY_AFTER, Reply
from marconi_api.wire.requests import Request

if TYPE_CHECKING:
    from jinja2 import Environment

HTML = 'text/html; charset=utf-8'

#: What keeps a page to what came from here, whatever is shown on it.
_HARMLESS = (
    (
        'Content-Security-Policy',
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
        " connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    ('X-Content-Type-Options', 'nosniff'),
    ('X-Frame-Options', 'DENY'),
    ('Referrer-Policy', 'same-origin'),
    ('Cross-Origin-Opener-Policy', 'same-origin'),
    ('Cross-Origin-Resource-Policy', 'same-origin'),
    ('Cache-Control', 'no-store'),
)


def link(path: str, **query: Any) -> str:
    """The address of a page; parameters that are None are left out."""
    given = {name: value for name, value in query.items() if value is not None}
    return f'{PREFIX}{path}?{urlencode(given)}' if given else f'{PREFIX}{path}'


@cache
def _templates() -> 'Environment':
    # Processes that serve the API alone need not import it.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader('marconi_api.controllers.console'),
        autoescape=True,
        finalize=visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(duration=duration, estimate=estimate, number=number, utc=utc)
    environment.globals.update(link=link, link_to=link_to, FORM_KEY=FORM_KEY)
    return environment


def html_reply(html: str, status: int = 200, *headers: tuple[str, str]) -> Reply:
    """A reply with a page."""
    content = html.encode()
    fixed = (('Content-Type', HTML), ('Content-Length', str(len(content))))
    return Reply(status, content, (*fixed, *_HARMLESS, *headers))


def page(request: Request, template: str, status: int = 200, **values: Any) -> Reply:
    """A page for a request."""
    session = sessions.session_of(request)
    html = (
        _templates()
        .get_template(template)
        .render(
            identity=request.identity,
            project=request.project,
            may_name_projects=sessions.may_name_projects(request),
            signed_in=bool(session.token and request.identity.token),
            form_key=sessions.gate.form_key(session),
            may=lambda verb: _may(request, f'POST /queues/{{queue}}/{verb}'),
            may_do=lambda line: _may(request, line),
            may_see_tokens=_may(request, 'GET /tokens'),
            may_audit=_may(request, 'GET /audit'),
            **values,
        )
    )
    cookie = [sessions.gate.cookie(session, request)] if session.is_new else []
    return html_reply(html, status, *cookie)


def _may(request: Request, line: str) -> bool:
    """Whether whoever asks may do what a line of the door's actions says."""
    try:
        request.door.policy.permit(request.identity.roles, request.door.actions[line])
    except NotAuthorized:
        return False
    return True


def see(location: str, *headers: tuple[str, str]) -> Reply:
    """A reply that leads to another page."""
    fixed = (('Location', location), ('Content-Length', '0'), ('Cache-Control', 'no-store'))
    return Reply(303, b'', (*fixed, *headers))


def error_reply(error: MarconiError, environ: Mapping[str, Any]) -> Reply:
    """An error as a page, or the way to the page where one signs in."""
    if isinstance(error, SignInFirst) and error.location:
        return see(error.location)
    headers = tuple(error.headers)
    title = error.title
    if isinstance(error, MethodNotAllowed):
        headers = (('Allow', ', '.join(error.allowed)),)
        title = HTTPStatus(error.status).phrase
    if error.status == 503:
        headers = (*headers, RETRY_AFTER)
    html = _templates().get_template('error.html').render(title=title, text=str(error))
    return html_reply(html, error.status, *headers)
