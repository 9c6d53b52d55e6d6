"""How a document is read.

A request's body is parsed once: a type from ``types.py`` says which members the API names
and what they are, and what belongs to the client, the body of a message or the metadata of
a queue, goes to the database and back as the text that was sent. WSME's types describe the
documents and msgspec reads them; WSME's own parsing is not used, since it takes ``"5"`` and
``true`` for integers, answers a misplaced list with a 500, and is twenty times slower.
"""

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import msgspec
from wsme import types as wtypes

from marconi_api.wire.failures import InvalidBody


class Document(wtypes.Base):
    """A document whose members are attributes of its class, in the order in which they stand there.

    WSME is told that order: else it parses the source of each class, once for each base of it,
    and a process spends more than half of its start on that.
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
    """What reads a JSON text as what ``datatype`` says: a WSME type, [a WSME type], a value or JsonObject.

    Of a WSME type comes an object with its attributes: what was sent, else the default, else
    ``Unset``. Members that the type does not name are ignored (docs/protocol-v1.md, 5.3, 6.1).
    """
    if datatype is JsonObject:
        return JsonObject
    if isinstance(datatype, list):
        return _reader(list[struct_of(datatype[0])])  # type: ignore[misc]
    if isinstance(datatype, wtypes.UserType):
        return _reader(datatype.parsed)
    return _reader(struct_of(datatype))


def read_document(datatype: Any, text: str) -> Any:
    """The text as what a WSME type says; see :func:`document_reader`."""
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
    """What a WSME type says of a document, for msgspec to read one in a single pass.

    WSME's own objects check each value as it is set: ten messages took it 100 us, against 5.
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


#: The text of a JSON value, of :class:`msgspec.Raw`.
text_of: Callable[[msgspec.Raw], str] = partial(str, encoding='utf-8')
