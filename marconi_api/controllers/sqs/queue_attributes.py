"""The attributes of a queue, under their names in SQS, and where they stand in its metadata.

What the other doors know, too, stands there under the name that they give it, once: such as
``_default_message_delay`` for ``DelaySeconds``. The rest stands in the member ``_sqs``.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from marconi_api import limits
from marconi_api.controllers.sqs.failures import (
    InvalidAttributeName,
    InvalidAttributeValue,
    InvalidParameterValue,
    UnsupportedOperation,
)
from marconi_api.model.attributes import DEFAULT_VISIBILITY, SQS

#: Bytes of a message: at least what a queue's limit may be, and at most.
LEAST_SIZE, MOST_SIZE = 1024, 1048576

#: Seconds for which messages of a new queue are kept if it does not say.
DEFAULT_RETENTION = 345600

MAXIMUM_SIZE = 'MaximumMessageSize'
RETENTION = 'MessageRetentionPeriod'
REDRIVE_POLICY = 'RedrivePolicy'
REDRIVE_ALLOW_POLICY = 'RedriveAllowPolicy'
ENCRYPTION = 'SqsManagedSseEnabled'

#: Members of ``_sqs`` that are not attributes.
TAGS, MODIFIED = 'tags', 'modified'

_RETENTION = '_default_message_ttl'
_DELAY = '_default_message_delay'
_SIZE = '_max_messages_post_size'
_FIFO = '_fifo'
_BY_CONTENT_PLACE, _SCOPE_PLACE = '_content_based_deduplication', '_deduplication_scope'
_DEAD_LETTERS = '_dead_letter_queue'
_DEAD_LETTERS_TTL = '_dead_letter_queue_messages_ttl'
_CLAIMS = '_max_claim_count'


class Number(NamedTuple):
    """An attribute that is a number, and where it stands in the metadata; None: in ``_sqs``."""

    least: int
    most: int
    place: str | None
    default: Callable[[], int]


_NUMBERS: Mapping[str, Number] = {
    'VisibilityTimeout': Number(0, 43200, None, lambda: DEFAULT_VISIBILITY),
    'DelaySeconds': Number(0, 900, _DELAY, lambda: 0),
    RETENTION: Number(60, 1209600, _RETENTION, lambda: limits.in_force.default_message_ttl),
    MAXIMUM_SIZE: Number(LEAST_SIZE, MOST_SIZE, _SIZE, lambda: MOST_SIZE),
    'ReceiveMessageWaitTimeSeconds': Number(0, 20, None, lambda: 0),
}

#: Those that are told of a queue, but cannot be set.
COUNTS: Mapping[str, str] = {
    'ApproximateNumberOfMessages': 'ready',
    'ApproximateNumberOfMessagesNotVisible': 'claimed',
    'ApproximateNumberOfMessagesDelayed': 'delayed',
}
ARN, CREATED, LAST_MODIFIED = 'QueueArn', 'CreatedTimestamp', 'LastModifiedTimestamp'
_READ_ONLY = (*COUNTS, ARN, CREATED, LAST_MODIFIED)

#: JSON texts that are kept and shown as they came.
_POLICIES = ('Policy', REDRIVE_ALLOW_POLICY)

#: Those that only FIFO queues have, and those of AWS's encryption.
FIFO_QUEUE = 'FifoQueue'
_BY_CONTENT, _SCOPE = 'ContentBasedDeduplication', 'DeduplicationScope'
_THROUGHPUT = 'FifoThroughputLimit'
OF_FIFO = (FIFO_QUEUE, _BY_CONTENT, _SCOPE, _THROUGHPUT)
_REUSE_PERIOD = 'KmsDataKeyReusePeriodSeconds'
_OF_ENCRYPTION = ('KmsMasterKeyId', _REUSE_PERIOD, ENCRYPTION)

#: Those that are true or false, which some clients write as Python does.
BOOLEANS = (FIFO_QUEUE, _BY_CONTENT, ENCRYPTION)

#: All names that a client may ask for.
NAMES = frozenset(
    (*_NUMBERS, REDRIVE_POLICY, *_POLICIES, *_OF_ENCRYPTION, *OF_FIFO, *_READ_ONLY, 'All')
)

_SCOPES = {'queue': 'queue', 'messageGroup': 'group'}
_THROUGHPUTS = ('perQueue', 'perMessageGroupId')

_LONGEST_POLICY = 8192
_REUSE_PERIODS = 60, 86400
_MOST_RECEIVES = 1000
_PERMISSIONS = ('allowAll', 'denyAll', 'byQueue')
_MOST_SOURCES = 10


class Redrive(NamedTuple):
    """After how many receives a message moves to which queue."""

    target_arn: str
    most_receives: int


Metadata = dict[str, Any]


class Target(NamedTuple):
    """A dead-letter queue, and for how many seconds it keeps messages."""

    name: str
    retention: int


#: Tells the dead-letter queue that an ARN names.
TargetOf = Callable[[str], Target]


def parsed(metadata: str) -> Metadata:
    """The members of a queue's metadata; those of other doors as the text that was sent."""
    return dict(msgspec.json.decode(metadata, type=dict[str, msgspec.Raw]))


