"""How free messages are taken: what a claim and a pop have in common.

The rows to take are found by key, locked, and then named by their place (ctid), which holds
good within the statement: what somebody changed between its snapshot and the lock has another
place now, and is left out. Nothing but the place: with `queue_id` beside it, the planner would
walk the keys of a queue that it takes for a small one.
"""

from collections.abc import Mapping
from typing import Any

from marconi_api.model.database import Database, Row
from marconi_api.model.hints import Hints, Seen, Start
from marconi_api.model.tables import FRESH_ID, IS_ALIVE, IS_FRESH_HERE, OLDEST_UNFINISHED, QueueKey

_TRIES = 5

#: Returned messages, from the hint on; those that were returned first come first.
RETURNED = f"""
         WHERE queue_id = %(queue_id)s AND held_until >= %(held_hint)s AND held_until <= now()
           AND {IS_ALIVE}"""
_FRESH = f"""
         WHERE queue_id = %(queue_id)s AND held_until IS NULL AND {FRESH_ID} >= %(fresh_hint)s
           AND expires_at > now() AND {IS_FRESH_HERE}"""


def find(the_queue: str, of_the_returned: str = 'true') -> str:
    """The start of a statement that takes: finds and locks up to ``limit`` free messages.

    :param of_the_returned: the condition for those returned messages that may be taken
    """
    return f"""
    WITH the_queue AS MATERIALIZED ({the_queue}),
    returned AS MATERIALIZED (
        SELECT ctid FROM message_states {RETURNED} AND {of_the_returned}
         ORDER BY held_until, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED),
    fresh AS MATERIALIZED (
        SELECT ctid FROM message_states {_FRESH}
         ORDER BY {FRESH_ID} LIMIT %(limit)s - (SELECT count(*) FROM returned)
           FOR UPDATE SKIP LOCKED),
    seen AS MATERIALIZED (
        SELECT (SELECT id FROM message_states {_FRESH} ORDER BY {FRESH_ID} LIMIT 1) AS first_fresh,
               (SELECT held_until FROM message_states {RETURNED}
                 ORDER BY held_until, id LIMIT 1) AS first_held)"""


#: The condition for the rows that were found.
FOUND = 'ctid = ANY (ARRAY(SELECT ctid FROM returned UNION ALL SELECT ctid FROM fresh))'


def report(columns: Mapping[str, str], taken: str) -> str:
    """The end of a statement that takes: a row of what it saw, then one for each message.

    What it saw, in the last columns, are the first rows that its snapshot holds, for the hints,
    and to tell a queue with nothing to take from a race that was lost; and whether there is a
    queue. They are told once: with each of ten messages they took 32 us, where those took 19.

    :param columns: what to tell of a message, by name; the first is ``id``
    :param taken: where they are, as in FROM
    """
    described = ', '.join(f'{expression} AS {name}' for name, expression in columns.items())
    # What is taken stands first, as the transaction has no id before it has locked something:
    # PostgreSQL runs the parts of a union in order. (Else it would tell no id, and the hint for
    # returned messages would stay where it is.)
    return f"""
    SELECT * FROM (
        SELECT {described}, NULL AS first_fresh{', NULL' * (_COLUMNS_SEEN - 1)}
          FROM {taken}
         UNION ALL
        SELECT {', '.join(['NULL'] * len(columns))},
               seen.first_fresh, seen.first_held, now(), {OLDEST_UNFINISHED},
               pg_current_xact_id_if_assigned()::text::bigint + %(base)s,
               EXISTS (SELECT FROM the_queue)
          FROM seen) AS reply
     ORDER BY id NULLS FIRST"""


_COLUMNS_SEEN = len(Seen._fields) + 1


def take(
    database: Database,
    hints: Hints,
    queue: QueueKey,
    statement: str,
    parameters: Mapping[str, Any],
) -> list[Row] | None:
    """Run a statement that takes, until it took something or there was nothing to take.

    :param statement: starts with :func:`find` and ends with :func:`report`
    :returns: the rows of what was taken, which begin with the ``columns`` of the report; None
        if there is no such queue
    """
    start: Start

    def with_start() -> dict[str, Any]:
        nonlocal start
        start = hints.start(queue.id)
        return {**queue.parameters, **start.hint.parameters, **parameters}

    for _ in range(_TRIES):
        saw, *taken = database.rows(statement, with_start)
        *seen_values, is_queue = saw[-_COLUMNS_SEEN:]
        if not is_queue:
            return None
        seen = Seen(*seen_values)
        hints.learn(queue.id, start, seen)
        if taken or (seen.first_fresh is None and seen.first_held is None):
            return taken
    return []
