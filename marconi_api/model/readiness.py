"""Whether there are messages for requests that wait: one look at many queues."""

from collections.abc import Container, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from marconi_api.model.postgres.database import Database, Row
from marconi_api.model.postgres.low_water_marks import LowWaterMarks, Place, Seen, Start
from marconi_api.model.postgres.prepared import OwnText, Prepared
from marconi_api.model.postgres.tables import (
    FRESH_ID,
    IS_NUMBERED_AS_KNOWN,
    OLDEST_UNFINISHED,
    POSITION_BITS,
    READ_HORIZON,
    RETIRED,
    public_id,
)

# Queues that one statement looks at.
_AT_ONCE = 1000


class View(NamedTuple):
    """What a reader of a queue could see so far; a later look asks for what came since."""

    #: The reader could see messages with lower ids.
    horizon: int
    #: The reader could see messages that had returned by this time.
    time: datetime
    #: The same time, as a parameter of statements.
    text: OwnText


class Sight(NamedTuple):
    """What a look found in a queue."""

    queue_id: int
    exists: bool
    #: Whether a claim may find something; it finds nothing if that is dead.
    is_ready: bool
    #: In how many seconds the next message returns, if that is soon.
    due_in: float | None
    #: Whether a page may show more than the view that was given; true if none was given.
    is_more: bool


class Look(NamedTuple):
    """What one statement found in several queues."""

    queue_ids: Sequence[int]
    #: What was found, of the queues in which there is something.
    sights: list[Sight]
    #: The view of each of the queues from now on; it includes all that was found.
    view: View
    #: Whether all older transactions have ended, so that the view has all that there is.
    is_settled: bool


class Readiness:
    """Looks at queues, from the low-water marks of this process, and moves them."""

    def __init__(self, database: Database, marks: LowWaterMarks) -> None:
        self._database = database
        self._marks = marks

    def look(
        self,
        queue_ids: Sequence[int],
        views: Mapping[int, View],
        existing: Container[int],
        horizon: float,
    ) -> list[Look]:
        """Look at queues; a queue in which there is nothing has no sight in the result.

        It costs a few microseconds a queue, as it reads only the first entry of an index.

        :param queue_ids: the queues
        :param views: what the readers of a queue have seen, for queues whose pages are waited for
        :param existing: the queues that exist, as far as the caller knows; a sight tells where that
            is wrong
        :param horizon: how many seconds ahead it looks for messages that return
        """
        return [
            self._look(queue_ids[start : start + _AT_ONCE], views, existing, horizon)
            for start in range(0, len(queue_ids), _AT_ONCE)
        ]

    def end(self) -> str:
        """The marker behind every message that a page could show by now."""
        [(end,)] = self._database.rows(_END, {}, repeatable=True)
        return public_id(end)

    def _look(
        self,
        queue_ids: Sequence[int],
        views: Mapping[int, View],
        existing: Container[int],
        horizon: float,
    ) -> Look:
        starts: dict[int, Start] = {}
        known = [queue_id in existing for queue_id in queue_ids]

        def parameters() -> dict[str, object]:
            starts.update((queue_id, self._marks.start(queue_id)) for queue_id in queue_ids)
            marks = [start.mark for start in starts.values()]
            seen = [views.get(queue_id, _NOTHING_SEEN) for queue_id in queue_ids]
            return {
                'ids': list(queue_ids),
                'known': [int(is_known) for is_known in known],
                'fresh_marks': [mark.fresh_id for mark in marks],
                'held_marks': _texts([mark.parameters['held_mark'] for mark in marks]),
                'held_mark_ids': [mark.held_id for mark in marks],
                'known_time': max(start.known_time for start in starts.values()),
                'horizons': [view.horizon for view in seen],
                'times': _texts([view.text for view in seen]),
                'ahead': horizon,
            }

        rows = self._database.rows(_LOOK, parameters, repeatable=True)
        now, oldest_unfinished, transaction = rows[0][-3:]
        found = {row[0]: row for row in rows if row[0] is not None}
        for queue_id, was_known in zip(queue_ids, known, strict=True):
            row = found.get(queue_id, (queue_id, was_known, None, None, None))
            start = starts[queue_id]
            if queue_id in found or now - start.mark.known_time > _LEARN_EVERY:
                self._learn(start, row, Seen(None, None, now, oldest_unfinished, transaction))
        return Look(
            queue_ids,
            [_sight(row) for row in found.values()],
            View(oldest_unfinished << POSITION_BITS, now, OwnText(now)),
            is_settled=oldest_unfinished >= transaction,
        )

    def _learn(self, start: Start, row: Row, seen: Seen) -> None:
        queue_id, exists, fresh, held_until, held_id = row[:5]
        if exists:
            held = None if held_until is None else Place(held_until, held_id)
            seen = seen._replace(first_fresh=fresh, first_held=held)
            self._marks.learn(queue_id, start, seen)


