"""``/console/static``: the style sheet and the script of the pages; and what is not there."""

from functools import cache
from hashlib import sha256
from importlib.resources import files

from marconi_api.wire.actions import Content, expose
from marconi_api.wire.failures import UnknownPath
from marconi_api.wire.replies import Reply
from marconi_api.wire.requests import Request

_TYPES = {
    'console.css': 'text/css; charset=utf-8',
    'console.js': 'text/javascript; charset=utf-8',
    'console.svg': 'image/svg+xml',
}


@cache
def _content(name: str) -> bytes:
    return files('marconi_api.controllers.console').joinpath('static', name).read_bytes()


@cache
def link_to(name: str) -> str:
    """The address of a file, another one for each content."""
    return f'/console/static/{name}?{sha256(_content(name)).hexdigest()[:12]}'


class NothingController:
    """A page that is not there."""

    @expose(replies={}, needs_storage=False)
    def get(self, request: Request, page: str) -> Reply:
        """Say so as a page, as the door's errors do."""
        raise UnknownPath


class StaticController:
    """``/console/static/{file}``."""

    @expose(replies={200: Content()}, needs_storage=False)
    def get(self, request: Request, file: str) -> Reply:
        """A file, which browsers keep: its address has its hash."""
        if file not in _TYPES:
            raise UnknownPath
        content = _content(file)
        headers = (
            ('Content-Type', _TYPES[file]),
            ('Content-Length', str(len(content))),
            ('Cache-Control', 'max-age=31536000, immutable'),
            ('X-Content-Type-Options', 'nosniff'),
        )
        return Reply(200, content, headers)