def text_of(metadata: Metadata) -> str:
    """The metadata as it is stored."""
    return msgspec.json.encode(metadata).decode()


def _member(metadata: Metadata, name: str) -> Any:
    value = metadata.get(name)
    return msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value


def own_facts(metadata: Metadata) -> dict[str, Any]:
    """What stands in ``_sqs``."""
    facts = _member(metadata, SQS)
    return facts if isinstance(facts, dict) else {}


def changed(metadata: Metadata, given: Mapping[str, str], target_of: TargetOf) -> Metadata:
    """The metadata with other values of some attributes.

    :param given: the values, as clients send them
    :param target_of: tells the dead-letter queue by its ARN, and checks it
    :raises InvalidAttributeName: if an attribute is unknown, or cannot be set
    :raises InvalidAttributeValue: if a value is out of range
    :raises InvalidParameterValue: if a redrive policy cannot be
    :raises UnsupportedOperation: if messages are to be encrypted
    """
    new, facts = dict(metadata), own_facts(metadata)
    for name, value in given.items():
        if name in _NUMBERS:
            least, most, *_ = _NUMBERS[name]
            _set_number(new, facts, name, _number(name, value, least, most))
        elif name == REDRIVE_POLICY:
            _set_redrive(new, facts, value, target_of)
        elif name in _POLICIES:
            _set_policy(facts, name, value)
        elif name in _OF_ENCRYPTION:
            _refuse_encryption(name, value)
        elif name in OF_FIFO and is_fifo(new):
            _set_of_fifo(new, facts, name, value)
        else:
            raise InvalidAttributeName(name)
    facts[MODIFIED] = int(time.time())
    new[SQS] = facts
    return new


def is_fifo(metadata: Metadata) -> bool:
    """Whether it is the metadata of a FIFO queue."""
    return _member(metadata, _FIFO) is True


def of_new_queue(given: Mapping[str, str], target_of: TargetOf, as_fifo: bool) -> Metadata:
    """The metadata of a new queue; see :func:`changed`."""
    metadata = changed(
        {_FIFO: True} if as_fifo else {}, {RETENTION: str(DEFAULT_RETENTION), **given}, target_of
    )
    del metadata[SQS][MODIFIED]
    return metadata


def with_facts(metadata: Metadata, **facts: Any) -> Metadata:
    """The metadata with other members of ``_sqs``; None removes one."""
    new = {**own_facts(metadata), **facts}
    return {**metadata, SQS: {name: value for name, value in new.items() if value is not None}}


