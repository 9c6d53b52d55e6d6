"""How a request says that it may wait, and how an action says what it found.

An action looks once, and tells what came of it. Whoever runs the application may then let a
request that found nothing wait, and run it again (``processes/waiting``). Where nobody does,
the reply is sent at once, as it is.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from marconi_api import limits
from marconi_api.errors import InvalidRequest
from marconi_api.wire.requests import Request
from marconi_api.wire.values import IntegerParameter

#: The member of a WSGI environment that says for how many seconds a request may wait.
WAIT = 'marconi.wait'

#: The member that says what came of it: a :class:`Looked`.
LOOKED = 'marconi.looked'

#: The member that says that a request asks for a stream, and after which message it begins.
STREAM = 'marconi.stream'

#: The member that a request has which is run again, and did something before it waited: the id of
#: the message that it posted. No client can set it.
POSTED = 'marconi.posted'

#: The media type of a stream.
EVENT_STREAM = 'text/event-stream'

#: Bytes of the body of a request that waits: it is kept for as long.
LONGEST_BODY = 65536

#: ``wait=SECONDS`` in a query.
wait_parameter = IntegerParameter('wait')

# The first one counts (RFC 7240, 2).
_PREFERRED = re.compile(r'(?:^|,)\s*wait\s*=\s*("?)([0-9]{1,9})\1\s*(?=[;,]|$)', re.IGNORECASE)


class Looked(NamedTuple):
    """What a request that may wait came to."""

    #: Where it looked: the numbers of queues.
    queues: tuple[int, ...]
    #: How many messages it got, by the queue; only of those that gave any.
    found: Mapping[int, int]
    #: Whether there may be more, as it got all that it asked for.
    is_full: bool
    #: Whether what it got is taken from others; a page is not.
    takes: bool
    #: Whether nothing tells when there is more, so that only looking again does.
    is_untold: bool
    project: str
    body: bytes
    #: Gives back what was taken, where that can be done.
    give_back: Callable[[], object] | None
    #: How many requests of its project may wait; None for as many as the service lets wait.
    most_waiters: int | None
    #: The message to which it awaits a reply: then it waits at a place of that message's own.
    awaited: int | None


def wants_stream(request: Request) -> bool:
    """Whether the request asks for server-sent events, as a browser's EventSource does."""
    return EVENT_STREAM in request.environ.get('HTTP_ACCEPT', '').lower()


def may_wait(request: Request, asked: int | None = None, keeps_body: bool = True) -> None:
    """Note for how long the request may wait: what its query says, else its header Prefer.

    A preference is lowered to what is allowed, or passed over (RFC 7240).

    :param asked: the parameter ``wait`` of its query
    :param keeps_body: whether its body is needed when it is run again
    :raises InvalidRequest: if the query asks for more than is allowed
    """
    seconds = asked
    if seconds is None and 'HTTP_PREFER' not in request.environ:
        return
    is_long = keeps_body and request.content_size > LONGEST_BODY
    if seconds is not None:
        limits.in_force.wait.check('wait', seconds)
        if is_long:
            raise InvalidRequest(
                f'A request that waits has a body of {LONGEST_BODY} bytes at most.'
            )
    else:
        found = _PREFERRED.search(request.environ['HTTP_PREFER'])
        if found and not is_long:
            seconds = min(int(found[2]), limits.in_force.max_wait)
    if seconds is not None:
        request.environ[WAIT] = seconds


def tell(
    request: Request,
    queues: Sequence[int],
    found: Mapping[int, int],
    is_full: bool = False,
    takes: bool = True,
    is_untold: bool = False,
    give_back: Callable[[], object] | None = None,
    most_waiters: int | None = None,
    awaited: int | None = None,
    body: bytes | None = None,
) -> None:
    """Tell what came of a request that may wait; see :class:`Looked`.

    :param body: with which it is run again, if not with its own
    """
    if WAIT in request.environ:
        request.environ[LOOKED] = Looked(
            tuple(queues),
            found,
            is_full,
            takes,
            is_untold,
            request.project,
            request.content if body is None else body,
            give_back,
            most_waiters,
            awaited,
        )
