"""Where the model tells that messages ended, for those who wait for a reply to one.

Told is what a request deleted, with a reply or without, once it is committed. Nobody tells of
messages that expire or are purged: whoever waits looks for these.
"""

import logging
from collections.abc import Callable, Collection

log = logging.getLogger(__name__)


class EndListeners(list[Callable[[Collection[int]], None]]):
    """Functions that are called with the ids of messages, as ``became_ready`` calls its own."""

    def tell(self, messages: Collection[int]) -> None:
        """These messages are gone, or some of them are. What a listener raises is logged."""
        if self and messages:
            for listener in self:
                try:
                    listener(messages)
                except Exception:
                    log.exception('a listener for messages that ended failed')
