"""A request that waits, as the room keeps it."""

from marconi_api.processes.waiting.clients import Client
from marconi_api.processes.waiting.hand_over import Parked
from marconi_api.processes.waiting.lines import Waiter
from marconi_api.processes.waiting.streams import Stream


class Guest:
    """A waiter's connection, and what it gets."""

    __slots__ = ('client', 'descriptor', 'is_gone', 'parked', 'stream', 'until', 'waiter')

    def __init__(
        self, parked: Parked, descriptor: int, client: Client | None, until: float
    ) -> None:
        self.parked = parked
        self.descriptor = descriptor
        self.client = client
        self.until = until
        self.is_gone = False
        self.stream = None if parked.stream is None else Stream(parked)
        self.waiter: Waiter
