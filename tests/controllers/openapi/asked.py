"""How examples come upon messages that ask for a reply, and what became of these."""

import json
from typing import Any

from marconi_api.model import RequestKey

#: What all messages of the tables are made to be, by the circumstance: reply and reason.
ASKED: dict[str, tuple[str | None, str | None]] = {
    'all messages ask for a reply': (None, None),
    'a reply': ('{"a": null}', None),
    'a request that ended': (None, 'deleted'),
}
FORGOTTEN = 'a request that was forgotten'

_ASK = """
    INSERT INTO requests
           (message_id, queue_id, lies_in, project, reply, reason, ended_at, kept_until)
    SELECT id, queue_id, queue_id, project, %(reply)s, %(reason)s,
           CASE WHEN %(reply)s IS NOT NULL OR %(reason)s IS NOT NULL THEN now() END,
           now() + interval '1 hour'
      FROM message_states JOIN queues USING (queue_id)"""

# A request to which the example was the first one, under its key.
_REMEMBER = """
    INSERT INTO idempotency_keys (queue_id, operation, key, digest, first_id, expires_at)
    SELECT queue_id, 0, %s, %s, max(id), now() + interval '1 hour' FROM message_states
     GROUP BY queue_id"""


def make_asked(sql: Any, given: str) -> None:
    """Make all messages what the circumstance says, and one of them that of the examples' key."""
    if given in ASKED:
        reply, reason = ASKED[given]
        with sql.connection.cursor() as cursor:
            cursor.execute(_ASK, {'reply': reply, 'reason': reason})
    sql(_REMEMBER, *RequestKey.of('request key', json.dumps({'body': 1}).encode()))
