"""Where the model tells how many messages came to a queue, were handed out of it, and left it.

What is told is counted for people who look on (``minutes.py``), and for nobody else: it need not be
exact. Messages come by a post, as a copy, and when they are moved; they leave when they are deleted or
popped, when they are moved, and when the janitor removes what has expired or was purged.
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
        """So many messages came to the queue."""
        if count and self.listener:
            self.listener(queue_id, CAME, count)

    def left(self, queue_id: int, count: int) -> None:
        """So many messages are gone from the queue."""
        if count and self.listener:
            self.listener(queue_id, LEFT, count)

    def handed_out(self, queue_id: int, rows: Sequence[Row]) -> None:
        """Messages were handed out, whose rows begin with their id, ttl and age.

        All count with the age of the one in the middle: to look at each would take too long.
        """
        if rows and self.listener:
            age = rows[len(rows) // 2][2]
            self.listener(queue_id, HANDED_OUT + bisect_right(BOUNDS, age), len(rows))


#: That of this process.
traffic = Traffic()
