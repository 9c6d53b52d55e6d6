"""The statement of a post that hands its message to a claimant: see claimants.py.

It looks for messages that can be claimed, as a claim does. If there are none it stores the message as a
claim would leave it, and the claim itself; else it stores the message as any post. What others commit
while it runs it does not see, as a claim that began at the same moment would not.
"""

from marconi_api.model.fan_out import NOBODY
from marconi_api.model.postgres.dequeue import FRESH, look_at_returned
from marconi_api.model.postgres.prepared import Prepared
from marconi_api.model.postgres.tables import (
    AS_KNOWN,
    FRESH_ID,
    IS_ALIVE,
    NO_GROUPS,
    THE_NUMBERING_QUEUE,
)
from marconi_api.model.postgres.transitions import (
    CLAIM_OF_A_POST_ENDS,
    CLOCK,
    HELD_FROM_THE_START,
)
from marconi_api.model.posting import FIRST_ID

# Messages that it looks at, of fresh and of returned ones each. If all of them are dead, a claim has to
# look further, which is not the poster's work.
_LOOK = 100


def _statement(the_queue: str) -> str:
    """The statement for one message; its row: the id, and the ttl if the message was handed over."""
    returned_ones = look_at_returned('held_mark', _LOOK, f'{IS_ALIVE} AS is_ready')
    return f"""
    WITH the_queue AS MATERIALIZED ({the_queue}{NOBODY} FOR KEY SHARE),
    posted AS MATERIALIZED (
        SELECT {FIRST_ID} AS id, grouping FROM the_queue WHERE {FIRST_ID} >= floor),
    returned_ones AS MATERIALIZED ({returned_ones}),
    fresh_ones AS MATERIALIZED (
        SELECT expires_at > now() AS is_ready FROM message_states
         WHERE {FRESH}
         ORDER BY {FRESH_ID} LIMIT {_LOOK}),
    {CLOCK},
    handed_over AS MATERIALIZED (
        SELECT {HELD_FROM_THE_START}
          FROM posted
         WHERE grouping = {NO_GROUPS}
           AND NOT EXISTS (SELECT FROM returned_ones WHERE is_ready)
           AND NOT EXISTS (SELECT FROM fresh_ones WHERE is_ready)
           AND NOT EXISTS (SELECT FROM returned_ones OFFSET {_LOOK - 1})
           AND NOT EXISTS (SELECT FROM fresh_ones OFFSET {_LOOK - 1})),
    state AS (
        INSERT INTO message_states (queue_id, id, held_until, expires_at, claim_id, client_id, ttl,
                                    claim_count)
        SELECT %(queue_id)s, id, held_until,
               coalesce(expires_at, now() + %(ttl)s::int * interval '1 second'),
               CASE WHEN held_until IS NOT NULL THEN %(claim_id)s::uuid END, %(client_id)s::uuid,
               coalesce(ttl, %(ttl)s::int), (held_until IS NOT NULL)::int
          FROM posted LEFT JOIN handed_over ON true),
    message AS (
        INSERT INTO messages (queue_id, id, created_at, body, traceparent)
        SELECT %(queue_id)s, id, now(), %(body)s, %(traceparent)s::text FROM posted),
    claim AS (
        INSERT INTO claims (queue_id, id, started_at, expires_at, ttl, message_ids)
        SELECT %(queue_id)s, %(claim_id)s::uuid, (SELECT at FROM clock), {CLAIM_OF_A_POST_ENDS},
               %(claim_ttl)s::int, ARRAY[id]
          FROM posted, handed_over)
    SELECT id, ttl FROM posted LEFT JOIN handed_over ON true
    """


#: By whether the attributes matter.
POST_CLAIMED = {
    by_attributes: Prepared(
        _statement(THE_NUMBERING_QUEUE + (AS_KNOWN if by_attributes else '')),
        'post_claimed' + ('_by_attributes' if by_attributes else ''),
    )
    for by_attributes in (False, True)
}
