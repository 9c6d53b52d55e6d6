"""Keys of requests: one that is sent again under its key is not done again.

The row of a key is written by the statement that does the work, so that there is either both or
neither. Of several at once the first one to write it does the work; the others wait for it.
"""

from hashlib import blake2b
from typing import Any, NamedTuple

from marconi_api import limits

# What a request was to do: the column `operation`.
_POST = 0


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

#: The row of such a statement: the first message's id, whether the request was the same, and
#: whether it was done just now.
POST_REMEMBERED = """
    SELECT first_id, digest = %(key_digest)s::uuid, EXISTS (SELECT FROM mine) FROM remembered"""

#: Removes keys whose time is over, a batch at a time; tells until when theirs was.
REMOVE_EXPIRED = """
    DELETE FROM idempotency_keys
     WHERE ctid = ANY (ARRAY(
           SELECT ctid FROM idempotency_keys
            WHERE expires_at >= %(after)s::timestamptz AND expires_at <= now()
            ORDER BY expires_at LIMIT %(batch_size)s FOR UPDATE SKIP LOCKED))
 RETURNING expires_at::text
"""
