"""The errors of SQS: each has two names, and clients go by the one or by the other.

The *shape* is what SDKs pick their exception by. The *code* is the name that the older protocol of SQS
had for it; boto3 shows it as ``Error.Code``. See docs/sqs.md.
"""

from typing import NamedTuple

from marconi_api.errors import (
    MarconiError,
    NotAuthorized,
    NotThisQueue,
    QueueNotFound,
    QuotaExceeded,
    RateExceeded,
    StorageUnavailable,
)
from marconi_api.wire.failures import (
    BodyTooSlow,
    InvalidBody,
    MalformedRequest,
    MethodNotAllowed,
    NoRoleHere,
    NotYourProject,
    TooManyFailures,
    UnknownOperation,
    UnknownPath,
)


class Names(NamedTuple):
    """How an error is called, and the status of its answer."""

    shape: str
    code: str
    status: int = 400

    @property
    def is_of_the_client(self) -> bool:
        """Whether the client made the mistake."""
        return self.status < 500


class SqsError(MarconiError):
    """An error that only SQS has."""

    status = 400
    names = Names('InvalidParameterValueException', 'InvalidParameterValue')


class InvalidParameterValue(SqsError):
    """A member of the request has a value that it must not have."""


class MissingParameter(SqsError):
    """A member that the operation requires is absent, or empty."""

    names = Names('MissingRequiredParameterException', 'MissingParameter')

    def __init__(self, member: str) -> None:
        super().__init__(f'The request must contain the parameter {member}.')


class QueueDoesNotExist(SqsError):
    """The project has no such queue."""

    names = Names('QueueDoesNotExist', 'AWS.SimpleQueueService.NonExistentQueue')

    def __init__(self) -> None:
        super().__init__('The specified queue does not exist.')


class QueueNameExists(SqsError):
    """A queue of the name has another value of an attribute that is given."""

    names = Names('QueueNameExists', 'QueueAlreadyExists')

    def __init__(self, attribute: str) -> None:
        super().__init__(
            'A queue already exists with the same name and a different value for attribute '
            f'{attribute}.'
        )


class InvalidAttributeName(SqsError):
    """There is no such attribute, or it cannot be set."""

    names = Names('InvalidAttributeName', 'InvalidAttributeName')

    def __init__(self, name: str) -> None:
        super().__init__(f'Unknown Attribute {name[:80]}.')


class InvalidAttributeValue(SqsError):
    """An attribute of a queue has a value that it must not have."""

    names = Names('InvalidAttributeValue', 'InvalidAttributeValue')


class InvalidMessageContents(SqsError):
    """The body has characters that no body may have."""

    names = Names('InvalidMessageContents', 'InvalidMessageContents')

    def __init__(self) -> None:
        super().__init__(
            'The message contains characters outside the allowed set: #x9 | #xA | #xD | #x20 to '
            '#xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF.'
        )


class ReceiptHandleIsInvalid(SqsError):
    """It is not a receipt of this service, or of another queue."""

    names = Names('ReceiptHandleIsInvalid', 'ReceiptHandleIsInvalid')

    def __init__(self) -> None:
        super().__init__('The input receipt handle is invalid.')


class EmptyBatchRequest(SqsError):
    """A batch has no entries."""

    names = Names('EmptyBatchRequest', 'AWS.SimpleQueueService.EmptyBatchRequest')

    def __init__(self) -> None:
        super().__init__('There should be at least one entry in the batch.')


class TooManyEntriesInBatchRequest(SqsError):
    """A batch has more than ten entries."""

    names = Names(
        'TooManyEntriesInBatchRequest', 'AWS.SimpleQueueService.TooManyEntriesInBatchRequest'
    )

    def __init__(self, most: int, sent: int) -> None:
        super().__init__(f'Maximum number of entries per request are {most}. You have sent {sent}.')


class InvalidBatchEntryId(SqsError):
    """The id of an entry is not of the form that it must have."""

    names = Names('InvalidBatchEntryId', 'AWS.SimpleQueueService.InvalidBatchEntryId')

    def __init__(self) -> None:
        super().__init__(
            'A batch entry id can only contain alphanumeric characters, hyphens and underscores. '
            'It can be at most 80 letters long.'
        )


