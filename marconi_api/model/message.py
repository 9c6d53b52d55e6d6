"""The forms of a message: as it is posted, listed, claimed and popped."""

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from marconi_api.model.postgres.database import Row
from marconi_api.model.postgres.tables import public_id


# Structs: frozen dataclasses take two and a half times as long to make.
class InGroup(msgspec.Struct, frozen=True, kw_only=True):
    """What a message has in a queue whose messages have groups.

    ``sequence``, of a message in a FIFO queue: its number in the group.
    """

    group: str | None = None
    sequence: int | None = None


class Message(InGroup, frozen=True):
    """A live message; ``ttl`` and ``age`` in seconds, ``body`` the JSON text as posted.

    ``claim`` is the id of the claim that holds it, if one does.
    """

    id: str
    ttl: int
    age: int
    body: str
    claim: str | None = None


class ClaimedMessage(Message, frozen=True):
    """A message that a claim holds; ``claim_count`` counts its claims, this one included.

    ``traceparent`` is the one with which the message was posted, or None. So is
    ``deduplication_id``, which only messages in FIFO queues have.
    """

    claim_count: int = 1
    traceparent: str | None = None
    deduplication_id: str | None = None


class PoppedMessage(InGroup, frozen=True):
    """A message that a pop deleted; its members are as in :class:`ClaimedMessage`."""

    id: str
    ttl: int
    age: int
    body: str
    claim_count: int
    traceparent: str | None = None


class NewMessage(msgspec.Struct, frozen=True):
    """A message to post: ``body`` is JSON text, ``ttl`` and ``delay`` are in seconds.

    ``reply``: whether the message asks for a reply. For a member that is None the attributes of the
    queue hold. ``group`` and ``deduplication_id``: see groups.py; a FIFO queue needs them.
    ``attributes``: what an SQS client sent beside the body, as JSON text.
    """

    body: str
    ttl: int | None = None
    delay: int | None = None
    reply: bool | None = False
    group: str | None = None
    deduplication_id: str | None = None
    attributes: str | None = None


class PeekedMessage(Message, frozen=True):
    """A message with all that is known of it.

    ``state``: ready, claimed, delayed or parked; ``claim_count``: how often it was claimed;
    ``reason``: why it is parked, in the words of whoever parked it, or None.
    """

    state: str = 'ready'
    claim_count: int = 0
    reason: str | None = None


M = TypeVar('M', bound=Message)


class Page(list[M]):
    """Messages in posting order. It may be short, or empty, though it is not the last."""

    #: The marker to read on from; None behind the last message.
    next: str | None

    def __init__(self, messages: Iterable[M], reached: str | None) -> None:
        """Make a page.

        :param reached: the id up to which the page is complete, if a cut-short look went further
            than the last message; else None
        """
        super().__init__(messages)
        self.next = reached or (self[-1].id if self else None)


# Both write ids as public_id does, without its call: ten calls take one microsecond.
def messages_under(claim: str, rows: Iterable[Row]) -> list[ClaimedMessage]:
    """The messages of one claim, from rows that begin with id, ttl, age, body, count and trace."""
    return [
        ClaimedMessage(f'{row[0]:016x}', row[1], row[2], row[3], claim, row[4], row[5])
        for row in rows
    ]


def grouped_messages_under(claim: str, rows: Iterable[Row]) -> list[ClaimedMessage]:
    """The same, from rows that also have group, sequence and deduplication id behind the trace."""
    return [
        ClaimedMessage(
            *(public_id(row[0]), row[1], row[2], row[3], claim, row[4], row[5], row[8]),
            group=row[6],
            sequence=row[7],
        )
        for row in rows
    ]


def fair_messages_under(claim: str, rows: Iterable[Row]) -> list[ClaimedMessage]:
    """The same, from rows that have only the group behind the trace."""
    return [
        ClaimedMessage(
            *(public_id(row[0]), row[1], row[2], row[3], claim, row[4], row[5]), group=row[6]
        )
        for row in rows
    ]


def popped_messages(rows: Iterable[Row]) -> list[PoppedMessage]:
    """Messages that a pop took, from rows of the same columns up to the sequence."""
    return [
        PoppedMessage(public_id(row[0]), *row[1:6], group=row[6], sequence=row[7]) for row in rows
    ]


def messages_in(rows: Iterable[Row]) -> list[Message]:
    """The messages from rows of id, ttl, age, body and claim."""
    return [
        Message(f'{identity:016x}', ttl, age, body, claim)
        for identity, ttl, age, body, claim in rows
    ]
