"""``/``, and the table of everything below it."""

from collections.abc import Sequence
from typing import Any

from marconi_api.controllers.openstack import v1, v1_1, v2
from marconi_api.controllers.openstack.documents import Versions
from marconi_api.controllers.service.description import DescriptionController
from marconi_api.wire.actions import Content, expose
from marconi_api.wire.replies import Reply, json_reply
from marconi_api.wire.requests import Request
from marconi_api.wire.routes import Resource, Routes


class RootController:
    """``/``: the versions of the API; its ``_route`` leads to every other path.

    See docs/protocol-v1.md, 3.1.
    """

    def __init__(self) -> None:
        self._routes = Routes()
        self._routes.add('/', self)
        self._routes.add('/openapi.json', DescriptionController(self._routes.resources))
        for version in (v1, v1_1, v2):
            for path, controller in version.RESOURCES.items():
                self._routes.add(path, controller, version.HOOKS)

    def _route(self, args: Sequence[str], request: Request) -> tuple[Resource, dict[str, Any]]:
        return self._routes.find(args)

    @expose(replies={300: Content(Versions)}, needs_storage=False)
    def get(self, request: Request) -> Reply:
        """The versions that are served, for clients that look for theirs."""
        return json_reply({'versions': [v1.VERSION, v1_1.VERSION, v2.VERSION]}, 300)
