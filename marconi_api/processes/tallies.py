"""What a process counts of each queue, in a file that another process reads: minute by minute.

The file has two pages. In each minute a process counts on the page that it did not use in the minute
before, so that the other page can be read meanwhile. A page has a place for each queue of which
something was told in the page's minute, for :data:`MOST_QUEUES` at most; further ones are not counted.

To count takes half a microsecond. No request waits for a statement, or for another process.
"""

import mmap
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from marconi_api.model.traffic import KINDS, traffic
from marconi_api.processes.waiting.hand_over import DIRECTORY

#: Queues that a process tells apart in a minute.
MOST_QUEUES = 10_000

# Words of 8 bytes: of a page the number of its minute and how many places are used, of a place
# the queue's id and its counts.
_HEAD = 2
_PLACE = 1 + KINDS
# The last place is for the queues that have none, and is not read.
_PAGE = _HEAD + (MOST_QUEUES + 1) * _PLACE
_SIZE = 2 * 8 * _PAGE


def tally_of(environment: Mapping[str, str], place: object) -> 'Tally | None':
    """Count from now on what the model tells in this process; None where nobody would read it.

    :param place: that of this process in the service, which no other has at the same time
    """
    directory = environment.get(DIRECTORY)
    if not directory:
        return None
    tally = Tally(Path(directory, f'tally-{place}'))
    traffic.listener = tally.count
    return tally


class Tally:
    """A file of counts; a process that opens an existing one goes on with its counts."""

    def __init__(self, path: Path) -> None:
        with path.open('a+b') as file:
            file.truncate(_SIZE)
            # Bytes that were never written take no space.
            self._words = memoryview(mmap.mmap(file.fileno(), _SIZE)).cast('q')
        self._lock = threading.Lock()
        self._ends = 0.0
        self._page = 0
        self._places: dict[int, int] = {}

    def count(self, queue_id: int, kind: int, count: int) -> None:
        """So much more of a kind: a listener for ``traffic``."""
        with self._lock:
            if time.time() >= self._ends:
                self._turn(int(time.time() // 60))
            place = self._places.get(queue_id) or self._take(queue_id)
            self._words[place + 1 + kind] += count

    def read(self, minute: int) -> dict[int, list[int]]:
        """What was counted in a minute that is over, by the queue's id."""
        page = minute % 2 * _PAGE
        if self._words[page] != minute:
            return {}
        places = range(page + _HEAD, page + _HEAD + self._words[page + 1] * _PLACE, _PLACE)
        return {
            self._words[place]: self._words[place + 1 : place + _PLACE].tolist() for place in places
        }

    def _turn(self, minute: int) -> None:
        """Go to the page of a minute."""
        self._ends = (minute + 1) * 60.0
        self._page = minute % 2 * _PAGE
        self._places = {}
        if self._words[self._page] == minute:
            # Another process had this place before, and was killed.
            first = self._page + _HEAD
            for place in range(first, first + self._words[self._page + 1] * _PLACE, _PLACE):
                self._places[self._words[place]] = place
        else:
            self._words[self._page + 1] = 0
            self._words[self._page] = minute

    def _take(self, queue_id: int) -> int:
        """A place for a queue that has none in this minute."""
        used = self._words[self._page + 1]
        place = self._page + _HEAD + used * _PLACE
        if used < MOST_QUEUES:
            for at in range(place + 1, place + _PLACE):
                self._words[at] = 0
            self._words[place] = queue_id
            self._places[queue_id] = place
            # Only now can it be read.
            self._words[self._page + 1] = used + 1
        return place


def read_all(directory: Path, minute: int) -> dict[int, list[int]]:
    """What all processes of a service counted in a minute that is over."""
    sums: dict[int, list[int]] = {}
    for path in directory.glob('tally-*'):
        for queue_id, counts in Tally(path).read(minute).items():
            known = sums.get(queue_id)
            sums[queue_id] = (
                [a + b for a, b in zip(known, counts, strict=True)] if known else counts
            )
    return sums
