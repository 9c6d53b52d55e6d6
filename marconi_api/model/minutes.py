"""What came to each queue and left it in each minute, and what it held: for people who look on.

Processes count in memory (``traffic.py``); one of each service writes that down, once a minute. What
the queues hold is counted by a walk over all of them. A row is kept for a little more than an hour. The
table is unlogged: a crash of PostgreSQL empties it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from marconi_api.model.depths import STATES, Depth
from marconi_api.model.postgres.database import Database
from marconi_api.model.postgres.tables import IS_THE_QUEUE, RETIRED, QueueKey
from marconi_api.model.traffic import BOUNDS, CAME, HANDED_OUT, LEFT

#: Minutes that are shown, and seconds for which a row is kept.
SHOWN = 60
KEPT_FOR = 75 * 60

#: Seconds after the end of a minute by which its row is written.
WRITTEN_WITHIN = 10

# Rows that one statement writes.
_BATCH = 2000

# What a queue holds that holds nothing.
_NOTHING: Sequence[Any] = (0, 0, 0, 0, None)


class Held(NamedTuple):
    """What a queue held; ``oldest_age`` in seconds, None where it held nothing but parked messages."""

    ready: int
    claimed: int
    delayed: int
    parked: int
    oldest_age: int | None


class Minute(NamedTuple):
    """A minute of a queue.

    :param number: minutes since 1970
    :param handed_out: messages that were handed out, by the steps of their ages in ``traffic.py``
    :param held: None as long as it was never counted
    """

    number: int
    came: int = 0
    gone: int = 0
    handed_out: tuple[int, ...] = ()
    held: Held | None = None


class Minutes:
    """The last minutes of all queues."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, number: int, counts: Mapping[int, Sequence[int]]) -> None:
        """Write down what processes counted in a minute, beside what others wrote.

        :param counts: by the queue's id, in the order of ``traffic.py``
        """
        rows = {
            queue_id: (count[CAME], count[LEFT], count[HANDED_OUT:])
            for queue_id, count in counts.items()
        }
        for batch in _batches(rows):
            self._database.rows(_ADD, {'minute': number, 'rows': batch})

    def note_held(self, depths: Iterable[Depth], before: Collection[int]) -> set[int]:
        """Write down what queues hold now.

        :param before: ids of queues that held something before; others hold nothing now
        :returns: the ids of those that hold something
        """
        found: dict[int, Sequence[Any]] = {
            QueueKey.of(one.project, one.name).id: (*one.messages.values(), one.age)
            for one in depths
        }
        for batch in _batches(dict.fromkeys(before, _NOTHING) | found):
            self._database.rows(_NOTE_HELD, {'rows': batch}, repeatable=True)
        return set(found)

    def filled_lately(self) -> set[int]:
        """The ids of queues that held something in one of the last minutes."""
        rows = self._database.rows(_FILLED_LATELY, {'kept': KEPT_FOR}, repeatable=True)
        return {queue_id for (queue_id,) in rows}

    def remove_old(self) -> None:
        """Remove what is not shown any more."""
        self._database.rows(_REMOVE_OLD, {'kept': KEPT_FOR}, repeatable=True)

    def of(self, queue: QueueKey) -> list[Minute]:
        """The last hour of a queue, without the minute that is under way; the first minute first.

        What it held is as it was last counted by then.
        """
        given = {**queue.parameters, 'kept': KEPT_FOR, 'within': WRITTEN_WITHIN}
        rows = self._database.rows(_OF_QUEUE, given, repeatable=True)
        last = rows[0][0]
        known = {row[1]: row[2:] for row in rows if row[1] is not None}
        minutes, held = [], None
        for number in range(last - KEPT_FOR // 60, last + 1):
            minute = Minute(number, held=held)
            if number in known:
                came, gone, handed_out, *counted = known[number]
                held = Held(*counted) if counted[0] is not None else held
                minute = Minute(number, came, gone, tuple(handed_out or ()), held)
            minutes.append(minute)
        return minutes[-SHOWN:]

    def held_last(self) -> tuple[float | None, list[Depth]]:
        """How many seconds ago it was last written down what the queues hold, and what that was.

        None where it was not in the last minutes.
        """
        rows = self._database.rows(_HELD_LAST, {'kept': KEPT_FOR}, repeatable=True)
        depths = [
            Depth(project, name, dict(zip(STATES, held, strict=True)), oldest_age)
            for _, project, name, *held, oldest_age in rows
            if name is not None
        ]
        return rows[0][0], depths

    def last(self) -> dict[tuple[str, str], tuple[int, int]]:
        """How many messages came to each queue and left it in the last whole minute.

        By project and name; queues without any are left out.
        """
        rows = self._database.rows(_LAST, {'within': WRITTEN_WITHIN}, repeatable=True)
        return {(project, name): (came, gone) for project, name, came, gone in rows}


def _batches(rows: Mapping[int, Sequence[Any]]) -> Iterator[str]:
    """The rows as JSON; in order, so that two services do not wait for each other in a circle."""
    ordered = [(queue_id, *rows[queue_id]) for queue_id in sorted(rows)]
    for start in range(0, len(ordered), _BATCH):
        yield msgspec.json.encode(ordered[start : start + _BATCH]).decode()


def quantile(handed_out: Sequence[int], part: float) -> float | None:
    """An estimate of the age, in seconds, that so much of the messages did not exceed.

    Within a step ages count as spread evenly, as Prometheus has it; beyond the last bound there is
    nothing to estimate by, so it is that. None where nothing was handed out.
    """
    total = sum(handed_out)
    if not total:
        return None
    left = part * total
    begin = 0
    for count, end in zip(handed_out, BOUNDS, strict=False):
        if count and left <= count:
            return begin + (end - begin) * left / count
        left -= count
        begin = end
    return float(begin)


_MINUTE = 'to_timestamp(%(minute)s * 60::float8)'

# Of several services each writes what it counted.
_ADD = f"""
    INSERT INTO queue_minutes AS known (minute, queue_id, came, gone, handed_out)
    SELECT {_MINUTE}, (new->>0)::bigint, (new->>1)::bigint, (new->>2)::bigint,
           ARRAY(SELECT value::bigint FROM json_array_elements_text(new->3) AS value)
      FROM json_array_elements(%(rows)s::json) AS new
        ON CONFLICT (minute, queue_id) DO UPDATE
       SET came = known.came + excluded.came, gone = known.gone + excluded.gone,
           handed_out = ARRAY(
               SELECT coalesce(here, 0) + coalesce(there, 0)
                 FROM unnest(known.handed_out, excluded.handed_out)
                      WITH ORDINALITY AS step (here, there, place)
                ORDER BY place)
"""

_NOTE_HELD = """
    INSERT INTO queue_minutes (minute, queue_id, ready, claimed, delayed, parked, oldest_age)
    SELECT date_trunc('minute', now()), (new->>0)::bigint, (new->>1)::bigint,
           (new->>2)::bigint, (new->>3)::bigint, (new->>4)::bigint, (new->>5)::bigint
      FROM json_array_elements(%(rows)s::json) AS new
        ON CONFLICT (minute, queue_id) DO UPDATE
       SET ready = excluded.ready, claimed = excluded.claimed, delayed = excluded.delayed,
           parked = excluded.parked, oldest_age = excluded.oldest_age
"""

_FILLED_LATELY = """
    SELECT DISTINCT queue_id FROM queue_minutes
     WHERE minute > now() - %(kept)s * interval '1 second'
       AND ready + claimed + delayed + parked > 0
"""

_REMOVE_OLD = """
    DELETE FROM queue_minutes WHERE minute < now() - %(kept)s * interval '1 second'
"""

_LAST_MINUTE = "date_trunc('minute', now() - (60 + %(within)s) * interval '1 second')"

# A queue that was made anew has no part in what was before.
_OF_QUEUE = f"""
    WITH the_queue AS MATERIALIZED (
        SELECT queue_id, created_at FROM queues WHERE {IS_THE_QUEUE}),
    wanted AS MATERIALIZED (
        SELECT minute
          FROM generate_series({_LAST_MINUTE} - %(kept)s * interval '1 second', {_LAST_MINUTE},
                               interval '1 minute') AS minute)
    SELECT (date_part('epoch', {_LAST_MINUTE}) / 60)::bigint,
           (date_part('epoch', known.minute) / 60)::bigint,
           came, gone, handed_out, ready, claimed, delayed, parked, oldest_age
      FROM (VALUES (1)) AS always LEFT JOIN LATERAL (
           SELECT queue_minutes.*
             FROM wanted CROSS JOIN the_queue JOIN queue_minutes USING (minute, queue_id)
            WHERE minute >= date_trunc('minute', created_at)) AS known ON true
"""

# A round may be written across the end of a minute.
_HELD_LAST = f"""
    WITH last AS MATERIALIZED (
        SELECT max(minute) AS minute FROM (
               SELECT minute FROM queue_minutes
                WHERE minute > now() - %(kept)s * interval '1 second' AND ready IS NOT NULL
                ORDER BY minute DESC LIMIT 1) AS newest),
    held AS (
        SELECT DISTINCT ON (queue_id) queue_minutes.*
          FROM last JOIN queue_minutes
                 ON queue_minutes.minute BETWEEN last.minute - interval '1 minute' AND last.minute
         WHERE ready IS NOT NULL
         ORDER BY queue_id, queue_minutes.minute DESC),
    shown AS (
        SELECT project, name, ready, claimed, delayed, parked, oldest_age
          FROM held JOIN queues USING (queue_id)
         WHERE floor < {RETIRED} AND held.minute >= date_trunc('minute', created_at))
    SELECT date_part('epoch', now() - minute), shown.* FROM last LEFT JOIN shown ON true
"""

_LAST = f"""
    SELECT project, name, came, gone FROM queue_minutes JOIN queues USING (queue_id)
     WHERE minute = {_LAST_MINUTE} AND came + gone > 0
       AND minute >= date_trunc('minute', created_at) AND floor < {RETIRED}
"""
