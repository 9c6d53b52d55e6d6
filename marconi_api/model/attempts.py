"""Attempts: a claim on a FIFO queue that is made again under the attempt's id is the same claim.

If the answer to a claim is lost, its messages are held until the claim lapses, and in a FIFO queue their
groups give nothing meanwhile. A client that names its attempt asks again, and gets the same messages, held
anew from then on. If one of them was deleted, or is held for another time than the others, it gets a
new claim. An attempt is remembered for five minutes, as an idempotency key.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from marconi_api.errors import (
    AlreadyThere,
    IdempotencyKeyInUse,
    StorageTooSlow,
    StorageUnavailable,
)
from marconi_api.model.idempotency import KNOWN_CLAIM, REMOVE_FORGOTTEN, RequestKey
from marconi_api.model.postgres.database import Database
from marconi_api.model.postgres.tables import QueueKey

# The operation of an attempt, among those of idempotency keys.
_ATTEMPT = 21

# Seconds.
_WINDOW = 300

_TRIES = 5

T = TypeVar('T')


def claim_of_attempt(
    database: Database,
    queue: QueueKey,
    attempt: str,
    again: Callable[[str], T | None],
    make: Callable[[Mapping[str, Any]], T | None],
) -> T | None:
    """What an earlier attempt of this name got, or what a new claim gets; None if that is nothing.

    :param again: lets a claim of this id begin anew, and returns it; None if it is not as it was
    :param make: makes a claim whose statement takes these parameters, too; None if there is nothing
    :raises IdempotencyKeyInUse: if another request with this attempt does not end in time
    """
    key = RequestKey.of(attempt, b'')
    remembered = key.parameters_of_claim(queue, _ATTEMPT) | {'key_window': _WINDOW}
    given = {**queue.parameters, **remembered}

    def earlier() -> T | None:
        for claim, _ in database.rows(KNOWN_CLAIM, given, repeatable=True):
            if found := again(claim):
                return found
            database.rows(_FORGET, {**given, 'claim_id': claim}, repeatable=True)
        return None

    for _ in range(_TRIES):
        if found := earlier():
            return found
        try:
            # If there is nothing, the same attempt may have taken it just now.
            return make(remembered) or earlier()
        except AlreadyThere:
            # The same attempt was made at this moment; or its time is over.
            database.rows(REMOVE_FORGOTTEN, given, repeatable=True)
        except StorageTooSlow as error:
            raise IdempotencyKeyInUse from error
    raise StorageUnavailable


_FORGET = f"""
    DELETE FROM idempotency_keys
     WHERE queue_id = %(queue_id)s AND operation = {_ATTEMPT} AND key = %(key)s::uuid
       AND claim_id = %(claim_id)s::uuid"""
