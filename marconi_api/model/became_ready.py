"""Where the model tells that messages became ready, for those who wait for some.

Listeners hear of the messages that became ready by a request, once it is committed: messages that
were posted, released, kicked, requeued, moved to a dead-letter queue, or claimed with a ttl of 0.
They do not hear of messages that become ready by the clock alone, when a claim lapses or a delay ends.
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

    :param database: if its transaction is open in this thread, they are called after the commit
    """

    def __init__(self, database: Database | None = None) -> None:
        super().__init__()
        self._database = database

    def tell(self, queue: QueueKey, count: int) -> None:
        """Tell that ``count`` messages of the queue became ready. What a listener raises is logged."""
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
