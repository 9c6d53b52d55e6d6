"""The operations on messages: they are sent, received, deleted and hidden, one by one or in batches."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar
from uuid import NAMESPACE_OID, uuid5

import msgspec

from marconi_api import limits, model
from marconi_api.controllers.sqs import digests, message_attributes, receipts
from marconi_api.controllers.sqs.addresses import arn_of, queue_at
from marconi_api.controllers.sqs.failures import (
    BatchEntryIdsNotDistinct,
    BatchRequestTooLong,
    EmptyBatchRequest,
    InvalidBatchEntryId,
    InvalidMessageContents,
    InvalidParameterValue,
    MissingParameter,
    QueueDoesNotExist,
    SqsError,
    TooManyEntriesInBatchRequest,
    names_of,
)
from marconi_api.controllers.sqs.message_attributes import (
    FORBIDDEN,
    TRACE_HEADER,
    Attribute,
    wanted_by,
)
from marconi_api.controllers.sqs.queue_attributes import MOST_SIZE
from marconi_api.controllers.sqs.traces import trace_header_of, traceparent_in_header
from marconi_api.model import Attributes, NewMessage, QueueKey, Receipt, Received
from marconi_api.model.groups import Posted, is_name
from marconi_api.model.quotas import WAITERS
from marconi_api.model.receives import TOO_LONG
from marconi_api.wire.requests import Request
from marconi_api.wire.tracing import message_traces, tell_posted, traceparent_of
from marconi_api.wire.waiting import may_wait, tell

Result = Mapping[str, Any] | None

T = TypeVar('T')

#: Messages of one request, at most.
MOST_IN_A_REQUEST = 10

_LONGEST_DELAY = 900
_LONGEST_VISIBILITY = 43200
_LONGEST_WAIT = 20
_ENTRY_ID = re.compile('[A-Za-z0-9_-]{1,80}')

_text = msgspec.json.Decoder(str).decode
_json = msgspec.json.encode


# ---------------------------------------------------------------- sending


class _Outgoing(NamedTuple):
    """A message that is to be sent, and what it is answered with."""

    body: str
    delay: int | None
    attributes: dict[str, Attribute]
    system: dict[str, Attribute]
    group: str | None
    deduplication_id: str | None

    @property
    def size(self) -> int:
        """Bytes that count for the limits: those of system attributes do not."""
        return len(self.body.encode()) + message_attributes.size(self.attributes)

    @property
    def trace(self) -> str | None:
        """The trace header that the client sent with it."""
        sent = self.system.get(TRACE_HEADER)
        return sent.value.decode() if sent else None

    def answer(self, posted: Posted) -> dict[str, Any]:
        """What its sender is told."""
        told = {
            'MessageId': posted.id,
            'MD5OfMessageBody': digests.of_body(self.body),
            'MD5OfMessageAttributes': digests.of_attributes(self.attributes),
            'MD5OfMessageSystemAttributes': digests.of_attributes(self.system),
            'SequenceNumber': _sequence_number(posted.sequence),
        }
        return {name: value for name, value in told.items() if value is not None}


def send_message(request: Request, body: Any) -> Result:
    """Send one message."""
    queue = _existing_queue(request, body.QueueUrl)
    outgoing = _outgoing(queue, body)
    _check_size(queue, outgoing.size)
    _check_groups(queue, body, MissingParameter('MessageGroupId'))
    [posted] = _post(request, queue, [outgoing])
    return outgoing.answer(posted)


def send_message_batch(request: Request, body: Any) -> Result:
    """Send up to ten messages; each succeeds or fails by itself."""
    queue = _existing_queue(request, body.QueueUrl)
    entries = _entries_of(body)
    for entry in entries:
        _check_groups(queue, entry, InvalidParameterValue(_NO_GROUP))
    outgoing, failed = _settled(entries, lambda entry: _outgoing(queue, entry))
    _check_whole_size(entries, outgoing)
    for entry, one in [*outgoing.items()]:
        try:
            _check_size(queue, one.size)
        except InvalidParameterValue as error:
            failed.append(_failure(entry, error))
            del outgoing[entry]
    stored = _post(request, queue, [*outgoing.values()]) if outgoing else []
    answers = zip(outgoing.items(), stored, strict=True)
    return _batch_result(
        [{'Id': entry, **one.answer(posted)} for (entry, one), posted in answers], failed
    )


_NO_GROUP = 'The request must contain the parameter MessageGroupId.'


def _sequence_number(sequence: int | None) -> str | None:
    """The number of a message in its group, as text in the order of which messages stand, too."""
    return None if sequence is None else f'{sequence:020}'


def _outgoing(queue: QueueKey, sent: Any) -> _Outgoing:
    """A message as a client sends it.

    :raises MissingParameter: if it has no body
    :raises InvalidMessageContents: if the body has characters that it must not have
    :raises InvalidParameterValue: if the body alone is too long, or another part of it cannot be
    """
    if not sent.MessageBody:
        raise MissingParameter('MessageBody')
    _check_size(queue, len(sent.MessageBody.encode()))
    is_fifo = _attributes_of(queue).is_fifo
    if FORBIDDEN.search(sent.MessageBody):
        raise InvalidMessageContents
    delay = sent.DelaySeconds
    if delay is not None:
        # A FIFO queue has one delay for all its messages.
        _check_range('DelaySeconds', delay, 0, 0 if is_fifo else _LONGEST_DELAY)
    return _Outgoing(
        sent.MessageBody,
        None if is_fifo else delay,
        message_attributes.read(sent.MessageAttributes),
        message_attributes.read_system(sent.MessageSystemAttributes),
        sent.MessageGroupId,
        sent.MessageDeduplicationId,
    )


def _check_groups(queue: QueueKey, sent: Any, no_group: SqsError) -> None:
    """Refuse a message whose group or deduplication id does not go with its queue.

    :param sent: the message, as a client sends it
    :param no_group: what is raised in a FIFO queue if it has no group
    """
    attributes = _attributes_of(queue)
    if attributes.is_fifo and sent.MessageGroupId is None:
        raise no_group
    for member in ('MessageGroupId', 'MessageDeduplicationId'):
        name = getattr(sent, member)
        if name is not None and not is_name(name):
            raise InvalidParameterValue(
                f'{member} can only include alphanumeric and punctuation characters. 1 to 128 in '
                'length.'
            )
    if sent.MessageDeduplicationId is None:
        if attributes.is_fifo and not attributes.content_based_deduplication:
            # The attribute may have been set by another process just now.
            read = model.store.attributes.read(queue)
            if read is None or not read.content_based_deduplication:
                raise InvalidParameterValue(
                    'The queue should either have ContentBasedDeduplication enabled or '
                    'MessageDeduplicationId provided explicitly.'
                )
    elif not attributes.is_fifo:
        raise InvalidParameterValue(
            'The request include parameter that is not valid for this queue type: '
            'MessageDeduplicationId.'
        )


def _attributes_of(queue: QueueKey) -> Attributes:
    """The attributes of a queue, as far as this process knows.

    :raises QueueDoesNotExist: if it does not exist
    """
    attributes = model.store.attributes
    known = attributes.recall(queue) or attributes.read(queue)
    if known is None:
        raise QueueDoesNotExist
    return known


def _existing_queue(request: Request, url: str | None) -> QueueKey:
    """The queue of a URL, which exists, as far as this process knows.

    :raises QueueDoesNotExist: if it does not
    """
    queue = queue_at(request, url)
    _attributes_of(queue)
    return queue


def _check_size(queue: QueueKey, size: int) -> None:
    """Refuse a message that is longer than its queue takes.

    If it is as far as this process knows, the limit is read anew.

    :param size: bytes of the message
    :raises InvalidParameterValue: if it is too long
    :raises QueueDoesNotExist: if there is no such queue any more
    """
    known = model.store.attributes.recall(queue)
    if known and size <= (known.longest_message_of_sqs or MOST_SIZE):
        return
    known = model.store.attributes.read(queue)
    if known is None:
        raise QueueDoesNotExist
    longest = known.longest_message_of_sqs or MOST_SIZE
    if size > longest:
        raise InvalidParameterValue(
            f'One or more parameters are invalid. Reason: Message must be shorter than {longest} '
            'bytes.'
        )


def _check_whole_size(entries: Sequence[Any], outgoing: Mapping[str, _Outgoing]) -> None:
    """Refuse a batch with too many bytes, those of messages that fail by themselves included."""
    size = sum(
        outgoing[entry.Id].size if entry.Id in outgoing else len((entry.MessageBody or '').encode())
        for entry in entries
    )
    if size > MOST_SIZE:
        raise BatchRequestTooLong(MOST_SIZE, size)


def _post(request: Request, queue: QueueKey, outgoing: Sequence[_Outgoing]) -> list[Posted]:
    """Store the messages, all or none; returns of each what became of it.

    One traceparent goes with all messages of a post. It is that of their common trace, if they have one.
    """
    traces = {one.trace for one in outgoing}
    trace = next(iter(traces)) if len(traces) == 1 else None
    if trace is None and len(traces) == 1:
        trace = request.environ.get('HTTP_X_AMZN_TRACE_ID')
    traceparent = traceparent_in_header(trace) if trace else None
    is_told = traceparent is not None
    messages = [
        NewMessage(
            _json(one.body).decode(),
            delay=one.delay,
            group=one.group,
            deduplication_id=one.deduplication_id,
            attributes=message_attributes.stored(
                one.attributes, None if is_told else one.trace or trace
            ),
        )
        for one in outgoing
    ]
    posted = model.store.messages.post_each(
        queue,
        _sender_of(request.identity.token or ''),
        messages,
        traceparent=traceparent or traceparent_of(request),
    )
    tell_posted(request, [one.id for one in posted if not one.is_duplicate])
    return posted


@lru_cache(maxsize=1024)
def _sender_of(key_id: str) -> str:
    """The UUID under which messages are posted: the same for each request by an access key."""
    return str(uuid5(NAMESPACE_OID, f'sqs:{key_id}'))


# ---------------------------------------------------------------- receiving


def receive_message(request: Request, body: Any) -> Result:
    """Receive up to ten messages; the request may wait until there is one."""
    queue = queue_at(request, body.QueueUrl)
    most = 1 if body.MaxNumberOfMessages is None else body.MaxNumberOfMessages
    _check_range('MaxNumberOfMessages', most, 1, MOST_IN_A_REQUEST)
    if body.VisibilityTimeout is not None:
        _check_range('VisibilityTimeout', body.VisibilityTimeout, 0, _LONGEST_VISIBILITY)
    if body.WaitTimeSeconds is not None:
        _check_range('WaitTimeSeconds', body.WaitTimeSeconds, 0, _LONGEST_WAIT)
    attempt = body.ReceiveRequestAttemptId
    if attempt is not None and not is_name(attempt):
        raise InvalidParameterValue(
            'ReceiveRequestAttemptId can only include alphanumeric and punctuation characters. 1 to 128 '
            'in length.'
        )
    taken = model.store.receives.receive(queue, body.VisibilityTimeout, most, attempt)
    if taken is None:
        raise QueueDoesNotExist
    claim, messages = taken
    _tell_waiting(request, queue, body.WaitTimeSeconds, claim, len(messages), most)
    message_traces(request, messages)
    if not messages:
        return None
    show = _Showing(request, queue, body)
    return {'Messages': [show(message) for message in messages]}


def _tell_waiting(
    request: Request, queue: QueueKey, asked: int | None, claim: str, found: int, most: int
) -> None:
    """Note what the request found. The waiting room may give it back."""
    wait = asked
    if wait is None:
        known = model.store.attributes.recall(queue)
        wait = known.receive_wait if known else 0
    if not wait:
        return
    may_wait(request, min(wait, limits.in_force.max_wait))
    tell(
        request,
        [queue.id],
        {queue.id: found} if found else {},
        is_full=found >= most,
        give_back=lambda: model.store.claims.give_back(queue, claim, None),
        most_waiters=model.store.quotas.limit(request.project, WAITERS),
    )


class _Showing:
    """Makes documents of received messages, with the attributes that the client asks for."""

    def __init__(self, request: Request, queue: QueueKey, body: Any) -> None:
        self._request = request
        self._queue = queue
        self._key = model.store.accounts.of(request.project).receipt_key
        names = body.MessageSystemAttributeNames
        self._is_wanted = _wanted_system(body.AttributeNames if names is None else names)
        self._attribute_is_wanted = wanted_by(body.MessageAttributeNames)

    def __call__(self, message: Received) -> dict[str, Any]:
        text = _text_of(message.body)
        document: dict[str, Any] = {
            'MessageId': message.id,
            'ReceiptHandle': receipts.sealed(self._queue, message.receipt, self._key),
            'MD5OfBody': digests.of_body(text),
            'Body': text,
        }
        beside = message_attributes.restored(message.attributes)
        told = {
            name: one for name, one in beside.attributes.items() if self._attribute_is_wanted(name)
        }
        if told:
            document['MD5OfMessageAttributes'] = digests.of_attributes(told)
            document['MessageAttributes'] = {name: one.document() for name, one in told.items()}
        system = {
            name: value
            for name, value in self._system(message, beside.trace)
            if value is not None and self._is_wanted(name)
        }
        if system:
            document['Attributes'] = system
        return document

    def _system(self, message: Received, trace: str | None) -> Iterable[tuple[str, str | None]]:
        if trace is None and message.traceparent:
            trace = trace_header_of(message.traceparent)
        source = message.source
        return (
            ('SenderId', message.sender),
            ('SentTimestamp', str(message.sent_at)),
            ('ApproximateReceiveCount', str(message.count)),
            ('ApproximateFirstReceiveTimestamp', str(message.first_received_at)),
            ('MessageGroupId', message.group),
            ('MessageDeduplicationId', message.deduplication_id),
            ('SequenceNumber', _sequence_number(message.sequence)),
            (TRACE_HEADER, trace),
            ('DeadLetterQueueSourceArn', source and arn_of(self._request, source)),
        )


def _wanted_system(names: Sequence[str] | None) -> Callable[[str], bool]:
    asked = frozenset(names or ())
    return (lambda name: True) if 'All' in asked else asked.__contains__


def _text_of(body: str) -> str:
    """The text of a body: of a JSON string its characters, of another JSON value the JSON text."""
    return _text(body) if body.startswith('"') else body


# ---------------------------------------------------------------- deleting and hiding


def delete_message(request: Request, body: Any) -> Result:
    """Delete a message by its receipt; one that another client holds by now stays."""
    queue = _existing_queue(request, body.QueueUrl)
    [result] = model.store.receives.delete(queue, [_receipt(request, queue, body)])
    if refusal := _refusal_to_delete(queue, result):
        raise refusal
    return None


def delete_message_batch(request: Request, body: Any) -> Result:
    """Delete up to ten messages."""
    queue = _existing_queue(request, body.QueueUrl)
    opened, failed = _settled(_entries_of(body), lambda entry: _receipt(request, queue, entry))
    successful = []
    results = model.store.receives.delete(queue, [*opened.values()]) if opened else []
    for entry, result in zip(opened, results, strict=True):
        if refusal := _refusal_to_delete(queue, result):
            failed.append(_failure(entry, refusal))
        else:
            successful.append({'Id': entry})
    return _batch_result(successful, failed)


def _refusal_to_delete(queue: QueueKey, result: str) -> SqsError | None:
    """What a client of a FIFO queue is told whose receipt is out of date."""
    if result in ('done', 'gone') or not _attributes_of(queue).is_fifo:
        return None
    return InvalidParameterValue(
        'Value for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.'
    )


def change_message_visibility(request: Request, body: Any) -> Result:
    """Say for how long from now a message is kept from others; 0: it is not any more."""
    queue = _existing_queue(request, body.QueueUrl)
    receipt, seconds = _hidden(request, queue, body)
    [result] = model.store.receives.hide(queue, [receipt], [seconds])
    if refusal := _refusal_to_hide(result, seconds):
        raise refusal
    return None


def change_message_visibility_batch(request: Request, body: Any) -> Result:
    """Do so for up to ten messages."""
    queue = _existing_queue(request, body.QueueUrl)
    asked, failed = _settled(_entries_of(body), lambda entry: _hidden(request, queue, entry))
    successful = []
    if asked:
        opened = [receipt for receipt, _ in asked.values()]
        seconds = [wanted for _, wanted in asked.values()]
        results = model.store.receives.hide(queue, opened, seconds)
        for entry, result, wanted in zip(asked, results, seconds, strict=True):
            if refusal := _refusal_to_hide(result, wanted):
                failed.append(_failure(entry, refusal))
            else:
                successful.append({'Id': entry})
    return _batch_result(successful, failed)


def _receipt(request: Request, queue: QueueKey, sent: Any) -> Receipt:
    if not sent.ReceiptHandle:
        raise MissingParameter('ReceiptHandle')
    key = model.store.accounts.of(request.project).receipt_key
    return receipts.opened(queue, sent.ReceiptHandle, key)


def _hidden(request: Request, queue: QueueKey, sent: Any) -> tuple[Receipt, int]:
    receipt = _receipt(request, queue, sent)
    if sent.VisibilityTimeout is None:
        raise MissingParameter('VisibilityTimeout')
    _check_range('VisibilityTimeout', sent.VisibilityTimeout, 0, _LONGEST_VISIBILITY)
    return receipt, sent.VisibilityTimeout


def _refusal_to_hide(result: str, seconds: int) -> SqsError | None:
    if result == 'gone':
        return InvalidParameterValue(
            'Value for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not '
            'available for visibility timeout change.'
        )
    if result == TOO_LONG:
        return InvalidParameterValue(
            f'Value {seconds} for parameter VisibilityTimeout is invalid. Reason: Total '
            f'VisibilityTimeout for the message is beyond the limit [{_LONGEST_VISIBILITY} seconds].'
        )
    return None


# ---------------------------------------------------------------- batches


def _entries_of(body: Any) -> Sequence[Any]:
    """The entries of a batch, once the batch as a whole is seen to be well formed."""
    entries: Sequence[Any] = body.Entries or ()
    if not entries:
        raise EmptyBatchRequest
    if len(entries) > MOST_IN_A_REQUEST:
        raise TooManyEntriesInBatchRequest(MOST_IN_A_REQUEST, len(entries))
    seen = set()
    for entry in entries:
        if not _ENTRY_ID.fullmatch(entry.Id or ''):
            raise InvalidBatchEntryId
    for entry in entries:
        if entry.Id in seen:
            raise BatchEntryIdsNotDistinct(entry.Id)
        seen.add(entry.Id)
    return entries


def _settled(
    entries: Sequence[Any], read: Callable[[Any], T]
) -> tuple[dict[str, T], list[dict[str, Any]]]:
    """What the entries of a batch say, by their ids; and the failures of those that are wrong."""
    settled: dict[str, T] = {}
    failed = []
    for entry in entries:
        try:
            settled[entry.Id] = read(entry)
        except SqsError as error:
            failed.append(_failure(entry.Id, error))
    return settled, failed


def _failure(entry: str, error: SqsError) -> dict[str, Any]:
    names = names_of(error)
    return {
        'Id': entry,
        'SenderFault': names.is_of_the_client,
        'Code': names.code,
        'Message': str(error),
    }


def _batch_result(successful: list[dict[str, Any]], failed: list[dict[str, Any]]) -> Result:
    return {'Successful': successful or None, 'Failed': failed or None}


def _check_range(member: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InvalidParameterValue(
            f'Value {value} for parameter {member} is invalid. Reason: Must be between {least} and '
            f'{most}, if provided.'
        )