def _sight(row: Row) -> Sight:
    queue_id, exists, fresh, held_until, _, due_in, is_more = row[:7]
    return Sight(
        queue_id,
        exists,
        is_ready=fresh is not None or held_until is not None,
        due_in=due_in,
        is_more=is_more,
    )


def _texts(times: list[OwnText]) -> OwnText:
    """Times as one parameter: to quote each of a thousand takes longer than to send them all."""
    return OwnText(','.join(times))


# How long after its last move a mark is moved on, though nothing was found.
_LEARN_EVERY = timedelta(seconds=10)

# Stands for what was seen of a queue of which nothing was.
_NOTHING_SEEN = View(-1, datetime.max, OwnText(datetime.max))

# It takes a transaction id, which costs no flush: by it the marks of returned messages move on.
# Where the clock was set back, these are looked for from the start, as a claim does.
_LOOK = Prepared(
    f"""
    WITH transaction AS MATERIALIZED (SELECT pg_current_xact_id()::text::bigint + %(base)s AS id)
    SELECT sight.*, now(), {OLDEST_UNFINISHED}, transaction.id
      FROM transaction LEFT JOIN (
    SELECT asked.queue_id, the_queue.floor IS NOT NULL, fresh.id, held.held_until, held.id AS held_id,
           date_part('epoch', due.held_until - now()),
           asked.horizon = {_NOTHING_SEEN.horizon} OR posted.id IS NOT NULL OR returned.id IS NOT NULL
      FROM unnest(%(ids)s::bigint[], %(known)s::int[], %(fresh_marks)s::bigint[],
                  string_to_array(%(held_marks)s, ',')::timestamptz[], %(held_mark_ids)s::bigint[],
                  %(horizons)s::bigint[], string_to_array(%(times)s, ',')::timestamptz[])
               AS asked (queue_id, is_known, fresh_mark, held_mark, held_mark_id, horizon, time)
           LEFT JOIN LATERAL (
               SELECT floor FROM queues
                WHERE queue_id = asked.queue_id AND floor < {RETIRED} LIMIT 1)
               AS the_queue ON true
           LEFT JOIN LATERAL (
               SELECT id FROM message_states
                WHERE queue_id = asked.queue_id AND held_until IS NULL
                  AND {FRESH_ID} >= asked.fresh_mark AND {FRESH_ID} >= the_queue.floor
                ORDER BY {FRESH_ID} LIMIT 1)
               AS fresh ON true
           LEFT JOIN LATERAL (
               SELECT held_until, id FROM message_states
                WHERE queue_id = asked.queue_id AND held_until <= now()
                  AND (held_until, id) >= (
                      CASE WHEN now() >= %(known_time)s THEN asked.held_mark
                           ELSE '-infinity' END, asked.held_mark_id)
                  AND the_queue.floor IS NOT NULL
                ORDER BY held_until, id LIMIT 1)
               AS held ON true
           LEFT JOIN LATERAL (
               SELECT held_until FROM message_states
                WHERE queue_id = asked.queue_id AND held_until > now()
                  AND held_until <= now() + %(ahead)s * interval '1 second'
                ORDER BY held_until LIMIT 1)
               AS due ON true
           LEFT JOIN LATERAL (
               SELECT id FROM message_states
                WHERE queue_id = asked.queue_id AND asked.horizon >= 0
                  AND id >= asked.horizon AND id < {READ_HORIZON}
                ORDER BY id LIMIT 1)
               AS posted ON true
           LEFT JOIN LATERAL (
               SELECT id FROM message_states
                WHERE queue_id = asked.queue_id AND held_until <= now()
                  AND held_until > asked.time - interval '1 second'
                ORDER BY held_until LIMIT 1)
               AS returned ON true
     WHERE (the_queue.floor IS NOT NULL) <> (asked.is_known = 1)
           OR fresh.id IS NOT NULL OR held.id IS NOT NULL OR due.held_until IS NOT NULL
           OR asked.horizon = {_NOTHING_SEEN.horizon} OR posted.id IS NOT NULL
           OR returned.id IS NOT NULL) AS sight ON true
     WHERE {IS_NUMBERED_AS_KNOWN}""",
    'look_for_waiting',
)

_END = f'SELECT {READ_HORIZON} - 1 WHERE {IS_NUMBERED_AS_KNOWN}'
