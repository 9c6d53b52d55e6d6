"""How a page is made: from a template, with the headers that keep it harmless."""

import re
from datetime import UTC, datetime
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from marconi_api.controllers.console import sessions
from marconi_api.controllers.console.failures import SignInFirst
from marconi_api.controllers.console.sessions import FORM_KEY, PREFIX
from marconi_api.controllers.console.static import link_to
from marconi_api.errors import MarconiError, NotAuthorized
from marconi_api.wire.failures import MethodNotAllowed
from marconi_api.wire.replies import Reply
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

# Characters that cannot be seen, or that change in which direction others are written. Line
# feeds and tabs do no harm.
_UNSEEN = re.compile(
    '[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u115f\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f'
    '\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]'
)


def visible(value: Any) -> Any:
    """A text whose unseen characters are written out, as JSON does; anything else as it is."""
    if type(value) is not str:
        return '' if value is None else value
    return _UNSEEN.sub(lambda found: f'\\u{ord(found[0]):04x}', value)


def duration(seconds: float | None) -> str:
    """Seconds as people say them, in the two largest units."""
    if seconds is None:
        return '–'
    left = int(seconds)
    parts: list[str] = []
    for unit, size in (('d', 86400), ('h', 3600), ('min', 60), ('s', 1)):
        count, left = divmod(left, size)
        if count or (unit == 's' and not parts):
            parts.append(f'{count} {unit}')
    return ' '.join(parts[:2])


def number(value: int) -> str:
    """A number with its thousands apart."""
    return f'{value:,}'


def utc(time: datetime) -> str:
    """A time, to the second."""
    return time.astimezone(UTC).strftime('%Y-%m-%d %H:%M:%S')


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
    environment.filters.update(duration=duration, number=number, utc=utc)
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


def error_reply(error: MarconiError) -> Reply:
    """An error as a page, or the way to the page where one signs in."""
    if isinstance(error, SignInFirst) and error.location:
        return see(error.location)
    headers = tuple(error.headers)
    title = error.title
    if isinstance(error, MethodNotAllowed):
        headers = (('Allow', ', '.join(error.allowed)),)
        title = HTTPStatus(error.status).phrase
    html = _templates().get_template('error.html').render(title=title, text=str(error))
    return html_reply(html, error.status, *headers)
