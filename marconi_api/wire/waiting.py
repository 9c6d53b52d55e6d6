"""How a request says that it may wait, and how an action says what it found.

An action looks once for messages, and notes in the WSGI environment what it found. The server around
the application may then let a request that found nothing wait, and run it again
(``processes/waiting``). A server that does not sends the reply at once, as it is.
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

#: The member that says what the request found: a :class:`Looked`.
LOOKED = 'marconi.looked'

#: The member that says that a request asks for a stream, and after which message it begins.
STREAM = 'marconi.stream'

#: The member of a request that posted a message before it waited, and is run again: the id of that
#: message. No client can set it.
POSTED = 'marconi.posted'

#: The member of a request that waits for a claim, and is run again as a post may make one for it: waits
#: for that claim, and returns it, or None if the post made none. No client can set it.
GIVEN = 'marconi.given'

#: The media type of a stream.
EVENT_STREAM = 'text/event-stream'

#: Bytes of the body of a request that waits, at most: the body is kept as long as the request waits.
LONGEST_BODY = 65536

#: ``wait=SECONDS`` in a query.
wait_parameter = IntegerParameter('wait')

# The first one counts (RFC 7240, 2).
_PREFERRED = re.compile(r'(?:^|,)\s*wait\s*=\s*("?)([0-9]{1,9})\1\s*(?=[;,]|$)', re.IGNORECASE)
# The same in a query, without the values that mean that it does not wait.
_IN_QUERY = re.compile(r'(?:^|&)wait=0*[1-9]')


class AskedClaim(NamedTuple):
    """A claim on one queue for which a request may wait; ``ttl`` and ``grace`` in seconds."""

    queue: str
    ttl: int
    grace: int


class Looked(NamedTuple):
    """What a request that may wait found."""

    #: The ids of the queues in which it looked.
    queues: tuple[int, ...]
    #: How many messages it got, by the id of the queue, without queues that gave none.
    found: Mapping[int, int]
    #: Whether it got as many messages as it asked for, so that there may be more.
    is_full: bool
    #: Whether it takes messages from others, as a claim does and a page does not.
    takes: bool
    #: Whether no listener hears of further messages, so that only another look finds them.
    is_untold: bool
    project: str
    body: bytes
    #: Gives back what was taken; None if it cannot be given back.
    give_back: Callable[[], object] | None
    #: How many requests of its project may wait; None: as many as the service allows.
    most_waiters: int | None
    #: The id of the message to which it awaits a reply: it then waits for that message, not for queues.
    awaited: int | None
    #: The claim that a post may make for it; None: it has to look by itself.
    claim: AskedClaim | None


def wants_stream(request: Request) -> bool:
    """Whether the request asks for server-sent events, as a browser's EventSource does."""
    return EVENT_STREAM in request.environ.get('HTTP_ACCEPT', '').lower()


def is_ready_to_wait(request: Request) -> bool:
    """Whether the request says, before anything else of it is read, that it is ready to wait."""
    environ = request.environ
    preferred = _PREFERRED.search(environ.get('HTTP_PREFER', ''))
    return bool(
        (preferred and int(preferred[2]))
        or _IN_QUERY.search(environ.get('QUERY_STRING', ''))
        or wants_stream(request)
    )


def may_wait(request: Request, asked: int | None = None, keeps_body: bool = True) -> None:
    """Note for how long the request may wait: what its query says, else its header Prefer.

    A preference beyond the limit is lowered to it. The preference of a request whose body is too long
    to keep is ignored (RFC 7240).

    :param asked: the parameter ``wait`` of its query
    :param keeps_body: whether its body is needed when it is run again
    :raises InvalidRequest: if the query asks for more seconds than are allowed, or the body is too long
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
    claim: AskedClaim | None = None,
    body: bytes | None = None,
) -> None:
    """Note what a request that may wait found; the parameters are the members of :class:`Looked`.

    :param body: the body for when the request is run again; None: its own
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
            claim,
        )
