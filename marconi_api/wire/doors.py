"""A door: one protocol that the service speaks, with its paths, checks, errors and limits."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pecan.core import RoutingState
from pecan.hooks import PecanHook

from marconi_api import limits
from marconi_api.errors import Fault, MarconiError
from marconi_api.limits import Limits
from marconi_api.wire.replies import Reply
from marconi_api.wire.requests import Request

log = logging.getLogger(__name__)


class Hook:
    """Looks at each request of a door before its action is called, and refuses it by raising."""

    #: For ``openapi``: the headers that the hook reads, whether they must be there, which of them are
    #: credentials, and the errors that it raises.
    headers: Sequence[str] = ()
    required = False
    credentials: Sequence[str] = ()
    raises: Sequence[type[MarconiError]] = ()

    def before(self, request: Request) -> None:
        """Look at the request, and complete it."""


class Naming:
    """How the requests of a protocol name an operation, instead of a path."""

    def is_in(self, environ: Mapping[str, Any]) -> bool:
        """Whether a request, of which only the head need be here, is one of the protocol."""
        raise NotImplementedError

    def name(self, request: Request) -> str:
        """The name of the operation."""
        raise NotImplementedError


class InHeader(Naming):
    """A header names it.

    :param header: its WSGI name; a request that has this header is one of the protocol
    """

    def __init__(self, header: str) -> None:
        self._header = header

    def is_in(self, environ: Mapping[str, Any]) -> bool:
        """Whether the header is there."""
        return self._header in environ

    def name(self, request: Request) -> str:
        """Its value."""
        name: str = request.environ[self._header]
        return name


class Placeholder:
    """What a segment in braces stands for in a path: any text but the empty one."""

    #: Whether the path also matches with an empty segment, which :meth:`read` then refuses.
    may_be_empty = False
    #: For ``openapi``: the errors of :meth:`read`, beyond those of the hooks.
    raises: Sequence[type[MarconiError]] = ()

    @property
    def schema(self) -> Mapping[str, Any]:
        """What it is, as a JSON Schema."""
        return {'type': 'string', 'pattern': '^[^/]+$'}

    def read(self, request: Request, text: str) -> Any:
        """The action's argument for the segment; called after the hooks."""
        return text


class Policy(Protocol):
    """Says who may do what; the module ``policy`` is one."""

    def roles_that_may(self, action: str) -> frozenset[str] | None:
        """The roles each of which may do the action; None if anybody may.

        :raises LookupError: if the policy does not know the action
        """

    def permit(self, roles: frozenset[str], actions: Iterable[str]) -> None:
        """Let those who have these roles do all of the actions, or raise."""


@dataclass(frozen=True)
class Varying:
    """The actions of a request, where they depend on the request.

    :param holds: tells of a request which of the two it does
    :param then: the actions if it holds
    :param otherwise: the actions if it does not
    """

    holds: Callable[[Request], bool]
    then: tuple[str, ...]
    otherwise: tuple[str, ...]


#: The actions that a request does, as the policy knows them: it must allow each of them.
Names = tuple[str, ...] | Varying


def actions_of(names: Names, request: Request) -> tuple[str, ...]:
    """The actions that a request does."""
    if isinstance(names, Varying):
        return names.then if names.holds(request) else names.otherwise
    return names


def alternatives(names: Names) -> Sequence[tuple[str, ...]]:
    """All sets of actions that a request may do; it does one of them."""
    return (names.then, names.otherwise) if isinstance(names, Varying) else (names,)


#: Makes a reply of an error, and of the WSGI environment of the request.
ErrorReply = Callable[[MarconiError, dict[str, Any]], Reply]


@dataclass(frozen=True, kw_only=True)
class Door:
    """A protocol: what it offers, what looks at its requests, and how its errors look.

    An action is found by a path or, in a protocol that names operations otherwise, by that name.

    :param error_reply: makes a reply of an error, in the protocol's form; gets the error, and the WSGI
        environment of the request
    :param resources: which controller serves which path, such as ``/v1/queues/{queue}/messages``;
        what the placeholders stand for is handed to the action, in that order, after the request
    :param prefix: what all these paths begin with
    :param actions: which actions a request does: by method and path without the prefix, such as
        ``GET /queues``, or by method and operation
    :param policy: says which roles may do which actions
    :param naming: how requests name an operation; a request that does so is for this door, whatever its
        path
    :param operations: which controller serves which operation
    :param hooks: what looks at each request before its action, in this order
    :param placeholders: the placeholders that are more than a text, by their names in paths
    :param limits: how much its requests may ask for; None: what ``limits.in_force`` says
    :param largest_body: bytes of a body that may be accepted, whatever it is for; None: as of ``limits``
    :param is_described: whether the door is for programs, and so part of ``/openapi.json``
    """

    error_reply: ErrorReply
    policy: Policy
    prefix: str = ''
    resources: Mapping[str, object] = field(default_factory=dict)
    actions: Mapping[str, Names] = field(default_factory=dict)
    naming: Naming | None = None
    operations: Mapping[str, object] = field(default_factory=dict)
    hooks: Sequence[Hook] = ()
    placeholders: Mapping[str, Placeholder] = field(default_factory=dict)
    limits: Callable[[], Limits] | None = None
    largest_body: int | None = None
    is_described: bool = True

    @property
    def limits_in_force(self) -> Limits:
        """How much its requests may ask for now."""
        return limits.in_force if self.limits is None else self.limits()


class ErrorHook(PecanHook):
    """The one place where an error becomes an answer, in the form of the request's door.

    :param error_reply: the form for a request without a door: its path is unknown, or was not read
    :param doors: those whose requests are known before their path was read
    """

    def __init__(self, error_reply: ErrorReply, doors: Sequence[Door] = ()) -> None:
        self._error_reply = error_reply
        self._doors = doors

    def on_error(self, state: RoutingState, error: Exception) -> Reply:
        """The answer to an error; an exception that is not a ``MarconiError`` is logged as a fault."""
        if not isinstance(error, MarconiError):
            log.error('unexpected error', exc_info=error)
            error = Fault()
        environ = state.request.environ
        door: Door | None = state.request.door or door_of(environ, self._doors)
        return (door.error_reply if door else self._error_reply)(error, environ)


def largest_body(environ: Mapping[str, Any], doors: Iterable[Door]) -> int:
    """Bytes of a body that may be accepted of a request."""
    door = door_of(environ, doors)
    return (door and door.largest_body) or limits.in_force.largest_body


def door_of(environ: Mapping[str, Any], doors: Iterable[Door]) -> Door | None:
    """The door of a request that names an operation; None if it names none."""
    return next((door for door in doors if door.naming and door.naming.is_in(environ)), None)
