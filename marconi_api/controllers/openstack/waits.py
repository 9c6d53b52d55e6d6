"""What the versions tell of a request that may wait for messages."""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from typing import Any

from marconi_api import model
from marconi_api.model import READY, Claim, Page, QueueKey
from marconi_api.wire.requests import Request
from marconi_api.wire.waiting import WAIT, tell


def tell_claims(
    request: Request,
    queues: Sequence[QueueKey],
    claims: Sequence[tuple[QueueKey, Claim]],
    limit: int,
) -> None:
    """Tell what was claimed, of which queues; it can be given back.

    :param limit: how many messages were asked for
    """
    if WAIT not in request.environ:
        return
    # By weight a queue may give several claims.
    found: Counter[int] = Counter()
    for queue, claim in claims:
        found[queue.id] += len(claim.messages)

    def give_back() -> None:
        for queue, claim in claims:
            model.store.claims.release(queue, claim.id)

    tell(
        request,
        [queue.id for queue in queues],
        found,
        is_full=sum(found.values()) >= limit,
        give_back=give_back,
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
    )
