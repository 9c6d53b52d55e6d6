"""What a process does, as lines of a file: one before each call, and one after it.

A line is written by a system call of its own, so it outlives the kill of the process. Times are
seconds since 1970 by the clock of the host. That is the database's clock, too, as all run on one host.
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

#: When a call ended of which no end is known.
NEVER = 1e11

#: What became of a call: it was done, it was refused and changed nothing, or nobody knows. PUT_OFF: there was too
#: much to do, and it changed nothing; the same call may be carried out a moment later.
DONE, REFUSED, UNKNOWN, PUT_OFF = 'done', 'refused', 'unknown', 'put off'


class Call(NamedTuple):
    """A call of a process; ``number`` within its log; what it asked, and what it was told."""

    who: str
    number: int
    began: float
    ended: float
    kind: str
    given: dict[str, Any]
    outcome: str
    answer: dict[str, Any]


class Log:
    """The file of one process, to which it appends."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.name = path.stem
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._calls = 0

    def begin(self, kind: str, **given: Any) -> int:
        """Note a call that is about to be made; its number."""
        self._calls += 1
        self._write('begin', self._calls, kind, given)
        return self._calls

    def end(self, call: int, outcome: str, **answer: Any) -> None:
        """Note what became of a call."""
        self._write('end', call, outcome, answer)

    def note(self, kind: str, **given: Any) -> None:
        """Note what took no time."""
        self.end(self.begin(kind, **given), DONE)

    def _write(self, *record: Any) -> None:
        os.write(self._file, msgspec.json.encode([self._clock(), *record]) + b'\n')


def calls(path: Path, until: float = NEVER) -> Iterator[Call]:
    """The calls of a log in the order of their ends; those without an end come last.

    :param until: when the log is taken to end
    """
    begun: dict[int, tuple[float, str, dict[str, Any]]] = {}
    for at, step, number, word, more in _records(path):
        if at > until:
            break
        if step == 'begin':
            begun[number] = at, word, more
        else:
            began, kind, given = begun.pop(number)
            # Who was not told an end may be wrong about it: the call may still be carried out.
            ended = NEVER if word == UNKNOWN else at
            yield Call(path.stem, number, began, ended, kind, given, word, more)
    for number, (began, kind, given) in begun.items():
        yield Call(path.stem, number, began, NEVER, kind, given, UNKNOWN, {})


def _records(path: Path) -> Iterator[Any]:
    decode = msgspec.json.Decoder().decode
    with path.open('rb') as lines:
        for line in lines:
            # The last one may be half there.
            if line.endswith(b'\n'):
                yield decode(line)
