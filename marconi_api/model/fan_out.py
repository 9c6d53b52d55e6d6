"""Fan-out: a post to a queue with subscribers makes copies for queues, and deliveries for webhooks.

The statement of the post does it, so all subscribers have the message, or none has. The statement
finds the queues step by step, as a copy may be copied on. (A stored list of all queues that a post
reaches could be wrong.)

A copy has an id of its own, from the numbers of the post's transaction; each queue has a range of
positions behind that of the queue before. So copies of a message can meet in one queue, as dead
letters of two. This limits how many messages a post to several queues can have.

Queues without subscribers have statements without all this. The statement compares what the process
remembers of the subscribers with the queue's row, as it does with the attributes (attributes.py).
"""

from typing import NoReturn

from marconi_api.errors import InvalidRequest
from marconi_api.model.postgres.tables import FIFO, IS_NOT_FIFO, MOST_IN_A_POST

#: A condition after the query for a queue: the queue has no subscribers, nor remains of any, and is not
#: FIFO, for which there are other statements (groups.py).
NOBODY = f"""
       AND NOT has_subscribers{IS_NOT_FIFO}"""

#: A condition for posts: the queue has subscribers, or remains of some, and is not FIFO.
SOMEBODY = f"""
       AND has_subscribers{IS_NOT_FIFO}"""

_COUNT = 'cardinality(%(delays)s::int[])'

#: Deliveries that one post makes, at most: so many rows take a tenth of a second. Eight such posts
#: at once hold up the posts of others for less than a second.
_MOST_DELIVERIES = 2**15

# How many messages a post can have. (A division by zero would mean something else: see tables.py.)
_MOST = f"""(
        SELECT least({MOST_IN_A_POST} / greatest(1, (SELECT count(*) FROM places)),
                     {_MOST_DELIVERIES} / greatest(1, (SELECT count(*) FROM webhooks))))"""


def _places(count: str) -> str:
    return f"""
    reach AS MATERIALIZED (
        WITH RECURSIVE reach (queue_id) AS (
            SELECT %(queue_id)s::bigint FROM begun
             UNION
            SELECT copy.target_id
              FROM reach,
                   LATERAL (SELECT target_id FROM subscriptions
                             WHERE queue_id = reach.queue_id AND target_id IS NOT NULL
                               AND confirmed AND expires_at > now()) AS copy)
        SELECT queue_id FROM reach WHERE queue_id <> %(queue_id)s::bigint),
    places AS MATERIALIZED (
        SELECT %(queue_id)s::bigint AS queue_id, %(name)s::text AS name, 0 AS ids_before
          FROM begun
         UNION ALL
        SELECT target.queue_id, target.name, row_number() OVER () * {count}
          FROM reach, begun,
               LATERAL (SELECT queue_id, name FROM queues
                         WHERE queue_id = reach.queue_id AND project = %(project)s
                           AND floor <= begun.first_id AND grouping < {FIFO}
                         LIMIT 1 FOR KEY SHARE) AS target),
    webhooks AS MATERIALIZED (
        SELECT places.queue_id, name, ids_before, webhook.id
          FROM places,
               LATERAL (SELECT id FROM subscriptions
                         WHERE queue_id = places.queue_id AND target_id IS NULL
                           AND confirmed AND expires_at > now()) AS webhook),"""


#: The parts of a post's statement between ``begun``, which has the first id of its transaction, and
#: ``transaction``, which has the same id unless there are too many messages. ``places`` has the queues
#: that get the messages, the posted one first. The row of each queue is locked, as that of a post's
#: queue. A queue that was purged or made at this moment may have a floor above this transaction; then
#: it gets no copies. Nor does a FIFO queue, as copies have no group.
PLACES = f"""{_places(_COUNT)}
    transaction AS MATERIALIZED (SELECT first_id FROM begun WHERE {_COUNT} <= {_MOST}),"""

#: The same parts for a post of one message, which is never too many.
PLACES_OF_ONE = _places('1')

#: What is written, for all places: message_states and messages have the same columns as in a
#: post without copies.
DELIVER = """,
    delivery AS (
        INSERT INTO deliveries (queue_id, subscription_id, message_id, expires_at)
        SELECT queue_id, webhooks.id, posted.id + ids_before, now() + ttl * interval '1 second'
          FROM webhooks, posted)"""

#: The last columns of the statement's row: the names of the places, and those of webhooks' queues.
REPORT = 'ARRAY(SELECT name FROM places), ARRAY(SELECT name FROM webhooks)'

#: The end of the statement: if a post has too many messages, a row with the number that it may have,
#: negated.
TOO_MANY = f"""
     UNION ALL
    SELECT -{_MOST}, {{nothing}}ARRAY[]::text[], ARRAY[]::text[] FROM begun
     WHERE {_COUNT} > {_MOST}"""


def refuse_too_many(messages: int, most: int) -> NoReturn:
    """Refuse a post that has too many messages for the number of its subscribers.

    :raises InvalidRequest: always
    """
    raise InvalidRequest(
        f'Each message that is posted to this queue goes to several subscribers. So one request can '
        f'post {most} messages at most, not {messages}: send them in several requests.'
    )
