"""How one claim is divided among several queues: by preference, or by weight."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from marconi_api.model.postgres.tables import QueueKey


@dataclass(frozen=True, slots=True)
class Share:
    """A queue's part in a claim over several: ``limit`` messages at most, if it is set."""

    queue: QueueKey
    limit: int | None = None
    weight: int | None = None


def divide(shares: Sequence[Share], limit: int, claim: Callable[[QueueKey, int], int]) -> None:
    """Ask queues for messages until there are ``limit``, or no more can be had.

    :param claim: asks a queue for a number of messages; returns how many it gave
    """
    if any(share.weight is not None for share in shares):
        _by_weight(shares, limit, claim)
    else:
        _by_preference(shares, limit, claim)


def _by_preference(
    shares: Sequence[Share], limit: int, claim: Callable[[QueueKey, int], int]
) -> None:
    left = limit
    for share in shares:
        if left:
            left -= claim(share.queue, min(left, share.limit or left))


def _by_weight(shares: Sequence[Share], limit: int, claim: Callable[[QueueKey, int], int]) -> None:
    """Draw rounds of lots, until enough is there or all queues are exhausted.

    Each queue is asked once for all its lots of a round, so a round costs a statement a queue
    at most; a second one is needed only if a queue had less than its lots.
    """
    left = limit
    room = {share: share.limit or limit for share in shares}
    while left and room:
        candidates = list(room)
        weights = [share.weight or 1 for share in candidates]
        lots = Counter(random.choices(candidates, weights, k=left))
        for share, count in lots.items():
            asked = min(count, room[share])
            given = claim(share.queue, asked)
            left -= given
            room[share] -= given
            if given < asked or not room[share]:
                del room[share]
