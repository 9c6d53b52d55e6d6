"""What a worker and the waiting room say to each other about a claim that the worker borrows.

Each is one message over a socket of packets that is a thread's own. The worker asks, and the room lends
or does not. Then the worker shows the claim that it made and says that it serves it, or lets the
waiter wait on. If the socket ends instead, the claim is lost: nobody knows whether it was made.
"""

import struct
from uuid import UUID

import msgspec

from marconi_api.model import Claim
from marconi_api.model.claimants import Terms

_ASK = struct.Struct('<cq')
_LENT = struct.Struct('<16sqq')
_KEPT_WAITING = struct.Struct('<c?')
_IS_ASK, _IS_SHOWN, _IS_KEPT_WAITING = b'B', b'C', b'K'

#: The worker's last word on a claim that it made: it is committed.
SERVED = b'S'
#: The room's answer if it lends nobody.
NOBODY = b'N'
#: The bytes of the room's longest answer.
LONGEST_ANSWER = _LENT.size

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Claim).decode


def ask(queue_id: int) -> bytes:
    """The question for somebody who waits for a claim on a queue."""
    return _ASK.pack(_IS_ASK, queue_id)


def asked_in(message: memoryview) -> int | None:
    """The queue's id in that question; None if the message is another one."""
    if message[:1] != _IS_ASK:
        return None
    _, queue_id = _ASK.unpack(message)
    return int(queue_id)


def lend(terms: Terms) -> bytes:
    """The room's answer, with what the claim is to be."""
    return _LENT.pack(UUID(terms.claim).bytes, terms.ttl, terms.grace)


def lent_in(answer: bytes) -> Terms | None:
    """What the claim is to be; None if the answer is another one."""
    if len(answer) != _LENT.size:
        return None
    claim, ttl, grace = _LENT.unpack(answer)
    return Terms(str(UUID(bytes=claim)), ttl, grace)


def show(claim: Claim) -> bytes:
    """The claim that was made, and is not committed yet."""
    return _IS_SHOWN + _encode(claim)


def shown_in(message: memoryview) -> Claim | None:
    """That claim; None if the message is another one."""
    return _decode(message[1:]) if message[:1] == _IS_SHOWN else None


def keep_waiting(is_more: bool) -> bytes:
    """Word that no claim was made, and whether there is something else to claim."""
    return _KEPT_WAITING.pack(_IS_KEPT_WAITING, is_more)


def kept_waiting_in(message: memoryview) -> bool | None:
    """Whether there is something else to claim; None if the message is another one."""
    if message[:1] != _IS_KEPT_WAITING:
        return None
    _, is_more = _KEPT_WAITING.unpack(message)
    return bool(is_more)
