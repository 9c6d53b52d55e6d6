"""The JSON documents that version 2 reads beyond those of version 1.1."""

from wsme import types as wtypes

from marconi_api.controllers.v1_1 import types
from marconi_api.wire import ListOf, any_json, nullable_integer, string


class NewMessage(types.NewMessage):
    """A message to post; without a ``delay`` (seconds) it gets the queue's."""

    delay = wtypes.wsattr(nullable_integer, default=None)


class NewMessages(types.NewMessages):
    """A POST of messages."""

    messages = wtypes.wsattr(ListOf(NewMessage))


class Operation(wtypes.Base):
    """One operation of a JSON patch (contract v2, 5.4)."""

    op = wtypes.wsattr(string, mandatory=True)
    path = wtypes.wsattr(string, mandatory=True)
    value = wtypes.wsattr(any_json)


class Purge(wtypes.Base):
    """What a purge removes."""

    resource_types = wtypes.wsattr(any_json, mandatory=True)
