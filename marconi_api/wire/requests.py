"""A request, and what every action needs to know of it."""

import json
import re
import uuid
from array import array
from functools import lru_cache
from itertools import accumulate
from typing import Any

from webob.request import BaseRequest

from marconi_api import limits
from marconi_api.errors import InvalidQueueName, InvalidRequest
from marconi_api.wire import framing
from marconi_api.wire.failures import (
    InvalidBody,
    InvalidClientId,
    InvalidIdempotencyKey,
    MissingHeader,
)

#: The member of a WSGI environment with the id of a request.
REQUEST_ID = 'marconi.request_id'


class Request(BaseRequest):
    """WebOb's request, and what every action of Marconi needs to know of it.

    ``identity``: who sends the request, an ``Identity`` of ``controllers/access``.
    ``door``, ``resource``: the ``Door`` and the ``Resource`` that the path leads to, None until known.
    ``project``: the project, '' if none was named; the door's hooks set it.
    ``client_id``: the client's UUID in its canonical spelling, None if the header is absent; the door's
    hooks set it.
    ``path_values``: what the path's placeholders stand for, in the order of the path.
    """

    # WebOb keeps attributes that the class declares as plain attributes. It puts any other one into a
    # dictionary inside the WSGI environment.
    context: Any = None
    pecan: Any = None
    identity: Any = None
    door: Any = None
    resource: Any = None
    project = ''
    client_id: str | None = None
    path_values: dict[str, Any] = {}
    _content: bytes | None = None

    @property
    def as_sent(self) -> str:
        """Path and query as the client sent them, for ``Content-Location``."""
        path, query = framing.path_as_sent(self.environ), self.environ.get('QUERY_STRING')
        return f'{path}?{query}' if query else path

    @property
    def named_project(self) -> str | None:
        """What the client named as its project, without white space around it; None if nothing.

        :raises InvalidQueueName: if the header was sent twice, or has a comma or control characters
        """
        sent: str | None = self.environ.get('HTTP_X_PROJECT_ID')
        return None if sent is None else project_in(sent)

    def require_client_id(self) -> str:
        """The client's UUID.

        :raises MissingHeader: if the client did not send ``Client-ID``
        """
        client_id = self.client_id
        if client_id is None:
            raise MissingHeader('Client-ID')
        return client_id

    @property
    def idempotency_key(self) -> str:
        """The value of the header ``Idempotency-Key``, without quotation marks.

        Clients send it as a string of RFC 8941, in quotation marks, or without them.

        :raises InvalidIdempotencyKey: if it is neither
        """
        sent: str = self.environ['HTTP_IDEMPOTENCY_KEY']
        key = sent.strip(' \t')
        if key.startswith('"'):
            quoted = _QUOTED.fullmatch(key)
            key = _ESCAPED.sub(r'\1', quoted[1]) if quoted else ''
        if not _KEY.fullmatch(key):
            raise InvalidIdempotencyKey
        return key

    @property
    def content_size(self) -> int:
        """Bytes of the body; ``framing`` has checked that the header is a number."""
        # Python refuses to parse thousands of digits. The first twelve are enough for a number that is
        # too large anyway.
        return int(self.environ.get('CONTENT_LENGTH', '0')[:12])

    @property
    def content(self) -> bytes:
        """The body, if it was read."""
        return self._content or b''

    def read_content(self, at_most: int) -> bytes:
        """The body, which may be shorter than its client said.

        :param at_most: bytes
        :raises InvalidRequest: if it has more than ``at_most`` bytes
        """
        size = self.content_size
        if size > at_most:
            raise InvalidRequest(f'The body must not exceed {at_most} bytes; this one has {size}.')
        content = self._content
        if content is None:
            content = self._content = self.environ['wsgi.input'].read(size) if size else b''
        return content

    def read_text(self, at_most: int) -> str:
        """The body as text.

        :param at_most: bytes
        :raises InvalidBody: if the body is missing, is not UTF-8, or has numbers or levels beyond bounds
        :raises InvalidRequest: if it has more than ``at_most`` bytes
        """
        content = self.read_content(at_most)
        if not content or len(content) < self.content_size:
            raise InvalidBody('A JSON document is required as the body, with its Content-Length.')
        alike = content.translate(_MADE_ALIKE)
        # `count` would look at each byte, but `replace` searches, which is faster.
        if len(content) - len(alike.replace(b'[', b'')) > limits.MOST_LEVELS:
            _refuse_deep_nesting(content)
        if _LONG_NUMBER in alike:
            _refuse_integers_beyond_64_bit(content)
        try:
            return content.decode()
        except UnicodeDecodeError:
            raise InvalidBody('The body must be encoded in UTF-8.') from None


_QUOTED = re.compile(r'"((?:[^"\\]|\\["\\])*)"')
_ESCAPED = re.compile(r'\\(.)')
_KEY = re.compile('[!-~]{1,255}')
_CONTROL = re.compile(r'[\x00-\x1f\x7f]')


def project_in(header: str) -> str:
    """The project that the header names; see :attr:`Request.named_project`."""
    # Only short texts are remembered, or clients could fill the memory.
    return _project_in(header) if len(header) < 200 else _project_in.__wrapped__(header)


@lru_cache(maxsize=4096)
def _project_in(header: str) -> str:
    # A server joins headers of the same name by a comma.
    if ',' in header or _CONTROL.search(project := header.strip(' \t')):
        raise InvalidQueueName(
            'X-Project-Id must be sent once, and hold no comma or control character.'
        )
    return project


def canonical_uuid(text: str) -> str:
    """Any spelling that ``uuid.UUID`` takes, in its one canonical spelling.

    See docs/protocol-v1.md, 1.1.
    """
    # A spelling may have thousands of braces; such a long one is not remembered.
    return _canonical_uuid(text) if len(text) < 64 else _canonical_uuid.__wrapped__(text)


@lru_cache(maxsize=4096)
def _canonical_uuid(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise InvalidClientId from None


# 2^63 has nineteen digits, so a document without a run of nineteen has no number beyond 64 bit. Each
# level of a nested document begins with a bracket. The table makes all digits alike, and all brackets.
# So one search in the translated document finds both without parsing, and few documents need the slow
# check.
_MADE_ALIKE = bytes.maketrans(b'123456789{', b'000000000[')
_LONG_NUMBER = b'0' * 19
_INT64 = range(-(2**63), 2**63)


def _refuse_integers_beyond_64_bit(content: bytes) -> None:
    def check(digits: str) -> None:
        # The length comes first: int() raises a ValueError for thousands of digits.
        if len(digits) > 20 or int(digits) not in _INT64:
            raise InvalidBody(f'{digits[:24]} is beyond 64 bit: send such numbers as strings.')

    try:
        json.loads(content, parse_int=check)
    except (ValueError, RecursionError):
        raise InvalidBody('The body is not valid JSON.') from None


_TOO_DEEP = f'Lists and objects must not be nested more than {limits.MOST_LEVELS} levels deep.'
# An unfinished string reaches to the end: the parser refuses it.
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_STEPS = bytes.maketrans(b'[{]}', bytes((1, 1, 0xFF, 0xFF)))
_NO_STEPS = bytes({*range(256)} - {*b'[{]}'})


def _refuse_deep_nesting(content: bytes) -> None:
    steps = array('b', _STRING.sub(b'', content).translate(_STEPS, _NO_STEPS))
    if max(accumulate(steps), default=0) > limits.MOST_LEVELS:
        raise InvalidBody(_TOO_DEEP)
