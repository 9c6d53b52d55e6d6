"""What a post to a queue with subscribers does besides: copies for queues, deliveries for webhooks.

It is done by the statement of the post: so all have the message, or none has. The queues are found
in there, step by step, as copies may be copied on. (A closure that was stored could be wrong.)

A copy has an id of its own, from the numbers of the post's transaction: those of one queue come
behind those of the other. So copies of a message can meet in one queue, as dead letters of two. That
bounds how many messages a post to several queues can have.

Queues without subscribers have statements without all this. Which one is right is compared with
the queue's row, as the attributes are (attributes.py).
"""

from typing import NoReturn

from marconi_api.errors import InvalidRequest
from marconi_api.model.postgres.tables import MOST_IN_A_POST

#: To follow the queue of a post's statement: there are no subscribers, and nothing to do.
NOBODY = """
       AND NOT has_subscribers"""

#: There are, or have been.
SOMEBODY = """
       AND has_subscribers"""

_COUNT = 'cardinality(%(delays)s::int[])'

#: Deliveries that one post makes, at most: so many rows take a tenth of a second. Eight such posts
#: at once hold up the posts of others for less than a second.
_MOST_DELIVERIES = 2**15

# How many messages a post can have. (A division by zero would say something: tables.py.)
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
                           AND floor <= begun.first_id
                         LIMIT 1 FOR KEY SHARE) AS target),
    webhooks AS MATERIALIZED (
        SELECT places.queue_id, name, ids_before, webhook.id
          FROM places,
               LATERAL (SELECT id FROM subscriptions
                         WHERE queue_id = places.queue_id AND target_id IS NULL
                           AND confirmed AND expires_at > now()) AS webhook),"""


#: Parts of a post's statement between ``begun``, its transaction, and ``transaction``, which is the
#: same if there are not too many messages. ``places`` has the queues, this one first. As that of a
#: post, the row of a queue is locked. One that was purged or made at this very moment may have a floor
#: above this transaction: then it gets nothing.
PLACES = f"""{_places(_COUNT)}
    transaction AS MATERIALIZED (SELECT first_id FROM begun WHERE {_COUNT} <= {_MOST}),"""

#: The same for one message, which are never too many.
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

#: To follow the statement: a row with how many messages it could have, below zero, if it has more.
TOO_MANY = f"""
     UNION ALL
    SELECT -{_MOST}, {{nothing}}ARRAY[]::text[], ARRAY[]::text[] FROM begun
     WHERE {_COUNT} > {_MOST}"""


def refuse_too_many(messages: int, most: int) -> NoReturn:
    """Say that a post is too large for the number of those who get it."""
    raise InvalidRequest(
        f'Each message that is posted to this queue goes to several subscribers. So one request can '
        f'post {most} messages at most, not {messages}: send them in several requests.'
    )
