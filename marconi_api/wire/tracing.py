"""The trace of which a request is a part, by the header ``traceparent``.

https://www.w3.org/TR/trace-context/ defines the header's form. A message keeps the header with which
it was posted. A client that gets the message finds it in a header of the reply, since clients such as
python-zaqarclient fail at a member of a message that they do not know.
"""

import re
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from marconi_api.wire.requests import Request

#: The header of a reply with the traces of the messages in it: ``ID=TRACEPARENT, …``.
MESSAGE_TRACES = 'Message-Traceparent'

#: A message that was posted or handed out: its id and, if it was handed out, its traceparent.
Told = tuple[str, str | None]

#: The member of a WSGI environment with the list to which messages are added, if an observer wants
#: them.
TOLD = 'marconi.told_messages'

#: The member with the traceparent of Marconi's own span, for a request that was sent without one.
OWN = 'marconi.traceparent'

# Traces in the header, at most: they make 2.4 KB, and proxies take a header of 4 KB by default.
_MOST_IN_HEADER = 32

_TRACEPARENT_OF = attrgetter('traceparent')

# What a later version appends is not ours to pass on (4.2 there).
_TRACEPARENT = re.compile('(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?')


def traceparent_in(sent: str) -> str | None:
    """A header ``traceparent`` in the form of version 00; None if it is not well formed."""
    found = _TRACEPARENT.fullmatch(sent.strip(' \t'))
    if found is None:
        return None
    version, trace, span, flags, rest = found.groups()
    if not (trace.strip('0') and span.strip('0')) or (version == '00' and rest):
        return None
    return f'00-{trace}-{span}-{flags}'


def traceparent_of(request: Request) -> str | None:
    """The traceparent for messages that the request posts, or None.

    It is the one that was sent, if that is well formed, else that of Marconi's own span.
    """
    sent = request.environ.get('HTTP_TRACEPARENT')
    return (sent and traceparent_in(sent)) or request.environ.get(OWN)


def tell_posted(request: Request, ids: Sequence[str]) -> None:
    """Tell which messages the request posted, if somebody wants to know."""
    told: list[Told] | None = request.environ.get(TOLD)
    if told is not None:
        told += [(id, None) for id in ids]


def message_traces(request: Request, messages: Sequence[Any]) -> tuple[tuple[str, str], ...]:
    """The header for the traces of messages that are handed out, if any has one.

    :param messages: each has an ``id`` and a ``traceparent``
    """
    told: list[Told] | None = request.environ.get(TOLD)
    if told is not None:
        told += [(message.id, message.traceparent) for message in messages]
    # Mostly none has, and a look at ten messages takes half a microsecond.
    if not any(map(_TRACEPARENT_OF, messages)):
        return ()
    traces = [f'{message.id}={message.traceparent}' for message in messages if message.traceparent]
    return ((MESSAGE_TRACES, ', '.join(traces[:_MOST_IN_HEADER])),)
