"""Tells when more requests come than can be answered, by how many wait for a thread of a worker.

uwsgi's router connects to the workers' socket for each request. There requests wait, in the order in
which they came, until a thread accepts them: that queue is the socket's backlog, and Linux tells its
length (sock_diag.py). A worker is overloaded in two cases.

* **The backlog grows.** It is long: ``_MANY_PER_THREAD`` requests wait for each thread, and as many as are
  taken in ``WINDOW`` seconds. And all through these seconds a fifth more came than was taken. So it is with
  clients that send whether or not they are answered. A crowd of clients each of which sends its next
  request when it has an answer makes a long backlog, too, but one that stays as it is; and a burst makes
  one that becomes shorter. Neither is an overload.
* **The backlog is late.** A request that came ``longest`` seconds ago still waits, whatever the reason.

An overloaded worker refuses new work as long as more requests wait than ``_PER_THREAD`` for each thread. A
backlog of that length keeps all threads busy, and takes them a moment. It ends when there were fewer for
``CALM`` seconds, or nothing to do for ``_REST`` seconds. If the backlog is late all the same, the worker
refuses all work.
"""

import ctypes
import logging
import math
import mmap
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from marconi_api.wire.overload import ALL_WORK, NEW_WORK

log = logging.getLogger(__name__)

_LEVELS = (None, NEW_WORK, ALL_WORK)

#: Seconds for which the backlog must grow.
WINDOW = 0.25

#: Seconds for which nothing had to be refused, after which all is as before.
CALM = 1.0

# What comes, at least, for each request that is taken, if a backlog grows.
_GROWTH = 1.2

# The share of a backlog that was there half a window before, at least, if it grows. It is a half of one that
# grows all the time, and less if a burst came a moment ago.
_STEADY = 0.4

# Requests that wait for each thread: at most, while others are refused; and at least, if a backlog grows, so
# that some hundred clients can gather at any pace.
_PER_THREAD = 2
_MANY_PER_THREAD = 32

# Seconds between two looks at the backlog: usually, while requests are refused, and while threads are free
# now and then.
_USUALLY = 0.02
_OFTEN = 0.002
_SELDOM = 0.08
# A look takes at most this share of a thread's time, as it takes longer the longer the backlog is.
_SHARE = 0.05

# Seconds without an answer of this process after which it may have had a thread free, so that no request
# waited, and after which it surely had one.
_PAUSE = 0.002
_LONG_PAUSE = 0.02

# Seconds without an answer that end an overload. On a machine that is busy otherwise there are shorter ones
# in the midst of it.
_REST = 0.2

# Seconds without a look after which nobody need have looked in between, since all threads hung.
_HUNG = 1.0


class _Look(NamedTuple):
    """The backlog at a time."""

    time: float
    #: How many requests this process had taken by then.
    taken: int
    length: int


class State(ctypes.Structure):
    """What the workers have found."""

    _fields_ = (
        ('level', ctypes.c_int),
        ('began_at', ctypes.c_double),
        ('exceeded_at', ctypes.c_double),
    )
    #: What is refused, by its place in ``_LEVELS``.
    level: int
    #: Since when, and when that was last necessary; times of ``time.monotonic()``.
    began_at: float
    exceeded_at: float

    @classmethod
    def shared(cls) -> 'State':
        """One that a process shares with those that are forked from it."""
        return cls.from_buffer(mmap.mmap(-1, mmap.PAGESIZE))


