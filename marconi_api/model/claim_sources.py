"""How one claim is divided among several queues: by preference, or by weight."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from marconi_api.model.postgres.tables import QueueKey


@dataclass(frozen=True, slots=True)
class ClaimSource:
    """A queue of a claim across queues: ``limit`` messages at most, None: no limit of its own."""

    queue: QueueKey
    limit: int | None = None
    weight: int | None = None


def divide(
    sources: Sequence[ClaimSource], limit: int, claim: Callable[[QueueKey, int], int]
) -> None:
    """Ask queues for messages until there are ``limit``, or no more can be had.

    :param claim: asks a queue for a number of messages; returns how many it gave
    """
    if any(source.weight is not None for source in sources):
        _by_weight(sources, limit, claim)
    else:
        _by_preference(sources, limit, claim)


def _by_preference(
    sources: Sequence[ClaimSource], limit: int, claim: Callable[[QueueKey, int], int]
) -> None:
    left = limit
    for source in sources:
        if left:
            left -= claim(source.queue, min(left, source.limit or left))


def _by_weight(
    sources: Sequence[ClaimSource], limit: int, claim: Callable[[QueueKey, int], int]
) -> None:
    """Draw lots for the queues in rounds, until there are enough messages or no queue has more.

    Each queue is asked once for all its lots of a round, so a round takes one statement a queue at most.
    A second round is needed only if a queue had fewer messages than lots.
    """
    left = limit
    room = {source: source.limit or limit for source in sources}
    while left and room:
        candidates = list(room)
        weights = [source.weight or 1 for source in candidates]
        lots = Counter(random.choices(candidates, weights, k=left))
        for source, count in lots.items():
            asked = min(count, room[source])
            given = claim(source.queue, asked)
            left -= given
            room[source] -= given
            if given < asked or not room[source]:
                del room[source]
