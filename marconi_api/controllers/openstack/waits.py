"""What the versions tell of a request that may wait for messages."""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from typing import Any
from urllib.parse import parse_qs

from marconi_api import limits, model
from marconi_api.errors import InvalidRequest
from marconi_api.model import READY, Asked, Claim, Page, QueueKey, RequestKey
from marconi_api.model.postgres.tables import message_id
from marconi_api.model.quotas import WAITERS
from marconi_api.model.replies import place_of
from marconi_api.wire.replies import Reply
from marconi_api.wire.requests import Request
from marconi_api.wire.waiting import EVENT_STREAM, STREAM, WAIT, tell


def tell_claims(
    request: Request,
    queues: Sequence[QueueKey],
    claims: Sequence[tuple[QueueKey, Claim]],
    limit: int,
    key: RequestKey | None,
) -> None:
    """Tell what was claimed, of which queues; it can be given back.

    :param limit: how many messages were asked for
    :param key: of the request; what a former one with it claimed is not given back
    """
    if WAIT not in request.environ:
        return
    # By weight a queue may give several claims.
    found: Counter[int] = Counter()
    for queue, claim in claims:
        found[queue.id] += len(claim.messages)

    def give_back() -> None:
        for queue, claim in claims:
            if claim.is_new:
                model.store.claims.give_back(queue, claim.id, key)

    tell(
        request,
        [queue.id for queue in queues],
        found,
        is_full=sum(found.values()) >= limit,
        give_back=give_back,
        most_waiters=_most_waiters(request),
    )


def tell_pages(request: Request, pages: Mapping[QueueKey, Page[Any]], states: Set[str]) -> None:
    """Tell what a page of each queue has; it is waited for more only where that is the end.

    :param states: those of the messages that a page has; nothing tells of those that are held
    """
    if WAIT not in request.environ:
        return
    if not any(pages.values()) and any(page.next for page in pages.values()):
        # The look was cut short: the client goes on from there.
        return
    tell(
        request,
        [queue.id for queue in pages],
        {queue.id: len(page) for queue, page in pages.items() if page},
        takes=False,
        is_untold=not states >= READY,
        most_waiters=_most_waiters(request),
    )


def tell_reply(request: Request, message: str, asked: Asked, body: bytes | None = None) -> None:
    """Tell whether there is a reply to a message, or there will never be one.

    :param body: with which the request is run again, if not with its own
    """
    awaited = message_id(message)
    if WAIT not in request.environ or awaited is None:
        return
    place = place_of(awaited)
    tell(
        request,
        [place],
        {} if asked.is_open else {place: 1},
        takes=False,
        most_waiters=_most_waiters(request),
        awaited=awaited,
        body=body,
    )


def _most_waiters(request: Request) -> int | None:
    return model.store.quotas.limit(request.project, WAITERS)


# The milliseconds after which a browser connects anew.
_RETRY = 1000


def begin_stream(request: Request, queue: QueueKey, states: Set[str]) -> Reply:
    """Let somebody go on with a stream of the queue's messages (docs/protocol-v2.md, 6.6).

    It begins after the message that the header Last-Event-ID names, else the parameter ``marker``;
    where that is empty with the first message, and without either with what comes from now on.
    """
    environ = request.environ
    marker = environ.get('HTTP_LAST_EVENT_ID')
    if marker is None:
        query = parse_qs(environ.get('QUERY_STRING', ''), keep_blank_values=True)
        marker = query['marker'][-1] if 'marker' in query else model.store.readiness.end()
    if marker and message_id(marker) is None:
        raise InvalidRequest('A stream begins after a message: marker must be its id, or empty.')
    environ[WAIT] = limits.in_force.max_stream_seconds
    environ[STREAM] = marker
    tell(
        request,
        [queue.id],
        {},
        takes=False,
        is_untold=not states >= READY,
        most_waiters=_most_waiters(request),
    )
    # All that is sent where there is nobody who goes on with the stream. A browser keeps the id without
    # an event, so that it goes on without a gap if it is cut off before the first message.
    place = f'id: {marker}\n' if marker else ''
    start = f'retry: {_RETRY}\n{place}\n'.encode()
    headers = (
        ('Content-Type', f'{EVENT_STREAM}; charset=utf-8'),
        ('Content-Length', str(len(start))),
        ('Cache-Control', 'no-store'),
        # nginx holds nothing back then.
        ('X-Accel-Buffering', 'no'),
    )
    return Reply(200, start, headers)
