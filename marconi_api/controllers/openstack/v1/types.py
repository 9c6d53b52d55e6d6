"""The JSON documents of version 1: their members and their shape.

Requests hold the documents called New… and ClaimRenewal; replies hold the others.
"""

from wsme import types as wtypes

from marconi_api.controllers.openstack.documents import Link
from marconi_api.wire.documents import Document
from marconi_api.wire.values import Integer, any_json, natural, string


class NewMessage(Document):
    """One element of a POST of messages (docs/protocol-v1.md, 5.3); ``ttl`` in seconds."""

    ttl = wtypes.wsattr(Integer('message_ttl'), mandatory=True)
    body = wtypes.wsattr(any_json, mandatory=True)


class NewClaim(Document):
    """The terms of a claim (docs/protocol-v1.md, 6.1), in seconds."""

    ttl = wtypes.wsattr(Integer('claim_ttl'), mandatory=True)
    grace = wtypes.wsattr(Integer('claim_grace'), mandatory=True)


class ClaimRenewal(Document):
    """New terms for a claim that lives (docs/protocol-v1.md, 6.3), in seconds."""

    ttl = wtypes.wsattr(Integer('claim_ttl'), mandatory=True)
    grace = wtypes.wsattr(Integer('renewal_grace'), default=0)


class Message(Document):
    """A message: exactly these members (docs/protocol-v1.md, 5)."""

    href = wtypes.wsattr(string, mandatory=True)
    ttl = wtypes.wsattr(natural, mandatory=True)
    age = wtypes.wsattr(natural, mandatory=True)
    body = wtypes.wsattr(any_json, mandatory=True)


class MessagePage(Document):
    """A page of a queue's messages; it always has a link (docs/protocol-v1.md, 5.1)."""

    messages = wtypes.wsattr([Message], mandatory=True)
    links = wtypes.wsattr([Link], mandatory=True)


class Posted(Document):
    """The paths of new messages, as they were posted."""

    resources = wtypes.wsattr([string], mandatory=True)
    partial = wtypes.wsattr(bool, mandatory=True)


class Claim(Document):
    """A claim, and what it still holds (docs/protocol-v1.md, 6.2)."""

    age = wtypes.wsattr(natural, mandatory=True)
    ttl = wtypes.wsattr(natural, mandatory=True)
    href = wtypes.wsattr(string, mandatory=True)
    messages = wtypes.wsattr([Message], mandatory=True)
