"""Receipt handles: what a client shows to delete a message that it received, or to hide it for longer.

A handle holds the queue, the message and the claim, and a seal over them by the project's own key. So a
handle that somebody made up, or one of another queue, is told from one that is out of date.
"""

import binascii
import hmac
import struct
from base64 import b64decode, b64encode
from uuid import UUID

from marconi_api.controllers.sqs.failures import ReceiptHandleIsInvalid
from marconi_api.model import QueueKey, Receipt

_VERSION = 1
_FACTS = struct.Struct('>Bqq16s')
_SEAL_LENGTH = 16

#: Characters of a handle, at most, that are looked at.
_LONGEST = 1024


def sealed(queue: QueueKey, receipt: Receipt, key: bytes) -> str:
    """The handle for a receipt of the queue."""
    facts = _FACTS.pack(_VERSION, queue.id, receipt.message, UUID(receipt.claim).bytes)
    return b64encode(facts + _seal(facts, key)).decode()


def opened(queue: QueueKey, handle: str, key: bytes) -> Receipt:
    """The receipt in a handle.

    :raises ReceiptHandleIsInvalid: if it is not a handle of this queue
    """
    try:
        content = b64decode(handle[:_LONGEST], validate=True)
    except (binascii.Error, ValueError):
        raise ReceiptHandleIsInvalid from None
    facts, seal = content[: _FACTS.size], content[_FACTS.size :]
    if not hmac.compare_digest(seal, _seal(facts, key)):
        raise ReceiptHandleIsInvalid
    _, queue_id, message, claim = _FACTS.unpack(facts)
    if queue_id != queue.id:
        raise ReceiptHandleIsInvalid
    return Receipt(message, str(UUID(bytes=claim)))


def _seal(facts: bytes, key: bytes) -> bytes:
    return hmac.digest(key, facts, 'sha256')[:_SEAL_LENGTH]
