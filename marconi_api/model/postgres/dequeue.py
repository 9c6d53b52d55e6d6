"""How ready messages are taken: what a claim and a pop have in common.

A statement finds the rows to take by key, locks them, and then names them by their place (ctid). A
place is valid within the statement: a row that somebody changed between the statement's snapshot and
the lock has another place by then, and is left out. The place is the only condition: with `queue_id`
beside it, the planner would walk all keys of a queue that it believes to be small.

A statement looks at a bounded number of messages. It reads only as many of them as it needs, since
PostgreSQL fills a materialized part only as far as its rows are asked for. If all messages that it
looked at were dead, the low-water mark moves behind them, and the next look starts there.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from operator import itemgetter
from typing import Any, NamedTuple

from marconi_api.model.flows import DEAD_LETTERED, LAPSED, PARKED, flows
from marconi_api.model.postgres.database import Database, Row
from marconi_api.model.postgres.low_water_marks import LONG_AGO, LowWaterMarks, Place, Seen
from marconi_api.model.postgres.patience import Patience
from marconi_api.model.postgres.tables import (
    FRESH_ID,
    IS_ALIVE,
    IS_FRESH_HERE,
    IS_READY,
    OLDEST_UNFINISHED,
    QueueKey,
)

_TRIES = 5
# Messages that a statement looks at, of fresh and of returned ones each.
_LOOK = 5000
# Seconds after which a claim looks no further. A hundred statements look at half a million messages.
_PATIENCE = 0.5


#: The columns that a statement needs of a returned message that it looks at.
PLACE = 'ctid AS place, held_until, id'

#: Whether the message returned because its claim lapsed. A message that was released, or whose delay
#: is over, has no ``claim_id``.
HAS_LAPSED = 'claim_id IS NOT NULL AS has_lapsed'


def returned_from(mark: str) -> str:
    """The condition for returned messages from a mark on, in the order of (held_until, id).

    If the clock was set back, the statement disregards the mark: see low_water_marks.py.

    :param mark: the name of the mark among the parameters
    """
    return f"""queue_id = %(queue_id)s AND held_until <= now()
           AND (held_until, id) >= (
               CASE WHEN now() >= %(known_time)s THEN %({mark})s::timestamptz
                    ELSE '-infinity' END,
               %({mark}_id)s::bigint)"""


FRESH = f"""queue_id = %(queue_id)s AND held_until IS NULL
           AND {FRESH_ID} >= %(fresh_mark)s AND {IS_FRESH_HERE}"""


def look_at_returned(mark: str, count: int, columns: str) -> str:
    """The first ``count`` returned messages from a mark on, alive or not.

    :param columns: the columns of the result, as in SELECT
    """
    return f"""
        SELECT {columns} FROM message_states
         WHERE {returned_from(mark)}
         ORDER BY held_until, id LIMIT {count}"""


def lock(
    looked_at: str, condition: str, limit: str, also: str = '', is_still: str = IS_READY
) -> str:
    """Lock the first ``limit`` messages of a look that meet the condition.

    :param looked_at: the part of the statement with the look, or a subquery
    :param also: further columns besides ``place``, after a comma
    :param is_still: a condition that a message must meet when it is locked
    """
    return f"""
        SELECT locked.place{also}
          FROM {looked_at} AS looked,
               LATERAL (SELECT ctid AS place FROM message_states
                         WHERE ctid = looked.place AND {is_still}
                           FOR UPDATE SKIP LOCKED) AS locked
         WHERE {condition} LIMIT {limit}"""


def first_id(looked_at: str, condition: str, count: int) -> str:
    """A scalar: the id of the first message of a look that meets the condition.

    If none does, and the look was cut short after ``count`` messages, it is the id of the last of
    them, negated. Else it is null.
    """
    return f"""coalesce(
               (SELECT id FROM {looked_at} WHERE {condition} LIMIT 1),
               (SELECT -id FROM {looked_at} OFFSET {count - 1} LIMIT 1))"""


def first_place(looked_at: str, condition: str, count: int) -> str:
    """The place of the same message: an array of held_until, in microseconds since 1970, and the id."""
    microseconds = _MICROSECONDS.format('held_until')
    return f"""coalesce(
               (SELECT ARRAY[{microseconds}, id] FROM {looked_at} WHERE {condition} LIMIT 1),
               (SELECT ARRAY[{microseconds}, -id] FROM {looked_at} OFFSET {count - 1} LIMIT 1),
               ARRAY[NULL, NULL]::bigint[])"""


_MICROSECONDS = "(date_part('epoch', {}) * 1000000)::bigint"


def find(the_queue: str, may_be_claimed: str = 'true') -> str:
    """The start of a statement that takes messages: finds and locks up to ``limit`` ready ones.

    :param the_queue: the query for the queue's row, such as ``THE_NUMBERED_QUEUE``
    :param may_be_claimed: a further condition for returned messages
    """
    returned_ones = look_at_returned(
        'held_mark', _LOOK, f'{PLACE}, {IS_ALIVE} AND {may_be_claimed} AS is_ready, {HAS_LAPSED}'
    )
    return f"""
    WITH the_queue AS MATERIALIZED ({the_queue}),
    returned_ones AS MATERIALIZED ({returned_ones}),
    fresh_ones AS MATERIALIZED (
        SELECT ctid AS place, id, expires_at > now() AS is_ready FROM message_states
         WHERE {FRESH}
         ORDER BY {FRESH_ID} LIMIT {_LOOK}),
    found AS MATERIALIZED ({lock(RETURNED_THEN_FRESH, 'is_ready', '%(limit)s', ', has_lapsed')})"""


#: The messages of both looks. PostgreSQL runs the parts of a union in order, and each only as far as it
#: must: of fresh ones as many as returned ones leave to be taken.
RETURNED_THEN_FRESH = """(
                   SELECT place, is_ready, has_lapsed FROM returned_ones
                    UNION ALL
                   SELECT place, is_ready, false FROM fresh_ones)"""

#: How many of the messages that were found had returned because their claim lapsed.
HOW_MANY_LAPSED = '(SELECT count(*) FROM found WHERE has_lapsed)'

#: The condition for the rows that were found.
FOUND = 'ctid = ANY (ARRAY(SELECT place FROM found))'


class _Sight(NamedTuple):
    """What a statement saw, apart from the messages it took; see :class:`Seen`.

    Times are microseconds since 1970.
    """

    #: As of :func:`first_id`.
    first_fresh: int | None
    now: int
    oldest_unfinished: int
    #: None if there is no such queue; 0 if the statement has no transaction id.
    transaction: int | None
    #: Messages that the statement moved to another queue, or parked.
    moved: int
    parked: int
    #: How many of the messages that were taken, moved or parked had returned by a lapse.
    lapsed: int
    #: As of :func:`first_place`.
    first_held: int | None
    first_held_id: int | None
    #: The place of the first message that is alive, whether or not it can be taken.
    first_alive: int | None = None
    first_alive_id: int | None = None

    @property
    def is_any_ready(self) -> bool:
        """Whether there was a message to take, though others may have locked it first."""
        return (self.first_fresh or 0) > 0 or (self.first_held_id or 0) > 0


def report(
    columns: Mapping[str, str],
    taken: str,
    first_alive: str | None = None,
    moved: str = '0',
    parked: str = '0',
    lapsed: str = HOW_MANY_LAPSED,
) -> str:
    """The end of a statement that takes: a row for each message, in any order, then one of what it saw.

    What it saw is an array in the last column (:class:`_Sight`): whether the queue exists, and the
    first messages that the snapshot holds. The low-water marks need these, and they tell a queue with
    nothing to take from a race that was lost. It has a row of its own: repeated with each of ten
    messages it took 32 us, and the messages themselves 19 us. It is one array, since psycopg2 takes
    0.6 us for each column, even if the column is null in every row.

    :param columns: the SQL of each column of a message, by its name; the first is ``id``
    :param taken: where the messages are, as in FROM
    :param first_alive: the SQL of the place of the first returned message that is alive, if it may
        be another message than the first that can be taken
    :param moved: the SQL of how many messages were moved to another queue
    :param parked: the SQL of how many were parked
    :param lapsed: the SQL of how many of the messages taken, moved or parked had lapsed
    """
    described = ', '.join(f'{expression} AS {name}' for name, expression in columns.items())
    places = [
        first_place('returned_ones', 'is_ready', _LOOK),
        *([first_alive] if first_alive else []),
    ]
    # The messages stand first in the union, of which PostgreSQL runs the parts in order: the
    # transaction gets its id when it locks a message, and the row of what it saw reports that id.
    # Without it the mark for returned messages would stay where it is. An id without a change costs
    # no flush. The rows are sorted by whoever gets them: PostgreSQL takes 5 us to set up a sort.
    return f"""
        SELECT {described}, NULL::bigint[] AS sight FROM {taken}
         UNION ALL
        SELECT {', '.join(['NULL'] * len(columns))},
               ARRAY[{first_id('fresh_ones', 'is_ready', _LOOK)},
               {_MICROSECONDS.format('now()')}, {OLDEST_UNFINISHED},
               (SELECT coalesce(
                       CASE WHEN %(asks)s THEN pg_current_xact_id()
                            ELSE pg_current_xact_id_if_assigned() END::text::bigint + %(base)s, 0)
                  FROM the_queue),
               {moved}, {parked}, {lapsed}] || {' || '.join(places)}"""


def take(
    database: Database,
    marks: LowWaterMarks,
    queue: QueueKey,
    statement: str,
    parameters: Mapping[str, Any],
    limit_on_claims: int | None = None,
    tell_moved: Callable[[int], None] | None = None,
) -> list[Row] | None:
    """Run a statement that takes, until it took something or there was nothing to take.

    If very many messages are dead, it gives up after half a second and takes nothing. The next claim
    goes on from the mark that this one reached.

    :param statement: starts with :func:`find` and ends with :func:`report`
    :param limit_on_claims: how often a message may be claimed, if the statement has such a limit
    :param tell_moved: called with the number of messages that were moved to another queue, if any
    :returns: the rows of what was taken, in the order of their ids, which begin with the ``columns`` of
        the report; None if there is no such queue
    """
    search = _Search(marks, queue, limit_on_claims)
    patience = Patience(_PATIENCE)
    races_lost = 0
    while races_lost < _TRIES:
        *taken, saw = database.rows(statement, lambda: {**search.start(), **parameters})
        sight = _Sight(*saw[-1])
        if sight.transaction is None:
            return None
        taken.sort(key=_FIRST)
        search.learn(sight)
        if flows:
            _tell(sight)
        if sight.moved and tell_moved:
            tell_moved(sight.moved)
        if taken or (sight.first_fresh is None and sight.first_held is None):
            return taken
        if sight.is_any_ready:
            races_lost += 1
        elif patience.is_over:
            break
    return []


def _tell(sight: _Sight) -> None:
    flows.tell(LAPSED, sight.lapsed)
    flows.tell(PARKED, sight.parked)
    flows.tell(DEAD_LETTERED, sight.moved + sight.parked)


class _Search:
    """The looks of one claim: where each starts, and what the marks learn of it."""

    def __init__(self, marks: LowWaterMarks, queue: QueueKey, limit_on_claims: int | None) -> None:
        self._marks = marks
        self._queue = queue
        self._limit = limit_on_claims
        self._is_first = True
        # Where the previous look was cut short.
        self._fresh_end = 0
        self._held_end = _BEFORE_ALL

    def start(self) -> dict[str, Any]:
        """The parameters of a look that goes on from the one before."""
        self._start = start = self._marks.start(self._queue.id, self._limit, may_ask=True)
        self._from = start.mark
        if self._fresh_end or self._held_end is not _BEFORE_ALL:
            self._from = start.mark.or_later(self._fresh_end, self._held_end, start.known_time)
        parameters = self._from.for_a_claim
        parameters['known_time'] = start.known_time
        parameters['asks'] = start.asks
        parameters |= self._queue.parameters
        if self._limit is not None:
            self._alive_start = self._marks.start(self._queue.id)
            alive = self._alive_start.mark
            parameters |= {
                'alive_mark': alive.held_until,
                'alive_mark_id': alive.held_id,
                'is_first_look': self._is_first,
            }
            self._is_first = False
        return parameters

    def learn(self, sight: _Sight) -> None:
        """Move the marks, and the start of the next look."""
        fresh = sight.first_fresh
        if fresh is not None and fresh < 0:
            fresh = self._fresh_end = -fresh
        held = _place(sight.first_held, sight.first_held_id)
        if held and (sight.first_held_id or 0) < 0:
            self._held_end = held
        # A look that started above the mark proves nothing.
        mark = self._start.mark
        is_at_mark = self._from is mark
        seen = Seen(
            fresh if is_at_mark or self._from.fresh_id == mark.fresh_id else mark.fresh_id,
            held if is_at_mark or self._from.held == mark.held else mark.held,
            LONG_AGO + timedelta(microseconds=sight.now),
            sight.oldest_unfinished,
            sight.transaction or None,
        )
        self._marks.learn(self._queue.id, self._start, seen, self._limit)
        if self._limit is not None:
            alive = _place(sight.first_alive, sight.first_alive_id)
            seen = seen._replace(first_held=alive)
            self._marks.learn(self._queue.id, self._alive_start, seen)


_BEFORE_ALL = Place(LONG_AGO, 0)
_FIRST = itemgetter(0)


def _place(microseconds: int | None, id: int | None) -> Place | None:
    """The place from the values of :func:`first_place`: of a message, or of the end of a look."""
    if microseconds is None or id is None:
        return None
    return Place(LONG_AGO + timedelta(microseconds=microseconds), abs(id))
