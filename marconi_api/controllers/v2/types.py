"""The JSON documents of version 2 beyond those of version 1.1."""

from wsme import types as wtypes

from marconi_api.controllers import documents
from marconi_api.controllers.v1_1 import types
from marconi_api.wire import (
    Json,
    ListOf,
    NullableInteger,
    String,
    any_json,
    any_object,
    natural,
    string,
)

_SHAREABLE = {'enum': ['messages', 'claims', 'subscriptions']}


class NewMessage(types.NewMessage):
    """A message to post; without a ``delay`` (seconds) it gets the queue's."""

    delay = wtypes.wsattr(NullableInteger('message_delay'), default=None)


class NewMessages(types.NewMessages):
    """A POST of messages."""

    messages = wtypes.wsattr(ListOf(NewMessage, at_least=1))


class Operation(wtypes.Base):
    """One operation of a JSON patch (contract v2, 5.4)."""

    op = wtypes.wsattr(String({'enum': ['add', 'replace', 'remove']}), mandatory=True)
    path = wtypes.wsattr(String({'pattern': '^/metadata/[^/]+$'}), mandatory=True)
    value = wtypes.wsattr(any_json)


class Purge(wtypes.Base):
    """What a purge removes."""

    resource_types = wtypes.wsattr(
        Json({'type': 'array', 'items': {'enum': ['messages', 'subscriptions']}}), mandatory=True
    )


class NewGrant(wtypes.Base):
    """What a signature is to allow; unless it says otherwise, to read messages for a day."""

    paths = wtypes.wsattr(Json({'type': 'array', 'items': _SHAREABLE}))
    methods = wtypes.wsattr(
        Json({'type': 'array', 'items': {'type': 'string', 'pattern': '^[A-Za-z]+$'}})
    )
    expires = wtypes.wsattr(string)


class Grant(wtypes.Base):
    """What the holder of a signature may do, and the signature: see the headers URL-…."""

    paths = wtypes.wsattr([string], mandatory=True)
    methods = wtypes.wsattr([string], mandatory=True)
    project = wtypes.wsattr(string, mandatory=True)
    expires = wtypes.wsattr(string, mandatory=True)
    signature = wtypes.wsattr(string, mandatory=True)


class QueuePage(types.QueuePage):
    """A page of queues, with a link unless it is empty; and how many there are, if asked."""

    count = wtypes.wsattr(natural)


class Counts(documents.Counts):
    """The same with the parked messages, which are neither free nor claimed."""

    parked = wtypes.wsattr(natural, mandatory=True)


class Statistics(documents.Statistics):
    """The statistics of a queue."""

    messages = wtypes.wsattr(Counts, mandatory=True)


class Health(wtypes.Base):
    """What works, how long it takes, and how many messages there are."""

    catalog_reachable = wtypes.wsattr(bool, mandatory=True)
    storage_reachable = wtypes.wsattr(bool, mandatory=True)
    operation_status = wtypes.wsattr(any_object, mandatory=True)
    message_volume = wtypes.wsattr(any_object, mandatory=True)
