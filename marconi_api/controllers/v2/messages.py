"""Messages in version 2: they may be posted with a delay."""

from collections.abc import Sequence
from typing import Any, ClassVar

from marconi_api import limits
from marconi_api.controllers.v1_1 import messages as v1_1
from marconi_api.controllers.v2.types import NewMessages
from marconi_api.wire import Parameter, boolean_parameter


class MessagesController(v1_1.MessagesController):
    """``/v2/queues/{queue}/messages``."""

    posted_type = NewMessages

    page_parameters: ClassVar[dict[str, Parameter]] = {
        **v1_1.MessagesController.page_parameters,
        'include_delayed': boolean_parameter,
    }

    def delays(self, messages: Sequence[Any], default: int) -> list[int]:
        """Seconds for which each message waits: its own delay, else the queue's."""
        delays = [default if message.delay is None else message.delay for message in messages]
        limits.in_force.check_message_delays(delays)
        return delays
