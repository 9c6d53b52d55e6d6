"""Figures for people who look on: of a few seconds ago, counted by threads of their own.

A request waits a tenth of a second at most for new figures; then it gets the former ones. Nothing is
counted unless a request asks for it. A result is used again for ten times as long as its count took.
So all requests together cost at most a tenth of the time of one PostgreSQL session in each process.
"""

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

from marconi_api.errors import MarconiError
from marconi_api.model.admin import Admin, ClaimView
from marconi_api.model.depths import Depth, DepthWalk
from marconi_api.model.messages import Messages
from marconi_api.model.minutes import Minute, Minutes
from marconi_api.model.pages import STATES
from marconi_api.model.postgres.database import Database
from marconi_api.model.postgres.tables import RETIRED, QueueKey, message_id

#: Queues that an overview holds, at most: those with the first names.
MOST_QUEUES = 100_000

#: Claims that are shown of a queue, those that end first.
MOST_CLAIMS = 50

# Seconds for which a request waits for figures that are being counted.
_PATIENCE = 0.1

# What was counted is good for so many seconds, or so many times as long as it took.
_GOOD_FOR = 2.0
_TIMES_AS_LONG = 10

# Counts at once; and seconds after which figures that nobody asks for are dropped.
_MOST_COUNTS = 2
_KEPT_FOR = 300.0

_MAY_BE_OLDEST = STATES.keys() - {'parked'}

Result = TypeVar('Result')


@dataclass(frozen=True, slots=True)
class QueueLine:
    """A queue of an overview; ``age`` is that of its oldest message, None where it has none.

    A parked message does not count as the oldest. ``came`` and ``gone`` are the messages that came to
    it and left it in the last whole minute.
    """

    project: str
    name: str
    ready: int = 0
    claimed: int = 0
    delayed: int = 0
    parked: int = 0
    age: int | None = None
    came: int = 0
    gone: int = 0

    @property
    def messages(self) -> int:
        """All of its messages."""
        return self.ready + self.claimed + self.delayed + self.parked


@dataclass(frozen=True, slots=True)
class Overview:
    """All queues by project and name; ``has_all`` is false where there are more than it holds.

    ``age``: of figures that were written down before, the seconds since then.
    """

    queues: list[QueueLine]
    has_all: bool
    age: float = 0.0


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """How many messages of a queue are in each state; its live claims, the first to end first.

    ``age`` is that of the oldest message that is not parked; ``minutes`` are those of the last hour.
    """

    counts: dict[str, int]
    age: int | None
    claims: list[ClaimView]
    minutes: list[Minute]


@dataclass(frozen=True, slots=True)
class Seen(Generic[Result]):
    """Figures, and how many seconds ago they were counted."""

    figures: Result
    age: float


@dataclass
class _Count(Generic[Result]):
    """What is known of one thing that is counted."""

    figures: Result | None = None
    began_at: float = 0.0
    counted_at: float = 0.0
    good_until: float = 0.0
    is_running: bool = False
    ended: threading.Event = field(default_factory=threading.Event)


