"""Pages: the statements that find the messages of a page, or messages by their ids."""

from collections.abc import Set
from itertools import chain, combinations, product

from marconi_api.model.postgres.dequeue import FRESH, look_at_returned
from marconi_api.model.postgres.prepared import Prepared
from marconi_api.model.postgres.steering import body_of
from marconi_api.model.postgres.tables import (
    AGE_OF,
    FRESH_ID,
    IS_ALIVE,
    IS_CLAIMED,
    IS_DELAYED,
    IS_PARKED,
    IS_READY,
    READ_HORIZON,
    STATE,
    THE_NUMBERED_QUEUE,
    THE_QUEUE,
)

#: The condition for each state in which a live message can be.
STATES = {
    'ready': IS_READY,
    'claimed': IS_CLAIMED,
    'delayed': IS_DELAYED,
    'parked': IS_PARKED,
}
READY = frozenset({'ready'})


def _with_bodies(page: str = 'page', in_detail: bool = False) -> str:
    """The end of a statement: adds body and age to each row of a page, and keeps the order.

    A row that stands for no message gets neither.

    :param page: the name of a part of the statement, or a subquery with the alias ``page``
    """
    details = ', page.state, page.claim_count, page.park_reason' if in_detail else ''
    return f"""
    SELECT page.id, page.ttl, {AGE_OF.format('message.created_at')}, message.body, page.claim
           {details}
      FROM {page}
           LEFT JOIN {body_of('page')} ON true"""


_CLAIM = f'CASE WHEN {IS_CLAIMED} THEN claim_id::text END'


# Messages that a statement looks at, at most.
_LOOK = 5000
# Returned messages that a statement reads and sorts, at most. If there are more, the walk over
# messages of all states is used. It fills a page soon, as most of what it meets has returned.
_FEW = 1000
# The id of no message: says that there are more than _FEW returned messages.
MANY = -1


def _list_statement(states: Set[str], without_own: bool, in_detail: bool) -> str:
    """A statement that walks messages of all states by id; parked ones alone by their own index.

    The walk ends when the page is full, or after ``_LOOK`` messages. In the second case the last row
    of the page has the id at which the walk ended, and no ttl.
    """
    claim = _CLAIM if 'claimed' in states else 'NULL::text'
    wanted = ' OR '.join(STATES[state] for state in STATES if state in states)
    shown = f'{IS_ALIVE} AND ({wanted}) {_IS_OTHERS if without_own else ""}'
    is_parked = states == {'parked'}
    return f"""
    WITH the_queue AS MATERIALIZED ({THE_NUMBERED_QUEUE}),
    walked AS MATERIALIZED (
        SELECT {_columns(in_detail, claim)}, {shown} AS is_shown FROM message_states
         WHERE queue_id = %(queue_id)s AND {_following('id', READ_HORIZON)} AND EXISTS (SELECT FROM the_queue)
               {"AND held_until = 'infinity'" if is_parked else ''}
         ORDER BY {'held_until, id' if is_parked else 'id'} LIMIT {_LOOK}),
    page AS MATERIALIZED ({_shown_of_walked(in_detail)})
    {_with_bodies(in_detail=in_detail)}"""


def _list_ready_statement(without_own: bool, in_detail: bool) -> str:
    """A statement for ready messages: it walks the fresh ones, and sorts the returned ones.

    If more than ``_FEW`` messages have returned, the page is not complete, and the id of its first
    row is ``MANY``.
    """
    others = _IS_OTHERS if without_own else ''
    columns, names = _columns(in_detail), _names(in_detail)
    # In a subquery, PostgreSQL computes the read horizon once, and not for each message.
    is_shown = f'{IS_ALIVE} AND {_following("id", f"(SELECT {READ_HORIZON})")} {others}'
    # A subquery with a LIMIT is planned by itself, as a materialized part is, and takes 1.5 us less.
    page = f"""(
        SELECT * FROM ({_shown_of_walked(in_detail)}) AS fresh
         UNION ALL
        SELECT {names} FROM returned WHERE is_shown
         UNION ALL
        (SELECT {MANY}, {_nulls(in_detail)} FROM returned OFFSET {_FEW} LIMIT 1)
         ORDER BY id LIMIT %(limit)s) AS page"""
    return f"""
    WITH the_queue AS MATERIALIZED ({THE_NUMBERED_QUEUE}),
    returned AS MATERIALIZED (
        {look_at_returned('held_mark', _FEW + 1, f'{columns}, {is_shown} AS is_shown')}),
    walked AS MATERIALIZED (
        SELECT {columns}, expires_at > now() {others} AS is_shown FROM message_states
         WHERE {FRESH} AND {_following(FRESH_ID, READ_HORIZON)}
         ORDER BY {FRESH_ID} LIMIT {_LOOK})
    {_with_bodies(page, in_detail)}"""


def _shown_of_walked(in_detail: bool) -> str:
    """The rows of a page, and a last one with the end of the walk if that was cut short.

    PostgreSQL runs the second part of the union only if the first has not filled the page.
    """
    return f"""
        SELECT * FROM (
            SELECT {_names(in_detail)} FROM walked WHERE is_shown
             UNION ALL
            (SELECT id, {_nulls(in_detail)} FROM walked OFFSET {_LOOK - 1} LIMIT 1)) AS shown
         LIMIT %(limit)s"""


_IS_OTHERS = 'AND client_id <> %(excluding_client)s::uuid'


def _following(id: str, horizon: str) -> str:
    return f'{id} > %(after)s AND {id} < {horizon}'


def _columns(in_detail: bool, claim: str = 'NULL::text') -> str:
    details = f', {STATE} AS state, claim_count, park_reason' if in_detail else ''
    return f'id, ttl, {claim} AS claim{details}'


def _names(in_detail: bool) -> str:
    return f'id, ttl, claim{", state, claim_count, park_reason" if in_detail else ""}'


def _nulls(in_detail: bool) -> str:
    """The columns behind the id in a row that stands for no message."""
    return f'NULL, NULL{", NULL, NULL, NULL" if in_detail else ""}'


_CHOICES_OF_STATES = map(
    frozenset, chain.from_iterable(combinations(STATES, count) for count in (1, 2, 3, 4))
)
_CHOICES = list(product(_CHOICES_OF_STATES, (False, True), (False, True)))
#: By the states, whether the client's own messages are left out, and whether there are details.
LIST = {choice: Prepared(_list_statement(*choice), 'list_by_state') for choice in _CHOICES}
LIST_READY = {
    choice: Prepared(_list_ready_statement(*choice), 'list')
    for choice in product((False, True), repeat=2)
}

GET = Prepared(
    f"""
    WITH the_queue AS MATERIALIZED ({THE_QUEUE}),
    page AS MATERIALIZED (
        SELECT id, ttl, {_CLAIM} AS claim FROM message_states
         WHERE queue_id = %(queue_id)s AND id = ANY(%(ids)s::bigint[]) AND {IS_ALIVE})
    {_with_bodies()} ORDER BY id""",
    'get_messages',
)
