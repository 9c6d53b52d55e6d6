"""A door: one protocol that is served, and all that is its own."""

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

    #: The headers that it reads, whether they must be there, those of them that are credentials,
    #: and how it fails: for ``openapi``.
    headers: Sequence[str] = ()
    required = False
    credentials: Sequence[str] = ()
    raises: Sequence[type[MarconiError]] = ()

    def before(self, request: Request) -> None:
        """Look at the request, and complete it."""


class Placeholder:
    """What a segment of a path in braces stands for: any text but the empty one."""

    #: Whether an empty segment is one, for :meth:`read` to refuse.
    may_be_empty = False
    #: How :meth:`read` fails beyond what the hooks say: for ``openapi``.
    raises: Sequence[type[MarconiError]] = ()

    @property
    def schema(self) -> Mapping[str, Any]:
        """What it is, as a JSON Schema."""
        return {'type': 'string', 'pattern': '^[^/]+$'}

    def read(self, request: Request, text: str) -> Any:
        """What the action is handed for it, once the hooks have let the request pass."""
        return text


class Policy(Protocol):
    """Says who may do what; the module ``policy`` is one."""

    def roles_that_may(self, action: str) -> frozenset[str] | None:
        """Those that may do an action, by any of which it is allowed; None if anybody may.

        :raises LookupError: if nothing is said of that action
        """

    def permit(self, roles: frozenset[str], actions: Iterable[str]) -> None:
        """Let those who have these roles do all of the actions, or raise."""


@dataclass(frozen=True)
class Varying:
    """What a request does where that depends on the request.

    :param holds: whether it is such a request
    :param then: what it does then
    :param otherwise: what it does if not
    """

    holds: Callable[[Request], bool]
    then: tuple[str, ...]
    otherwise: tuple[str, ...]


#: The actions that a request does, as the policy knows them: it must allow each of them.
Names = tuple[str, ...] | Varying


def alternatives(names: Names) -> Sequence[tuple[str, ...]]:
    """All that a request may do, of which it does one."""
    return (names.then, names.otherwise) if isinstance(names, Varying) else (names,)


@dataclass(frozen=True, kw_only=True)
class Door:
    """A protocol: what it offers, what looks at its requests, and how its errors look.

    An action is found by a path or, in a protocol that names it in a header, by that name.

    :param error_reply: the form of its errors
    :param resources: which controller serves which path, such as ``/v1/queues/{queue}/messages``;
        what the placeholders stand for is handed to the action, in that order, after the request
    :param prefix: what all these paths begin with
    :param actions: which actions a request does: by method and path without the prefix, such as
        ``GET /queues``, or by method and operation
    :param policy: says who may do these
    :param operation_header: where the name of an operation is, as WSGI names the header; a
        request that has it is for this door, whatever its path
    :param operations: which controller serves which operation
    :param hooks: what looks at each request before its action, in this order
    :param placeholders: those that are more than a text, by their names in paths
    :param limits: how much its requests may ask for, if not what ``limits.in_force`` says
    :param is_described: whether it is for programs, and so part of ``/openapi.json``
    """

    error_reply: Callable[[MarconiError], Reply]
    policy: Policy
    prefix: str = ''
    resources: Mapping[str, object] = field(default_factory=dict)
    actions: Mapping[str, Names] = field(default_factory=dict)
    operation_header: str | None = None
    operations: Mapping[str, object] = field(default_factory=dict)
    hooks: Sequence[Hook] = ()
    placeholders: Mapping[str, Placeholder] = field(default_factory=dict)
    limits: Callable[[], Limits] | None = None
    is_described: bool = True

    @property
    def limits_in_force(self) -> Limits:
        """How much its requests may ask for now."""
        return limits.in_force if self.limits is None else self.limits()


class ErrorHook(PecanHook):
    """The one place where an error becomes an answer, in the form of the door that was asked.

    :param error_reply: the form where none was: the path is unknown, or was not looked at
    """

    def __init__(self, error_reply: Callable[[MarconiError], Reply]) -> None:
        self._error_reply = error_reply

    def on_error(self, state: RoutingState, error: Exception) -> Reply:
        """The answer; what nobody foresaw is a fault, and in the log."""
        if not isinstance(error, MarconiError):
            log.error('unexpected error', exc_info=error)
            error = Fault()
        door: Door | None = state.request.door
        return (door.error_reply if door else self._error_reply)(error)
