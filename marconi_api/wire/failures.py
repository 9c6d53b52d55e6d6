"""What only HTTP can get wrong, each with its status."""

from collections.abc import Sequence

from marconi_api.errors import MarconiError, NotFound


class MalformedRequest(MarconiError):
    """The request is not well formed as HTTP, or can be read in two ways."""

    status = 400
    title = 'Malformed request'


class InvalidBody(MarconiError):
    """The body is missing, is not JSON, or does not have the expected shape."""

    status = 400
    title = 'Invalid request body'


class InvalidParameter(MarconiError):
    """A query parameter does not have the expected type."""

    status = 400
    title = 'Invalid parameter'


class MissingParameter(MarconiError):
    """A query parameter that the action requires is absent."""

    status = 400
    title = 'Missing parameter'


class MissingHeader(MarconiError):
    """A header that the action requires is absent."""

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


class InvalidIdempotencyKey(MarconiError):
    """``Idempotency-Key`` is not of the form that it must have."""

    status = 400
    title = 'Invalid idempotency key'

    def __init__(self) -> None:
        super().__init__(
            'The header Idempotency-Key must have 1 to 255 visible ASCII characters, in quotation '
            'marks or without.'
        )


class EmptyProject(MarconiError):
    """``X-Project-Id`` is there but empty."""

    status = 400
    title = 'Empty project header not allowed'

    def __init__(self) -> None:
        super().__init__(
            'The header X-Project-Id must not be empty: name a project, or leave the header out.'
        )


class MissingProject(MarconiError):
    """``X-Project-Id`` is required by this version of the API."""

    status = 400
    title = 'Project-Id Missing'

    def __init__(self) -> None:
        super().__init__('The header X-Project-Id is required here: name a project.')


class FormEncodedBody(MarconiError):
    """The body is said to be a form."""

    status = 400
    title = 'Invalid Content-Type'

    def __init__(self) -> None:
        super().__init__('Send JSON: application/x-www-form-urlencoded is not accepted.')


#: How a credential is to be sent.
BEARER = (('WWW-Authenticate', 'Bearer'),)


class NoCredential(MarconiError):
    """The request shows nothing that would let it in."""

    status = 401
    title = 'Not authenticated'

    def __init__(self, challenges: tuple[tuple[str, str], ...] = BEARER) -> None:
        super().__init__('A token is required here: send Authorization: Bearer, and the token.')
        self.headers = challenges


class InvalidCredential(MarconiError):
    """What the request shows does not let it in; nobody is told why."""

    status = 401
    title = 'Not authenticated'

    def __init__(self, challenges: tuple[tuple[str, str], ...] = BEARER) -> None:
        super().__init__('The token is not valid: make another one.')
        self.headers = challenges


class IdentityUnavailable(MarconiError):
    """Keystone did not say who asks."""

    status = 503
    title = 'Service temporarily unavailable'

    def __init__(self) -> None:
        super().__init__('Keystone is out of reach at the moment: try again.')


class NoRoleHere(MarconiError):
    """Keystone knows who asks, but they have no role in a project that is one here."""

    status = 403
    title = 'Not authorized'

    def __init__(self, roles: Sequence[str]) -> None:
        super().__init__(
            'The token gives no role here: log in to a project in which you have one of the roles '
            f'{", ".join(roles)}.'
        )


class NotYourProject(MarconiError):
    """The client names another project than the one that its credential is for."""

    status = 403
    title = 'Not authorized'

    def __init__(self) -> None:
        super().__init__('X-Project-Id names another project than that of the token: leave it out.')


class WiderThanYours(MarconiError):
    """A token is asked for that would open more than the one that was shown."""

    status = 403
    title = 'Not authorized'

    def __init__(self) -> None:
        super().__init__('queues must stay within the queues of your own token.')


class TooManyFailures(MarconiError):
    """Too many wrong credentials came from this address; no further one is looked at."""

    status = 429
    title = 'Too many requests'

    def __init__(self, seconds: int) -> None:
        super().__init__('Too many wrong tokens came from this address: wait, and mend the token.')
        self.headers = (('Retry-After', str(seconds)),)


class CannotUpdateSubscription(MarconiError):
    """The body is to change nothing, or what cannot be changed."""

    status = 400
    title = 'Unable to update subscription'

    def __init__(self) -> None:
        super().__init__(
            'The body must have some of the members subscriber, ttl and options, and no others.'
        )


class CannotConfirm(MarconiError):
    """The body does not say whether a subscription is confirmed."""

    status = 400
    title = 'Unable to confirm subscription'

    def __init__(self) -> None:
        super().__init__('confirmed must be true or false.')


class NotConfirmedSo(MarconiError):
    """Only who got the signature for it can confirm a subscription."""

    status = 403
    title = 'Not authorized'

    def __init__(self) -> None:
        super().__init__(
            'This service asks a subscriber to confirm: send the headers URL-... that it was sent.'
        )


class NotOffered(NotFound):
    """This service does not offer this part of the API. A Zaqar may leave it out, too."""

    def __init__(self, what: str) -> None:
        super().__init__(f'This service does not offer {what}.')


class UnknownPath(MarconiError):
    """No controller serves the path."""

    status = 404
    title = '404 Not Found'


class UnknownOperation(MarconiError):
    """A door has no operation of the name that is asked for."""

    status = 404
    title = 'Unknown operation'


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
    """A body did not arrive in time."""

    status = 408
    title = 'Request timeout'

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f'Nothing of the body arrived for {seconds:.0f} seconds, or it came in chunks and took'
            ' longer than that: send it again, with its Content-Length.'
        )


class NotAcceptable(MarconiError):
    """``Accept`` does not include JSON."""

    status = 406
    title = 'Not acceptable'

    def __init__(self) -> None:
        super().__init__('This service replies in application/json only: include it in Accept.')


class WrongContentType(MarconiError):
    """The body is not said to be of the one type that is accepted."""

    status = 415

    def __init__(self, accepted: str) -> None:
        super().__init__()
        self.title = f'Accepted is only the Content-Type {accepted}'


class Overloaded(MarconiError):
    """More requests come than can be answered; nothing was done."""

    status = 503
    title = 'Service temporarily unavailable'

    def __init__(self) -> None:
        super().__init__('More requests come than can be answered: wait a moment, and try again.')


class TooManyWaiters(MarconiError):
    """As many requests wait for messages as may."""

    status = 503
    title = 'Service temporarily unavailable'

    def __init__(self) -> None:
        super().__init__('Too many requests are waiting for messages: please try again.')


class TooManyTests(MarconiError):
    """As many webhooks are being tested as may be; none was called."""

    status = 503
    title = 'Service temporarily unavailable'

    def __init__(self) -> None:
        super().__init__('Another webhook is being tested at the moment: please try again.')


class TooManySlowBodies(MarconiError):
    """As many slow bodies are being waited for as may be; nothing was done."""

    status = 503
    title = 'Service temporarily unavailable'

    def __init__(self) -> None:
        super().__init__(
            'Too many bodies arrive slowly at the moment: try again. Send Content-Length, not chunks.'
        )
