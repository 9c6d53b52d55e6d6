"""``/openapi.json``: all paths, as programs read them."""

from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import version

import msgspec

from marconi_api.wire import openapi
from marconi_api.wire.actions import Content, expose
from marconi_api.wire.documents import JsonObject
from marconi_api.wire.replies import Raw, Reply, json_reply
from marconi_api.wire.requests import Request
from marconi_api.wire.routes import Resource


class DescriptionController:
    """``/openapi.json``: the table of resources, as OpenAPI 3.1.

    :param resources: the table of resources; it is read at the first request
    """

    def __init__(self, resources: Mapping[str, Resource]) -> None:
        self._resources = resources

    @expose(replies={200: Content(JsonObject)}, needs_storage=False)
    def get(self, request: Request) -> Reply:
        """This description of the API."""
        return json_reply(self._document)

    @cached_property
    def _document(self) -> Raw:
        # Made at the first request: the limits are known by then, and few clients ever ask.
        return Raw(msgspec.json.encode(openapi.describe(self._resources, version('marconi-api'))))
