"""How many messages a request has posted, handed out, listed or changed: for a line in the log."""

import threading


class Handled(threading.local):
    """Counts the messages of this thread's request."""

    _count = 0

    def add(self, count: int) -> None:
        """So many more were handled."""
        self._count += count

    def take(self) -> int:
        """How many were handled since this was last called in this thread."""
        count, self._count = self._count, 0
        return count


#: That of each thread.
handled = Handled()
