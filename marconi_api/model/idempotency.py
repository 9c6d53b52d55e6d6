"""Idempotency keys: a request that is sent again under its key is not carried out again.

The statement that does the work also writes the row of the key, so there is both or neither. If
several requests with a key come at once, the first one to write the row does the work; the others
wait for it.

A claim that found nothing leaves no key. So a claim with a key first waits until other requests with
the key have ended (by a lock of PostgreSQL's for the key). Then it takes messages, and writes the row
of the key. If that row is there already, PostgreSQL undoes the whole statement, and the claim of the
other request is read instead.
"""

from hashlib import blake2b
from typing import Any, NamedTuple

from marconi_api import limits
from marconi_api.model.postgres.prepared import Prepared
from marconi_api.model.postgres.tables import POSITION_BITS, RETIRED, THE_QUEUE, QueueKey

# What a request was to do: the column `operation`.
_POST = 0
CLAIM = 1
#: The operation of the first claim that a claim across queues makes on a queue; the second claim on
#: the same queue has the next number, and so on.
CLAIM_ACROSS = 2
#: Claims that a claim across queues with a key makes on one queue, at most.
MOST_CLAIMS_OF_A_QUEUE = 8
_CLAIMS = ', '.join(map(str, range(CLAIM, CLAIM_ACROSS + MOST_CLAIMS_OF_A_QUEUE)))
_CLAIMS_ACROSS = _CLAIMS.partition(', ')[2]
#: The operation of a message in a FIFO queue, which is posted once under its deduplication id.
MESSAGE = 20


class RequestKey(NamedTuple):
    """An idempotency key; each member is a hash of 128 bits in hexadecimal.

    ``name``: of the header that the client sent; ``digest``: of all that the request asks for
    """

    name: str
    digest: str

    @classmethod
    def of(cls, name: str, content: bytes) -> 'RequestKey':
        """The key of a request.

        :param name: the header that the client sent
        :param content: all that the request asks for
        """
        return cls(_hash(name.encode()), _hash(content))

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of a statement that remembers the request."""
        return {
            'key': self.name,
            'key_digest': self.digest,
            'key_window': limits.in_force.idempotency_window,
        }

    def parameters_of_claim(self, queue: QueueKey, operation: int) -> dict[str, Any]:
        """The parameters of a claim's statement that remembers the request."""
        lock = (queue.id ^ int(self.name[:16], 16) ^ operation) & (2**64 - 1)
        return {
            **self.parameters,
            'operation': operation,
            'key_lock': lock - 2**63,
        }


def _hash(content: bytes) -> str:
    return blake2b(content, digest_size=16).hexdigest()


#: The condition that a key is forgotten: it has expired, its messages were purged, or it belongs to a
#: deleted queue of the same name.
IS_FORGOTTEN = '(known.expires_at <= now() OR known.first_id < (SELECT floor FROM the_queue))'


def _renewed(column: str) -> str:
    return f'{column} = CASE WHEN {IS_FORGOTTEN} THEN excluded.{column} ELSE known.{column} END'


#: Parts of a post's statement: `remembered` has the row of the key, which may be another post's, and
#: `mine` has the transaction if the row is this post's. The upsert waits for another request that is
#: writing the row, and returns the row though it is younger than the snapshot. (With ON CONFLICT DO
#: NOTHING it would return nothing.)
REMEMBER_POST = f"""
    remembered AS (
        INSERT INTO idempotency_keys AS known
               (queue_id, operation, key, digest, first_id, expires_at)
        SELECT %(queue_id)s, {_POST}, %(key)s::uuid, %(key_digest)s::uuid, first_id,
               now() + %(key_window)s * interval '1 second'
          FROM transaction
            ON CONFLICT (queue_id, operation, key) DO UPDATE
           SET {_renewed('digest')},
               {_renewed('first_id')},
               {_renewed('expires_at')}
     RETURNING first_id, digest),
    mine AS MATERIALIZED (SELECT first_id FROM transaction JOIN remembered USING (first_id)),"""

