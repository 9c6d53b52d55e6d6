"""The transitions of a message: each way to write ``held_until``, once.

**The rule.** A statement first takes its transaction's id, and then reads the clock. Every
``held_until`` is that instant or a later one. The proof of the low-water marks rests on it
(low_water_marks.py), and a message that a statement writes otherwise can be lost for minutes.
``now()`` does not do: it is the time at which the transaction began, which may have been long
before it got its id. So a statement that uses any of these has ``CLOCK`` among its parts.

For example: a transaction begins at 12:00:00, and waits. At 12:00:05 a process sees that all
transactions with an id have ended, and that nothing can be claimed: its mark is at 12:00:05. Now
the first one gets an id and claims a message for a second. By ``now()`` it would be held until
12:00:01. That is below the mark, where nobody looks.
"""

#: The part of a statement that reads the clock. CASE looks at its condition first, so the
#: transaction has its id by then. PostgreSQL runs the part when a row asks for it: a statement
#: that changes nothing takes no id.
CLOCK = """clock AS MATERIALIZED (
        SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at)"""

#: The instant at which the statement's messages change.
NOW = '(SELECT at FROM clock)'


def after(seconds: str) -> str:
    """The instant so many seconds, as SQL, after ``NOW``."""
    return f"{NOW} + {seconds} * interval '1 second'"


def due_after(delay: str) -> str:
    """A new message's ``held_until``: null for one that is fresh at once."""
    return f'CASE WHEN {delay} > 0 THEN {after(delay)} END'


#: When a claim ends that is made or renewed now.
CLAIM_ENDS = after('%(ttl)s')
_ENDS_BEFORE = f'expires_at < {CLAIM_ENDS}'

#: Claimed for ``ttl`` seconds from now on. A message that would expire before the claim ends outlives
#: the claim by ``grace`` seconds.
HELD_FOR = f"""held_until = {CLAIM_ENDS},
           ttl = CASE WHEN {_ENDS_BEFORE} THEN %(ttl)s::int + %(grace)s::int ELSE ttl END,
           expires_at = CASE WHEN {_ENDS_BEFORE}
                             THEN {CLAIM_ENDS} + %(grace)s * interval '1 second'
                             ELSE expires_at END"""

#: The same for a message that is posted, in the terms of the claim that has it from the start: when the
#: claim ends, and the message's own ttl and end.
CLAIM_OF_A_POST_ENDS = after('%(claim_ttl)s::int')
_POST_ENDS = "now() + %(ttl)s::int * interval '1 second'"
_POST_ENDS_BEFORE = f'{_POST_ENDS} < {CLAIM_OF_A_POST_ENDS}'
HELD_FROM_THE_START = f"""{CLAIM_OF_A_POST_ENDS} AS held_until,
           CASE WHEN {_POST_ENDS_BEFORE} THEN %(claim_ttl)s::int + %(grace)s::int
                ELSE %(ttl)s::int END AS ttl,
           CASE WHEN {_POST_ENDS_BEFORE}
                THEN {CLAIM_OF_A_POST_ENDS} + %(grace)s::int * interval '1 second'
                ELSE {_POST_ENDS} END AS expires_at"""

#: Claimed by an SQS client for ``ttl`` seconds from now on. The message expires when it would have.
RECEIVED_FOR = f"""held_until = {CLAIM_ENDS},
           first_received_at = coalesce(first_received_at, {NOW})"""

#: Kept from others until ``until`` by the receipt that holds it, and still deleted by that afterwards.
SHOWN_AFTER = 'held_until = until'

#: Returned: it can be claimed from now on.
READY_NOW = f'held_until = {NOW}, claim_id = NULL'

#: The same of a message whose claim nobody has seen: it does not count.
AS_BEFORE_THE_CLAIM = f'{READY_NOW}, claim_count = claim_count - 1'

#: Returned at ``until``, with its whole ttl and no claims counted.
STARTED_ANEW = """held_until = until, claim_id = NULL, claim_count = 0, park_reason = NULL,
           expires_at = until + ttl * interval '1 second'"""

#: Out of circulation until it is kicked; it does not expire.
PARKED = "held_until = 'infinity', expires_at = 'infinity', claim_id = NULL"

#: The transition of a ``verdict``; ``until`` is ``seconds`` after ``NOW``.
AS_JUDGED = """held_until = CASE verdict WHEN 'park' THEN 'infinity' ELSE until END,
           claim_id = CASE verdict WHEN 'touch' THEN claim_id END,
           claim_count = CASE verdict WHEN 'kick' THEN 0 ELSE claim_count END,
           park_reason = reason,
           ttl = CASE WHEN seconds > 0 AND expires_at < until THEN seconds + grace ELSE ttl END,
           expires_at = CASE WHEN verdict = 'park' THEN 'infinity'
                             WHEN verdict = 'kick' THEN until + ttl * interval '1 second'
                             WHEN seconds > 0 AND expires_at < until
                             THEN until + grace * interval '1 second'
                             ELSE expires_at END"""
