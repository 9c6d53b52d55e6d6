"""Requests that a client may send again, by the name that it gives them: ``Idempotency-Key``."""

from marconi_api.errors import IdempotencyKeyInUse, IdempotencyKeyReused, IdempotentClaimEnded
from marconi_api.model import RequestKey
from marconi_api.wire.failures import InvalidIdempotencyKey
from marconi_api.wire.requests import Request

#: The header, and how a request with it can fail: for ``expose``.
KEY_HEADER = 'Idempotency-Key'
KEY_FAILURES = (InvalidIdempotencyKey, IdempotencyKeyReused, IdempotencyKeyInUse)
CLAIM_KEY_FAILURES = (*KEY_FAILURES, IdempotentClaimEnded)


def request_key(request: Request, *parameters: object, operation: str = '') -> RequestKey | None:
    """The idempotency key of a request; None if it has none. The body must have been read before.

    :param parameters: what the request asks for, beside its body
    :param operation: keeps keys apart of requests that are different but make the same call of the
        model
    :raises InvalidIdempotencyKey: if the header is not well formed
    """
    if 'HTTP_IDEMPOTENCY_KEY' not in request.environ:
        return None
    name = request.idempotency_key
    if operation:
        # A key has no space.
        name = f'{operation} {name}'
    asked = b''.join(b'%r\n' % (value,) for value in parameters)
    return RequestKey.of(name, asked + request.content)
