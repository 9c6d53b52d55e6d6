"""What can go wrong on the console, beyond what can go wrong with a queue."""

from marconi_api.errors import MarconiError


class SignInFirst(MarconiError):
    """Nobody is signed in.

    :param location: of the page where that is done; None where there is none
    """

    status = 401
    title = 'Not signed in'

    def __init__(self, location: str | None) -> None:
        super().__init__(
            'In this mode of access there is no form to sign in: a proxy in front must send the'
            ' header X-Auth-Token.'
        )
        self.location = location


class FormFromElsewhere(MarconiError):
    """A form was not sent from a page of this console in this browser, or that is too old."""

    status = 403
    title = 'Nothing was done'

    def __init__(self) -> None:
        super().__init__(
            'The form does not belong to a page that this browser has got from here, or the page'
            ' is too old: load it again.'
        )


class FormTooLarge(MarconiError):
    """A form is larger than any of this console."""

    status = 400
    title = 'Nothing was done'

    def __init__(self, most: int) -> None:
        super().__init__(f'A form must not exceed {most} bytes.')
