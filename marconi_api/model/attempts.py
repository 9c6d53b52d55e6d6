"""Attempts: a claim on a FIFO queue that is made again under the attempt's id is the same claim.

If the answer to a claim is lost, its messages are held until the claim lapses, and in a FIFO queue their
groups give nothing meanwhile. A client that names its attempt asks again, and gets the same messages, held
anew from then on. If one of them was deleted, or is held for another time than the others, it gets a
new claim. An attempt is remembered for five minutes, as an idempotency key.
"""

from typing import Any

from marconi_api.model.idempotency import RequestKey
from marconi_api.model.postgres.tables import QueueKey

#: The operation of an attempt, among those of idempotency keys.
ATTEMPT = 21

# Seconds.
_WINDOW = 300


def parameters_of_attempt(queue: QueueKey, attempt: str) -> dict[str, Any]:
    """The parameters of a claim's statement that remembers the attempt."""
    key = RequestKey.of(attempt, b'')
    return key.parameters_of_claim(queue, ATTEMPT) | {'key_window': _WINDOW}


#: Forgets the claim of an attempt.
FORGET_ATTEMPT = f"""
    DELETE FROM idempotency_keys
     WHERE queue_id = %(queue_id)s AND operation = {ATTEMPT} AND key = %(key)s::uuid
       AND claim_id = %(claim_id)s::uuid"""
