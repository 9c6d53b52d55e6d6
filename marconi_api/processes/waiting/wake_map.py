"""A small file that all processes share: which queues are waited for, here or elsewhere.

The file has two bytes for each of 65,536 slots: one for waiters of this service, which also tells
whether a claim is among them, and one for those of others. Queues share slots. A process that made
messages ready looks at the two bytes, which takes
0.2 us, and tells the waiting room only if one is set. Only the room writes. A byte that is set for
another queue of the slot costs one message to the room.
"""

import mmap
import struct
from pathlib import Path

#: Who waits for a queue of a slot: nobody, somebody, or a claim to which a post may hand its message.
NOBODY, SOMEBODY, CLAIMANT = 0, 1, 2

_SLOTS = 65536
_COUNTERS = struct.Struct('<5Q')
_SIZE = 2 * _SLOTS + _COUNTERS.size


def slot_of(queue_id: int) -> int:
    """The slot of a queue."""
    return queue_id & (_SLOTS - 1)


class WakeMap:
    """The map, as one process sees it.

    :param path: of a file that :meth:`make` made
    """

    def __init__(self, path: Path, writes: bool = False) -> None:
        with path.open('r+b' if writes else 'rb') as file:
            access = mmap.ACCESS_WRITE if writes else mmap.ACCESS_READ
            self._bytes = mmap.mmap(file.fileno(), _SIZE, access=access)

    @staticmethod
    def make(path: Path) -> None:
        """Make the file, with nobody waiting."""
        path.write_bytes(bytes(_SIZE))

    def is_waited_for(self, queue_id: int) -> bool:
        """Whether anybody may wait for the queue, here or elsewhere."""
        slot = queue_id & (_SLOTS - 1)
        found = self._bytes
        return bool(found[slot] or found[_SLOTS + slot])

    def has_claimant(self, queue_id: int) -> bool:
        """Whether a claim on the queue may wait at this service."""
        return self._bytes[queue_id & (_SLOTS - 1)] == CLAIMANT

    def clear(self) -> None:
        """Forget all who wait."""
        self._bytes[: 2 * _SLOTS] = bytes(2 * _SLOTS)

    def set_here(self, slot: int, who: int) -> None:
        """Note who waits here for a queue of the slot: ``NOBODY``, ``SOMEBODY`` or ``CLAIMANT``."""
        self._bytes[slot] = who

    def set_elsewhere(self, slot: int, is_set: bool) -> None:
        """Note whether anybody waits elsewhere for a queue of the slot."""
        self._bytes[_SLOTS + slot] = is_set

    def is_set_elsewhere(self, slot: int) -> bool:
        """Whether anybody waits elsewhere for a queue of the slot."""
        return bool(self._bytes[_SLOTS + slot])

    @property
    def counters(self) -> tuple[int, ...]:
        """How many wait now; how many were refused, woken, found gone, and woken by a look alone."""
        return _COUNTERS.unpack_from(self._bytes, 2 * _SLOTS)

    def count(self, *counters: int) -> None:
        """Write the counters."""
        _COUNTERS.pack_into(self._bytes, 2 * _SLOTS, *counters)
