"""The documents of SQS: what each operation reads. A member that is absent, or null, is None.

Names of members are those of SQS, as SDKs send them.
"""

from typing import Any

from wsme import types as wtypes

from marconi_api.wire.documents import Document, struct_of
from marconi_api.wire.values import NullableInteger, NullableString, Value


class _Texts(Value):
    """A list of strings."""

    basetype = list
    name = 'texts or null'
    parsed = list[str] | None


class _TextMap(Value):
    """An object whose values are strings."""

    basetype = dict
    name = 'texts by name or null'
    parsed = dict[str, str] | None


class _MapOf(Value):
    """An object whose values are documents of one type."""

    basetype = dict
    name = 'documents by name or null'

    def __init__(self, element: Any) -> None:
        self.element = element

    @property
    def parsed(self) -> Any:
        return dict[str, struct_of(self.element)] | None  # type: ignore[misc]


class _ListOf(_MapOf):
    """A list of documents of one type."""

    name = 'documents or null'

    @property
    def parsed(self) -> Any:
        return list[struct_of(self.element)] | None  # type: ignore[misc]


def _text() -> Any:
    return wtypes.wsattr(NullableString(), default=None)


def _number() -> Any:
    return wtypes.wsattr(NullableInteger(), default=None)


def _texts() -> Any:
    return wtypes.wsattr(_Texts(), default=None)


def _text_map() -> Any:
    return wtypes.wsattr(_TextMap(), default=None)


class AttributeValue(Document):
    """The value of a message's attribute; binary values as base64."""

    DataType = _text()
    StringValue = _text()
    BinaryValue = _text()
    StringListValues = _texts()
    BinaryListValues = _texts()


def _attributes() -> Any:
    return wtypes.wsattr(_MapOf(AttributeValue), default=None)


class OfQueue(Document):
    """An operation that needs no more than a queue."""

    QueueUrl = _text()


class CreateQueue(Document):
    """A new queue, or one that is there already."""

    QueueName = _text()
    Attributes = _text_map()
    tags = _text_map()


class GetQueueUrl(Document):
    """A queue by its name."""

    QueueName = _text()
    QueueOwnerAWSAccountId = _text()


class ListQueues(Document):
    """A page of queues."""

    QueueNamePrefix = _text()
    MaxResults = _number()
    NextToken = _text()


class GetQueueAttributes(OfQueue):
    """Some attributes of a queue, or all."""

    AttributeNames = _texts()


class SetQueueAttributes(OfQueue):
    """New values for some attributes."""

    Attributes = _text_map()


class TagQueue(OfQueue):
    """New tags."""

    Tags = _text_map()


class UntagQueue(OfQueue):
    """Tags that go."""

    TagKeys = _texts()


class ListDeadLetterSourceQueues(OfQueue):
    """A page of the queues whose dead letters come here."""

    MaxResults = _number()
    NextToken = _text()


class _NewMessage(Document):
    """A message to send."""

    MessageBody = _text()
    DelaySeconds = _number()
    MessageAttributes = _attributes()
    MessageSystemAttributes = _attributes()
    MessageGroupId = _text()
    MessageDeduplicationId = _text()


class SendMessage(_NewMessage, OfQueue):
    """A message to send, and where to."""


class SendEntry(_NewMessage):
    """A message of a batch."""

    Id = _text()


class SendMessageBatch(OfQueue):
    """Messages to send."""

    Entries = wtypes.wsattr(_ListOf(SendEntry), default=None)


class ReceiveMessage(OfQueue):
    """How many messages to receive, for how long, and what to tell of them."""

    MaxNumberOfMessages = _number()
    VisibilityTimeout = _number()
    WaitTimeSeconds = _number()
    AttributeNames = _texts()
    MessageSystemAttributeNames = _texts()
    MessageAttributeNames = _texts()
    ReceiveRequestAttemptId = _text()


class DeleteMessage(OfQueue):
    """A message that was received."""

    ReceiptHandle = _text()


class ChangeMessageVisibility(DeleteMessage):
    """For how long it is kept from others."""

    VisibilityTimeout = _number()


class DeleteEntry(Document):
    """A message of a batch."""

    Id = _text()
    ReceiptHandle = _text()


class DeleteMessageBatch(OfQueue):
    """Messages that were received."""

    Entries = wtypes.wsattr(_ListOf(DeleteEntry), default=None)


class VisibilityEntry(DeleteEntry):
    """A message of a batch, and for how long it is kept from others."""

    VisibilityTimeout = _number()


class ChangeMessageVisibilityBatch(OfQueue):
    """Messages that were received."""

    Entries = wtypes.wsattr(_ListOf(VisibilityEntry), default=None)


class StartMessageMoveTask(Document):
    """From where, and where to, messages are moved."""

    SourceArn = _text()
    DestinationArn = _text()
    MaxNumberOfMessagesPerSecond = _number()


class ListMessageMoveTasks(Document):
    """The moves from a queue."""

    SourceArn = _text()
    MaxResults = _number()


class CancelMessageMoveTask(Document):
    """A move."""

    TaskHandle = _text()


class Nothing(Document):
    """An operation that is refused whatever it says."""
