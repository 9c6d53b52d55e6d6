"""Posts: the parameters of a post, and the statements that store its messages."""

from collections.abc import Sequence
from itertools import product
from typing import Any

from marconi_api import limits
from marconi_api.errors import (
    InvalidRequest,
)
from marconi_api.model.attributes import Attributes
from marconi_api.model.fan_out import (
    DELIVER,
    NOBODY,
    PLACES,
    PLACES_OF_ONE,
    REPORT,
    SOMEBODY,
    TOO_MANY,
)
from marconi_api.model.idempotency import POST_REMEMBERED, REMEMBER_POST
from marconi_api.model.message import (
    NewMessage,
)
from marconi_api.model.postgres.prepared import Prepared
from marconi_api.model.postgres.tables import (
    AS_KNOWN,
    MOST_IN_A_POST,
    NEXT_NUMBER,
    POSITION_BITS,
    THE_NUMBERING_QUEUE,
)
from marconi_api.model.postgres.transitions import CLOCK, due_after
from marconi_api.model.replies import NOTE_REQUESTS, reply_parameters


def batch_of(
    messages: Sequence[NewMessage], size: int | None, attributes: Attributes
) -> dict[str, Any]:
    """The parameters of a post's statement, a list for each column.

    What a message does not say is filled in from the attributes.

    :param size: bytes of the request's body; None: they are not checked
    :raises InvalidRequest: if the attributes or the limits do not allow the messages
    """
    within = limits.in_force
    if len(messages) > MOST_IN_A_POST:
        raise InvalidRequest(
            f'One request can post {MOST_IN_A_POST} messages at most, not {len(messages)}: '
            'send them in several requests.'
        )
    if size is not None:
        allowed = within.max_messages_post_size
        within.check_body(size, min(allowed, attributes.max_messages_post_size or allowed))
    default_ttl = attributes.default_message_ttl or within.default_message_ttl
    default_delay = attributes.default_message_delay or 0
    default = asks = attributes.default_reply
    has_attributes = False
    ttls, delays, bodies = [], [], []
    # This is one loop, without calls: on a busy machine, whose caches hold no code of ours, each
    # function that is called adds some 2 us to a post of one message.
    for new in messages:
        ttl = default_ttl if new.ttl is None else new.ttl
        delay = default_delay if new.delay is None else new.delay
        if not within.min_message_ttl <= ttl <= within.max_message_ttl:
            within.message_ttl.check('The ttl of a message', ttl)
        if not 0 <= delay <= within.max_message_delay:
            within.message_delay.check('The delay of a message', delay)
        if ttl <= delay:
            raise InvalidRequest(
                f'A message with ttl {ttl} and delay {delay} would end before it is due.'
            )
        ttls.append(ttl)
        delays.append(delay)
        bodies.append(new.body)
        asks = asks or bool(new.reply)
        if new.attributes is not None:
            has_attributes = True
    batch: dict[str, Any] = {'ttls': ttls, 'bodies': bodies, 'delays': delays}
    if has_attributes:
        batch['attributes'] = [new.attributes for new in messages]
    if asks:
        asking = [int(default if new.reply is None else new.reply) for new in messages]
        batch |= {'asking': asking, **reply_parameters()}
    return batch


#: The id of the first message of a post.
FIRST_ID = f'(pg_current_xact_id()::text::bigint + %(base)s) << {POSITION_BITS}'


# The lock on the queue's row proves that the queue exists, and holds off its deletion until the
# post is over. Posts do not hinder each other. A message below the floor would not exist, so a post
# whose ids would lie there stores nothing.
def _post_statement(
    the_queue: str,
    is_remembered: bool,
    has_subscribers: bool,
    asks: bool = False,
    has_attributes: bool = False,
) -> str:
    column, given = (', asks', ', %(asking)s::int[]') if asks else ('', '')
    of_message = ''
    if has_attributes:
        of_message = ', message_attributes'
        column, given = column + of_message, f'{given}, %(attributes)s::text[]'
    first, of_place, places = 'transaction', '%(queue_id)s, id', ''
    if has_subscribers:
        first, of_place, places = 'begun', 'queue_id, id + ids_before', ', places'
    return f"""
    WITH the_queue AS MATERIALIZED ({the_queue}{SOMEBODY if has_subscribers else NOBODY} FOR KEY SHARE),
    numbered AS MATERIALIZED (
        SELECT {FIRST_ID} AS first_id, floor FROM the_queue),
    {first} AS MATERIALIZED (
        SELECT first_id FROM numbered WHERE first_id >= floor),{PLACES if has_subscribers else ''}{REMEMBER_POST if is_remembered else ''}
    {CLOCK},
    posted AS MATERIALIZED (
        SELECT first_id + place - 1 AS id, ttl, body, {due_after('delay')} AS held_until{column}
          FROM {'mine' if is_remembered else 'transaction'},
               unnest(%(ttls)s::int[], %(bodies)s::text[], %(delays)s::int[]{given}) WITH ORDINALITY
                   AS given (ttl, body, delay{column}, place)),{NOTE_REQUESTS if asks else ''}
    state AS (
        INSERT INTO message_states (queue_id, id, held_until, expires_at, client_id, ttl)
        SELECT {of_place}, held_until, now() + ttl * interval '1 second',
               %(client_id)s::uuid, ttl
          FROM posted{places}),
    message AS (
        INSERT INTO messages (queue_id, id, created_at, body, traceparent{of_message})
        SELECT {of_place}, now(), body, %(traceparent)s::text{of_message} FROM posted{places}){DELIVER if has_subscribers else ''}
    {_post_report(is_remembered, has_subscribers)}
    """


