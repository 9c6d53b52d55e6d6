"""How a request is read and a reply is written: nothing here knows a queue.

A request's body is parsed once: a type from ``types.py`` says which members the API names
and what they are, and what belongs to the client, the body of a message or the metadata of
a queue, goes to the database and back as the text that was sent. WSME's types describe the
documents and msgspec reads them; WSME's own parsing is not used, since it takes ``"5"`` and
``true`` for integers, answers a misplaced list with a 500, and is twenty times slower.
"""

import json
import re
import uuid
from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from http import HTTPStatus
from itertools import accumulate
from typing import Any, TypeVar
from urllib.parse import parse_qs, quote_plus

import msgspec
import pecan
import webob
from webob.request import BaseRequest
from wsme import types as wtypes

from marconi_api import framing, limits
from marconi_api.errors import (
    InvalidBody,
    InvalidClientId,
    InvalidParameter,
    InvalidQueueName,
    MarconiError,
    MissingHeader,
    OutOfRange,
    WrongContentType,
)

JSON = 'application/json'

# ---------------------------------------------------------------- the request


class Request(BaseRequest):
    """WebOb's request, and what every action of Marconi needs to know of it.

    ``project`` is the tenant, '' where none was named; ``path_values`` is what the path's
    placeholders stand for, in the path's order. ``hooks.IdentityHook`` completes both.
    """

    # Declared here, WebOb keeps them as plain attributes; it would otherwise put each
    # into a dictionary inside the WSGI environment.
    context: Any = None
    pecan: Any = None
    project = ''
    path_values: Mapping[str, Any] = {}
    _content: bytes | None = None

    @property
    def as_sent(self) -> str:
        """Path and query as the client sent them, for ``Content-Location``."""
        path, query = framing.path_as_sent(self.environ), self.environ.get('QUERY_STRING')
        return f'{path}?{query}' if query else path

    @property
    def named_project(self) -> str | None:
        """What the client named as its project, without white space around it; None if nothing.

        :raises InvalidQueueName: where that is more than one, or has control characters
        """
        sent: str | None = self.environ.get('HTTP_X_PROJECT_ID')
        if sent is None:
            return None
        # A server joins headers of one name by a comma.
        if ',' in sent or _CONTROL.search(project := sent.strip(' \t')):
            raise InvalidQueueName(
                'X-Project-Id must be sent once, and hold no comma or control character.'
            )
        return project

    @property
    def client_id(self) -> str | None:
        """The client's UUID in its canonical spelling; None where the header is absent."""
        sent = self.environ.get('HTTP_CLIENT_ID')
        return None if sent is None else canonical_uuid(sent)

    def require_client_id(self) -> str:
        """The client's UUID; without one the request is refused."""
        client_id = self.client_id
        if client_id is None:
            raise MissingHeader('Client-ID')
        return client_id

    @property
    def content_size(self) -> int:
        """Bytes of the body; ``framing`` has seen to it that they are a number."""
        # Python refuses to read thousands of digits; a dozen say already that it is too much.
        return int(self.environ.get('CONTENT_LENGTH', '0')[:12])

    def read_text(self, at_most: int) -> str:
        """The body, decoded. Refused where it is missing, longer than ``at_most``, not UTF-8."""
        size = self.content_size
        if size > at_most:
            raise OutOfRange(f'The body must not exceed {at_most} bytes; this one has {size}.')
        if self._content is None:
            self._content = self.environ['wsgi.input'].read(size) if size else b''
        content = self._content
        if not content or len(content) < size:
            raise InvalidBody('A JSON document is required as the body, with its Content-Length.')
        alike = content.translate(_MADE_ALIKE)
        if alike.count(b'[') > limits.MOST_LEVELS:
            _refuse_deep_nesting(content)
        if _LONG_NUMBER in alike:
            _refuse_integers_beyond_64_bit(content)
        try:
            return content.decode()
        except UnicodeDecodeError:
            raise InvalidBody('The body must be encoded in UTF-8.') from None