class Overload:
    """Whether the workers are overloaded, as one of them sees it; for all threads of that process.

    :param length: the length of the backlog, None if the system does not tell; called by one thread at a time
    :param processes: how many take requests from this backlog
    :param threads: of each
    :param longest: seconds for which a request may wait
    :param state: what one process has found, for all others
    """

    def __init__(
        self,
        length: Callable[[], int | None],
        processes: int,
        threads: int,
        longest: float,
        state: State,
    ) -> None:
        self._length = length
        self._state = state
        self._processes = processes
        self._enough = _PER_THREAD * processes * threads
        self._many = _MANY_PER_THREAD * processes * threads
        self._longest = longest
        self._lock = threading.Lock()
        self._looks: deque[_Look] = deque()
        self._taken = 0
        self._look_at = 0.0
        # When a thread was free for the last time, so that no request waited.
        self._free = _Look(-math.inf, 0, 0)
        # When it last had nothing to do for a while.
        self._rested_at = -math.inf
        # What is refused now.
        self._refused: str | None = None

    def refused_at(self, now: float, last_answer: float) -> str | None:
        """What is refused of the requests that come now: a value of ``REFUSED``; None: nothing.

        Call it for each request.

        :param now: a time of ``time.monotonic()``
        :param last_answer: when this process last answered a request
        """
        # Threads may lose a count, which makes no difference.
        self._taken += 1
        if now < self._look_at:
            return self._refused
        pause = now - last_answer
        if pause > _LONG_PAUSE:
            self._free = _Look(now, self._taken, 0)
            if pause > _REST:
                self._rested_at = now
        is_seldom = pause > _LONG_PAUSE or (pause > _PAUSE and now < self._look_at + _SELDOM)
        if is_seldom and not self._state.level:
            return None
        if self._lock.acquire(blocking=False):
            try:
                self._look(now)
            finally:
                self._lock.release()
        return self._refused

    def _look(self, now: float) -> None:
        began = time.thread_time()
        length = self._length()
        if length is None:
            # It will not tell later, either.
            self._look_at = math.inf
            self._refused = None
            return
        self._note(_Look(now, self._taken, length))
        self._judge(now, length)
        took = time.thread_time() - began
        interval = _OFTEN if self._state.level else _USUALLY
        self._look_at = now + max(interval, min(_USUALLY, took / _SHARE))

    def _note(self, look: _Look) -> None:
        looks, free = self._looks, self._free
        if not looks or looks[-1].time < free.time:
            looks.clear()
            looks.append(free)
        if look.time >= looks[-1].time + _USUALLY:
            looks.append(look)
        while len(looks) > 1 and looks[1].time <= look.time - max(self._longest, WINDOW):
            looks.popleft()

    def _judge(self, now: float, length: int) -> None:
        """Say what is refused, now that the backlog has that length."""
        state = self._state
        level = state.level
        if length <= self._enough:
            self._refused = None
            if level and (now > state.exceeded_at + CALM or self._rested_at > state.exceeded_at):
                state.level = 0
                log.info('requests are not refused any more')
            return
        if not level and (self._is_late(now) or self._is_growing()):
            level = state.level = 1
            state.began_at = now
            log.warning('more requests come than can be answered, %d wait: refusing some', length)
        elif level == 1 and now > state.began_at + WINDOW and self._is_late(now):
            level = state.level = 2
        if level:
            state.exceeded_at = now
        self._refused = _LEVELS[level]

    def _is_late(self, now: float) -> bool:
        """Whether a request still waits that came ``longest`` seconds ago."""
        first = self._looks[0]
        taken = self._processes * (self._taken - first.taken)
        return now - first.time >= self._longest and taken < first.length

    def _is_growing(self) -> bool:
        """Whether the backlog is long, and more came than was taken all through the last ``WINDOW`` seconds."""
        last = self._looks[-1]
        first, middle = self._at(last.time - WINDOW), self._at(last.time - WINDOW / 2)
        took = last.time - first.time
        if took < WINDOW or (middle is first and took < _HUNG):
            return False
        is_long = last.length * took >= WINDOW * self._taken_between(first, last)
        if not is_long or last.length < max(look.length for look in self._looks):
            return False
        if middle is first:
            return last.length > first.length
        return (
            last.length >= self._many
            and middle.length >= _STEADY * last.length
            and all(
                after.length - before.length >= (_GROWTH - 1) * self._taken_between(before, after)
                for before, after in ((first, middle), (middle, last))
            )
        )

    def _at(self, time: float) -> _Look:
        """The last look by then; the first of all, if there is none."""
        looks = self._looks
        return next((look for look in reversed(looks) if look.time <= time), looks[0])

    def _taken_between(self, before: _Look, after: _Look) -> int:
        """How many requests were taken, by all processes: the others take as many as this one."""
        return self._processes * (after.taken - before.taken)
