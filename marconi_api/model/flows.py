"""Where the model tells what it counts: what becomes of messages, and how often PostgreSQL is asked."""

from collections.abc import Callable

#: What becomes of messages, told with their number.
POSTED = 'posted'
CLAIMED = 'claimed'
DELETED = 'deleted'
RELEASED = 'released'
TOUCHED = 'touched'
PARKED = 'parked'
EXPIRED = 'expired'
DEAD_LETTERED = 'dead_lettered'
LAPSED = 'lapsed'
REDRIVEN = 'redriven'

#: What becomes of deliveries to webhooks: those that were answered with 2xx, attempts that failed, and
#: deliveries that are not tried any more.
DELIVERED = 'delivered'
DELIVERY_ATTEMPTS_FAILED = 'delivery_attempts_failed'
DELIVERIES_FAILED = 'deliveries_failed'

#: What is asked of PostgreSQL: statements that were sent and waited for, those that failed, and
#: connections that took the place of others.
ROUND_TRIPS = 'round_trips'
ERRORS = 'errors'
RECONNECTS = 'reconnects'


class FlowListeners(list[Callable[[str, int], None]]):
    """Functions that are called with one of the above and its number.

    They are called in the thread that does the work, and so must be quick and must not raise.
    """

    def tell(self, flow: str, count: int) -> None:
        """Tell that ``count`` more events of the flow came about."""
        if self and count:
            for listener in self:
                listener(flow, count)


#: The listeners of this process.
flows = FlowListeners()
