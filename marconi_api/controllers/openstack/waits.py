"""How the versions note what a request that may wait has found."""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from typing import Any
from urllib.parse import parse_qs

from marconi_api import limits, model
from marconi_api.errors import InvalidRequest
from marconi_api.model import READY, Asked, Claim, Page, QueueKey, RequestKey
from marconi_api.model.claims import terms
from marconi_api.model.postgres.tables import message_id
from marconi_api.model.quotas import WAITERS
from marconi_api.model.replies import place_of
from marconi_api.wire.replies import Reply
from marconi_api.wire.requests import Request
from marconi_api.wire.waiting import EVENT_STREAM, GIVEN, STREAM, WAIT, AskedClaim, tell


def tell_claims(
    request: Request,
    queues: Sequence[QueueKey],
    claims: Sequence[tuple[QueueKey, Claim]],
    limit: int,
    key: RequestKey | None,
    asked: tuple[int | None, int | None],
) -> None:
    """Note what a claim found. The waiting room may give it back.

    :param queues: the queues that were asked
    :param claims: the claims that were made, each with its queue
    :param limit: how many messages were asked for
    :param key: the request's idempotency key; a claim of an earlier request with it is not given back
    :param asked: the ttl and the grace that were asked for. A post may make the claim while the request
        waits, if that is for one queue and has no key.
    """
    if WAIT not in request.environ:
        return
    # A claim by weights may make several claims on a queue.
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
        claim=AskedClaim(queues[0].name, *terms(*asked)) if len(queues) == 1 and not key else None,
    )


def is_given(request: Request) -> bool:
    """Whether a post may make the claim for which the request waits: see :func:`claim_on`."""
    return GIVEN in request.environ


def claim_on(
    request: Request,
    queue: QueueKey,
    ttl: int | None,
    grace: int | None,
    limit: int,
    key: RequestKey | None,
) -> Claim | None:
    """The claim of a request on one queue, noted as by :func:`tell_claims`.

    It is made as by :meth:`Claims.create`, or by a post that found the request waiting.
    """
    claim: Claim | None
    if is_given(request):
        claim = request.environ[GIVEN]()
    else:
        claim = model.store.claims.create(queue, ttl, grace, limit, key)
    tell_claims(request, [queue], [(queue, claim)] if claim else [], limit, key, (ttl, grace))
    return claim


def tell_pages(request: Request, pages: Mapping[QueueKey, Page[Any]], states: Set[str]) -> None:
    """Note what the pages of queues hold. The request waits only if its pages reach the end.

    :param states: the states of messages that a page shows; listeners hear only of ready messages
    """
    if WAIT not in request.environ:
        return
    if not any(pages.values()) and any(page.next for page in pages.values()):
        # The look was cut short: the client goes on from the link, and need not wait.
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
    """Note whether the request for a message has ended, with or without a reply.

    :param body: the body for when the HTTP request is run again; None: its own
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


# Milliseconds after which a browser connects again, once a stream has ended.
_RETRY = 1000


def begin_stream(request: Request, queue: QueueKey, states: Set[str]) -> Reply:
    """Have the waiting room send a stream of the queue's messages (docs/protocol-v2.md, 6.6).

    The stream begins after the message that the header Last-Event-ID names, or else the parameter
    ``marker``. If that is empty it begins with the first message; without header and parameter, with
    the messages that come from now on.

    :raises InvalidRequest: if the marker is neither a message's id nor empty
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