_CONTROL = re.compile(r'[\x00-\x1f\x7f]')


def canonical_uuid(text: str) -> str:
    """Any spelling that ``uuid.UUID`` takes, in its one canonical spelling (contract 1.1)."""
    # Some spellings have thousands of braces: nothing to remember.
    return _canonical_uuid(text) if len(text) < 64 else _canonical_uuid.__wrapped__(text)


@lru_cache(maxsize=4096)
def _canonical_uuid(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise InvalidClientId from None


# 2^63 has nineteen digits: a document without a run of nineteen cannot exceed 64 bit. And each
# level of a nested one begins with a bracket. Both are found without parsing, by a search in
# what the table makes of the document; few documents need the slow look.
_MADE_ALIKE = bytes.maketrans(b'123456789{', b'000000000[')
_LONG_NUMBER = b'0' * 19
_INT64 = range(-(2**63), 2**63)


def _refuse_integers_beyond_64_bit(content: bytes) -> None:
    def check(digits: str) -> None:
        # int() itself refuses thousands of digits, with a ValueError of its own.
        if len(digits) > 20 or int(digits) not in _INT64:
            raise InvalidBody(f'{digits[:24]} is beyond 64 bit: send such numbers as strings.')

    try:
        json.loads(content, parse_int=check)
    except (ValueError, RecursionError):
        raise InvalidBody('The body is not valid JSON.') from None


_TOO_DEEP = f'Lists and objects must not be nested more than {limits.MOST_LEVELS} levels deep.'
# An unfinished string reaches to the end: the parser refuses it.
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_STEPS = bytes.maketrans(b'[{]}', bytes((1, 1, 0xFF, 0xFF)))
_NO_STEPS = bytes({*range(256)} - {*b'[{]}'})


def _refuse_deep_nesting(content: bytes) -> None:
    steps = array('b', _STRING.sub(b'', content).translate(_STEPS, _NO_STEPS))
    if max(accumulate(steps), default=0) > limits.MOST_LEVELS:
        raise InvalidBody(_TOO_DEEP)


# ---------------------------------------------------------------- types of values


class Value(wtypes.UserType):
    """A JSON value of one kind, and of no other that could be turned into it."""

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


natural = Natural()
string = String()
nullable_string = NullableString()
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
        return list[_struct_of(self.element)]  # type: ignore[misc, arg-type]


class Parameter(wtypes.UserType):
    """A query parameter: ``validate`` gets every value that was sent for it, at least one."""

    basetype: type = str

    def validate(self, value: list[str]) -> Any:
        """The parameter's value; a ValueError says what is required instead."""
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
    """A truth value, in the spellings of contract 1.4."""

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
        return [element for sent in value for element in sent.split(',') if element]


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
    """All that no other parameter's name is; see :func:`unnamed_parameters`."""


text_parameter = TextParameter()
boolean_parameter = BooleanParameter()


# ---------------------------------------------------------------- documents

_parse_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class JsonObject:
    """A JSON object of the client's own: its text, and the text of each member by its name."""

    __slots__ = ('members', 'text')

    def __init__(self, text: str) -> None:
        self.text = text
        self.members: dict[str, msgspec.Raw] = _parse(_parse_object, text)


def read_document(datatype: Any, text: str) -> Any:
    """The JSON ``text`` as what ``datatype`` says: a WSME type, [a WSME type] or JsonObject.

    Of a WSME type comes an object with its attributes: what was sent, else the default, else
    ``Unset``. Members that the type does not name are ignored (contract 5.3, 6.1).
    """
    if datatype is JsonObject:
        return JsonObject(text)
    if isinstance(datatype, list):
        return _parse(_parser_of_list(datatype[0]), text)
    return _parse(_parser_of(datatype), text)


def _parse(parse: Callable[[str], Any], text: str) -> Any:
    try:
        return parse(text)
    except msgspec.ValidationError as error:
        raise InvalidBody(f'The body has not the shape that is due: {error}.') from None
    except msgspec.DecodeError as error:
        raise InvalidBody(f'The body is not valid JSON: {error}.') from None


@cache
def _parser_of(datatype: Any) -> Callable[[str], Any]:
    return msgspec.json.Decoder(_struct_of(datatype)).decode


@cache
def _parser_of_list(element: Any) -> Callable[[str], Any]:
    return msgspec.json.Decoder(list[_struct_of(element)]).decode  # type: ignore[misc]


@cache
def _struct_of(datatype: Any) -> Any:
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


def text_of(value: msgspec.Raw) -> str:
    """A JSON value's text."""
    return str(value, 'utf-8')


# ---------------------------------------------------------------- actions


Action = TypeVar('Action', bound=Callable[..., 'Reply'])


class Content:
    """What a reply holds: a document of a type such as ``body``'s, or none; and its headers.

    A tuple of types says that it is a document of one of them; a text names the attribute of
    the controller that has the type, where versions differ in it.
    """

    def __init__(self, document: Any = None, *headers: str, media_type: str = JSON) -> None:
        self.document = document
        self.headers = headers
        self.media_type = media_type


#: A reply with neither.
EMPTY = Content()


@dataclass(frozen=True)
class ByHand:
    """What an action reads by itself, for others to know. A text is as in :class:`Content`."""

    body: Any = None
    query: Mapping[str, Parameter] | str | None = None
    headers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Declaration:
    """All that :func:`expose` was told of an action; ``openapi`` writes it down."""

    body: Any
    at_most: str
    media_type: str | None
    needs_client_id: bool
    body_is_optional: bool
    by_hand: ByHand
    replies: Mapping[int, Content] | None
    raises: tuple[type[MarconiError], ...]
    needs_storage: bool
    query: Mapping[str, Parameter]


def expose(
    body: Any = None,
    at_most: str = 'max_messages_post_size',
    media_type: str | None = None,
    needs_client_id: bool = False,
    body_is_optional: bool = False,
    by_hand: ByHand = ByHand(),
    replies: Mapping[int, Content] | None = {},
    raises: tuple[type[MarconiError], ...] = (),
    needs_storage: bool = True,
    **query: Parameter,
) -> Callable[[Action], Action]:
    """Make a method of a controller an action of the API; say what it reads and replies.

    :param body: the type of its document (see :func:`read_document`), handed over as ``body``
    :param at_most: the name of the limit on the body's bytes
    :param media_type: the only ``Content-Type`` that the body may have, if there is one
    :param needs_client_id: whether ``Client-ID`` must be there
    :param body_is_optional: whether ``body`` may be left out, and is then not handed over
    :param by_hand: what it reads by itself; this and the next three are for ``openapi`` alone
    :param replies: what it replies, by the status; None if it refuses whatever is asked, and
        so is as good as not there
    :param raises: how it can fail, beyond what ``openapi`` knows from the above and the hooks
    :param needs_storage: whether it fails while there is no storage
    :param query: the query parameters that it takes, by name; one that the client left
        out or left empty is not handed over, one that is not named here is ignored

    ``pecan.expose`` marks it for Pecan; ``dispatch.Marconi`` calls ``read_arguments``.
    """

    def decorate(action: Action) -> Action:
        def read_arguments(request: Request) -> dict[str, Any]:
            arguments = read_query(request, query) if query else {}
            if needs_client_id:
                request.require_client_id()
            if body is not None and not (body_is_optional and not request.content_size):
                if media_type and request.environ.get('CONTENT_TYPE') != media_type:
                    raise WrongContentType(media_type)
                size = getattr(limits.in_force, at_most)
                arguments['body'] = read_document(body, request.read_text(size))
            return arguments

        exposed: Any = pecan.expose(content_type=JSON)(action)
        exposed.read_arguments = read_arguments
        exposed.declaration = Declaration(
            body,
            at_most,
            media_type,
            needs_client_id,
            body_is_optional,
            by_hand,
            replies,
            raises,
            needs_storage,
            query,
        )
        return action

    return decorate


def read_query(request: Request, declared: Mapping[str, Parameter]) -> dict[str, Any]:
    """The declared parameters that the client sent a value for."""
    query = request.environ.get('QUERY_STRING')
    if not query:
        return {}
    values = {}
    for name, sent in _parse_query(query).items():
        if name in declared:
            try:
                values[name] = declared[name].validate(sent)
            except ValueError as error:
                raise InvalidParameter(f'{name}: {error}, not {sent[-1][:80]!r}.') from None
    return values


def _parse_query(query: str) -> Mapping[str, list[str]]:
    # Most clients ask for the same limit over and over. What is remembered must be short.
    return _remembered_query(query) if len(query) < 100 else parse_qs(query)


@lru_cache(maxsize=1024)
def _remembered_query(query: str) -> Mapping[str, list[str]]:
    return parse_qs(query)


def unnamed_parameters(request: Request, declared: Mapping[str, Any]) -> dict[str, str]:
    """The parameters that the client sent beyond those that an action declares."""
    query = _parse_query(request.environ.get('QUERY_STRING', ''))
    return {name: sent[-1] for name, sent in query.items() if name not in declared}


# ---------------------------------------------------------------- replies

_STATUS_LINES = {status.value: f'{status.value} {status.phrase}' for status in HTTPStatus}


class Reply(webob.Response):
    """A status, headers and a body that is sent as it is.

    WebOb's own constructor works out a content type (6 us, where this takes half of one), and its
    ``__call__`` makes an absolute URL of ``Location``, which contract 1.6 forbids.
    """

    def __init__(
        self, status: int = 204, body: bytes = b'', headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        self._status = _STATUS_LINES[status]
        self._headerlist = list(headers)
        self._app_iter = [body]

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Send it, to HEAD without the body."""
        start_response(self._status, self._headerlist)
        return [] if environ['REQUEST_METHOD'] == 'HEAD' else self._app_iter


_encode = msgspec.json.Encoder().encode

#: JSON text that stands in a reply's document as it is.
Raw = msgspec.Raw


def json_reply(
    document: Any, status: int = 200, *headers: tuple[str, str], content_type: str = JSON
) -> Reply:
    """A reply with ``document`` as JSON."""
    content = _encode(document)
    length = str(len(content))
    return Reply(
        status, content, (('Content-Type', content_type), ('Content-Length', length), *headers)
    )


def empty_reply(status: int = 204, *headers: tuple[str, str]) -> Reply:
    """A reply without a body; a 204 needs no length to say so."""
    return Reply(status, b'', headers if status == 204 else (('Content-Length', '0'), *headers))


#: What a 503 says: in how many seconds to try again.
RETRY_AFTER = ('Retry-After', '1')


def content_location(request: Request) -> tuple[str, str]:
    """The header with which version 1 repeats where a reply was read from (contract 1.6)."""
    return 'Content-Location', request.as_sent


def next_link(path: str, query: Mapping[str, Any], **place: Any) -> dict[str, str]:
    """The link to the next page, which starts at ``place``; it repeats what was asked for."""
    repeated = {name: value for name, value in query.items() if name not in place}
    parameters = [
        f'{name}={_in_query(value)}'
        for name, values in {**repeated, **place}.items()
        for value in (values if isinstance(values, list) else [values])
    ]
    return {'rel': 'next', 'href': f'{path}?{"&".join(parameters)}'}


def _in_query(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    # Numbers and ids mostly; to look first is four times as fast as to quote.
    return text if text.isalnum() and text.isascii() else quote_plus(text)
