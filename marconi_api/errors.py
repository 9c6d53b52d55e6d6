"""Every way a request can fail, each with its HTTP status.

``title`` and ``status`` are the wire's (contract v1, section 1.7); the text of the
exception is the description, in the caller's words. ``hooks.ErrorHook`` gives the form.
"""

from collections.abc import Sequence


class MarconiError(Exception):
    """A failure that the client is told about."""

    status = 500
    title = 'Internal server error'


class MalformedRequest(MarconiError):
    """The request is not well formed as HTTP, or can be read in two ways."""

    status = 400
    title = 'Malformed request'


class InvalidBody(MarconiError):
    """The body is missing, is not JSON, or has not the shape that is due."""

    status = 400
    title = 'Invalid request body'


class OutOfRange(MarconiError):
    """The request is well formed but asks for more or less than is allowed."""

    status = 400
    title = 'Invalid API request'


class InvalidParameter(MarconiError):
    """A query parameter has not the type that is due."""

    status = 400
    title = 'Invalid parameter'


class MissingParameter(MarconiError):
    """A query parameter that the action cannot do without is absent."""

    status = 400
    title = 'Missing parameter'


class MissingHeader(MarconiError):
    """A header that the action cannot do without is absent."""

    status = 400
    title = 'Missing header value'

    def __init__(self, header: str) -> None:
        super().__init__(f'The header {header} is required here.')


class InvalidClientId(MarconiError):
    """``Client-ID`` is not a UUID."""

    status = 400
    title = 'Wrong UUID value'

    def __init__(self) -> None:
        super().__init__(
            'The header Client-ID must be a UUID, e.g. 3381af92-2b9e-11e3-b191-71861300734c.'
        )


class EmptyProject(MarconiError):
    """``X-Project-Id`` is there but says nothing."""

    status = 400
    title = 'Empty project header not allowed'

    def __init__(self) -> None:
        super().__init__(
            'The header X-Project-Id must not be empty: name a project or leave it out.'
        )


class MissingProject(MarconiError):
    """``X-Project-Id`` is required by this version of the API."""

    status = 400
    title = 'Project-Id Missing'

    def __init__(self) -> None:
        super().__init__('The header X-Project-Id is required here: name a project.')


class InvalidQueueName(MarconiError):
    """The queue's name, or the project's, breaks the rules for names."""

    status = 400
    title = 'Invalid queue identification'


class DeadLetterCycle(MarconiError):
    """Dead letters would come back to the queue that they left, or go on and on."""

    status = 400
    title = 'Invalid API request'

    def __init__(self, chain: Sequence[str]) -> None:
        super().__init__(
            '_dead_letter_queue would lead in a circle, or too far: '
            f'{" -> ".join(chain)}. Name another queue.'
        )


class FormEncodedBody(MarconiError):
    """The body is said to be a form."""

    status = 400
    title = 'Invalid Content-Type'

    def __init__(self) -> None:
        super().__init__('Send JSON: application/x-www-form-urlencoded is not accepted.')


class ClaimDoesNotHold(MarconiError):
    """The claim that should vouch for a change is unknown, over, or holds other messages."""

    status = 400
    title = 'Unable to delete'

    def __init__(self, message: str, claim: str) -> None:
        super().__init__(f'Message {message} is not under the claim {claim}; nothing was changed.')


class MessageIsClaimed(MarconiError):
    """Someone else's live claim holds the message."""

    status = 403
    title = 'Unable to delete'

    def __init__(self, message: str) -> None:
        super().__init__(
            f'Message {message} is claimed: name its claim in claim_id; nothing was changed.'
        )


class ClaimCannotChange(ClaimDoesNotHold):
    """The same, where the message was not to be deleted."""

    title = 'Unable to change'


class ClaimedCannotChange(MessageIsClaimed):
    """The same, where the message was not to be deleted."""

    title = 'Unable to change'


class MessageIsNotParked(MarconiError):
    """Only parked messages can be kicked."""

    status = 409
    title = 'Resource conflict'

    def __init__(self, message: str) -> None:
        super().__init__(f'Message {message} is not parked; nothing was changed.')


