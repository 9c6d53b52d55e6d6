"""Who waits for which queue, in which order, and whose turn it is. Knows no socket and no clock.

A queue has a line of *takers*, who take what they get, and of *listeners*, who only look. A wake
says that messages became ready. It gives the queue *credit* for so many, and the taker that came
first may try. What it took is subtracted; what is left is for the next. So a message wakes one
taker, and ten messages wake as many as they serve. Where the number is not known, takers try as
long as each gets all that it asked for. A try that got less leaves nothing of the credit that
was there when it began. A wake is for all listeners.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: Tries of one queue at the same moment. More would keep other queues from theirs.
MOST_TRIES = 2

#: Listeners that look again with each sweep, of those that no wake tells of what they wait for.
MOST_UNTOLD = 100


class Waiter:
    """A request that waits, in the line of each of its queues.

    :param number: grows with each waiter that comes
    :param takes: whether it takes the messages that it gets, and so is a taker
    :param tried_at: when it last looked by itself
    """

    __slots__ = ('is_trying', 'is_untold', 'number', 'parked', 'queues', 'takes', 'tried_at')

    def __init__(
        self,
        number: int,
        queues: Sequence[int],
        takes: bool,
        tried_at: float,
        is_untold: bool = False,
        parked: Any = None,
    ) -> None:
        self.number = number
        self.queues = queues
        self.takes = takes
        self.tried_at = tried_at
        self.is_untold = is_untold
        #: What its process keeps of it.
        self.parked = parked
        self.is_trying = False


@dataclass(slots=True)
class Line:
    """Those who wait for one queue."""

    queue_id: int
    #: A time: waiters that came later need no check for messages that came before them.
    warm_since: float
    takers: OrderedDict[int, Waiter] = field(default_factory=OrderedDict)
    listeners: dict[int, Waiter] = field(default_factory=dict)
    #: Waiters of this line, those that try included.
    count: int = 0
    #: Messages that are ready for takers, as far as is known.
    credit: int = 0
    #: The sum of all credit that the line was ever given.
    given: int = 0
    #: What ``given`` was at the last wake of unknown size; 0: it was used up.
    unknown_at: int = 0
    last_wake: float = -1.0
    #: When it was last seen what listeners may see.
    looked_at: float = -1.0
    #: Takers that try now, and all that do.
    taking: int = 0
    trying: int = 0
    #: Takers to which posts are about to hand their messages.
    lent: int = 0

    @property
    def is_watched(self) -> bool:
        """Whether listeners are among those who wait, be it that they try at this moment."""
        return self.count > len(self.takers) + self.taking + self.lent

    #: Counts the wakes for listeners, who are to try in turn.
    calls: int = 0
    turns: deque[Waiter] = field(default_factory=deque)
    is_called_again: bool = False


@dataclass(slots=True)
class Try:
    """A waiter's turn: it is out of its lines until :meth:`Lines.finish`."""

    waiter: Waiter
    line: Line
    #: What ``given`` and ``calls`` of its lines were when it began.
    given: Mapping[int, int]
    calls: int


