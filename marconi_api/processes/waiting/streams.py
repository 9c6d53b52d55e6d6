"""A queue as a stream of server-sent events, page by page.

The format is that of the HTML standard (server-sent events): lines of ``field: value``, and an
empty line behind each event. A line that begins with a colon is a comment.
"""

import re
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec

from marconi_api import limits
from marconi_api.processes.answers import Answer, head_of
from marconi_api.processes.waiting.asking import Application, Reply, ask
from marconi_api.processes.waiting.hand_over import Parked

#: What a stream sends while it has nothing to tell: proxies close connections that are silent.
COMMENT = b':\n\n'
COMMENT_EVERY = 15.0

# Events end at such a place only; the JSON text of a client may have them between its parts.
_LINE_END = re.compile(r'\r\n|\r|\n')


class _Id(msgspec.Struct):
    id: str


class _Link(msgspec.Struct):
    href: str


class _Page(msgspec.Struct):
    messages: list[msgspec.Raw]
    links: list[_Link]


_parse_page = msgspec.json.Decoder(_Page).decode
_parse_id = msgspec.json.Decoder(_Id).decode


class Stream:
    """How far a client has followed a queue.

    :param parked: its request, which names the message after which it begins
    """

    def __init__(self, parked: Parked) -> None:
        assert parked.stream is not None
        self._parked = parked
        self._marker = parked.stream
        #: When something was sent last.
        self.sent_at = 0.0

    @property
    def head(self) -> bytes:
        """The head of the answer. The stream ends when its connection does."""
        status, headers, start = self._parked.otherwise
        kept = [header for header in headers if header[0] not in ('Content-Length', 'Connection')]
        return head_of(status, [*kept, ('Connection', 'close')]) + start

    def ask(self, application: Application) -> Reply:
        """Look at the next page."""
        environ = dict(self._parked.environ)
        query = parse_qsl(environ.get('QUERY_STRING', ''))
        kept = [item for item in query if item[0] not in ('marker', 'limit', 'wait')]
        place = [('marker', self._marker)] if self._marker else []
        most = limits.in_force.max_messages_per_page
        # wait=0: the action notes what it found only if the request may wait.
        environ['QUERY_STRING'] = urlencode([*kept, *place, ('limit', most), ('wait', 0)])
        environ['HTTP_ACCEPT'] = 'application/json'
        for name in ('HTTP_LAST_EVENT_ID', 'HTTP_PREFER'):
            environ.pop(name, None)
        return ask(application, self._parked._replace(environ=environ))

    def events(self, answer: Answer) -> tuple[bytes, bool]:
        """A page as events; and whether there may be another one by now."""
        page: Any = _parse_page(answer.body)
        events = [_event(str(message, 'utf-8')) for message in page.messages]
        if page.messages:
            self._marker = _parse_id(page.messages[-1]).id
        for link in page.links:
            # It may lead further than the last message: what lies between is not shown.
            query = dict(parse_qsl(link.href.partition('?')[2]))
            self._marker = query.get('marker', self._marker)
        return ''.join(events).encode(), bool(page.links)


def _event(message: str) -> str:
    data = '\n'.join(f'data: {line}' for line in _LINE_END.split(message))
    return f'id: {_parse_id(message).id}\nevent: message\n{data}\n\n'
