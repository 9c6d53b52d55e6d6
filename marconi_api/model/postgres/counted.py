"""A filter of the log: warnings that repeat themselves are counted instead of written."""

import logging
import threading
from collections import OrderedDict

# Kinds of warnings that are told apart. The number has a limit, as a kind may hold text of a client.
_MOST_KINDS = 100


class CountRepeats(logging.Filter):
    """Lets one record of a kind pass in ``interval`` seconds; it says how many were left out since.

    Records are of one kind if their messages have the same first line.
    """

    def __init__(self, interval: float = 60) -> None:
        super().__init__()
        self._interval = interval
        self._lock = threading.Lock()
        # When a kind passed last, and how many were left out since.
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record passes; its message then says how many of its kind were left out."""
        message = record.getMessage()
        kind = message.partition('\n')[0]
        with self._lock:
            passed, left_out = self._seen.get(kind, (None, 0))
            if passed is not None and record.created < passed + self._interval:
                self._seen[kind] = passed, left_out + 1
                return False
            self._seen[kind] = record.created, 0
            self._seen.move_to_end(kind)
            if len(self._seen) > _MOST_KINDS:
                self._seen.popitem(last=False)
        if passed is not None and left_out:
            seconds = record.created - passed
            record.msg = f'{message.rstrip()}\n(and {left_out} times more in {seconds:.0f} seconds)'
            record.args = None
        return True
