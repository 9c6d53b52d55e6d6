"""The JSON documents of version 1.1; version 2 adds to them.

Requests hold the documents called New… and ClaimRenewal; replies hold the others.
"""

from wsme import types as wtypes

from marconi_api.controllers.openstack.documents import Link
from marconi_api.errors import InvalidRequest
from marconi_api.model import MOST_IN_A_POST
from marconi_api.wire.documents import Document, document_reader, read_document
from marconi_api.wire.values import (
    ListOf,
    NullableInteger,
    any_json,
    any_object,
    natural,
    nullable_string,
    string,
)


class AnyObject(Document):
    """An object whose members do not matter."""


class NewMessage(Document):
    """A message to post; without a ``ttl`` (seconds) it gets the queue's."""

    ttl = wtypes.wsattr(NullableInteger('message_ttl'), default=None)
    body = wtypes.wsattr(any_json, mandatory=True)


class NewMessages(Document):
    """A POST of messages."""

    messages = wtypes.wsattr(ListOf(NewMessage, at_least=1, at_most=MOST_IN_A_POST))


class NewClaim(Document):
    """The terms of a claim, in seconds; each has a default."""

    ttl = wtypes.wsattr(NullableInteger('claim_ttl'), default=None)
    grace = wtypes.wsattr(NullableInteger('claim_grace'), default=None)


class ClaimRenewal(NewClaim):
    """New terms for a claim that lives; the defaults are the same."""

    grace = wtypes.wsattr(NullableInteger('renewal_grace'), default=None)


class Message(Document):
    """A message: exactly these members (docs/protocol-v2.md, 2.3)."""

    id = wtypes.wsattr(string, mandatory=True)
    href = wtypes.wsattr(string, mandatory=True)
    ttl = wtypes.wsattr(natural, mandatory=True)
    age = wtypes.wsattr(natural, mandatory=True)
    body = wtypes.wsattr(any_json, mandatory=True)


class Messages(Document):
    """Messages; those of a page come with a link, unless there are none."""

    messages = wtypes.wsattr([Message], mandatory=True)
    links = wtypes.wsattr([Link])


class ClaimedMessages(Document):
    """What a new claim holds."""

    messages = wtypes.wsattr([Message], mandatory=True)


class PoppedMessage(Document):
    """A message that is no more; it has no path (docs/protocol-v2.md, 6.4)."""

    id = wtypes.wsattr(string, mandatory=True)
    age = wtypes.wsattr(natural, mandatory=True)
    ttl = wtypes.wsattr(natural, mandatory=True)
    body = wtypes.wsattr(any_json, mandatory=True)
    claim_id = wtypes.wsattr(nullable_string, mandatory=True)
    claim_count = wtypes.wsattr(natural, mandatory=True)


class PoppedMessages(Document):
    """What a pop took, the oldest first."""

    messages = wtypes.wsattr([PoppedMessage], mandatory=True)


class Posted(Document):
    """The paths of new messages, as they were posted."""

    resources = wtypes.wsattr([string], mandatory=True)


class Claim(Document):
    """A claim, and what it still holds."""

    age = wtypes.wsattr(natural, mandatory=True)
    ttl = wtypes.wsattr(natural, mandatory=True)
    href = wtypes.wsattr(string, mandatory=True)
    messages = wtypes.wsattr([Message], mandatory=True)


class Health(Document):
    """What works, how long it takes, and the messages there are or were a short time ago."""

    catalog_reachable = wtypes.wsattr(bool, mandatory=True)
    storage_reachable = wtypes.wsattr(bool, mandatory=True)
    operation_status = wtypes.wsattr(any_object, mandatory=True)
    message_volume = wtypes.wsattr(any_object, mandatory=True)


_read_objects = document_reader([AnyObject])


def read_messages(datatype: type[NewMessages], text: str) -> list[NewMessage]:
    """The messages of a POST; an envelope without any is refused (docs/protocol-v2.md, 6.3)."""
    if text.lstrip(' \t\r\n').startswith('['):
        _read_objects(text)
        raise InvalidRequest('The body must be an object with the member "messages".')
    messages = read_document(datatype, text).messages
    if not messages:
        raise InvalidRequest('At least one message is required, in the member "messages".')
    return list(messages)