#: The columns of such a statement, from ``remembered``: the first message's id, whether the request was
#: the same, and whether it was carried out just now.
POST_REMEMBERED = 'first_id, digest = %(key_digest)s::uuid, EXISTS (SELECT FROM mine)'

#: The first id of the earlier post, and whether it was the same request. It serves a post that was
#: sent again and would be refused by now.
KNOWN_POST = Prepared(
    f"""
    WITH the_queue AS MATERIALIZED ({THE_QUEUE})
    SELECT first_id, digest = %(key_digest)s::uuid FROM the_queue, idempotency_keys AS known
     WHERE known.queue_id = %(queue_id)s AND operation = {_POST} AND key = %(key)s::uuid
       AND NOT {IS_FORGOTTEN}""",
    'known_post',
)

#: A condition after the query for a claim's queue: it waits until others with the same key have ended.
ONE_AT_A_TIME = """
       AND (SELECT pg_advisory_xact_lock(%(key_lock)s::bigint)) IS NOT NULL"""

#: A part of a claim's statement, which fails if the key is known.
REMEMBER_CLAIM = f""",
    remembered AS (
        INSERT INTO idempotency_keys
               (queue_id, operation, key, digest, first_id, claim_id, expires_at)
        SELECT %(queue_id)s, %(operation)s, %(key)s::uuid, %(key_digest)s::uuid,
               (pg_current_xact_id()::text::bigint + %(base)s) << {POSITION_BITS},
               %(claim_id)s::uuid, now() + %(key_window)s * interval '1 second'
          FROM taken HAVING count(*) > 0)"""

#: The claim that a request made, and whether it was the same request.
KNOWN_CLAIM = Prepared(
    f"""
    WITH the_queue AS MATERIALIZED ({THE_QUEUE})
    SELECT claim_id::text, digest = %(key_digest)s::uuid
      FROM the_queue, idempotency_keys AS known
     WHERE known.queue_id = %(queue_id)s AND operation = %(operation)s AND key = %(key)s::uuid
       AND NOT {IS_FORGOTTEN}""",
    'known_claim',
)

#: The claims that a claim across queues made, each with its queue.
KNOWN_CLAIMS_ACROSS = Prepared(
    f"""
    SELECT known.queue_id, claim_id::text, digest = %(key_digest)s::uuid
      FROM idempotency_keys AS known, queues
     WHERE known.queue_id = ANY(%(ids)s::bigint[]) AND operation IN ({_CLAIMS_ACROSS})
       AND key = %(key)s::uuid AND known.expires_at > now()
       AND queues.queue_id = known.queue_id AND floor < {RETIRED} AND known.first_id >= floor
     ORDER BY array_position(%(ids)s::bigint[], known.queue_id), operation""",
    'known_claims_across',
)

#: Removes a forgotten row of a key, to make room for a claim's.
REMOVE_FORGOTTEN = f"""
    WITH the_queue AS MATERIALIZED ({THE_QUEUE})
    DELETE FROM idempotency_keys AS known
     WHERE queue_id = %(queue_id)s AND operation = %(operation)s AND key = %(key)s::uuid
       AND {IS_FORGOTTEN}"""

#: Forgets a claim of which its client never learned.
FORGET_CLAIM = f"""
    DELETE FROM idempotency_keys
     WHERE queue_id = %(queue_id)s AND operation IN ({_CLAIMS}) AND key = %(key)s::uuid
       AND claim_id = %(claim_id)s::uuid"""

#: Removes a batch of expired keys; returns when each expired.
REMOVE_EXPIRED = """
    DELETE FROM idempotency_keys
     WHERE ctid = ANY (ARRAY(
           SELECT ctid FROM idempotency_keys
            WHERE expires_at >= %(after)s::timestamptz AND expires_at <= now()
            ORDER BY expires_at LIMIT %(batch_size)s FOR UPDATE SKIP LOCKED))
 RETURNING expires_at::text
"""
