"""How many messages the queues hold, and how old they are: a walk over all of them, in steps.

A step is a statement that reads a bounded number of rows; the caller rests between two steps. So the
caller decides how much load a walk makes, and the depths are as old as a round. What is remembered of
a round does not grow with the number of queues.
"""

import heapq
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from marconi_api.errors import StorageUnavailable
from marconi_api.model.postgres.database import Database
from marconi_api.model.postgres.tables import AGE_OF, STATE

#: The states of messages that are told apart.
STATES = ('ready', 'claimed', 'delayed', 'parked')

#: Rows that a step reads, at most: it takes 25 ms where they lie scattered over the table.
STEP = 10_000

_BEFORE_ALL = -(2**63)


@dataclass(frozen=True)
class Depth:
    """What a queue holds: messages by their state, and seconds since the oldest was posted.

    A parked message does not count as the oldest; ``age`` is None where there is no other.
    """

    project: str
    name: str
    messages: dict[str, int]
    age: int | None


@dataclass(frozen=True)
class Depths:
    """What a round came to.

    :param queues: those that hold most, and those whose messages are oldest
    :param rest: messages of all others, by their state
    :param filled: how many queues hold any
    :param dead: messages that the janitor has yet to remove, and in seconds for how long the one
        that expired first has been waiting for it
    :param began_at: when the round began, of ``time.monotonic()``
    """

    queues: list[Depth]
    rest: dict[str, int]
    filled: int
    dead: int
    dead_for: float
    began_at: float


class _Found(NamedTuple):
    """What a queue, or a part of it that a step read, holds."""

    queue_id: int
    ready: int
    claimed: int
    delayed: int
    parked: int
    age: int | None

    @property
    def messages(self) -> dict[str, int]:
        return dict(zip(STATES, self[1:5], strict=True))

    def with_next(self, part: '_Found') -> '_Found':
        """The queue with the part of it that comes next."""
        return _Found(
            self.queue_id,
            self.ready + part.ready,
            self.claimed + part.claimed,
            self.delayed + part.delayed,
            self.parked + part.parked,
            part.age if self.age is None else self.age,
        )


@dataclass
class _Round:
    """A round under way."""

    began_at: float
    deepest: list[tuple[int, _Found]] = field(default_factory=list)
    oldest: list[tuple[int, _Found]] = field(default_factory=list)
    sums: Counter[str] = field(default_factory=Counter)
    filled: int = 0
    dead: int = 0
    dead_for: float = 0.0
    #: The queue that the last step ended in, as far as it was read.
    last: _Found | None = None
    place: tuple[int, int] = (_BEFORE_ALL, _BEFORE_ALL)