def _post_report(is_remembered: bool, has_subscribers: bool) -> str:
    """The row of the statement: what :meth:`Messages._post` reads."""
    columns, source, nothing = 'first_id', 'transaction', ''
    if is_remembered:
        columns, source, nothing = POST_REMEMBERED, 'remembered', 'true, false, '
    if not has_subscribers:
        return f'SELECT {columns} FROM {source}'
    return f'SELECT {columns}, {REPORT} FROM {source}{TOO_MANY.format(nothing=nothing)}'


# A statement of its own: by arrays one message takes PostgreSQL a quarter longer.
def _post_one_statement(the_queue: str) -> str:
    """The statement for one message that is ready at once."""
    return f"""
    WITH the_queue AS MATERIALIZED ({the_queue}{NOBODY} FOR KEY SHARE),
    posted AS MATERIALIZED (
        SELECT {FIRST_ID} AS id FROM the_queue WHERE {FIRST_ID} >= floor),
    state AS (
        INSERT INTO message_states (queue_id, id, expires_at, client_id, ttl)
        SELECT %(queue_id)s, id, now() + %(ttl)s * interval '1 second', %(client_id)s::uuid, %(ttl)s
          FROM posted),
    message AS (
        INSERT INTO messages (queue_id, id, created_at, body, traceparent)
        SELECT %(queue_id)s, id, now(), %(body)s, %(traceparent)s::text FROM posted)
    SELECT id FROM posted
    """


def _post_one_to_subscribers_statement(the_queue: str) -> str:
    return f"""
    WITH the_queue AS MATERIALIZED ({the_queue}{SOMEBODY} FOR KEY SHARE),
    begun AS MATERIALIZED (
        SELECT {FIRST_ID} AS first_id FROM the_queue WHERE {FIRST_ID} >= floor),{PLACES_OF_ONE}
    posted AS MATERIALIZED (
        SELECT first_id AS id, %(ttl)s::int AS ttl FROM begun),
    state AS (
        INSERT INTO message_states (queue_id, id, expires_at, client_id, ttl)
        SELECT queue_id, id + ids_before, now() + ttl * interval '1 second', %(client_id)s::uuid, ttl
          FROM posted, places),
    message AS (
        INSERT INTO messages (queue_id, id, created_at, body, traceparent)
        SELECT queue_id, id + ids_before, now(), %(body)s, %(traceparent)s::text
          FROM posted, places){DELIVER}
    SELECT id, {REPORT} FROM posted
    """


def _post_prepared(
    by_attributes: bool, is_remembered: bool, has_subscribers: bool, asks: bool
) -> Prepared:
    the_queue = THE_NUMBERING_QUEUE + (AS_KNOWN if by_attributes else '')
    name = 'post_requests' if asks else 'post'
    name += '_once' if is_remembered else ''
    # Whether a message asks for a reply is an attribute, too.
    name += '_by_attributes' if by_attributes and not asks else ''
    name += '_to_subscribers' if has_subscribers else ''
    return Prepared(_post_statement(the_queue, is_remembered, has_subscribers, asks), name)


#: By whether the attributes matter, whether the request has a key, whether the queue has
#: subscribers, and whether a message asks for a reply.
POSTS = {
    choice: _post_prepared(*choice)
    for choice in product((False, True), repeat=4)
    if choice[0] or not choice[3]
}
#: By whether the queue has subscribers, and whether a message asks for a reply: for messages with
#: attributes of SQS. Their attributes of the queue always matter.
POSTS_WITH_ATTRIBUTES = {
    (has_subscribers, asks): Prepared(
        _post_statement(
            THE_NUMBERING_QUEUE + AS_KNOWN, False, has_subscribers, asks, has_attributes=True
        ),
        ('post_requests' if asks else 'post')
        + '_with_attributes'
        + ('_to_subscribers' if has_subscribers else ''),
    )
    for has_subscribers in (False, True)
    for asks in (False, True)
}
POST = POSTS[False, False, False, False]
POST_AS_KNOWN = POSTS[True, False, False, False]
#: By whether the attributes matter, and whether the queue has subscribers.
POST_ONES = {
    (by_attributes, has_subscribers): Prepared(
        statement(THE_NUMBERING_QUEUE + (AS_KNOWN if by_attributes else '')),
        'post_one'
        + ('_by_attributes' if by_attributes else '')
        + ('_to_subscribers' if has_subscribers else ''),
    )
    for by_attributes in (False, True)
    for has_subscribers, statement in (
        (False, _post_one_statement),
        (True, _post_one_to_subscribers_statement),
    )
}
POST_ONE = POST_ONES[False, False]


# Tells whether the floor was set by another cluster. A statement sets a floor no higher than the
# transactions that its snapshot knows of. A later statement, which sees that floor, knows of these
# transactions, too. So a floor above all that this statement knows of came with a dump.
FLOOR_IS_AHEAD = f"""
    SELECT 1 FROM id_epoch, ({THE_NUMBERING_QUEUE}) AS the_queue
     WHERE floor > {NEXT_NUMBER} << {POSITION_BITS}"""
