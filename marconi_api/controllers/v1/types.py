"""The JSON documents that version 1 reads: their members and their shape."""

from wsme import types as wtypes

from marconi_api.wire import any_json, integer


class NewMessage(wtypes.Base):
    """One element of a POST of messages (contract 5.3); ``ttl`` in seconds."""

    ttl = wtypes.wsattr(integer, mandatory=True)
    body = wtypes.wsattr(any_json, mandatory=True)


class NewClaim(wtypes.Base):
    """The terms of a claim (contract 6.1), in seconds."""

    ttl = wtypes.wsattr(integer, mandatory=True)
    grace = wtypes.wsattr(integer, mandatory=True)


class ClaimRenewal(wtypes.Base):
    """New terms for a claim that lives (contract 6.3), in seconds."""

    ttl = wtypes.wsattr(integer, mandatory=True)
    grace = wtypes.wsattr(integer, default=0)
