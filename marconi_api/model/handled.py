"""How many messages a request has posted, handed out, listed or changed: for a line in the log."""

import threading

from marconi_api.model.flows import flows


class Handled(threading.local):
    """Counts the messages of this thread's request."""

    _count = 0

    def add(self, count: int, *came_about: str) -> None:
        """Count ``count`` more messages.

        :param came_about: the flows to which each of the messages belongs, for the listeners of
            ``flows``
        """
        self._count += count
        if flows:
            for flow in came_about:
                flows.tell(flow, count)

    def take(self) -> int:
        """How many were handled since this was last called in this thread."""
        count, self._count = self._count, 0
        return count


#: The count of each thread.
handled = Handled()
