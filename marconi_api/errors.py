"""The errors of queues and messages, in the caller's words.

Each error has an HTTP status and a title; the text of the exception is the description.
Errors that only HTTP can cause are in ``wire/failures.py``.
"""

from collections.abc import Sequence
from math import ceil


class MarconiError(Exception):
    """A failure that the client is told about."""

    status = 500
    title = 'Internal server error'
    #: Further headers of the answer.
    headers: tuple[tuple[str, str], ...] = ()


class InvalidRequest(MarconiError):
    """The request is well formed but asks for more or less than is allowed."""

    status = 400
    title = 'Invalid API request'


class InvalidQueueName(MarconiError):
    """The queue's name, or the project's, breaks the rules for names."""

    status = 400
    title = 'Invalid queue identification'


class NotAuthorized(MarconiError):
    """The action is for those who have another role."""

    status = 403
    title = 'Not authorized'

    def __init__(self, roles: Sequence[str]) -> None:
        super().__init__(
            f'One of these roles is required here: {", ".join(roles)}.'
            if roles
            else 'The operator of this service lets nobody do this.'
        )


class NotThisQueue(MarconiError):
    """The credential is for queues of other names."""

    status = 403
    title = 'Not authorized'

    def __init__(self, queue: str, pattern: str) -> None:
        super().__init__(f'Queue {queue} is not among {pattern}, for which the token was made.')


class DeadLetterCycle(MarconiError):
    """Dead letters would return to the queue that they left, or pass through too many queues."""

    status = 400
    title = 'Invalid API request'

    def __init__(self, chain: Sequence[str]) -> None:
        super().__init__(
            '_dead_letter_queue would lead in a circle, or too far: '
            f'{" -> ".join(chain)}. Name another queue.'
        )


class NotHeldByThisClaim(MarconiError):
    """The claim that a change names is unknown, has lapsed, or does not hold the message."""

    status = 400
    title = 'Unable to delete'

    def __init__(self, message: str, claim: str) -> None:
        super().__init__(f'Claim {claim} does not hold message {message}; nothing was changed.')


class HeldByAnotherClaim(MarconiError):
    """Another live claim holds the message."""

    status = 403
    title = 'Unable to delete'

    def __init__(self, message: str) -> None:
        super().__init__(
            f'Message {message} is claimed: name its claim in claim_id; nothing was changed.'
        )


class ClaimCannotChange(NotHeldByThisClaim):
    """The same, where the message was not to be deleted."""

    title = 'Unable to change'


class ClaimedCannotChange(HeldByAnotherClaim):
    """The same, where the message was not to be deleted."""

    title = 'Unable to change'


class MessageIsNotParked(MarconiError):
    """Only parked messages can be kicked."""

    status = 409
    title = 'Resource conflict'

    def __init__(self, message: str) -> None:
        super().__init__(f'Message {message} is not parked; nothing was changed.')


class NotFound(MarconiError):
    """Something that the path names does not exist."""

    status = 404
    title = 'Not found'


class QueueNotFound(NotFound):
    """No such queue in the project."""

    def __init__(self, queue: str, project: str) -> None:
        super().__init__(f'Queue {queue} does not exist{_in_project(project)}.')


class MessageNotFound(NotFound):
    """No such message, or no longer."""

    def __init__(self, message: str, queue: str, project: str) -> None:
        super().__init__(
            f'Message {message} does not exist in queue {queue}{_in_project(project)}.'
        )


class RequestNotFound(NotFound):
    """No message that asks for a reply was posted under this id, or it was long ago."""

    def __init__(self, message: str, queue: str, project: str) -> None:
        super().__init__(
            f'Message {message} of queue {queue}{_in_project(project)} does not exist, asks for no '
            'reply, or ended so long ago that it is forgotten.'
        )


class NoneOfThemFound(NotFound):
    """None of the messages that a request names exists."""

    def __init__(self, queue: str, project: str) -> None:
        super().__init__(f'None of the messages exists in queue {queue}{_in_project(project)}.')


class ClaimNotFound(NotFound):
    """No such claim, or no longer."""

    def __init__(self, claim: str, queue: str, project: str) -> None:
        super().__init__(f'Claim {claim} does not exist in queue {queue}{_in_project(project)}.')


class SubscriptionNotFound(NotFound):
    """No such subscription, or no longer."""

    def __init__(self, subscription: str, queue: str, project: str) -> None:
        super().__init__(
            f'Subscription {subscription[:80]} does not exist in queue {queue}{_in_project(project)}.'
        )


class DeliveryNotFound(NotFound):
    """No such delivery, or the webhook has taken it."""

    def __init__(self, delivery: str, subscription: str) -> None:
        super().__init__(
            f'Subscription {subscription[:80]} has no delivery {delivery[:80]} that is pending or '
            'failed.'
        )


