"""The attributes of a queue: the members of its metadata that the service itself heeds.

See docs/protocol-v2.md, 5.2.

Posts and claims depend on the attributes, and still take one round trip. A process remembers the
attributes of the queues that it served lately. A statement names the digest of the metadata that it
was made for, or the metadata itself if that is short. If the queue has other metadata by then, the
statement finds no queue and changes nothing. The process then reads the metadata and makes the statement
anew.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeGuard

import msgspec

from marconi_api import limits
from marconi_api.errors import InvalidRequest
from marconi_api.model import retry_policy
from marconi_api.model.postgres.database import Database
from marconi_api.model.postgres.prepared import Prepared
from marconi_api.model.postgres.tables import FIFO, IS_THE_QUEUE, NO_GROUPS, QueueKey

_MOST_QUEUES = 10_000

# Characters of metadata that is compared as it is; longer metadata by its hash.
_SHORT = 64

#: The member of the metadata with the attributes that only SQS has: an object, by their names there.
SQS = '_sqs'

#: Seconds for which an SQS client has a message if neither it nor the queue says how long.
DEFAULT_VISIBILITY = 30

# Seconds that a queue may have as its visibility timeout, and for which it may let a receive wait.
_MOST_VISIBILITY = 43200
_MOST_RECEIVE_WAIT = 20


@dataclass(frozen=True, slots=True)
class Attributes:
    """The attributes of a queue; None where one is not set. Times in seconds, sizes in bytes."""

    #: The metadata itself if that is short, else its SHA-256 in hexadecimal. Metadata is an object in
    #: braces, so the one is never taken for the other.
    digest: str
    max_messages_post_size: int | None
    default_message_ttl: int | None
    default_message_delay: int | None
    #: How often a message is claimed before it counts as a dead letter.
    max_claim_count: int | None
    #: The name of the dead-letter queue, in the same project.
    dead_letter_queue: str | None
    #: How long dead letters live there; None: as long as they would have lived here.
    dead_letter_queue_messages_ttl: int | None
    #: Whether a message asks for a reply if its post does not say whether it does.
    default_reply: bool
    #: Whether the queue has subscribers, or remains of some; this is not from the metadata.
    has_subscribers: bool = False
    #: What groups of messages mean to the queue, of ``tables.FIFO`` and others; nor is this.
    grouping: int = NO_GROUPS
    #: Whether a message without a deduplication id gets a hash of its body as that.
    content_based_deduplication: bool = False
    #: Where there is one message of a deduplication id: in the ``queue``, or in a ``group``.
    deduplication_scope: str = 'queue'
    #: What its SQS clients set, if that has another place in no attribute above.
    visibility_timeout: int = DEFAULT_VISIBILITY
    receive_wait: int = 0
    longest_message_of_sqs: int | None = None

    @property
    def is_fifo(self) -> bool:
        """Whether messages are given out in the order of their posts, group by group."""
        return self.grouping == FIFO

    @property
    def is_plain(self) -> bool:
        """Whether the queue has neither subscribers nor messages with groups."""
        return not self.has_subscribers and self.grouping == NO_GROUPS

    @classmethod
    def of(
        cls, metadata: str, has_subscribers: bool = False, grouping: int = NO_GROUPS
    ) -> 'Attributes':
        """The attributes in ``metadata``, the text of a JSON object.

        A value of a wrong type counts as not set. So does a number that is not positive, and a
        dead-letter queue whose name no queue can have. The API refuses most such values, but a dump
        may contain them, and no statement may fail because of them. A number beyond the range of its
        column counts as the greatest number of that range.
        """
        members = json.loads(metadata)

        def positive(name: str) -> int | None:
            value = members.get(name)
            if type(value) is not int or value <= 0:
                return None
            return min(value, limits.MOST_IN_A_COLUMN)

        of_sqs = members.get(SQS)

        def beside(name: str, most: int) -> int | None:
            value = of_sqs.get(name) if isinstance(of_sqs, dict) else None
            return value if type(value) is int and 0 <= value <= most else None

        visibility = beside('VisibilityTimeout', _MOST_VISIBILITY)
        dead_letter_queue = members.get('_dead_letter_queue')
        return cls(
            metadata if len(metadata) <= _SHORT else sha256(metadata.encode()).hexdigest(),
            positive('_max_messages_post_size'),
            positive('_default_message_ttl'),
            positive('_default_message_delay'),
            positive('_max_claim_count'),
            dead_letter_queue if _is_queue_name(dead_letter_queue) else None,
            positive('_dead_letter_queue_messages_ttl'),
            members.get('_default_reply') is True,
            has_subscribers,
            grouping,
            members.get('_content_based_deduplication') is True,
            'group' if members.get('_deduplication_scope') == 'group' else 'queue',
            DEFAULT_VISIBILITY if visibility is None else visibility,
            beside('ReceiveMessageWaitTimeSeconds', _MOST_RECEIVE_WAIT) or 0,
            beside('MaximumMessageSize', limits.MOST_IN_A_COLUMN)
            or positive('_max_messages_post_size'),
        )


def _is_queue_name(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and limits.can_be_a_name(value)


#: Those of a queue that does not exist, or has no metadata.
NO_ATTRIBUTES = Attributes.of('{}')


#: What ``GET`` shows for an attribute that is not set, in the order of docs/protocol-v2.md, 5.3.
DEFAULTS: dict[str, Callable[[], Any]] = {
    '_max_messages_post_size': lambda: limits.in_force.max_messages_post_size,
    '_default_message_ttl': lambda: limits.in_force.default_message_ttl,
    '_default_message_delay': lambda: 0,
    '_dead_letter_queue': lambda: None,
    '_dead_letter_queue_messages_ttl': lambda: None,
    '_max_claim_count': lambda: None,
    '_enable_encrypt_messages': lambda: False,
}

#: Those that Zaqar does not have: ``GET`` shows them only where they are set.
BEYOND_ZAQAR = (
    '_default_reply',
    '_fifo',
    '_content_based_deduplication',
    '_deduplication_scope',
)

_BOOLEANS_BEYOND_ZAQAR = ('_default_reply', '_fifo', '_content_based_deduplication')
_SCOPES = ('queue', 'group')

#: The one that is shown only where it is set, as Zaqar does it.
_RETRY_POLICY = '_retry_policy'

#: Integers among them, and their ranges.
_RANGES: dict[str, Callable[[], tuple[float, float]]] = {
    '_default_message_ttl': lambda: _message_ttl(),
    '_max_messages_post_size': lambda: (1, limits.in_force.max_messages_post_size),
    # Zero and less mean that there is no limit.
    '_max_claim_count': lambda: (-limits.MOST_IN_A_COLUMN, limits.MOST_IN_A_COLUMN),
    '_dead_letter_queue_messages_ttl': lambda: _message_ttl(),
    '_default_message_delay': lambda: (0, limits.in_force.max_message_delay),
}


def _message_ttl() -> tuple[int, int]:
    return limits.in_force.min_message_ttl, limits.in_force.max_message_ttl


def check(metadata: str) -> None:
    """Refuse metadata with an attribute of a wrong value; null is always right.

    :param metadata: the text of a JSON object
    :raises InvalidRequest: in words that name the attribute
    """
    members = _reserved(metadata)
    for name, bounds in _RANGES.items():
        value = members.get(name)
        if value is None:
            continue
        least, most = bounds()
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise InvalidRequest(f'{name} must be an integer between {least} and {most}.')
    dead_letter_queue = members.get('_dead_letter_queue')
    if not (dead_letter_queue in (None, '') or _clients_can_name(dead_letter_queue)):
        raise InvalidRequest(
            '_dead_letter_queue must be null or the name of a queue: '
            f'{limits.in_force.form_of_names}.'
        )
    for name in _BOOLEANS_BEYOND_ZAQAR:
        if not isinstance(members.get(name), bool | None):
            raise InvalidRequest(f'{name} must be true or false.')
    if members.get('_deduplication_scope') not in (None, *_SCOPES):
        raise InvalidRequest(f'_deduplication_scope must be {" or ".join(_SCOPES)}.')
    retry_policy.check(members.get(_RETRY_POLICY))
    encrypt = members.get('_enable_encrypt_messages')
    if not (encrypt is None or isinstance(encrypt, bool)):
        raise InvalidRequest('_enable_encrypt_messages must be true or false.')
    if encrypt:
        raise InvalidRequest(
            '_enable_encrypt_messages cannot be true: this service does not encrypt messages. '
            'Encrypt their bodies before you post them.'
        )


def is_to_be_fifo(metadata: str) -> bool:
    """Whether a queue that is made with this metadata, a JSON object, is a FIFO queue."""
    return json.loads(metadata).get('_fifo') is True


def _clients_can_name(value: Any) -> bool:
    return isinstance(value, str) and limits.in_force.is_other_queue_name(value)


def values_not_set(metadata: str) -> dict[str, Any]:
    """The attributes that the metadata does not set, or sets to null, with their default values."""
    members = _reserved(metadata)
    return {name: default() for name, default in DEFAULTS.items() if not members.get(name)}


def _reserved(metadata: str) -> dict[str, Any]:
    """The values of the attributes that metadata has."""
    members = _parse_object(metadata)
    names = (*DEFAULTS, *BEYOND_ZAQAR, _RETRY_POLICY)
    return {name: json.loads(bytes(members[name])) for name in names if name in members}


_parse_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def schema() -> dict[str, Any]:
    """Metadata that :func:`check` lets pass, as a JSON Schema."""
    properties: dict[str, Any] = {name: {} for name in DEFAULTS}
    for name, bounds in _RANGES.items():
        least, most = bounds()
        properties[name] = {'type': ['integer', 'null'], 'minimum': least, 'maximum': most}
    properties['_dead_letter_queue'] = {
        'type': ['string', 'null'],
        'pattern': f'^[A-Za-z0-9_.-]{{0,{limits.in_force.longest_other_queue_name}}}$',
    }
    properties['_enable_encrypt_messages'] = {'enum': [False, None]}
    properties[_RETRY_POLICY] = {'type': ['object', 'null']}
    for name in _BOOLEANS_BEYOND_ZAQAR:
        properties[name] = {'type': ['boolean', 'null']}
    properties['_deduplication_scope'] = {'enum': [*_SCOPES, None]}
    return {'type': 'object', 'properties': properties}


def schema_with_defaults() -> dict[str, Any]:
    """Metadata as ``GET`` shows it, with :func:`values_not_set`, as a JSON Schema."""
    return {**schema(), 'required': list(DEFAULTS)}


class KnownAttributes:
    """The attributes of the queues that this process served lately.

    The attributes of a queue take half a kilobyte at most: the name of the dead-letter queue is the
    only text of a client among them.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[int, Attributes] = {}

    def recall(self, queue: QueueKey) -> Attributes | None:
        """The attributes as this process last read them; None if it does not remember any."""
        return self._known.get(queue.id)

    def read(self, queue: QueueKey) -> Attributes | None:
        """The attributes as the database has them now; None if there is no such queue."""
        rows = self._database.rows(_ATTRIBUTES, queue.parameters, repeatable=True)
        if not rows:
            self._known.pop(queue.id, None)
            return None
        if len(self._known) >= _MOST_QUEUES:
            self._known.clear()
        attributes = self._known[queue.id] = Attributes.of(*rows[0])
        return attributes


#: The metadata of a queue: no row if there is none.
METADATA = Prepared(f'SELECT metadata FROM queues WHERE {IS_THE_QUEUE}', 'metadata')

# The metadata, and what else statements are made for.
_ATTRIBUTES = Prepared(
    f'SELECT metadata, has_subscribers, grouping FROM queues WHERE {IS_THE_QUEUE}', 'attributes'
)
