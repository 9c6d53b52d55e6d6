"""How the planner is led to the one good plan, whatever its statistics say.

A queue fills and drains faster than PostgreSQL takes notice. Statistics may say that it holds one
message when it holds a million, or that nothing was ever claimed. By such statistics a claim of
ten messages once read a whole queue. So each statement is written such that there is one way to
run it:

*Connections read by index, in its order.* ``session_settings.py`` turns off sequential scans, bitmap
scans and sorts wherever there is another way.

*Plans are generic.* A statement is planned once for a connection (``prepared.py``), for any
parameters. So one that is slow is slow at once, and tests see it.

*Parts are materialized.* PostgreSQL plans each ``AS MATERIALIZED`` by itself, and no condition moves
into it or out of it. It runs a part only as far as somebody asks for its rows.

*An index is named by its expression.* ``FRESH_ID`` is written ``(id + 0)``, which only the index
of fresh messages has. Else the planner would take the primary key where all messages were fresh at
the last ANALYZE, and walk whatever was claimed since. In the same way ``ORDER BY held_until, id``
asks for the index of held messages.

*An index is kept away by coalesce.* ``coalesce(held_until > now(), false)`` is a condition that the
index on ``held_until`` cannot serve (``tables._IS_HELD``). Where it shall serve, the condition is
written plainly (``deletes._CLAIMED_HERE``).

*Rows are named by their place.* What was found and locked is changed by ``ctid = ANY (ARRAY(…))``,
and nothing beside it: with ``queue_id`` the planner would walk the keys of a queue that it takes
for a small one (``dequeue.py``).

*Look-ups are LATERAL, with a LIMIT.* That is always a nested loop, one look-up for each row. A plain
join could read all bodies of a queue for a page of ten: :func:`body_of`.

``tests/model/test_plans.py`` looks at the plans, ``tests/model/test_rows_looked_at.py`` counts the
rows, both for statistics that know nothing, the wrong thing, or all.
"""


def body_of(row: str) -> str:
    """A part of FROM that joins the row of ``messages``, under the name ``message``.

    :param row: the name of a part of FROM whose column ``id`` is the message's id
    """
    return f"""LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                           FROM messages
                          WHERE queue_id = %(queue_id)s AND id = {row}.id LIMIT 1) AS message"""
