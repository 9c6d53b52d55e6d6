"""A small file in which the waiting room notes the claims that posts make for those who wait in it.

A claim stands there from before the post may make it until its answer is about to be sent, or until it was undone. If the
room is killed in between, the next one finds it, and undoes it. Only the room uses the file.
"""

import json
import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

from marconi_api.model import QueueKey

_PLACES = 64
_LENGTH = struct.Struct('<H')
# Two names of 256 characters of four bytes fit.
_SIZE = 2560


class Journal:
    """The file, as the room sees it.

    :param path: of a file that :meth:`make` made
    """

    def __init__(self, path: Path) -> None:
        with path.open('r+b') as file:
            self._bytes = mmap.mmap(file.fileno(), _PLACES * _SIZE)
        self._free = [place for place in range(_PLACES) if not self._length(place)]

    @staticmethod
    def make(path: Path) -> None:
        """Make the file, with no claim."""
        path.write_bytes(bytes(_PLACES * _SIZE))

    @property
    def is_full(self) -> bool:
        """Whether there is no place for another claim."""
        return not self._free

    def note(self, queue: QueueKey, claim: str) -> int:
        """Note a claim that may be made on a queue; returns its place."""
        place = self._free.pop()
        start = place * _SIZE
        content = json.dumps([queue.project, queue.name, claim], ensure_ascii=False).encode()
        self._bytes[start + _LENGTH.size : start + _LENGTH.size + len(content)] = content
        # Last, so that a claim that is half written counts for nothing.
        self._set_length(place, len(content))
        return place

    def strike(self, place: int) -> None:
        """Forget the claim at a place."""
        self._set_length(place, 0)
        self._free.append(place)

    def __iter__(self) -> Iterator[tuple[int, QueueKey, str]]:
        """All claims, each with its place and its queue."""
        for place in range(_PLACES):
            if length := self._length(place):
                start = place * _SIZE + _LENGTH.size
                project, name, claim = json.loads(self._bytes[start : start + length])
                yield place, QueueKey.of(project, name), claim

    def _length(self, place: int) -> int:
        [length] = _LENGTH.unpack_from(self._bytes, place * _SIZE)
        return int(length)

    def _set_length(self, place: int, length: int) -> None:
        _LENGTH.pack_into(self._bytes, place * _SIZE, length)
