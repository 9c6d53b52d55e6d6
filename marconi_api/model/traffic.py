"""Where the model tells how many messages came to a queue, were handed out of it, and left it.

The counts only serve the plots of the console (``minutes.py``), and need not be exact. A message comes
to a queue by a post, as a copy, or when it is moved there. It leaves when it is deleted, popped or moved
away, or when the janitor removes it because it has expired or was purged.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence

from marconi_api.model.postgres.database import Row

#: Upper bounds, in seconds, of the steps in which ages are counted; the last step has none.
BOUNDS = (1, 2, 5, 10, 30, 60, 120, 300, 900, 3600, 14400, 86400)
STEPS = len(BOUNDS) + 1

#: What is told: messages that came, that left, and from here on, for each step of their age, those
#: that were handed out.
CAME = 0
LEFT = 1
HANDED_OUT = 2
KINDS = HANDED_OUT + STEPS

Listener = Callable[[int, int, int], None]


class Traffic:
    """Tells one listener, which is called with the queue's id, one of the above, and a number.

    It is called in the thread that does the work, and so must be quick and must not raise.
    """

    def __init__(self) -> None:
        self.listener: Listener | None = None

    def came(self, queue_id: int, count: int) -> None:
        """Tell that ``count`` messages came to the queue."""
        if count and self.listener:
            self.listener(queue_id, CAME, count)

    def left(self, queue_id: int, count: int) -> None:
        """Tell that ``count`` messages left the queue."""
        if count and self.listener:
            self.listener(queue_id, LEFT, count)

    def handed_out(self, queue_id: int, rows: Sequence[Row]) -> None:
        """Tell that messages were handed out; their rows begin with id, ttl and age.

        All of them are counted with the age of the middle one, as it would take too long to look at
        each.
        """
        if rows and self.listener:
            age = rows[len(rows) // 2][2]
            self.listener(queue_id, HANDED_OUT + bisect_right(BOUNDS, age), len(rows))


#: That of this process.
traffic = Traffic()
