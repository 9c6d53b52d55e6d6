"""``/``, and the list of doors: everything that is served."""

from collections.abc import Sequence

from marconi_api import policy
from marconi_api.controllers import console, sqs
from marconi_api.controllers.openstack import v1, v1_1, v2
from marconi_api.controllers.openstack.documents import Versions, error_reply
from marconi_api.controllers.service.description import DescriptionController
from marconi_api.controllers.service.probes import LivenessController, ReadinessController
from marconi_api.wire.actions import Content, expose
from marconi_api.wire.doors import Door
from marconi_api.wire.replies import Reply, json_reply
from marconi_api.wire.requests import Request
from marconi_api.wire.routes import Routes

#: The protocols that are served, each with its own table, hooks, errors and limits; and pages.
DOORS = (v1.DOOR, v1_1.DOOR, v2.DOOR, console.DOOR, *sqs.DOORS)


class RootController:
    """``/``: the versions of the API; its ``_route`` leads to all other paths.

    See docs/protocol-v1.md, 3.1.
    """

    def __init__(self, doors: Sequence[Door] = DOORS) -> None:
        self._routes = Routes()
        self._routes.add(self._service())
        for door in doors:
            self._routes.add(door)
        self._route = self._routes.find

    def _service(self) -> Door:
        """What belongs to no protocol."""
        return Door(
            resources={
                '/': self,
                '/openapi.json': DescriptionController(self._routes.resources),
                '/livez': LivenessController(),
                '/readyz': ReadinessController(),
            },
            actions={
                'GET /': ('versions:get',),
                'GET /openapi.json': ('description:get',),
                'GET /livez': ('ping:get',),
                'GET /readyz': ('ping:get',),
            },
            policy=policy,
            error_reply=error_reply,
        )

    @expose(replies={300: Content(Versions)}, needs_storage=False)
    def get(self, request: Request) -> Reply:
        """The versions that are served, for clients that look for theirs."""
        return json_reply({'versions': [v1.VERSION, v1_1.VERSION, v2.VERSION]}, 300)
