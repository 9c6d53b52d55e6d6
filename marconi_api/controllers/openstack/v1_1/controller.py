"""What the controllers of versions 1.1 and 2 have in common."""

from marconi_api.model import QueueKey


class Controller:
    """A controller of the version whose paths start with ``prefix``."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def href(self, queue: QueueKey) -> str:
        """The path of a queue."""
        return f'{self.prefix}/queues/{queue.name}'
