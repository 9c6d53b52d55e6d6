"""The attributes of a message: what a client sends beside the body, each with a type of its own.

They are stored as a JSON text beside the body, in the form in which they came (:func:`stored`).
"""

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from marconi_api.controllers.sqs.failures import InvalidParameterValue

#: Attributes of one message, at most.
MOST = 10

STRING, NUMBER, BINARY = 'String', 'Number', 'Binary'

#: The one system attribute that a client may send.
TRACE_HEADER = 'AWSTraceHeader'

_LONGEST = 256
_NAME = re.compile(rf'(?!\.)(?!.*\.\.)[A-Za-z0-9_.-]{{1,{_LONGEST}}}(?<!\.)')
_RESERVED = ('aws.', 'amazon.')
_NUMBER = re.compile(r'[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?')
_MOST_DIGITS = 38

#: The characters that neither a body nor an attribute's value may have.
FORBIDDEN = re.compile('[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]')


class Attribute(NamedTuple):
    """An attribute's type, with its label if it has one, and its value as bytes."""

    data_type: str
    value: bytes

    @property
    def kind(self) -> str:
        """The type without its label: String, Number or Binary."""
        return self.data_type.partition('.')[0]

    def document(self) -> dict[str, str]:
        """The attribute as it is sent to clients."""
        if self.kind == BINARY:
            return {'BinaryValue': b64encode(self.value).decode(), 'DataType': self.data_type}
        return {'StringValue': self.value.decode(), 'DataType': self.data_type}


Attributes = Mapping[str, Attribute]


def read(sent: Mapping[str, Any] | None) -> dict[str, Attribute]:
    """The attributes of a message that is sent.

    :param sent: documents of the type ``AttributeValue``, by the names of the attributes
    :raises InvalidParameterValue: if a name, a type or a value breaks the rules
    """
    if not sent:
        return {}
    if len(sent) > MOST:
        raise InvalidParameterValue(
            f'Number of message attributes [{len(sent)}] exceeds the allowed maximum [{MOST}].'
        )
    for name in sent:
        _check_name(name)
    return {name: _read_one(name, value) for name, value in sent.items()}


def read_system(sent: Mapping[str, Any] | None) -> dict[str, Attribute]:
    """The system attributes of a message that is sent: a trace, or nothing.

    :raises InvalidParameterValue: if there is another one, or it is not a String
    """
    attributes = {name: _read_one(name, value) for name, value in (sent or {}).items()}
    for name, attribute in attributes.items():
        if name != TRACE_HEADER:
            raise InvalidParameterValue(
                f'Message system attribute name {name[:80]!r} is invalid: it must be '
                f'{TRACE_HEADER}.'
            )
        if attribute.data_type != STRING:
            raise InvalidParameterValue(
                f'The message system attribute {TRACE_HEADER} must have the type String.'
            )
    return attributes


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or name.lower().startswith(_RESERVED):
        raise InvalidParameterValue(
            f'The message attribute name {name[:80]!r} is invalid: a name has 1 to {_LONGEST} of the '
            'characters A-Z a-z 0-9 _ - and dot. It does not start or end with a dot, has no two dots '
            'in sequence, and does not begin with AWS. or Amazon.'
        )


def _read_one(name: str, sent: Any) -> Attribute:
    data_type = sent.DataType or ''
    kind = data_type.partition('.')[0]
    shown = f'The message attribute {name[:80]!r}'
    if kind not in (STRING, NUMBER, BINARY) or not 0 < len(data_type) <= _LONGEST:
        raise InvalidParameterValue(
            f'{shown} has an invalid message attribute type: the DataType must be String, Number or '
            f'Binary, and may have a label, such as Number.float; {_LONGEST} characters at most.'
        )
    if sent.StringListValues or sent.BinaryListValues:
        raise InvalidParameterValue(f'{shown} has a list of values, which SQS does not take.')
    wanted, other = 'StringValue', sent.BinaryValue
    value = sent.StringValue
    if kind == BINARY:
        wanted, other, value = 'BinaryValue', sent.StringValue, sent.BinaryValue
    if not value or other is not None:
        raise InvalidParameterValue(
            f'{shown} of type {kind} must have a {wanted} that is not empty, and no other value.'
        )
    if kind == BINARY:
        return Attribute(data_type, _decoded(shown, value))
    if FORBIDDEN.search(value):
        raise InvalidParameterValue(f'{shown} has characters that SQS does not allow.')
    if kind == NUMBER and not _is_number(value):
        raise InvalidParameterValue(
            f'{shown} must be a decimal number of at most {_MOST_DIGITS} digits.'
        )
    return Attribute(data_type, value.encode())


def _decoded(shown: str, value: str) -> bytes:
    try:
        content = b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidParameterValue(f'{shown} must have its BinaryValue in base64.') from None
    if not content:
        raise InvalidParameterValue(f'{shown} must have a BinaryValue that is not empty.')
    return content


def _is_number(value: str) -> bool:
    if not _NUMBER.fullmatch(value):
        return False
    mantissa = value.lower().partition('e')[0]
    return sum(character.isdigit() for character in mantissa) <= _MOST_DIGITS


def size(attributes: Attributes) -> int:
    """Their bytes, which count for the size of a message."""
    return sum(
        len(name.encode()) + len(attribute.data_type.encode()) + len(attribute.value)
        for name, attribute in attributes.items()
    )


def stored(attributes: Attributes, trace: str | None) -> str | None:
    """What is stored beside the body, as JSON text; None if there is nothing.

    :param trace: an ``AWSTraceHeader`` that cannot be stored as a traceparent
    """
    if not attributes and trace is None:
        return None
    facts: dict[str, Any] = {}
    if attributes:
        facts['attributes'] = {name: one.document() for name, one in attributes.items()}
    if trace is not None:
        facts['trace'] = trace
    return msgspec.json.encode(facts).decode()


class Stored(NamedTuple):
    """What was stored beside a body."""

    attributes: dict[str, Attribute]
    trace: str | None


_NOTHING = Stored({}, None)


def restored(text: str | None) -> Stored:
    """What :func:`stored` made."""
    if text is None:
        return _NOTHING
    facts = msgspec.json.decode(text)
    return Stored(
        {
            name: Attribute(
                one['DataType'],
                b64decode(one['BinaryValue'])
                if 'BinaryValue' in one
                else one['StringValue'].encode(),
            )
            for name, one in facts.get('attributes', {}).items()
        },
        facts.get('trace'),
    )


_ALL = ('All', '.*', '*')


def wanted_by(names: Iterable[str] | None) -> Callable[[str], bool]:
    """Which attributes a client asks for: by their names, by what names begin with, or all.

    :param names: as of ``MessageAttributeNames``: ``prefix.*`` asks for all names with a prefix
    """
    asked = frozenset(names or ())
    if not asked.isdisjoint(_ALL):
        return lambda name: True
    # Of each name its beginnings are looked up, as a request may name a hundred thousand prefixes.
    prefixes = frozenset(name[:-2] for name in asked if name.endswith('.*'))
    return lambda name: (
        name in asked
        or (bool(prefixes) and any(name[:end] in prefixes for end in range(len(name) + 1)))
    )
