"""Where the model tells that messages ended, for those who wait for a reply to one.

Listeners hear of the messages that a request deleted, with a reply or without, once the delete is
committed. They do not hear of messages that expire or are purged: whoever waits must look for these.
"""

import logging
from collections.abc import Callable, Collection

log = logging.getLogger(__name__)


class EndListeners(list[Callable[[Collection[int]], None]]):
    """Functions that are called with the ids of messages.

    They are called in the thread of the request, before it is answered, and so must be quick.
    """

    def tell(self, messages: Collection[int]) -> None:
        """Tell that these messages, or some of them, are gone. What a listener raises is logged."""
        if self and messages:
            for listener in self:
                try:
                    listener(messages)
                except Exception:
                    log.exception('a listener for messages that ended failed')