class SubscriptionExists(MarconiError):
    """The queue has a subscription of this subscriber; nothing was changed."""

    status = 409
    title = 'Resource conflict'

    def __init__(self, subscriber: str, queue: str) -> None:
        super().__init__(
            f'{subscriber} is subscribed to queue {queue} already: change that subscription, or '
            'delete it first.'
        )


class SubscriptionCycle(MarconiError):
    """Copies of a message would return to the queue from which they came."""

    status = 400
    title = 'Invalid API request'

    def __init__(self, chain: Sequence[str]) -> None:
        super().__init__(
            f'The subscriptions would lead in a circle: {" -> ".join(chain)}. Name another queue.'
        )


class RedriveNotFound(NotFound):
    """No such redrive of the queue, or one that is no longer kept."""

    def __init__(self, redrive: str, queue: str, project: str) -> None:
        super().__init__(
            f'Redrive {redrive[:80]} of queue {queue} does not exist{_in_project(project)}.'
        )


class RedriveUnderWay(MarconiError):
    """Of a queue there is one redrive at a time; nothing was started."""

    status = 409
    title = 'Resource conflict'

    def __init__(self, redrive: str, queue: str) -> None:
        super().__init__(
            f'Redrive {redrive} of queue {queue} is under way: wait until it has ended, or cancel it.'
        )
        self.redrive = redrive


class TokenNotFound(NotFound):
    """No such token in the project."""

    def __init__(self, token: str) -> None:
        super().__init__(f'Token {token[:80]} does not exist.')


class QuotaExceeded(MarconiError):
    """A project has as much as it may have; nothing was stored."""

    status = 403
    title = 'Quota exceeded'


class RateExceeded(MarconiError):
    """A project asks too often; nothing was done."""

    status = 429
    title = 'Too many requests'

    def __init__(self, what: str, rate: int, seconds: float) -> None:
        super().__init__(f'The project may have {rate} {what} a second: wait, and try again.')
        wait = max(1, ceil(seconds))
        self.headers = (
            ('Retry-After', str(wait)),
            ('RateLimit-Policy', f'"{what}";q={rate};w=1'),
            ('RateLimit', f'"{what}";r=0;t={wait}'),
        )


class MetadataConflict(MarconiError):
    """A change of metadata names a member that does not exist."""

    status = 409
    title = 'Resource conflict'

    def __init__(self, name: str) -> None:
        super().__init__(f'The metadata has no member {name[:80]!r}: add it first.')


class StorageUnavailable(MarconiError):
    """PostgreSQL did not answer in time; it is unknown whether a write was carried out."""

    status = 503
    title = 'Service temporarily unavailable'

    def __init__(self) -> None:
        super().__init__('The storage cannot be used at the moment: try again.')


class StorageTooSlow(StorageUnavailable):
    """PostgreSQL ended a statement at its timeout: the statement did nothing."""


class AlreadyThere(StorageUnavailable):
    """A row with the same key is there already: the statement did nothing."""


class IdempotencyKeyReused(MarconiError):
    """Another request was sent with this Idempotency-Key; nothing was done."""

    status = 422
    title = 'Idempotency key reused'

    def __init__(self) -> None:
        super().__init__(
            'Another request to this queue had the same Idempotency-Key: send each request with a '
            'key of its own.'
        )


class IdempotencyKeyInUse(MarconiError):
    """The first request with this Idempotency-Key has not ended; nothing was done."""

    status = 409
    title = 'Idempotency key in use'

    def __init__(self) -> None:
        super().__init__(
            'The first request with this Idempotency-Key has not ended yet: send the same request '
            'again in a second.'
        )


class IdempotentClaimEnded(MarconiError):
    """The claim that a request with this Idempotency-Key made has ended; nothing was done."""

    status = 409
    title = 'Claim has ended'

    def __init__(self) -> None:
        super().__init__(
            'The claim that this Idempotency-Key made has ended, or holds nothing any more: use '
            'another key for another claim.'
        )


class Fault(MarconiError):
    """A fault of the service, which another request cannot avoid."""

    def __init__(self) -> None:
        super().__init__('The service has failed by a fault of its own, which it has logged.')


class NotFinished(MarconiError):
    """One request may not do all of the work: send it again for the rest."""

    status = 503
    title = 'Not finished'

    def __init__(self, so_far: str) -> None:
        super().__init__(f'{so_far}: send the same request again to go on.')


class CountUnderWay(MarconiError):
    """Many messages of another queue are being counted; one count runs at a time."""

    status = 503
    title = 'Service temporarily unavailable'

    def __init__(self) -> None:
        super().__init__('Another queue is being counted: try again.')


class QueueCollision(MarconiError):
    """Two queues' names have one 64-bit hash: the second cannot be made."""

    status = 500

    def __init__(self, queue: str) -> None:
        super().__init__(f'The name {queue} cannot be used: choose another.')


def _in_project(project: str) -> str:
    return f' in project {project}' if project else ''
