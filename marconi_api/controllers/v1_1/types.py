"""The JSON documents that version 1.1 reads; version 2 adds to them."""

from wsme import types as wtypes

from marconi_api.errors import OutOfRange
from marconi_api.wire import ListOf, any_json, nullable_integer, read_document


class AnyObject(wtypes.Base):
    """An object whose members do not matter."""


class NewMessage(wtypes.Base):
    """A message to post; without a ``ttl`` (seconds) it gets the queue's."""

    ttl = wtypes.wsattr(nullable_integer, default=None)
    body = wtypes.wsattr(any_json, mandatory=True)


class NewMessages(wtypes.Base):
    """A POST of messages."""

    messages = wtypes.wsattr(ListOf(NewMessage))


class NewClaim(wtypes.Base):
    """The terms of a claim, made or renewed, in seconds; each has a default."""

    ttl = wtypes.wsattr(nullable_integer, default=None)
    grace = wtypes.wsattr(nullable_integer, default=None)


def read_messages(datatype: type[NewMessages], text: str) -> list[NewMessage]:
    """The messages of a POST; an envelope without any is refused (contract v2, 6.3)."""
    if text.lstrip(' \t\r\n').startswith('['):
        read_document([AnyObject], text)
        raise OutOfRange('The body must be an object with the member "messages".')
    messages = read_document(datatype, text).messages
    if not messages:
        raise OutOfRange('At least one message is required, in the member "messages".')
    return list(messages)
