"""The lines of the log: JSON instead of plain text, and a line for each request.

``config.py`` names the format, and whether requests are logged. A line of a request never holds a
body, a credential, a query or the path as it was sent: each of them may hold a secret.
"""

import json
import logging
import re
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from marconi_api.wire.requests import REQUEST_ID
from marconi_api.wire.tracing import Told

log = logging.getLogger('marconi_api.access')

#: The member of a WSGI environment with what is logged of a request that another process answers.
NOTED = 'marconi.noted'

_TAKEN_FROM = ('HTTP_X_OPENSTACK_REQUEST_ID', 'HTTP_X_REQUEST_ID')
# No underscore: a token of Marconi's, which has some, is not logged even if a client sends it as an id.
_WELL_FORMED = re.compile(r'[A-Za-z0-9][A-Za-z0-9.-]{0,127}')

# What can stand in a plain line without quotes, so that no value looks like two.
_PLAIN = re.compile(r'[^\s"=\\\x00-\x1f\x7f-\U0010ffff]+')

# Characters of the method, which a client may make up.
_LONGEST_METHOD = 20

Fields = dict[str, Any]


class JsonLines(logging.Formatter):
    """Formats each record as a JSON object in one line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line: time, level, logger; and a message or the fields of a request."""
        seconds = time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))
        line: Fields = {
            'time': f'{seconds}.{int(record.msecs):03}Z',
            'level': record.levelname,
            'logger': record.name,
        }
        if isinstance(record.msg, RequestLine):
            line.update(record.msg.fields)
        else:
            line['message'] = record.getMessage()
        if record.exc_info:
            line['exception'] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class RequestLine:
    """What is logged of a request."""

    def __init__(self, fields: Fields) -> None:
        self.fields = fields

    def __str__(self) -> str:
        """The line as plain text: ``name=value``, without fields that are not known."""
        return ' '.join(
            f'{name}={_quoted(value)}' for name, value in self.fields.items() if value is not None
        )


def _quoted(value: Any) -> str:
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


def begin(environ: dict[str, Any]) -> None:
    """Give a request its id: the one that it was sent with, if that is well formed."""
    for name in _TAKEN_FROM:
        sent = environ.get(name)
        if sent and _WELL_FORMED.fullmatch(sent):
            environ[REQUEST_ID] = sent
            return
    environ[REQUEST_ID] = f'req-{uuid.uuid4()}'


def end(environ: Mapping[str, Any], status: str, began: float, messages: int) -> None:
    """Log a request that this thread has answered.

    :param status: as in its first line
    :param began: a time of ``time.monotonic()``
    :param messages: how many it posted, handed out, listed or changed
    """
    _write(fields_of(environ), status, began, messages)


def note(environ: dict[str, Any]) -> None:
    """Keep in the environment, as a text, what is told of a request that another process ends."""
    environ[NOTED] = json.dumps(fields_of(environ))


def end_noted(
    environ: Mapping[str, Any], status: str, began: float, messages: int, told: Sequence[Told]
) -> None:
    """Log a request that was noted; see :func:`end`."""
    _write(json.loads(environ[NOTED]), status, began, messages)


def fields_of(environ: Mapping[str, Any]) -> Fields:
    """What is told of a request, whatever came of it."""
    # Pecan keeps it there; before it was called there was none.
    request = environ.get('pecan.locals', {}).get('request')
    identity, resource = request and request.identity, request and request.resource
    path_values = request.path_values.values() if request else ()
    named = (getattr(value, 'name', None) for value in path_values)
    return {
        'request_id': environ.get(REQUEST_ID),
        'method': environ['REQUEST_METHOD'][:_LONGEST_METHOD],
        'route': resource.path if resource else None,
        'project': (request and request.project) or (identity and identity.project) or None,
        'queue': next((name for name in named if name), None),
        'token': identity.token if identity else None,
    }


def _write(fields: Fields, status: str, began: float, messages: int) -> None:
    milliseconds = (time.monotonic() - began) * 1000
    log.info(
        RequestLine(
            {
                **fields,
                'status': int(status[:3]),
                'milliseconds': round(milliseconds, 1),
                'messages': messages,
            }
        )
    )