class NotAuthorized(MarconiError):
    """The action is for those who have a certain role."""

    status = 403
    title = 'Not authorized'

    def __init__(self, role: str) -> None:
        super().__init__(f'The role {role} is required here: see the header X-Roles.')


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


class NoneOfThemFound(NotFound):
    """None of the messages that a request names exists."""

    def __init__(self, queue: str, project: str) -> None:
        super().__init__(f'None of them exists in queue {queue}{_in_project(project)}.')


class ClaimNotFound(NotFound):
    """No such claim, or no longer."""

    def __init__(self, claim: str, queue: str, project: str) -> None:
        super().__init__(f'Claim {claim} does not exist in queue {queue}{_in_project(project)}.')


class NotOffered(NotFound):
    """A part of the API that this service leaves out, as an installation of Zaqar may."""

    def __init__(self, what: str) -> None:
        super().__init__(f'This service offers no {what}.')


class UnknownPath(MarconiError):
    """No controller serves the path."""

    status = 404
    title = '404 Not Found'


class NotGranted(UnknownPath):
    """A signature does not allow the request: to its bearer there is nothing."""


class MethodNotAllowed(MarconiError):
    """The path is known, but not with this method; ``allowed`` are those it offers."""

    status = 405
    title = '405 Method Not Allowed'

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__()
        self.allowed = allowed


class BodyTooSlow(MarconiError):
    """A body in chunks did not arrive in time."""

    status = 408
    title = 'Request timeout'

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f'The body in chunks did not arrive within {seconds:.0f} seconds: '
            'send Content-Length, with which it may take longer.'
        )


class NotAcceptable(MarconiError):
    """The client takes no JSON."""

    status = 406
    title = 'Not acceptable'

    def __init__(self) -> None:
        super().__init__('Only application/json is served: let Accept include it.')


class MetadataConflict(MarconiError):
    """A change of metadata names something that is not there."""

    status = 409
    title = 'Resource conflict'

    def __init__(self, name: str) -> None:
        super().__init__(f'There is no metadata called {name[:80]!r}: add it first.')


class WrongContentType(MarconiError):
    """The body is not said to be of the one type that is accepted."""

    status = 415

    def __init__(self, accepted: str) -> None:
        super().__init__()
        self.title = f'Accepted is only the Content-Type {accepted}'


class StorageUnavailable(MarconiError):
    """PostgreSQL did not answer, or not in time; a write may have happened or not."""

    status = 503
    title = 'Service temporarily unavailable'

    def __init__(self) -> None:
        super().__init__('The storage is out of reach at the moment: please try again.')


class Fault(MarconiError):
    """A fault of ours, which the request could not help."""

    def __init__(self) -> None:
        super().__init__('Something went wrong on our side; it has been logged.')


class NotFinished(MarconiError):
    """There is more to do than one request may take: the same request again goes on."""

    status = 503
    title = 'Not finished'

    def __init__(self, so_far: str) -> None:
        super().__init__(f'{so_far}: send the same request again to go on.')


class CountUnderWay(MarconiError):
    """Many messages of another queue are being counted; one count runs at a time."""

    status = 503
    title = 'Service temporarily unavailable'

    def __init__(self) -> None:
        super().__init__('Another count is under way: please try again.')


class TooManySlowBodies(MarconiError):
    """As many bodies in chunks are being waited for as may be; nothing was done."""

    status = 503
    title = 'Service temporarily unavailable'

    def __init__(self) -> None:
        super().__init__(
            'Too many bodies in chunks arrive slowly at the moment: send Content-Length, or'
            ' try again.'
        )


class QueueCollision(MarconiError):
    """Two queues' names have one 64-bit hash: the second cannot be made."""

    status = 500

    def __init__(self, queue: str) -> None:
        super().__init__(f'The name {queue} cannot be used: please choose another.')


def _in_project(project: str) -> str:
    return f' in project {project}' if project else ''
