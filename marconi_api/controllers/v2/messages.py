"""Messages in version 2: they may be posted with a delay."""

from collections.abc import Mapping, Sequence, Set
from typing import Any, ClassVar

from marconi_api import limits
from marconi_api.controllers.v1_1 import messages as v1_1
from marconi_api.controllers.v2.types import NewMessages
from marconi_api.model import STATES
from marconi_api.wire import Parameter, WordParameter, boolean_parameter

state_parameter = WordParameter(*STATES)


class MessagesController(v1_1.MessagesController):
    """``/v2/queues/{queue}/messages``."""

    posted_type = NewMessages

    page_parameters: ClassVar[dict[str, Parameter]] = {
        **v1_1.MessagesController.page_parameters,
        'include_delayed': boolean_parameter,
        'state': state_parameter,
    }

    def states(self, query: Mapping[str, Any]) -> Set[str]:
        """One state that is asked for; else the ready ones, with those that are included."""
        if 'state' in query:
            return {query['state']}
        return super().states(query) | ({'delayed'} if query.get('include_delayed') else set())

    def delays(self, messages: Sequence[Any], default: int) -> list[int]:
        """Seconds for which each message waits: its own delay, else the queue's."""
        delays = [default if message.delay is None else message.delay for message in messages]
        limits.in_force.check_message_delays(delays)
        return delays
