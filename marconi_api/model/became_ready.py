"""Where the model tells that messages became ready, for those who wait for some.

Told is what became ready by a request, once it is committed: messages that were posted, released,
kicked, requeued, moved to a queue for dead letters, or held for no time at all. Nobody tells
what becomes ready by the clock alone: a claim that lapses, a delay that ends.
"""

import logging
from collections.abc import Callable
from functools import partial

from marconi_api.model.postgres.tables import QueueKey

log = logging.getLogger(__name__)


class ReadyListeners(list[Callable[[QueueKey, int], None]]):
    """Functions that are called with the queue and the number of its messages.

    They are called in the thread of the request, before it is answered, and so must be quick.

    :param after_commit: puts a call off until the transaction is committed that may be open
    """

    def __init__(self, after_commit: Callable[[Callable[[], None]], None] | None = None) -> None:
        super().__init__()
        self._after_commit = after_commit

    def tell(self, queue: QueueKey, count: int) -> None:
        """So many messages of the queue can be claimed now. What a listener raises is logged."""
        if not (self and count):
            return
        if self._after_commit is None:
            self._tell(queue, count)
        else:
            self._after_commit(partial(self._tell, queue, count))

    def _tell(self, queue: QueueKey, count: int) -> None:
        for listener in self:
            try:
                listener(queue, count)
            except Exception:
                log.exception('a listener for messages that became ready failed')
