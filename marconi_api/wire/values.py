"""The values that a request may hold: members of a document, and parameters of a query."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from wsme import types as wtypes

from marconi_api.wire.documents import struct_of


class Value(wtypes.UserType):
    """A JSON value of one type; a value of another type is refused, not converted."""

    #: What it is in Python.
    parsed: Any


class Integer(Value):
    """A JSON integer: not a string, not a float, not a boolean.

    :param within: the name of its range in ``limits``, which the action sees to
    """

    basetype = int
    name = 'integer'
    parsed = int

    def __init__(self, within: str | None = None) -> None:
        self.within = within


class Natural(Integer):
    """A number of things or of seconds."""

    name = 'natural number'


class NullableInteger(Integer):
    """The same, or null."""

    name = 'integer or null'
    parsed = int | None


class NullableBoolean(Value):
    """true, false or null."""

    basetype = bool
    name = 'boolean or null'
    parsed = bool | None


class String(Value):
    """A JSON string.

    :param schema: what the action makes sure of beyond that, as a JSON Schema
    """

    basetype = str
    name = 'string'
    parsed = str

    def __init__(self, schema: Mapping[str, Any] = {}) -> None:
        self.schema = schema


class NullableString(String):
    """The same, or null."""

    name = 'string or null'
    parsed = str | None


class Json(Value):
    """A JSON value, kept as it was sent: see :func:`text_of`.

    :param schema: what the action makes sure it is, as a JSON Schema or as a function that
        returns one once the limits are known; any value where there is none
    """

    basetype = str
    name = 'json'
    parsed = msgspec.Raw

    def __init__(
        self, schema: Mapping[str, Any] | Callable[[], Mapping[str, Any]] | None = None
    ) -> None:
        self._schema = schema or {}

    @property
    def schema(self) -> Mapping[str, Any]:
        """What it is, as a JSON Schema."""
        return self._schema() if callable(self._schema) else self._schema


class Texts(Json):
    """A JSON list of strings."""

    name = 'texts'
    parsed = list[str]


natural = Natural()
string = String()
nullable_string = NullableString()
nullable_boolean = NullableBoolean()
any_json = Json()
any_object = Json({'type': 'object'})


class ListOf(Value):
    """A JSON list of documents of one type.

    :param at_least: how many there must be, which the action sees to
    :param at_most: how many there may be, which the action or the model sees to
    """

    basetype = list
    name = 'list'

    def __init__(
        self, element: type[wtypes.Base], at_least: int = 0, at_most: int | None = None
    ) -> None:
        self.element = element
        self.at_least = at_least
        self.at_most = at_most

    @property
    def parsed(self) -> Any:  # noqa: D102 - as the class says
        return list[struct_of(self.element)]  # type: ignore[misc, arg-type]


class Parameter(wtypes.UserType):
    """A query parameter; ``validate`` gets all values that were sent for it, at least one."""

    basetype: type = str

    def validate(self, value: list[str]) -> Any:
        """The parameter's value.

        :raises ValueError: in words that say what is required instead
        """
        raise NotImplementedError


class TextParameter(Parameter):
    """Any text; of several the last counts."""

    name = 'text'

    def validate(self, value: list[str]) -> str:  # noqa: D102 - as the class says
        return value[-1]


class IntegerParameter(Parameter):
    """A decimal integer.

    :param within: the name of its range in ``limits``, which the action sees to
    """

    basetype = int
    name = 'integer'
    _pattern = re.compile(r'[+-]?[0-9]{1,1000}', re.ASCII)

    def __init__(self, within: str) -> None:
        self.within = within

    def validate(self, value: list[str]) -> int:  # noqa: D102 - as the class says
        if not self._pattern.fullmatch(value[-1]):
            raise ValueError('a decimal integer is required')
        return int(value[-1])


class BooleanParameter(Parameter):
    """A truth value, in the spellings of docs/protocol-v1.md, 1.4."""

    basetype = bool
    name = 'boolean'
    _values = {
        **dict.fromkeys(('true', 'True', 't', 'yes', 'y', '1', 'on'), True),
        **dict.fromkeys(('false', 'False', 'f', 'no', 'n', '0', 'off'), False),
    }

    def validate(self, value: list[str]) -> bool:  # noqa: D102 - as the class says
        try:
            return self._values[value[-1]]
        except KeyError:
            raise ValueError('true or false is required') from None


class ListParameter(Parameter):
    """Texts separated by commas, or the parameter repeated, or both; empty ones are dropped.

    :param within: the name of the range of their number in ``limits``, which the action sees to
    :param required: whether the action cannot do without it, which it sees to as well
    """

    name = 'list'

    def __init__(self, within: str, required: bool = False) -> None:
        self.within = within
        self.required = required

    def validate(self, value: list[str]) -> list[str]:  # noqa: D102 - as the class says
        return list(filter(None, ','.join(value).split(',')))


class WordParameter(Parameter):
    """One of a few words."""

    name = 'word'

    def __init__(self, *words: str) -> None:
        self.words = words

    def validate(self, value: list[str]) -> str:  # noqa: D102 - as the class says
        if value[-1] not in self.words:
            raise ValueError(f'one of {", ".join(self.words)} is required')
        return value[-1]


class OtherParameters(Parameter):
    """All parameters that the action does not name; see :func:`unnamed_parameters`."""


text_parameter = TextParameter()
boolean_parameter = BooleanParameter()
