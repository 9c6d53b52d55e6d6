"""How a document is read.

A request's body is parsed once. A type from a ``types.py`` says which members the API knows, and of
which type each one is. A part that belongs to the client, such as the body of a message or the
metadata of a queue, goes to the database and back as the text that was sent. WSME's types describe the
documents, and msgspec reads them. WSME's own parser is not used: it takes ``"5"`` and ``true`` for
integers, answers a misplaced list with a 500, and is twenty times slower.
"""

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import msgspec
from wsme import types as wtypes

from marconi_api.wire.failures import InvalidBody


class Document(wtypes.Base):
    """A document; its members are attributes of the class, in the order of the class body.

    WSME is told that order. Otherwise it would parse the source of each class, once for each base
    class, and a process would spend more than half of its start on that.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        names = (name for part in cls.__mro__ for name in _members(part))
        cls._wsme_attr_order = [*dict.fromkeys(names)]


def _members(part: type) -> Iterator[str]:
    """The members that a class itself declares."""
    for name, member in vars(part).items():
        if not name.startswith('_') and wtypes.iswsattr(member):
            yield name


class JsonObject:
    """A JSON object of the client's own: its text, and the text of each member by its name."""

    __slots__ = ('members', 'text')

    def __init__(self, text: str) -> None:
        self.text = text
        self.members: dict[str, msgspec.Raw] = _read_object(text)


def document_reader(datatype: Any) -> Callable[[str], Any]:
    """A function that reads a JSON text as a value of ``datatype``.

    For a WSME type it returns an object with the attributes of the type: the value that was sent, else
    the default, else ``Unset``. It ignores members that the type does not name (docs/protocol-v1.md,
    5.3, 6.1). The function raises :class:`InvalidBody` if the text does not fit.

    :param datatype: a WSME type, a list that holds one WSME type, a ``Value`` or ``JsonObject``
    """
    if datatype is JsonObject:
        return JsonObject
    if isinstance(datatype, list):
        return _reader(list[struct_of(datatype[0])])  # type: ignore[misc]
    if isinstance(datatype, wtypes.UserType):
        return _reader(datatype.parsed)
    return _reader(struct_of(datatype))


def read_document(datatype: Any, text: str) -> Any:
    """The JSON text as a value of ``datatype``; see :func:`document_reader`.

    :raises InvalidBody: if the text does not fit
    """
    return _reader_of(datatype)(text)


_reader_of = cache(document_reader)


def _reader(shape: Any) -> Callable[[str], Any]:
    parse = msgspec.json.Decoder(shape).decode

    def read(text: str) -> Any:
        try:
            return parse(text)
        except msgspec.ValidationError as error:
            raise InvalidBody(f'The body does not have the expected shape: {error}.') from None
        except msgspec.DecodeError as error:
            raise InvalidBody(f'The body is not valid JSON: {error}.') from None

    return read


_read_object = _reader(dict[str, msgspec.Raw])


@cache
def struct_of(datatype: Any) -> Any:
    """A msgspec type with the members of a WSME type, to read a document in a single pass.

    An object of WSME's checks each value as it is set: ten messages took 100 us that way, and take 5.
    """
    return msgspec.defstruct(
        datatype.__name__,
        [
            (attribute.key, attribute.datatype.parsed)
            if attribute.mandatory
            else (attribute.key, attribute.datatype.parsed, attribute.default)
            for attribute in datatype._wsme_attributes
        ],
        rename={attribute.key: attribute.name for attribute in datatype._wsme_attributes},
        kw_only=True,
    )


#: The text of a JSON value that is kept as :class:`msgspec.Raw`.
text_of: Callable[[msgspec.Raw], str] = partial(str, encoding='utf-8')
