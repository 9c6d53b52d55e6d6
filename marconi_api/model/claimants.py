"""Claims that wait for a message, and to which a post hands its message in the statement that stores it.

A request that waits for a claim is a *claimant*. A post borrows one, if there is one for its queue, and
stores its message with the claim already made. That is one statement and one flush; a post and a claim
after it are two of each, with a wake between them. The statement does so only if nothing else can be
claimed in the queue, so a claimant gets no message before an older one. Else the message is stored as
any other.

The process knows no claimants by itself: the server around it gives it some.
"""

from typing import NamedTuple, Protocol

from marconi_api.model.claims import Claim
from marconi_api.model.postgres.tables import QueueKey


class Terms(NamedTuple):
    """What a claimant asks for: ``ttl`` and ``grace`` in seconds, under the id that its claim will have."""

    claim: str
    ttl: int
    grace: int


class Claimant(Protocol):
    """A request that waits for a claim, and that is this process's alone until one of these is called."""

    @property
    def terms(self) -> Terms:
        """Those of the claim that may be made for it."""

    def show(self, claim: Claim) -> None:
        """Show it the claim that was made, and is not committed yet: it writes its answer meanwhile."""

    def serve(self) -> None:
        """Hand it that claim, as it is committed. One that cannot be handed over is undone."""

    def keep_waiting(self, is_more: bool) -> None:
        """Let it wait on, as it got nothing.

        :param is_more: whether there is something else in the queue that it may claim
        """

    def lose(self) -> None:
        """Let it wait on, as nobody knows whether its claim was made: one that was is undone."""


class Claimants:
    """Where posts find claimants: nowhere, unless the server gives some."""

    def borrow(self, queue: QueueKey, length: int) -> Claimant | None:
        """The claimant that has waited longest for a claim on the queue; None if there is none.

        :param length: of the message's body, in characters: a long one is not handed over
        """
        return None
