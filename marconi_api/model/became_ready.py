"""Where the model tells that messages became ready, for those who wait for some.

Told is what became ready by a request, once it is committed: messages that were posted, released,
kicked, requeued, moved to a queue for dead letters, or held for no time at all. Nobody tells
what becomes ready by the clock alone: a claim that lapses, a delay that ends.
"""

import logging
from collections.abc import Callable
from functools import partial

from marconi_api.model.postgres.database import Database
from marconi_api.model.postgres.tables import QueueKey

log = logging.getLogger(__name__)


class ReadyListeners(list[Callable[[QueueKey, int], None]]):
    """Functions that are called with the queue and the number of its messages.

    They are called in the thread of the request, before it is answered, and so must be quick.

    :param database: whose transaction, if it has one open, is committed before
    """

    def __init__(self, database: Database | None = None) -> None:
        super().__init__()
        self._database = database

    def tell(self, queue: QueueKey, count: int) -> None:
        """So many messages of the queue can be claimed now. What a listener raises is logged."""
        if not (self and count):
            return
        if self._database is not None and self._database.thread.run is not None:
            self._database.after_commit(partial(self.tell, queue, count))
            return
        for listener in self:
            try:
                listener(queue, count)
            except Exception:
                log.exception('a listener for messages that became ready failed')