def _number(name: str, text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
        raise InvalidAttributeValue(
            f'Invalid value for the parameter {name}: it must be a number from {least} to {most}.'
        )
    return int(text)


def _set_number(metadata: Metadata, facts: dict[str, Any], name: str, value: int) -> None:
    place = _NUMBERS[name].place
    if place is None:
        facts[name] = value
        return
    metadata[place] = value
    facts.pop(name, None)
    if name == MAXIMUM_SIZE and value > limits.in_force.max_messages_post_size:
        # To the other doors this is no limit, and not a value that the attribute may have.
        del metadata[place]
        facts[name] = value


def _set_of_fifo(metadata: Metadata, facts: dict[str, Any], name: str, value: str) -> None:
    wrong = InvalidAttributeValue(f'Invalid value for the parameter {name}.')
    if name == FIFO_QUEUE:
        if value != 'true':
            raise InvalidAttributeValue(
                f'Invalid value for the parameter {name}. Reason: Modifying queue type is not supported.'
            )
    elif name == _BY_CONTENT:
        if value not in ('true', 'false'):
            raise wrong
        metadata[_BY_CONTENT_PLACE] = value == 'true'
    elif name == _SCOPE:
        if value not in _SCOPES:
            raise wrong
        metadata[_SCOPE_PLACE] = _SCOPES[value]
    else:
        if value not in _THROUGHPUTS:
            raise wrong
        facts[name] = value


def _set_redrive(metadata: Metadata, facts: dict[str, Any], text: str, target_of: TargetOf) -> None:
    for name in (_DEAD_LETTERS, _CLAIMS, _DEAD_LETTERS_TTL):
        metadata.pop(name, None)
    facts.pop(REDRIVE_POLICY, None)
    if text:
        policy = redrive_in(text)
        target = target_of(policy.target_arn)
        metadata[_DEAD_LETTERS] = target.name
        metadata[_DEAD_LETTERS_TTL] = target.retention
        metadata[_CLAIMS] = policy.most_receives
        facts[REDRIVE_POLICY] = text


def redrive_in(text: str) -> Redrive:
    """The redrive policy in a JSON text.

    :raises InvalidParameterValue: if it is not one
    """
    document = _object(text)
    if document is None or not isinstance(document.get('deadLetterTargetArn'), str):
        raise InvalidParameterValue(
            'Value for parameter RedrivePolicy is invalid. Reason: it must be a JSON object with the '
            'members deadLetterTargetArn and maxReceiveCount.'
        )
    count = str(document.get('maxReceiveCount'))
    if not (count.isascii() and count.isdigit() and len(count) < 6):
        count = '0'
    if not 1 <= int(count) <= _MOST_RECEIVES:
        raise InvalidParameterValue(
            'Value for parameter RedrivePolicy is invalid. Reason: maxReceiveCount must be between 1 '
            f'and {_MOST_RECEIVES}.'
        )
    return Redrive(document['deadLetterTargetArn'], int(count))


def _object(text: str) -> dict[str, Any] | None:
    """A JSON object; None if the text is not one."""
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return None


def _set_policy(facts: dict[str, Any], name: str, text: str) -> None:
    facts.pop(name, None)
    if not text:
        return
    document = _object(text)
    if document is None or len(text) > _LONGEST_POLICY:
        raise InvalidAttributeValue(
            f'Invalid value for the parameter {name}: it must be a JSON object of at most '
            f'{_LONGEST_POLICY} characters.'
        )
    if name == REDRIVE_ALLOW_POLICY:
        _check_allow_policy(document)
    facts[name] = text


def _check_allow_policy(document: dict[str, Any]) -> None:
    permission, sources = document.get('redrivePermission'), document.get('sourceQueueArns')
    is_list = isinstance(sources, list) and 0 < len(sources) <= _MOST_SOURCES
    if permission not in _PERMISSIONS or is_list != (permission == 'byQueue'):
        raise InvalidParameterValue(
            'Value for parameter RedriveAllowPolicy is invalid. Reason: redrivePermission must be '
            f'{", ".join(_PERMISSIONS)}; sourceQueueArns goes with byQueue, and has 1 to '
            f'{_MOST_SOURCES} ARNs.'
        )


def allows_source(metadata: Metadata, source_arn: str) -> bool:
    """Whether dead letters of a queue may come to the queue with this metadata."""
    document = _object(str(own_facts(metadata).get(REDRIVE_ALLOW_POLICY) or '{}')) or {}
    permission = document.get('redrivePermission', 'allowAll')
    return permission == 'allowAll' or source_arn in (document.get('sourceQueueArns') or ())


def _refuse_encryption(name: str, value: str) -> None:
    if name == _REUSE_PERIOD:
        # Without a key it says nothing.
        _number(name, value, *_REUSE_PERIODS)
    elif value not in ('', 'false'):
        raise UnsupportedOperation(
            f'{name} cannot be set: this service does not encrypt messages. Encrypt their bodies '
            'before you send them.'
        )


def retention_of(metadata: Metadata) -> int:
    """For how many seconds the queue keeps messages."""
    value = _member(metadata, _RETENTION)
    return value if type(value) is int and value > 0 else limits.in_force.default_message_ttl


def with_dead_letters_for(metadata: Metadata, retention: int) -> Metadata:
    """The metadata once the dead-letter queue keeps messages for so many seconds.

    Only a redrive policy of SQS says that dead letters are kept as that queue's messages are.
    """
    if REDRIVE_POLICY not in own_facts(metadata):
        return metadata
    return {**metadata, _DEAD_LETTERS_TTL: retention}


def shown(metadata: Metadata, arn_of: Callable[[str], str]) -> dict[str, str]:
    """The attributes that stand in the metadata, as clients are told them.

    :param arn_of: tells the ARN of a queue by its name
    """
    facts = own_facts(metadata)
    told = {}
    for name, number in _NUMBERS.items():
        value = facts.get(name)
        if value is None and number.place:
            value = _member(metadata, number.place)
        is_set = type(value) is int and value >= 0
        told[name] = str(value if is_set else number.default())
    if is_fifo(metadata):
        by_content = _member(metadata, _BY_CONTENT_PLACE) is True
        is_by_group = _member(metadata, _SCOPE_PLACE) == 'group'
        told[FIFO_QUEUE] = 'true'
        told[_BY_CONTENT] = 'true' if by_content else 'false'
        told[_SCOPE] = 'messageGroup' if is_by_group else 'queue'
        told[_THROUGHPUT] = str(facts.get(_THROUGHPUT) or _THROUGHPUTS[0])
    target, most = _member(metadata, _DEAD_LETTERS), _member(metadata, _CLAIMS)
    if isinstance(target, str) and target and type(most) is int and most > 0:
        told[REDRIVE_POLICY] = _redrive_text(facts, arn_of(target), most)
    for name in _POLICIES:
        if isinstance(facts.get(name), str):
            told[name] = facts[name]
    return told


def _redrive_text(facts: dict[str, Any], target_arn: str, most: int) -> str:
    """The policy as it was sent, unless another door has changed it since."""
    text = facts.get(REDRIVE_POLICY)
    # A client of another door can write anything there.
    with contextlib.suppress(InvalidParameterValue):
        if isinstance(text, str) and redrive_in(text) == Redrive(target_arn, most):
            return text
    policy = {'deadLetterTargetArn': target_arn, 'maxReceiveCount': most}
    return msgspec.json.encode(policy).decode()


def first_difference(given: Mapping[str, str], told: Mapping[str, str]) -> str | None:
    """The first attribute whose value differs from that of a queue; None if none does.

    :param told: as :func:`shown` has them
    """
    for name, value in given.items():
        if _comparable(name, value) != _comparable(name, told.get(name, '')):
            return name
    return None


def _comparable(name: str, value: str) -> Any:
    if name in _NUMBERS:
        return int(value) if value.isdigit() else value
    if name == REDRIVE_POLICY and value:
        return redrive_in(value)
    if name in _POLICIES:
        return _object(value)
    if name == _REUSE_PERIOD:
        return None
    # Of encryption nothing is set.
    return value.lower() not in ('', 'false') if name in _OF_ENCRYPTION else value
