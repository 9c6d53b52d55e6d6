"""Claims: messages reserved for one worker, until it is done or its time is over."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from marconi_api.errors import ClaimNotFound, Fault, StorageUnavailable
from marconi_api.model import dead_letters
from marconi_api.model.attributes import Attributes, KnownAttributes
from marconi_api.model.claim_sources import ClaimSource, divide
from marconi_api.model.messages import Message, messages_under
from marconi_api.model.postgres.database import Database, Row
from marconi_api.model.postgres.dequeue import FOUND, find, report, take
from marconi_api.model.postgres.low_water_marks import LowWaterMarks
from marconi_api.model.postgres.prepared import Prepared
from marconi_api.model.postgres.tables import (
    AGE_OF,
    IS_ALIVE,
    IS_CLAIMED,
    THE_QUEUE,
    THE_QUEUE_AS_KNOWN,
    QueueKey,
    claim_id,
)

_TRIES = 5


@dataclass(frozen=True)
class Claim:
    """A live claim and the live messages it holds, in posting order.

    ``ttl`` and ``age`` in seconds; ``age`` since it was made or last renewed.
    """

    id: str
    ttl: int
    age: int
    messages: list[Message]


class Claims:
    """The claims on all queues. Ids that cannot be parsed are ids of no claim."""

    def __init__(
        self, database: Database, marks: LowWaterMarks, attributes: KnownAttributes
    ) -> None:
        self._database = database
        self._marks = marks
        self._attributes = attributes

    def create(self, queue: QueueKey, ttl: int, grace: int, limit: int) -> Claim | None:
        """Reserve up to ``limit`` messages for ``ttl`` seconds; None if there are none.

        Messages that came back (released, or lapsed with their claim) come first, then
        fresh ones in posting order. A message that would end before the claim is made to
        outlive it by ``grace`` seconds. Others are not waited for: what they are taking at
        this moment is passed over. A message that was handed out as often as the queue's
        attributes allow is a dead letter: it is moved or parked, not handed out again.
        """
        claim = self._claim(queue, ttl, grace, limit)
        return claim if claim and claim.messages else None

    def create_across(
        self, sources: Sequence[ClaimSource], ttl: int, grace: int, limit: int
    ) -> tuple[list[tuple[QueueKey, Claim]], list[QueueKey]]:
        """Reserve up to ``limit`` messages of several queues, each queue under its own claims.

        Without weights the queues are asked in order, until there are enough. With weights
        each message is drawn for a queue by chance, in proportion to the weights; what a queue
        does not have is left to the others. One statement a queue that is asked. What was
        claimed is returned also if a later queue then cannot be asked.

        :returns: the claims, each with its queue; and the queues that do not exist
        """
        claims: list[tuple[QueueKey, Claim]] = []
        missing: list[QueueKey] = []

        def claim(queue: QueueKey, count: int) -> int:
            try:
                made = self._claim(queue, ttl, grace, count)
            except (Fault, StorageUnavailable):
                # Unseen, what was claimed so far would be held for its whole time.
                if claims:
                    return 0
                raise
            if made is None:
                missing.append(queue)
                return 0
            if made.messages:
                claims.append((queue, made))
            return len(made.messages)

        divide(sources, limit, claim)
        return claims, missing

    def _claim(self, queue: QueueKey, ttl: int, grace: int, limit: int) -> Claim | None:
        """A claim, stored if it holds messages; None if there is no such queue."""
        identity = str(uuid4())
        terms = {'claim_id': identity, 'ttl': ttl, 'grace': grace, 'limit': limit}
        rows = self._take(queue, terms)
        return None if rows is None else Claim(identity, ttl, 0, messages_under(identity, rows))

    def _take(self, queue: QueueKey, terms: dict[str, Any]) -> list[Row] | None:
        """The rows that were taken; None if there is no such queue."""
        known = self._attributes.recall(queue)
        for _ in range(_TRIES):
            attributes = known or self._attributes.read(queue)
            if attributes is None:
                return None
            taken = take(
                self._database,
                self._marks,
                queue,
                _CREATE_WITHIN_LIMIT if attributes.max_claim_count else _CREATE,
                {**terms, **_parameters(queue, attributes)},
                attributes.max_claim_count,
            )
            if taken is not None:
                return taken
            known = None
        raise StorageUnavailable

    def get(self, queue: QueueKey, claim: str) -> Claim:
        """The claim with what it still holds; one that holds nothing is no more."""
        identity = claim_id(claim)
        rows = identity and self._database.rows(
            _GET, {**queue.parameters, 'claim_id': identity}, repeatable=True
        )
        if not identity or not rows:
            raise ClaimNotFound(claim, queue.name, queue.project)
        ttl, age = rows[0][4:]
        return Claim(identity, ttl, age, messages_under(identity, rows))

    def renew(self, queue: QueueKey, claim: str, ttl: int, grace: int) -> None:
        """Start the claim anew: it and what it still holds last ``ttl`` seconds from now.

        A message that would end before the claim is made to outlive it by ``grace``. A claim
        that holds nothing is no more, and is left as it is.
        """
        identity = claim_id(claim)
        parameters = {**queue.parameters, 'claim_id': identity, 'ttl': ttl, 'grace': grace}
        if not identity or not self._database.rows(_RENEW, parameters, repeatable=True):
            raise ClaimNotFound(claim, queue.name, queue.project)

    def release(self, queue: QueueKey, claim: str) -> int:
        """Give back at once what the claim still holds; how many messages that were.

        No such claim is no error.
        """
        parameters = {**queue.parameters, 'claim_id': claim_id(claim)}
        return len(self._database.rows(_RELEASE, parameters, repeatable=True))


_END = "now() + %(ttl)s * interval '1 second'"
_OUTLIVE = f'expires_at < {_END}'

# How a claim, made or renewed, sets its mark on a message.
_HOLD = f"""
           held_until = {_END},
           ttl = CASE WHEN {_OUTLIVE} THEN %(ttl)s::int + %(grace)s::int ELSE ttl END,
           expires_at = CASE WHEN {_OUTLIVE} THEN {_END} + %(grace)s * interval '1 second'
                             ELSE expires_at END"""


def _parameters(queue: QueueKey, attributes: Attributes) -> dict[str, Any]:
    if attributes.max_claim_count:
        return dead_letters.parameters(queue, attributes)
    return {'digest': attributes.digest}


def _create_statement(
    may_be_claimed: str = 'true', put_away: str = '', first_alive: str = 'NULL'
) -> str:
    return f"""{find(THE_QUEUE_AS_KNOWN, may_be_claimed)},{put_away}
    taken AS (
        UPDATE message_states
           SET claim_id = %(claim_id)s::uuid, claim_count = claim_count + 1, {_HOLD}
         WHERE {FOUND}
     RETURNING id, ttl),
    claim AS (
        INSERT INTO claims (queue_id, id, started_at, expires_at, ttl, message_ids)
        SELECT %(queue_id)s, %(claim_id)s::uuid, now(), {_END}, %(ttl)s, array_agg(id ORDER BY id)
          FROM taken HAVING count(*) > 0)
    {report(_CLAIMED, _TAKEN, first_alive)}"""


_CLAIMED = {
    'id': 'taken.id',
    'ttl': 'taken.ttl',
    'age': AGE_OF.format('message.created_at'),
    'body': 'message.body',
}
_TAKEN = """taken,
               LATERAL (SELECT created_at, body FROM messages
                         WHERE queue_id = %(queue_id)s AND id = taken.id LIMIT 1) AS message"""


_CREATE = Prepared(_create_statement(), 'claim')
_CREATE_WITHIN_LIMIT = Prepared(
    _create_statement(
        dead_letters.MAY_BE_CLAIMED, f'{dead_letters.PUT_AWAY},', dead_letters.FIRST_ALIVE
    ),
    'claim_within_limit',
)

_HELD = f"""
       queue_id = %(queue_id)s AND id = ANY ((SELECT message_ids FROM claim)::bigint[])
       AND claim_id = %(claim_id)s::uuid AND {IS_CLAIMED} AND {IS_ALIVE}"""

_GET = Prepared(
    f"""
    WITH the_queue AS MATERIALIZED ({THE_QUEUE}),
    claim AS MATERIALIZED (
        SELECT ttl, started_at, message_ids FROM claims
         WHERE queue_id = %(queue_id)s AND id = %(claim_id)s::uuid AND expires_at > now()),
    held AS MATERIALIZED (SELECT id, ttl FROM message_states WHERE {_HELD})
    SELECT held.id, held.ttl, {AGE_OF.format('message.created_at')}, message.body,
           claim.ttl, {AGE_OF.format('claim.started_at')}
      FROM claim, held,
           LATERAL (SELECT created_at, body FROM messages
                     WHERE queue_id = %(queue_id)s AND id = held.id LIMIT 1) AS message
     ORDER BY held.id