class Figures:
    """Figures of all queues, and of single ones."""

    def __init__(
        self, database: Database, admin: Admin, messages: Messages, minutes: Minutes
    ) -> None:
        self._database = database
        self._minutes = minutes
        self._messages = messages
        self._admin = admin
        self._lock = threading.Lock()
        self._counts: dict[Hashable, _Count[Any]] = {}
        self._running = 0

    def overview(self) -> Seen[Overview] | None:
        """All queues of all projects; None while they are counted for the first time.

        Meanwhile the figures of ``minutes``, if there are any: to count millions takes a while.
        """
        counted = self._of('overview', self._count_all)
        if counted is not None:
            return counted
        written = self._of('written', self._read_all)
        return written and Seen(written.figures, written.age + written.figures.age)

    def queue(self, queue: QueueKey) -> Seen[QueueFigures] | None:
        """One queue; None while it is counted for the first time."""
        return self._of(queue, lambda: self._count_queue(queue))

    def origin(self, queue: QueueKey, message: str) -> str | None:
        """The name of the queue from which a message came as a dead letter, if it is still there."""
        given = {'queue_id': queue.id, 'project': queue.project, 'id': message_id(message)}
        for (name,) in self._database.rows(_ORIGIN, given, repeatable=True):
            return str(name)
        return None

    def forget(self) -> None:
        """Count anew whatever is asked for next, as after a change."""
        with self._lock:
            # What is being counted goes on, and nobody looks at it.
            self._counts = {}

    def _count_all(self) -> Overview:
        walk = DepthWalk(self._database, MOST_QUEUES)
        is_over = False
        while not is_over:
            started = time.monotonic()
            is_over = walk.step()
            # Others want to use PostgreSQL, too.
            time.sleep(0 if is_over else time.monotonic() - started)
        return self._overview(walk.depths.queues if walk.depths else [])

    def _read_all(self) -> Overview | None:
        age, held = self._minutes.held_last()
        return None if age is None else self._overview(held, age)

    def _overview(self, held: Sequence[Depth], age: float = 0.0) -> Overview:
        depths = {(one.project, one.name): one for one in held}
        rows = self._database.rows(_NAMES, {'limit': MOST_QUEUES + 1}, repeatable=True)
        traffic = self._minutes.last()
        queues = []
        for project, name in rows[:MOST_QUEUES]:
            depth = depths.get((project, name))
            came, gone = traffic.get((project, name), (0, 0))
            queues.append(
                QueueLine(
                    project,
                    name,
                    **(depth.messages if depth else {}),
                    age=depth.age if depth else None,
                    came=came,
                    gone=gone,
                )
            )
        return Overview(queues, len(rows) <= MOST_QUEUES, age)

    def _count_queue(self, queue: QueueKey) -> QueueFigures:
        one = self._admin.queue(queue.name, queue.project)
        oldest = self._messages.peek(queue, None, 1, states=_MAY_BE_OLDEST)
        return QueueFigures(
            one.stats(),
            oldest[0].age if oldest else None,
            one.claims(MOST_CLAIMS),
            self._minutes.of(queue),
        )

    def _of(self, what: Hashable, count: Callable[[], Result | None]) -> Seen[Result] | None:
        known = self._begun(what, count)
        if known.is_running:
            # What takes longer anyway keeps nobody waiting.
            known.ended.wait(max(0.0, known.began_at + _PATIENCE - time.monotonic()))
        if known.figures is None:
            return None
        return Seen(known.figures, time.monotonic() - known.counted_at)

    def _begun(self, what: Hashable, count: Callable[[], Result | None]) -> _Count[Result]:
        """What is known, and is being counted anew where that is due."""
        now = time.monotonic()
        with self._lock:
            if what not in self._counts:
                self._drop_old(now)
                self._counts[what] = _Count()
            known = cast(_Count[Result], self._counts[what])
            if not known.is_running and now >= known.good_until and self._running < _MOST_COUNTS:
                self._running += 1
                known.is_running = True
                known.began_at = now
                known.ended.clear()
                threading.Thread(
                    target=self._run, args=(known, count), name='figures', daemon=True
                ).start()
        return known

    def _drop_old(self, now: float) -> None:
        self._counts = {
            what: count
            for what, count in self._counts.items()
            if count.is_running or now < count.good_until + _KEPT_FOR
        }

    def _run(self, known: _Count[Result], count: Callable[[], Result | None]) -> None:
        started = time.monotonic()
        figures = None
        try:
            figures = count()
        except MarconiError:
            # PostgreSQL cannot be asked, or the queue is gone: who asks is told so elsewhere.
            pass
        finally:
            self._database.close()
            ended = time.monotonic()
            with self._lock:
                if figures is not None:
                    known.figures, known.counted_at = figures, ended
                known.good_until = ended + max(_GOOD_FOR, _TIMES_AS_LONG * (ended - started))
                known.is_running = False
                self._running -= 1
            known.ended.set()


_ORIGIN = f"""
    SELECT name FROM message_states JOIN queues ON queues.queue_id = came_from
     WHERE message_states.queue_id = %(queue_id)s AND id = %(id)s
       AND project = %(project)s AND floor < {RETIRED}
"""

_NAMES = f"""
    SELECT project, name FROM queues WHERE floor < {RETIRED}
     ORDER BY project, name LIMIT %(limit)s
"""