class BatchEntryIdsNotDistinct(SqsError):
    """Two entries have one id."""

    names = Names('BatchEntryIdsNotDistinct', 'AWS.SimpleQueueService.BatchEntryIdsNotDistinct')

    def __init__(self, repeated: str) -> None:
        super().__init__(f'Id {repeated} repeated.')


class BatchRequestTooLong(SqsError):
    """The messages of a batch have too many bytes, taken together."""

    names = Names('BatchRequestTooLong', 'AWS.SimpleQueueService.BatchRequestTooLong')

    def __init__(self, most: int, sent: int) -> None:
        super().__init__(
            f'Batch requests cannot be longer than {most} bytes. You have sent {sent} bytes.'
        )


class PurgeQueueInProgress(SqsError):
    """The queue was purged in the last minute."""

    status = 403
    names = Names('PurgeQueueInProgress', 'AWS.SimpleQueueService.PurgeQueueInProgress', 403)

    def __init__(self, queue: str) -> None:
        super().__init__(f'Only one PurgeQueue operation on {queue} is allowed every 60 seconds.')


class ResourceNotFound(SqsError):
    """A queue or a task that a move of messages names is not there."""

    status = 404
    names = Names('ResourceNotFoundException', 'ResourceNotFoundException', 404)


class UnsupportedOperation(SqsError):
    """This service does not offer the operation, or not for this queue."""

    names = Names('UnsupportedOperation', 'AWS.SimpleQueueService.UnsupportedOperation')


class MissingAuthentication(SqsError):
    """The request is not signed."""

    status = 403
    names = Names('MissingAuthenticationTokenException', 'MissingAuthenticationToken', 403)

    def __init__(self) -> None:
        super().__init__('The request must be signed: give the client an access key.')


class IncompleteSignature(SqsError):
    """The header ``Authorization`` cannot be read, or lacks something."""

    names = Names('IncompleteSignatureException', 'IncompleteSignature')


class UnknownKey(SqsError):
    """No such access key, or it has ended."""

    status = 403
    names = Names('UnrecognizedClientException', 'InvalidClientTokenId', 403)

    def __init__(self) -> None:
        super().__init__('The access key in the request is not valid: make another one.')


class InvalidSignature(SqsError):
    """The signature is not that of the request."""

    status = 403
    names = Names('InvalidSignatureException', 'SignatureDoesNotMatch', 403)


_ACCESS_DENIED = Names('AccessDeniedException', 'AccessDenied', 403)
_THROTTLED = Names('RequestThrottled', 'RequestThrottled', 403)
_MALFORMED = Names('SerializationException', 'MalformedInput')
_UNAVAILABLE = Names('ServiceUnavailable', 'ServiceUnavailable', 503)

#: What errors of other doors and of the model are called here; a class stands before those that it is
#: derived from.
_NAMES: tuple[tuple[type[MarconiError], Names], ...] = (
    (QueueNotFound, QueueDoesNotExist.names),
    (NotAuthorized, _ACCESS_DENIED),
    (NotThisQueue, _ACCESS_DENIED),
    (NotYourProject, _ACCESS_DENIED),
    (NoRoleHere, _ACCESS_DENIED),
    (QuotaExceeded, Names('OverLimit', 'OverLimit', 403)),
    (RateExceeded, _THROTTLED),
    (TooManyFailures, _THROTTLED),
    (InvalidBody, _MALFORMED),
    (MalformedRequest, _MALFORMED),
    (BodyTooSlow, Names('RequestTimeout', 'RequestTimeout', 408)),
    (UnknownPath, Names('InvalidAddress', 'InvalidAddress', 404)),
    (UnknownOperation, Names('UnknownOperationException', 'InvalidAction')),
    (MethodNotAllowed, Names('UnknownOperationException', 'InvalidAction', 405)),
    (StorageUnavailable, _UNAVAILABLE),
)


def names_of(error: MarconiError) -> Names:
    """What an error is called here."""
    if isinstance(error, SqsError):
        return error.names
    for kind, names in _NAMES:
        if isinstance(error, kind):
            return names
    if error.status >= 500:
        return (
            Names('InternalFailure', 'InternalFailure', 500)
            if error.status == 500
            else _UNAVAILABLE
        )
    return SqsError.names._replace(status=error.status)