""",
    'get_claim',
)

_RENEW = Prepared(
    f"""
    WITH the_queue AS MATERIALIZED ({THE_QUEUE}),
    claim AS MATERIALIZED (
        SELECT message_ids FROM claims
         WHERE queue_id = %(queue_id)s AND id = %(claim_id)s::uuid AND expires_at > now()
           FOR NO KEY UPDATE),
    renewed AS (
        UPDATE message_states SET {_HOLD}
         WHERE {_HELD}
     RETURNING id),
    claim_renewed AS (
        UPDATE claims SET started_at = now(), expires_at = {_END}, ttl = %(ttl)s
         WHERE queue_id = %(queue_id)s AND id = %(claim_id)s::uuid
           AND EXISTS (SELECT FROM renewed))
    SELECT id FROM renewed
""",
    'renew',
)

# The clock is read after the transaction has its id: low_water_marks.py builds on that.
_RELEASE = Prepared(
    f"""
    WITH the_queue AS MATERIALIZED ({THE_QUEUE}),
    claim AS (
        DELETE FROM claims
         WHERE queue_id = %(queue_id)s AND id = %(claim_id)s::uuid
     RETURNING message_ids),
    transaction AS MATERIALIZED (SELECT pg_current_xact_id() FROM claim),
    returned AS MATERIALIZED (SELECT clock_timestamp() AS at FROM transaction)
    UPDATE message_states SET held_until = (SELECT at FROM returned), claim_id = NULL
     WHERE {_HELD}
 RETURNING id
""",
    'release',
)
