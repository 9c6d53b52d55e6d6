"""The reserved attributes of a queue: metadata that the service itself heeds.

See docs/protocol-v2.md, 5.2.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from marconi_api import limits
from marconi_api.errors import InvalidRequest

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


def check_attributes(members: Mapping[str, msgspec.Raw]) -> None:
    """Refuse metadata in which a reserved attribute has no good value; null always is one."""
    for name, bounds in _RANGES.items():
        value = attribute(members, name)
        if value is None:
            continue
        least, most = bounds()
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise InvalidRequest(f'{name} must be an integer between {least} and {most}.')
    dead_letter_queue = attribute(members, '_dead_letter_queue')
    if not (dead_letter_queue in (None, '') or _is_queue_name(dead_letter_queue)):
        raise InvalidRequest(
            '_dead_letter_queue must be null or the name of a queue: '
            f'{limits.in_force.form_of_names}.'
        )
    encrypt = attribute(members, '_enable_encrypt_messages')
    if not (encrypt is None or isinstance(encrypt, bool)):
        raise InvalidRequest('_enable_encrypt_messages must be true or false.')
    if encrypt:
        raise InvalidRequest(
            '_enable_encrypt_messages cannot be true: this service does not encrypt messages. '
            'Encrypt their bodies before you post them.'
        )


def _is_queue_name(value: Any) -> bool:
    return isinstance(value, str) and limits.in_force.is_queue_name(value)


def schema() -> dict[str, Any]:
    """Metadata that :func:`check_attributes` lets pass, as a JSON Schema."""
    properties: dict[str, Any] = {name: {} for name in DEFAULTS}
    for name, bounds in _RANGES.items():
        least, most = bounds()
        properties[name] = {'type': ['integer', 'null'], 'minimum': least, 'maximum': most}
    properties['_dead_letter_queue'] = {
        'type': ['string', 'null'],
        'pattern': f'^[A-Za-z0-9_.-]{{0,{limits.in_force.max_queue_name_length}}}$',
    }
    properties['_enable_encrypt_messages'] = {'enum': [False, None]}
    return {'type': 'object', 'properties': properties}


def schema_with_defaults() -> dict[str, Any]:
    """What :func:`with_defaults` makes of such metadata, as a JSON Schema."""
    return {**schema(), 'required': list(DEFAULTS)}


def attribute(members: Mapping[str, msgspec.Raw], name: str) -> Any:
    """The value of an attribute; None if it is not set."""
    text = members.get(name)
    return None if text is None else json.loads(bytes(text))


def with_defaults(members: Mapping[str, msgspec.Raw]) -> dict[str, Any]:
    """Metadata as ``GET`` shows it: with each attribute that is not set, or is empty."""
    return {
        **members,
        **{name: default() for name, default in DEFAULTS.items() if not attribute(members, name)},
    }