class DepthWalk:
    """Walks over all messages, again and again.

    :param most: so many of the deepest queues, and of those with the oldest messages, are told
        apart
    """

    def __init__(self, database: Database, most: int) -> None:
        self._database = database
        self._most = most
        self._round = _Round(time.monotonic())
        #: What the last round came to; None before its end.
        self.depths: Depths | None = None

    def step(self) -> bool:
        """Read the next messages; whether a round has ended with these.

        A part of the table that takes too long, since very many rows were deleted there, is left out.

        :raises StorageUnavailable: if PostgreSQL cannot be asked
        """
        this = self._round
        parameters = {'queue_id': this.place[0], 'id': this.place[1], 'slice': STEP}
        try:
            rows = self._database.rows(_STEP, parameters, repeatable=True)
        except StorageUnavailable:
            return self._pass_over(this)
        read = 0
        for queue_id, last, count, ready, claimed, delayed, parked, age, dead, dead_for in rows:
            read += count
            this.place = (queue_id, last)
            this.dead += dead
            this.dead_for = max(this.dead_for, dead_for)
            found = _Found(queue_id, ready, claimed, delayed, parked, age)
            if this.last and this.last.queue_id == queue_id:
                this.last = this.last.with_next(found)
            else:
                self._note(this)
                this.last = found
        if read < STEP:
            self._end(this)
        return read < STEP

    def _pass_over(self, this: _Round) -> bool:
        """Go on at the next queue."""
        given = {'queue_id': this.place[0]}
        for (queue_id,) in self._database.rows(_NEXT_QUEUE, given, repeatable=True):
            this.place = (queue_id, _BEFORE_ALL)
            return False
        self._end(this)
        return True

    def _note(self, this: _Round) -> None:
        """Take the queue that was read into account, as a whole."""
        found, this.last = this.last, None
        if found is None or not (depth := sum(found[1:5])):
            return
        this.filled += 1
        this.sums.update(found.messages)
        for places, value in ((this.deepest, depth), (this.oldest, found.age)):
            if value is not None:
                heapq.heappush(places, (value, found))
                if len(places) > self._most:
                    heapq.heappop(places)

    def _end(self, this: _Round) -> None:
        self._note(this)
        shown = {found.queue_id: found for _, found in (*this.deepest, *this.oldest)}
        names = self._database.rows(_NAMES, {'ids': list(shown)}, repeatable=True)
        rest = Counter({state: this.sums[state] for state in STATES})
        queues = []
        for queue_id, project, name in names:
            found = shown[queue_id]
            rest.subtract(found.messages)
            queues.append(Depth(project, name, found.messages, found.age))
        self.depths = Depths(
            queues, dict(rest), this.filled, this.dead, this.dead_for, this.began_at
        )
        self._round = _Round(time.monotonic())


# A row for each queue of which a message was read: the last of these, how many, and what they are.
# A message is dead as for the janitor. (Its row is read all the same, lest the walk ends at it.)
_STEP = f"""
    WITH step AS MATERIALIZED (
        SELECT queue_id, id, moved_in, held_until, claim_id, expires_at FROM message_states
         WHERE (queue_id, id) > (%(queue_id)s, %(id)s)
         ORDER BY queue_id, id LIMIT %(slice)s),
    counted AS MATERIALIZED (
        SELECT queue_id, max(id) AS last, count(*) AS read,
               count(*) FILTER (WHERE is_alive AND state = 'ready') AS ready,
               count(*) FILTER (WHERE is_alive AND state = 'claimed') AS claimed,
               count(*) FILTER (WHERE is_alive AND state = 'delayed') AS delayed,
               count(*) FILTER (WHERE is_alive AND state = 'parked') AS parked,
               min(id) FILTER (WHERE is_alive AND state <> 'parked') AS oldest,
               count(*) FILTER (WHERE NOT is_alive) AS dead,
               min(expires_at) FILTER (WHERE expires_at <= now()) AS dead_since
          FROM (SELECT queue_id, id, expires_at, {STATE} AS state,
                       coalesce(expires_at > now() AND coalesce(moved_in, id) >= floor, false)
                           AS is_alive
                  FROM step LEFT JOIN LATERAL (
                       SELECT floor FROM queues WHERE queue_id = step.queue_id LIMIT 1)
                       AS the_queue ON true) AS judged
         GROUP BY queue_id)
    SELECT counted.queue_id, last, read, ready, claimed, delayed, parked, posted.age, dead,
           coalesce(date_part('epoch', now() - dead_since), 0)
      FROM counted LEFT JOIN LATERAL (
           SELECT {AGE_OF.format('created_at')} AS age FROM messages
            WHERE queue_id = counted.queue_id AND id = counted.oldest LIMIT 1) AS posted ON true
     ORDER BY counted.queue_id
"""

_NEXT_QUEUE = """
    SELECT queue_id FROM queues WHERE queue_id > %(queue_id)s ORDER BY queue_id LIMIT 1"""

_NAMES = 'SELECT queue_id, project, name FROM queues WHERE queue_id = ANY (%(ids)s::bigint[])'
