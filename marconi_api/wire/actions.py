"""What an action of the API reads and replies: one declaration, for the parser and for OpenAPI."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import parse_qs

import pecan

from marconi_api.errors import MarconiError
from marconi_api.wire.documents import document_reader
from marconi_api.wire.failures import InvalidParameter, MissingHeader, WrongContentType
from marconi_api.wire.replies import JSON, Reply
from marconi_api.wire.requests import Request
from marconi_api.wire.values import Parameter

Action = TypeVar('Action', bound=Callable[..., 'Reply'])


class Content:
    """What a reply holds: a document, or none, and headers.

    ``document`` is a type as :func:`document_reader` takes it, or a tuple of types, of which the
    document has one. A ``str`` is the name of the controller's attribute that holds the type, where
    versions of the API differ. ``at_times`` names headers that the reply does not always have.
    ``or_stream`` says that a client may ask for server-sent events instead of the document.
    """

    def __init__(
        self,
        document: Any = None,
        *headers: str,
        media_type: str = JSON,
        at_times: tuple[str, ...] = (),
        or_stream: bool = False,
    ) -> None:
        self.document = document
        self.headers = headers
        self.at_times = at_times
        self.media_type = media_type
        self.or_stream = or_stream


#: A reply with neither a document nor headers.
EMPTY = Content()


@dataclass(frozen=True)
class ByHand:
    """What an action reads by itself; ``openapi`` describes it.

    A ``str`` is the name of an attribute, as in :class:`Content`.
    """

    body: Any = None
    query: Mapping[str, Parameter] | str | None = None
    headers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Declaration:
    """The arguments of :func:`expose` for an action, from which ``openapi`` describes it."""

    body: Any
    at_most: str
    media_type: str | None
    needs_client_id: bool
    body_is_optional: bool
    by_hand: ByHand
    replies: Mapping[int, Content] | None
    raises: tuple[type[MarconiError], ...]
    needs_storage: bool
    waits: bool
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
    waits: bool = False,
    **query: Parameter,
) -> Callable[[Action], Action]:
    """Make a method of a controller an action of the API; say what it reads and replies.

    ``by_hand``, ``replies``, ``raises``, ``needs_storage`` and ``waits`` only describe the action, for
    ``openapi``. ``pecan.expose`` marks the action for Pecan; ``routes.Marconi`` calls its
    ``read_arguments``.

    :param body: the type of the request's document (see :func:`document_reader`); the action gets the
        document as ``body``
    :param at_most: the name of the limit on the body's bytes
    :param media_type: the only ``Content-Type`` that the body may have; None: any
    :param needs_client_id: whether the request must have ``Client-ID``
    :param body_is_optional: whether the body may be absent; the action then gets no ``body``
    :param by_hand: what the action reads by itself
    :param replies: what the action replies, by the status; None if it refuses every request
    :param raises: its errors, beyond those that follow from the other arguments and the hooks
    :param needs_storage: whether it fails while there is no storage
    :param waits: whether it can wait for messages, by the header Prefer
    :param query: the query parameters that the action takes, by name. It does not get a parameter
        that the client left out or left empty. A parameter that is not named here is ignored.
    """

    def decorate(action: Action) -> Action:
        read_query = query_reader(query) if query else None
        read_body = None if body is None else document_reader(body)

        def read_arguments(request: Request) -> dict[str, Any]:
            arguments = {} if read_query is None else read_query(request)
            if needs_client_id and request.client_id is None:
                raise MissingHeader('Client-ID')
            if read_body is not None and not (body_is_optional and not request.content_size):
                if media_type and request.environ.get('CONTENT_TYPE') != media_type:
                    raise WrongContentType(media_type)
                size = getattr(request.door.limits_in_force, at_most)
                arguments['body'] = read_body(request.read_text(size))
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
            waits,
            query,
        )
        return action

    return decorate


def query_reader(declared: Mapping[str, Parameter]) -> Callable[[Request], dict[str, Any]]:
    """A function that reads those declared parameters for which the client sent a value.

    The function raises :class:`InvalidParameter` for a value that a parameter refuses.
    """
    if not declared:
        return lambda request: {}

    def read_text(query: str) -> dict[str, Any]:
        values = {}
        for name, sent in _parse_query(query).items():
            if name in declared:
                try:
                    values[name] = declared[name].validate(sent)
                except ValueError as error:
                    raise InvalidParameter(f'{name}: {error}, not {sent[-1][:80]!r}.') from None
        return values

    # Most clients ask for the same limit over and over. Only short queries are remembered.
    remembered = lru_cache(maxsize=1024)(read_text)

    def read(request: Request) -> dict[str, Any]:
        query = request.environ.get('QUERY_STRING')
        if not query:
            return {}
        return dict(remembered(query)) if len(query) < 100 else read_text(query)

    return read


def _parse_query(query: str) -> Mapping[str, list[str]]:
    return _remembered_query(query) if len(query) < 100 else _parsed(query)


def _parsed(query: str) -> Mapping[str, list[str]]:
    # It takes 7 us for a list of ten ids, which have nothing to be decoded; this takes one.
    if '%' in query or '+' in query:
        return parse_qs(query)
    values: dict[str, list[str]] = {}
    for pair in query.split('&'):
        name, _, value = pair.partition('=')
        if value:
            values.setdefault(name, []).append(value)
    return values


@lru_cache(maxsize=1024)
def _remembered_query(query: str) -> Mapping[str, list[str]]:
    return _parsed(query)


def sends_parameter(request: Request, name: str) -> bool:
    """Whether the client sent a value for the parameter, as :func:`query_reader` sees it."""
    query = request.environ.get('QUERY_STRING', '')
    start = f'{name}='
    # Most queries begin with it. A list of ten ids is then not parsed twice.
    if query.startswith(start) and query[len(start) : len(start) + 1] not in ('', '&'):
        return True
    # A name may be encoded.
    return (name in query or '%' in query) and name in _parse_query(query)


def unnamed_parameters(request: Request, declared: Mapping[str, Any]) -> dict[str, str]:
    """The parameters that the client sent beyond those that an action declares."""
    query = _parse_query(request.environ.get('QUERY_STRING', ''))
    return {name: sent[-1] for name, sent in query.items() if name not in declared}
