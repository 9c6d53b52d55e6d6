"""How many messages a request has posted, handed out, listed or changed: for a line in the log."""

import threading

from marconi_api.model.flows import flows


class Handled(threading.local):
    """Counts the messages of this thread's request."""

    _count = 0

    def add(self, count: int, *came_about: str) -> None:
        """So many more were handled.

        :param came_about: what became of each of them, for those who count it: of ``flows``
        """
        self._count += count
        if flows:
            for flow in came_about:
                flows.tell(flow, count)

    def take(self) -> int:
        """How many were handled since this was last called in this thread."""
        count, self._count = self._count, 0
        return count


#: That of each thread.
handled = Handled()
