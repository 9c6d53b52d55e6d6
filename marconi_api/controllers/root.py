"""``/``, and the table of everything below it."""

from collections.abc import Sequence
from typing import Any

from marconi_api.controllers import v1
from marconi_api.dispatch import Resource, Routes
from marconi_api.wire import Reply, Request, expose, json_reply


class RootController:
    """``/``: the versions of the API (contract 3.1); its ``_route`` leads to every other path."""

    def __init__(self) -> None:
        self._routes = Routes()
        self._routes.add('/', self)
        for path, controller in v1.RESOURCES.items():
            self._routes.add(path, controller, v1.HOOKS)

    def _route(self, args: Sequence[str], request: Request) -> tuple[Resource, dict[str, Any]]:
        return self._routes.find(args)

    @expose()
    def get(self, request: Request) -> Reply:
        """The versions that are served, for clients that look for theirs."""
        return json_reply({'versions': [v1.VERSION]}, 300)
