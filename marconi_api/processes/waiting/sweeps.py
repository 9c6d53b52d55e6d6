"""Looks at queues for which requests wait: at all of them at intervals, and at some at once.

What a look finds goes to the line of the queue, and so do wakes. A message to which a reply is awaited
has a line, too, and is looked at in the same way.
"""

import time
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from functools import partial

from marconi_api.model.readiness import Look, Sight, View
from marconi_api.processes.waiting.asking import Threads
from marconi_api.processes.waiting.lines import Lines
from marconi_api.processes.waiting.timers import Timers

# Seconds. Those that come within this time are checked by one statement.
CHECK_AFTER = 0.005
# A look for messages that are due looks as far beyond the next sweep.
LOOKS_BEYOND = 0.2
# A message can be listed once all older transactions have ended: it is looked for again after
# this time, then after twice as long, and so on, up to the next sweep.
HORIZON_FIRST = 0.005
HORIZON_LAST = 0.5


class Sweeps:
    """Looks, in a thread of its own, for messages of which no wake told.

    :param look: looks at queues: :meth:`Readiness.look`
    :param look_at_requests: looks at messages that ask for replies: :meth:`Replies.look`
    :param interval: tells the seconds between two sweeps
    :param end_queue: called with a queue that was deleted
    """

    def __init__(
        self,
        lines: Lines,
        timers: Timers,
        look: Callable[[Sequence[int], Mapping[int, View], Container[int], float], list[Look]],
        look_at_requests: Callable[[Mapping[int, int], float], list[Sight]],
        interval: Callable[[], float],
        end_queue: Callable[[int], None],
    ) -> None:
        self._lines = lines
        self._timers = timers
        self._look = look
        self._look_at_requests = look_at_requests
        self._interval = interval
        self._end_queue = end_queue
        #: Queues in which a look found messages of which nobody had told.
        self.fallbacks = 0
        self._thread = Threads(1)
        # Messages to which replies are awaited, by their lines.
        self._awaited: dict[int, int] = {}
        self._views: dict[int, View] = {}
        # The queues that exist, and when each was last seen to.
        self._existing: dict[int, float] = {}
        self._to_check: set[int] = set()
        self._is_check_due = False
        self._horizons: dict[int, float] = {}

    def fileno(self) -> int:
        """Can be read when a look has ended."""
        return self._thread.fileno()

    def collect(self) -> None:
        """Note what a look has found."""
        self._thread.collect()

    def exists(self, queue_id: int) -> bool:
        """Whether the queue was there when it was last heard of."""
        return queue_id in self._existing

    def await_reply(self, place: int, message: int) -> None:
        """Note that a request waits in the line ``place`` for the reply to a message."""
        self._awaited[place] = message

    def is_message(self, place: int) -> bool:
        """Whether it is the line of a message, and not of a queue."""
        return place in self._awaited

    def forget(self, queue_id: int) -> None:
        """Note that nobody waits for the queue any more."""
        self._awaited.pop(queue_id, None)
        self._views.pop(queue_id, None)
        self._existing.pop(queue_id, None)
        self._to_check.discard(queue_id)

    def wake(self, queue_id: int, count: int | None) -> None:
        """Note that ``count`` messages of a queue became ready; None: an unknown number."""
        now = time.monotonic()
        if self._lines.wake(queue_id, count, now) and queue_id not in self._awaited:
            self._note_messages(queue_id, now)

    def note_handed_over(self, queue_id: int) -> None:
        """Note that a post handed its message to a waiter: nothing is ready, but lists may show it."""
        self._lines.find_more(queue_id)
        if self._lines.line(queue_id):
            self._note_messages(queue_id, time.monotonic())

    def _note_messages(self, queue_id: int, now: float) -> None:
        self._existing[queue_id] = now
        line = self._lines.line(queue_id)
        if line and line.is_watched:
            is_new = queue_id not in self._horizons
            self._horizons[queue_id] = HORIZON_FIRST
            if is_new:
                self._timers.at(now + HORIZON_FIRST, self._look_behind_horizon, queue_id)

    def _look_behind_horizon(self, queue_id: int) -> None:
        delay = self._horizons.get(queue_id)
        if delay is None or delay > HORIZON_LAST:
            self._horizons.pop(queue_id, None)
            return
        self._to_check.add(queue_id)
        self._horizons[queue_id] = 2 * delay
        self._timers.at(time.monotonic() + 2 * delay, self._look_behind_horizon, queue_id)

    def _note_due(self, queue_id: int) -> None:
        self.wake(queue_id, None)
        # For the next one.
        if self._lines.line(queue_id):
            self._to_check.add(queue_id)

    def sweep(self) -> None:
        """Look at all queues that are waited for; then again after a while."""
        queue_ids = [line.queue_id for line in self._lines]
        if queue_ids and not self._thread.open:
            self._lines.look_again()
            self._start_look(queue_ids)
        self._timers.at(time.monotonic() + self._interval(), self.sweep)

    def check_soon(self) -> None:
        """Look at those queues of which nobody knows what came before their first waiter."""
        self._to_check |= self._lines.unchecked
        self._lines.unchecked.clear()
        if self._to_check and not self._is_check_due:
            self._is_check_due = True
            self._timers.at(time.monotonic() + CHECK_AFTER, self._check)

    def _check(self) -> None:
        self._is_check_due = False
        if not self._thread.open:
            queue_ids = [id for id in self._to_check if self._lines.line(id)]
            self._to_check.clear()
            if queue_ids:
                self._start_look(queue_ids)

    def _start_look(self, places: list[int]) -> None:
        awaited = {place: self._awaited[place] for place in places if place in self._awaited}
        queue_ids = [place for place in places if place not in awaited]
        views = {
            queue_id: self._views[queue_id] for queue_id in queue_ids if queue_id in self._views
        }
        existing = set(self._existing)
        ahead = self._interval() + LOOKS_BEYOND

        def look() -> tuple[list[Look], list[Sight]]:
            looks = self._look(queue_ids, views, existing, ahead)
            return looks, self._look_at_requests(awaited, ahead)

        self._thread.do(look, partial(self._note_looks, time.monotonic(), awaited))

    def _note_looks(
        self,
        began: float,
        awaited: Collection[int],
        found: 'tuple[list[Look], list[Sight]] | Exception',
    ) -> None:
        if isinstance(found, Exception):
            # The log has it; the next sweep looks again.
            return
        looks, sights = found
        now = time.monotonic()
        for place in awaited:
            if line := self._lines.line(place):
                line.looked_at = now
        for sight in sights:
            self._note_sight(sight, began, now)
        for look in looks:
            for queue_id in look.queue_ids:
                if line := self._lines.line(queue_id):
                    line.looked_at = now
                    self._views[queue_id] = look.view
                    if look.is_settled:
                        self._horizons.pop(queue_id, None)
            for sight in look.sights:
                self._note_sight(sight, began, now)

    def _note_sight(self, sight: Sight, began: float, now: float) -> None:
        if self._lines.line(sight.queue_id) is None:
            return
        if sight.exists:
            self._existing[sight.queue_id] = now
        elif (heard_of := self._existing.get(sight.queue_id, began)) < began:
            del self._existing[sight.queue_id]
            self._end_queue(sight.queue_id)
            if self._lines.is_anyone_trying(sight.queue_id):
                # A request that finds nothing waits on; the next sweep tells of the end again.
                self._existing[sight.queue_id] = heard_of
        if sight.is_ready:
            self.fallbacks += self._lines.find_ready(sight.queue_id, now)
        if sight.is_more:
            self._lines.find_more(sight.queue_id)
        if sight.due_in is not None:
            self._timers.at(now + sight.due_in, self._note_due, sight.queue_id)
