"""From a path to a call, and from an error to an answer: all that happens around an action.

0. ``framing.receive`` refuses what is not well formed, before anything of it is believed. While more
   requests come than can be answered, ``overload.refuse`` may refuse one (503).
1. ``RootController._route`` finds the door and its resource: by the path, down the table of
   resources (docs/protocol-v1.md, 1.2, step 1: an unknown path is a 404 before any header is
   looked at), or by the name of an operation.
2. The door's hooks check the headers and learn who asks; its placeholders read what the path
   names (steps 2 to 6).
3. The request's method chooses the action: the controller's method of that name (step 7: 405). The
   policy says whether the client's roles may do it (403).
4. The action's declaration (``wire.expose``) reads query and body; the action is called
   and returns a :class:`~marconi_api.wire.replies.Reply` (step 8).
5. Whatever was raised on the way becomes an answer in ``doors.ErrorHook``, in the door's form.

The life of a request is Pecan's: request, response, hooks and errors pass through
``PecanBase.__call__``. Two of its steps are replaced here, since they are made for web pages: they
guess a content type from the path's ending (queue ``a.json`` would become ``a``), merge form, query
and a JSON body into one set of arguments, inspect signatures and render templates.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from pecan.core import PecanBase, RoutingState
from pecan.hooks import PecanHook

from marconi_api.wire import framing
from marconi_api.wire.doors import Door, Hook, Names, Naming, actions_of, alternatives
from marconi_api.wire.failures import MethodNotAllowed, UnknownOperation, UnknownPath
from marconi_api.wire.overload import REFUSED, refuse
from marconi_api.wire.replies import Reply, empty_reply
from marconi_api.wire.requests import Request

#: The HTTP methods that a controller may answer, each by an action of that name in lower case.
METHODS = ('GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE')


class Resource:
    """One line of a door's table: the actions of a controller, and the path that leads to them.

    In a protocol that names its operations, that name stands for the path.
    """

    def __init__(
        self, path: str, controller: object, door: Door, placeholders: Sequence[str] = ()
    ) -> None:
        self.path = path
        self.controller = controller
        self.door = door
        self.placeholders = {
            name: door.placeholders[name] for name in placeholders if name in door.placeholders
        }
        #: The checks of the door's hooks, in their order. A hook that is listed for `openapi` alone has
        #: none.
        self.looks = [
            hook.before
            for hook in door.hooks
            if type(hook).before not in (Hook.before, PecanHook.before)
        ]
        #: The placeholders of the path, each with the function that reads it.
        self.reads = [(name, kind.read) for name, kind in self.placeholders.items()]
        self.actions = {
            method: getattr(controller, method.lower())
            for method in METHODS
            if getattr(getattr(controller, method.lower(), None), 'exposed', False)
        }
        self.names = {method: self._names(method) for method in self.actions}

    def _names(self, method: str) -> Names:
        """The policy's names of the actions that a request with this method does.

        It is empty if the controller refuses every request with this method.

        :raises LookupError: if the door does not list the actions, or the policy does not know one
        """
        if self.actions[method].declaration.replies is None:
            return ()
        line = f'{method} {self.path.removeprefix(self.door.prefix)}'.rstrip()
        if line not in self.door.actions:
            raise LookupError(f'say in the actions of the door which one {line!r} is')
        names = self.door.actions[line]
        for action in chain.from_iterable(alternatives(names)):
            self.door.policy.roles_that_may(action)
        return names


class Node:
    """A segment of the paths in the table, and what may follow it."""

    def __init__(self) -> None:
        self.resource: Resource | None = None
        self.named: dict[str, Node] = {}
        self.placeholder: tuple[str, Node] | None = None
        self.may_be_empty = False


# Paths that are remembered: most requests are for few of them. Only short ones are.
_MOST_PATHS = 4096
_LONGEST_REMEMBERED = 200


class Routes:
    """The resources of all doors: by path, as a tree to walk, and by the name of an operation."""

    def __init__(self) -> None:
        self._top = Node()
        self._walked = lru_cache(_MOST_PATHS)(self._walk)
        self._operations: list[tuple[Naming, Door, dict[str, Resource]]] = []
        #: The lines of the tables, by their paths.
        self.resources: dict[str, Resource] = {}

    def add(self, door: Door) -> None:
        """Serve what a door offers."""
        for path, controller in door.resources.items():
            self._add(path, controller, door)
        if door.naming:
            operations = {name: Resource(name, one, door) for name, one in door.operations.items()}
            self._operations.append((door.naming, door, operations))

    def _add(self, path: str, controller: object, door: Door) -> None:
        node, names = self._top, []
        for segment in path.strip('/').split('/'):
            if segment.startswith('{'):
                names.append(name := segment.strip('{}'))
                if node.placeholder is None:
                    node.placeholder = (name, Node())
                    kind = door.placeholders.get(name)
                    node.may_be_empty = kind is not None and kind.may_be_empty
                node = node.placeholder[1]
            elif segment:
                node = node.named.setdefault(segment, Node())
        node.resource = self.resources[path] = Resource(path, controller, door, names)

    def find(self, path: str, request: Request) -> None:
        """Set the request's door, its resource, and the values of the path's placeholders.

        :raises UnknownPath: if no door serves the path
        :raises UnknownOperation: if a door has no operation of the name
        """
        for naming, door, operations in self._operations:
            if naming.is_in(request.environ):
                request.door, request.path_values = door, {}
                request.resource = operations.get(naming.name(request))
                if request.resource is None:
                    raise UnknownOperation
                return
        walk = self._walked if len(path) < _LONGEST_REMEMBERED else self._walk
        line, values = walk(path)
        request.resource = self.resources[line]
        request.path_values = dict(values)
        request.door = request.resource.door

    def _walk(self, path: str) -> tuple[str, Mapping[str, str]]:
        """The line of the table for a path as it was sent, and the values of its placeholders.

        A slash at the end is ignored. An empty segment matches only a placeholder that refuses it
        itself, such as a queue's name (docs/protocol-v1.md, 1.3).

        :raises UnknownPath: if no line matches
        """
        node, values = self._top, {}
        segments = framing.segments_of(path)
        for place, segment in enumerate(segments, 1):
            if segment in node.named:
                node = node.named[segment]
            elif node.placeholder and (segment or node.may_be_empty):
                name, node = node.placeholder
                values[name] = segment
            elif segment or place < len(segments):
                raise UnknownPath
        if node.resource is None:
            raise UnknownPath
        return node.resource.path, values


class Marconi(PecanBase):
    """The Pecan application. ``config.py`` names its root controller."""

    def __init__(self, root: Any, hooks: Sequence[PecanHook]) -> None:
        super().__init__(root, hooks=hooks, request_cls=Request, response_cls=Reply)
        self._occasions = {
            occasion
            for occasion in ('on_route', 'after', 'on_error')
            if any(
                getattr(type(hook), occasion) is not getattr(PecanHook, occasion)
                for hook in self.hooks
            )
        }
        # Without the frames of Pecan's own loop, and the calls of hooks that do nothing.
        self._on_route = [
            (hook.on_route, getattr(hook, 'only_with', None))
            for hook in self.hooks
            if type(hook).on_route is not PecanHook.on_route
        ]

    def determine_hooks(self, controller: Any = None) -> list[PecanHook]:
        """Those of the application; an action has none of its own."""
        hooks: list[PecanHook] = self.hooks
        return hooks

    def handle_hooks(self, hooks: list[PecanHook], occasion: str, *args: Any) -> Any:
        """Call the hooks, unless it is an occasion on which the application's do nothing."""
        if hooks is self.hooks and occasion not in self._occasions:
            return None
        return super().handle_hooks(hooks, occasion, *args)

    def find_controller(
        self, state: RoutingState
    ) -> tuple[Callable[..., Reply], list[Any], Mapping[str, Any]]:
        """Steps 0 to 4, as far as the arguments: the action, and what to call it with."""
        request = state.request
        environ = request.environ
        path = framing.receive(environ)
        if REFUSED in environ:
            self.root._route(path, request)
            refuse(request)
        for look_at, member in self._on_route:
            if member is None or member in environ:
                look_at(state)
        self.root._route(path, request)
        resource: Resource = request.resource
        method = environ['REQUEST_METHOD']
        if method == 'OPTIONS':
            allowed = ', '.join((*resource.actions, 'OPTIONS'))
            return empty_reply, [200, ('Allow', allowed)], {}

        for look in resource.looks:
            look(request)
        values = request.path_values
        for name, read in resource.reads:
            values[name] = read(request, values[name])
        if method not in resource.actions:
            raise MethodNotAllowed((*resource.actions, 'OPTIONS'))
        names = actions_of(resource.names[method], request)
        resource.door.policy.permit(request.identity.roles, names)
        action = state.controller = resource.actions[method]
        state.arguments = action.read_arguments(request)
        return action, [request, *values.values()], state.arguments

    def invoke_controller(
        self,
        action: Callable[..., Reply],
        args: list[Any],
        kwargs: Mapping[str, Any],
        state: RoutingState,
    ) -> None:
        """Step 4: an action returns its reply, finished."""
        state.response = action(*args, **kwargs)

    def _handle_empty_response_body(self, state: RoutingState) -> None:
        """Leave the reply alone: Pecan would turn an empty 200 (OPTIONS) into a 204."""