class Lines:
    """The lines of all queues that are waited for.

    :param on_warm: called with a queue before its first waiter is in line; returns the time
    :param on_left: called with a queue when its last waiter has left
    """

    def __init__(self, on_warm: Callable[[int], float], on_left: Callable[[int], None]) -> None:
        self._on_warm = on_warm
        self._on_left = on_left
        self._lines: dict[int, Line] = {}
        self._runnable: OrderedDict[int, Line] = OrderedDict()
        self._untold: OrderedDict[int, Waiter] = OrderedDict()
        #: Queues of which nobody knows what came before their waiters were in line.
        self.unchecked: set[int] = set()

    def __iter__(self) -> Iterator[Line]:
        """The lines in which anybody waits."""
        return (line for line in self._lines.values() if line.count)

    def line(self, queue_id: int) -> Line | None:
        """The line of a queue, if there is one."""
        return self._lines.get(queue_id)

    def waiters_of(self, queue_id: int) -> list[Waiter]:
        """Those who wait for a queue and do not try at this moment."""
        line = self._lines.get(queue_id)
        return [*line.takers.values(), *line.listeners.values()] if line else []

    def is_anyone_trying(self, queue_id: int) -> bool:
        """Whether a waiter of the queue tries at this moment, be it for another of its queues."""
        line = self._lines.get(queue_id)
        return line is not None and line.count > len(line.takers) + len(line.listeners)

    # ------------------------------------------------------------ to come and to go

    def arrive(self, waiter: Waiter) -> None:
        """Put a waiter into its lines, behind all others."""
        for queue_id in waiter.queues:
            line = self._lines.get(queue_id)
            if line is None:
                line = self._lines[queue_id] = Line(queue_id, self._on_warm(queue_id))
            line.count += 1
            self._enter(line, waiter)
            if waiter.tried_at < line.warm_since:
                self.unchecked.add(queue_id)
            elif waiter.takes:
                if line.last_wake >= waiter.tried_at:
                    self._give(line, 0 if line.credit else 1)
                elif line.count == 1:
                    # It looked after the last wake, and found nothing.
                    line.credit = line.unknown_at = 0
            elif max(line.last_wake, line.looked_at) >= waiter.tried_at:
                line.turns.append(waiter)
                self._schedule(line)
        if waiter.is_untold:
            self._untold[waiter.number] = waiter

    def leave(self, waiter: Waiter) -> None:
        """Take a waiter that does not try at this moment out of its lines."""
        self._untold.pop(waiter.number, None)
        for queue_id in waiter.queues:
            line = self._lines[queue_id]
            (line.takers if waiter.takes else line.listeners).pop(waiter.number, None)
            line.count -= 1
            if not line.count:
                self._on_left(queue_id)

    def forget(self, queue_id: int) -> bool:
        """Let a queue be cold again, unless somebody waits for it; whether it is."""
        line = self._lines.get(queue_id)
        if line is None or line.count:
            return False
        del self._lines[queue_id]
        self._runnable.pop(queue_id, None)
        self.unchecked.discard(queue_id)
        return True

    # ------------------------------------------------------------ to wake

    def wake(self, queue_id: int, count: int | None, now: float) -> bool:
        """There are so many more messages, or some; whether that is of interest."""
        line = self._lines.get(queue_id)
        if line is None:
            return False
        line.last_wake = now
        self._give(line, count or 1)
        if count is None:
            line.unknown_at = line.given
        self._call(line)
        return bool(line.count)

    def find_ready(self, queue_id: int, now: float) -> bool:
        """A look found that takers may find something; whether nobody knew that."""
        line = self._lines.get(queue_id)
        if not line or not line.takers or line.credit or line.taking:
            return False
        line.last_wake = now
        self._give(line, 1)
        line.unknown_at = line.given
        return True

    def find_more(self, queue_id: int) -> None:
        """A look found that listeners may see something new."""
        if line := self._lines.get(queue_id):
            self._call(line)

    def call(self, waiter: Waiter) -> None:
        """Give a listener a turn, unless it tries at this moment."""
        line = self._lines[waiter.queues[0]]
        line.turns.append(waiter)
        self._schedule(line)

    def look_again(self) -> None:
        """Let some of those look again that nothing tells of what they wait for."""
        for _ in range(min(MOST_UNTOLD, len(self._untold))):
            number, waiter = self._untold.popitem(last=False)
            self._untold[number] = waiter
            if not waiter.is_trying:
                self.call(waiter)

    # ------------------------------------------------------------ to be served by a post

    def first_to_lend(self, queue_id: int) -> Waiter | None:
        """The taker of a queue that came first, if a post may hand its message to it.

        Not where somebody only looks: a message that is claimed from the start is not shown to all of
        them. Nor where as many messages are known to be ready as there are takers.
        """
        line = self._lines.get(queue_id)
        if not line or line.is_watched or line.credit >= len(line.takers):
            return None
        return next(iter(line.takers.values()))

    def lend(self, waiter: Waiter) -> None:
        """Take a waiter for one queue out of its line, until :meth:`take_back`."""
        line = self._lines[waiter.queues[0]]
        waiter.is_trying = True
        line.lent += 1
        del line.takers[waiter.number]

    def take_back(self, waiter: Waiter, stays: bool, is_more: bool = False) -> None:
        """Put a waiter that was lent back to its former place, or let it leave.

        :param is_more: whether the queue may have something for it
        """
        line = self._lines[waiter.queues[0]]
        waiter.is_trying = False
        line.lent -= 1
        if stays:
            self._enter(line, waiter, is_first=True)
        else:
            self.leave(waiter)
        if is_more:
            self._give(line, 1)
            line.unknown_at = line.given
        self._schedule(line)

    # ------------------------------------------------------------ to try

    def next_try(self) -> Try | None:
        """The next turn, of one queue after the other; None if no waiter may try now."""
        while self._runnable:
            queue_id, line = self._runnable.popitem(last=False)
            waiter = self._pick(line)
            if waiter is not None:
                # Behind all other queues.
                self._runnable[queue_id] = line
                return self._begin(line, waiter)
        return None

    def finish(self, turn: Try, found: Mapping[int, int], is_full: bool, stays: bool) -> None:
        """Note the result of a try.

        :param found: how many messages it took, by the queue's id
        :param is_full: whether it got as many messages as it asked for
        :param stays: whether it got nothing and waits on, at its former place in the line
        """
        waiter, line = turn.waiter, turn.line
        waiter.is_trying = False
        line.trying -= 1
        if waiter.takes:
            line.taking -= 1
            for queue_id in waiter.queues:
                self._settle(self._lines[queue_id], turn, found, is_full)
        if stays:
            for queue_id in waiter.queues:
                self._enter(self._lines[queue_id], waiter, is_first=True)
            if not waiter.takes and self._calls(waiter) != turn.calls:
                line.turns.append(waiter)
        else:
            self.leave(waiter)
        self._schedule(line)

    def _settle(self, line: Line, turn: Try, found: Mapping[int, int], is_full: bool) -> None:
        line.credit = max(0, line.credit - found.get(line.queue_id, 0))
        since = line.given - turn.given[line.queue_id]
        if not is_full:
            line.credit = min(line.credit, since)
            if line.unknown_at <= turn.given[line.queue_id]:
                line.unknown_at = 0
        elif line.unknown_at:
            line.credit = max(1, line.credit)
        self._schedule(line)

    def _pick(self, line: Line) -> Waiter | None:
        if line.trying >= MOST_TRIES:
            return None
        if line.takers and line.credit > line.taking:
            return next(iter(line.takers.values()))
        while True:
            while line.turns:
                waiter = line.turns.popleft()
                if not waiter.is_trying and waiter.number in line.listeners:
                    return waiter
            if not line.is_called_again:
                return None
            line.is_called_again = False
            line.turns.extend(line.listeners.values())

    def _begin(self, line: Line, waiter: Waiter) -> Try:
        waiter.is_trying = True
        line.trying += 1
        line.taking += waiter.takes
        given = {}
        for queue_id in waiter.queues:
            other = self._lines[queue_id]
            given[queue_id] = other.given
            (other.takers if waiter.takes else other.listeners).pop(waiter.number, None)
        return Try(waiter, line, given, self._calls(waiter))

    def _calls(self, waiter: Waiter) -> int:
        return sum(self._lines[queue_id].calls for queue_id in waiter.queues)

    def _enter(self, line: Line, waiter: Waiter, is_first: bool = False) -> None:
        if not waiter.takes:
            line.listeners[waiter.number] = waiter
            return
        line.takers[waiter.number] = waiter
        if is_first:
            line.takers.move_to_end(waiter.number, last=False)

    def _give(self, line: Line, count: int) -> None:
        line.credit += count
        line.given += count
        self._schedule(line)

    def _call(self, line: Line) -> None:
        line.calls += 1
        line.is_called_again = True
        self._schedule(line)

    def _schedule(self, line: Line) -> None:
        if line.queue_id in self._lines:
            self._runnable.setdefault(line.queue_id, line)
