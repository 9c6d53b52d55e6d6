"""Keys of requests: one that is sent again under its key is not done again.

The row of a key is written by the statement that does the work, so that there is either both or
neither. Of several at once the first one to write it does the work; the others wait for it.

A claim that found nothing leaves no key. So one that is sent again, or at the same moment, first
waits for the other to end (a lock of PostgreSQL's for this key), then takes messages of its own,
and last comes upon the row of the key: that undoes all of it, and what the other took is read.
"""

from hashlib import blake2b
from typing import Any, NamedTuple

from marconi_api import limits
from marconi_api.model.postgres.prepared import Prepared
from marconi_api.model.postgres.tables import POSITION_BITS, RETIRED, THE_QUEUE, QueueKey

# What a request was to do: the column `operation`.
_POST = 0
CLAIM = 1
#: A claim across queues may make several claims of one queue: the first has this number.
CLAIM_ACROSS = 2
#: So many at most, if it has a key.
MOST_CLAIMS_OF_A_QUEUE = 8
_CLAIMS = ', '.join(map(str, range(CLAIM, CLAIM_ACROSS + MOST_CLAIMS_OF_A_QUEUE)))
_CLAIMS_ACROSS = _CLAIMS.partition(', ')[2]


class RequestKey(NamedTuple):
    """What a request is remembered by, each a hash of 128 bits in hexadecimal.

    ``name``: of what the client calls it; ``digest``: of all that it asks for
    """

    name: str
    digest: str

    @classmethod
    def of(cls, name: str, content: bytes) -> 'RequestKey':
        """The key of a request that has this content, and that the client calls so."""
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


# Expired, of messages that were purged, or of a queue that was here before.
_IS_FORGOTTEN = '(known.expires_at <= now() OR known.first_id < (SELECT floor FROM the_queue))'


def _renewed(column: str) -> str:
    return f'{column} = CASE WHEN {_IS_FORGOTTEN} THEN excluded.{column} ELSE known.{column} END'


#: Parts of a post's statement: `remembered` has the row of the key, which may be another post's,
#: and `mine` the transaction if it is this one's. A row that somebody else is writing is waited
#: for, and is then seen though it is younger than the snapshot: DO NOTHING would tell nothing of it.
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

#: The columns of such a statement, from ``remembered``: the first message's id, whether the request was the same, and
#: whether it was done just now.
POST_REMEMBERED = 'first_id, digest = %(key_digest)s::uuid, EXISTS (SELECT FROM mine)'

#: The first post's first id, and whether it was the same request: for one that is refused otherwise.
KNOWN_POST = Prepared(
    f"""
    WITH the_queue AS MATERIALIZED ({THE_QUEUE})
    SELECT first_id, digest = %(key_digest)s::uuid FROM the_queue, idempotency_keys AS known
     WHERE known.queue_id = %(queue_id)s AND operation = {_POST} AND key = %(key)s::uuid
       AND NOT {_IS_FORGOTTEN}""",
    'known_post',
)

#: To follow the queue of a claim's statement: it waits for others with the same key to end.
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
       AND NOT {_IS_FORGOTTEN}""",
    'known_claim',
)

#: The same of a claim across queues, with the queue of each.
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

#: Makes room for a claim's key where there is a forgotten one.
REMOVE_FORGOTTEN = f"""
    WITH the_queue AS MATERIALIZED ({THE_QUEUE})
    DELETE FROM idempotency_keys AS known
     WHERE queue_id = %(queue_id)s AND operation = %(operation)s AND key = %(key)s::uuid
       AND {_IS_FORGOTTEN}"""

#: Forgets a claim of which its client never learned.
FORGET_CLAIM = f"""
    DELETE FROM idempotency_keys
     WHERE queue_id = %(queue_id)s AND operation IN ({_CLAIMS}) AND key = %(key)s::uuid
       AND claim_id = %(claim_id)s::uuid"""

#: Removes keys whose time is over, a batch at a time; tells until when theirs was.
REMOVE_EXPIRED = """
    DELETE FROM idempotency_keys
     WHERE ctid = ANY (ARRAY(
           SELECT ctid FROM idempotency_keys
            WHERE expires_at >= %(after)s::timestamptz AND expires_at <= now()
            ORDER BY expires_at LIMIT %(batch_size)s FOR UPDATE SKIP LOCKED))
 RETURNING expires_at::text
"""
