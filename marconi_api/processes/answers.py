"""An answer as uwsgi's router needs it, whoever sends it: a worker or the waiting room."""

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import uuid4

from marconi_api.controllers import sqs
from marconi_api.wire.framing import UNRELIABLE
from marconi_api.wire.requests import REQUEST_ID
from marconi_api.wire.waiting import STREAM, WAIT

Headers = list[tuple[str, str]]

#: Tells the client that the connection ends with this answer.
CLOSE = ('Connection', 'close')


class Answer(NamedTuple):
    """An answer to a request, with all its headers."""

    status: str
    headers: Headers
    body: bytes

    @property
    def content(self) -> bytes:
        """The bytes that are sent: head and body."""
        return head_of(self.status, self.headers) + self.body

    def without(self, header: str) -> 'Answer':
        """The same without a header."""
        return self._replace(headers=[pair for pair in self.headers if pair[0] != header])


def head_of(status: str, headers: Headers) -> bytes:
    """The head of an answer in our own words: uwsgi starts it with those of the client."""
    lines = [f'HTTP/1.1 {status}', *(f'{name}: {value}' for name, value in headers), '', '']
    return '\r\n'.join(lines).encode('latin-1')


def finished(status: str, headers: Headers, environ: Mapping[str, Any], is_last: bool) -> Headers:
    """The headers of an answer with those that the router, or clients that wait, need.

    :param is_last: whether the connection closes after it
    """
    # The router closes the connection after an answer without a length, and takes
    # no account of 204, which by RFC 9110 should have none. All clients that we
    # know of read 204 as empty whatever its headers say.
    if status.startswith('204') and not (headers and _has_length(headers)):
        headers = [*headers, ('Content-Length', '0')]
    if is_last or UNRELIABLE in environ or 'HTTP_TRANSFER_ENCODING' in environ:
        headers = [*headers, CLOSE]
    if sqs.is_for_sqs(environ):
        # Its clients show it in each error, so each answer has one, whether or not requests are logged.
        headers = [*headers, ('x-amzn-RequestId', environ.get(REQUEST_ID) or f'req-{uuid4()}')]
    elif REQUEST_ID in environ:
        headers = [*headers, ('X-Openstack-Request-Id', environ[REQUEST_ID])]
    return headers


def applied(environ: Mapping[str, Any]) -> Headers:
    """The header Preference-Applied, which says for how long the request was ready to wait (RFC 7240)."""
    return (
        [('Preference-Applied', f'wait={environ[WAIT]}')]
        if WAIT in environ and STREAM not in environ
        else []
    )


def _has_length(headers: Headers) -> bool:
    return any(name.lower() == 'content-length' for name, _ in headers)
