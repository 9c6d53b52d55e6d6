"""The queues of a campaign, and what a checker must know of them."""

from pathlib import Path

import msgspec


class Queue(msgspec.Struct, frozen=True):
    """A queue of a project; ``most_claims`` and ``dead_letters`` are its attributes."""

    project: str
    name: str
    most_claims: int = 0
    #: The name of its dead-letter queue.
    dead_letters: str = ''
    #: Whether a webhook is to get what is posted.
    has_webhook: bool = False
    #: Whether it is emptied by claims before the database is read.
    is_drained: bool = True
    #: Whether it gives out the messages of each group in their order.
    is_fifo: bool = False
    #: The name of the queue to which it is subscribed, and which of the copies it gets.
    copies_from: str = ''
    copy: int = 0
    #: Whether messages are redriven or kicked, after which their claims are counted anew.
    counts_anew: bool = False

    @property
    def key(self) -> str:
        """As logs name it."""
        return f'{self.project}/{self.name}'

    @property
    def key_of_dead_letters(self) -> str:
        """The same of its dead-letter queue; '' without one."""
        return f'{self.project}/{self.dead_letters}' if self.dead_letters else ''


class World(msgspec.Struct):
    """All that a run was like, as it is kept in its folder."""

    queues: list[Queue]
    #: Seconds after which a request that waits must have got a message that was ready all the time.
    patience: float = 4.0
    #: Seconds after an accident in which nothing is said of how long a request waited.
    recovery: float = 12.0

    def by_key(self) -> dict[str, Queue]:
        """The queues, as logs name them."""
        return {queue.key: queue for queue in self.queues}

    def copies_of(self, source: str) -> list[Queue]:
        """The queues that get copies of what is posted to one."""
        return [
            queue
            for queue in self.queues
            if queue.copies_from and f'{queue.project}/{queue.copies_from}' == source
        ]


_FILE = 'world.json'


def write(world: World, folder: Path) -> None:
    """Keep it in the folder of a run."""
    (folder / _FILE).write_bytes(msgspec.json.encode(world))


def read(folder: Path) -> World:
    """The world of a run."""
    return msgspec.json.decode((folder / _FILE).read_bytes(), type=World)
