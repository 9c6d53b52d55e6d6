"""What can be done with the queues of one project, whichever way they are reached."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from marconi_api.model import (
    Claim,
    Created,
    Delivery,
    Order,
    PeekedMessage,
    Preview,
    Redrive,
    Subscription,
)

#: Told how many of something have been dealt with.
Told = Callable[[int], None]


@dataclass(frozen=True)
class QueueLine:
    """A queue and how many messages it has; ``free`` ones are ready or delayed."""

    project: str
    name: str
    free: int
    claimed: int
    parked: int

    @property
    def total(self) -> int:
        """All messages."""
        return self.free + self.claimed + self.parked


@dataclass(frozen=True)
class End:
    """The first or the last message in the line; ``age`` in seconds."""

    id: str
    age: int


@dataclass(frozen=True)
class Details:
    """All that is known of a queue; only the database tells what is None otherwise."""

    line: QueueLine
    oldest: End | None
    newest: End | None
    #: The text of a JSON object.
    metadata: str
    ready: int | None = None
    delayed: int | None = None
    #: Those that end first.
    claims: Sequence[Any] | None = None


class Way(Protocol):
    """The queues of one project.

    A queue that must be there, and is not, is a ``NothingFound``.
    """

    def queues(self, limit: int) -> list[QueueLine]:
        """The queues with the most messages, these first."""

    def details(self, queue: str) -> Details:
        """All that is known of a queue."""

    def peek(
        self, queue: str, states: Sequence[str], limit: int, after: str | None
    ) -> list[PeekedMessage]:
        """The first messages in those states, in posting order; nothing changes by it."""

    def line(self, queue: str) -> QueueLine:
        """A queue and how many messages it has."""

    def post(
        self, queue: str, bodies: Sequence[str], ttl: int | None, delay: int | None
    ) -> list[str]:
        """Store messages, all or none, and make the queue; their ids in the order given.

        :param bodies: each the text of a JSON value
        """

    def claim(self, queue: str, ttl: int | None, grace: int | None, limit: int) -> Claim | None:
        """Reserve messages; None if there are none."""

    def release(self, queue: str, identity: str) -> int:
        """Let the messages of a claim, or one message, be claimed; how many those were."""

    def release_parked(self, queue: str, told: Told) -> int:
        """Let all parked messages be claimed; how many those were."""

    def purge(self, queue: str, only_parked: bool, also_claimed: bool) -> None:
        """Delete the messages that no claim holds, only the parked ones, or all."""

    def preview_redrive(self, queue: str, order: Order) -> Preview:
        """What a redrive would do now."""

    def start_redrive(self, queue: str, order: Order) -> Redrive:
        """Let a redrive begin."""

    def go_on_with_redrive(self, queue: str, redrive: Redrive) -> Redrive:
        """Carry a redrive out, or wait while others do, for less than a second; how it then is."""

    def cancel_redrive(self, queue: str, redrive: str) -> Redrive:
        """Let a redrive move nothing more."""

    def redrives(self, queue: str) -> list[Redrive]:
        """The last redrives of a queue, the newest first."""

    def subscriptions(self, queue: str, limit: int) -> list[Subscription]:
        """The first subscriptions to a queue, in the order in which they were made."""

    def subscription(self, queue: str, identity: str) -> Subscription:
        """One subscription."""

    def subscribe(
        self, queue: str, subscriber: str, ttl: int | None, options: str | None
    ) -> Created:
        """Subscribe to a queue, which is made if it is not there.

        :param options: the text of a JSON object
        """

    def unsubscribe(self, queue: str, identity: str) -> None:
        """End a subscription, with what is still to be delivered."""

    def pause(self, queue: str, identity: str) -> None:
        """Call a webhook no more until it is resumed."""

    def resume(self, queue: str, identity: str) -> None:
        """Let a subscription go on that is paused."""

    def deliveries(
        self, queue: str, identity: str, state: str | None, limit: int
    ) -> list[Delivery]:
        """The first messages that a webhook has not taken; all, or those in one state."""

    def retry(self, queue: str, identity: str, delivery: str) -> None:
        """Send a message to a webhook again now."""

    def retry_all(self, queue: str, identity: str) -> None:
        """Send all that have failed again."""


def is_json(text: str) -> bool:
    """Whether the text is one JSON value."""
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return False
    return True
