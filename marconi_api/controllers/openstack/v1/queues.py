"""``/v1/queues`` and what belongs to one queue: its metadata and its statistics."""

from typing import Any

from marconi_api import limits, model
from marconi_api.controllers.access.queues import own_queues, start_of_list
from marconi_api.controllers.openstack.documents import QueuePage, Statistics, stats_document
from marconi_api.errors import (
    CountUnderWay,
    InvalidRequest,
    QueueCollision,
    QueueNotFound,
    QuotaExceeded,
)
from marconi_api.model import Queue, QueueKey
from marconi_api.wire.actions import EMPTY, ByHand, Content, expose
from marconi_api.wire.documents import JsonObject
from marconi_api.wire.replies import (
    Raw,
    Reply,
    content_location,
    empty_reply,
    json_reply,
    next_link,
)
from marconi_api.wire.requests import Request
from marconi_api.wire.values import IntegerParameter, Json, boolean_parameter, text_parameter


def queue_href(queue: QueueKey) -> str:
    """The path of a queue."""
    return f'/v1/queues/{queue.name}'


class QueuesController:
    """``/v1/queues``."""

    @expose(
        marker=text_parameter,
        limit=IntegerParameter('queue_page'),
        detailed=boolean_parameter,
        replies={200: Content(QueuePage, 'Content-Location'), 204: EMPTY},
    )
    def get(self, request: Request, **query: Any) -> Reply:
        """A page of the project's queues, by name (docs/protocol-v1.md, 4.1)."""
        limit = limits.in_force.queues_on_page(query.get('limit'))
        start = start_of_list(request, query.get('marker', ''))
        queues = own_queues(request, model.store.queues.page(request.project, start, limit))
        if not queues:
            return empty_reply()

        page = {
            'queues': [_entry(queue, query.get('detailed', False)) for queue in queues],
            'links': [next_link('/v1/queues', query, marker=queues[-1].name)],
        }
        return json_reply(page, 200, content_location(request))


def _entry(queue: Queue, detailed: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {'name': queue.name, 'href': f'/v1/queues/{queue.name}'}
    if detailed:
        entry['metadata'] = Raw(queue.metadata)
    return entry


class QueueController:
    """``/v1/queues/{queue}``."""

    @expose(
        replies={204: Content(None, 'Content-Location'), 404: Content(None, 'Content-Location')}
    )
    def get(self, request: Request, queue: QueueKey) -> Reply:
        """Whether the queue exists; neither answer has a body (docs/protocol-v1.md, 4.3)."""
        status = 204 if model.store.queues.exists(queue) else 404
        return empty_reply(status, ('Content-Location', queue_href(queue)))

    head = get

    @expose(
        replies={201: Content(None, 'Location'), 204: Content(None, 'Location')},
        raises=(QueueCollision, QuotaExceeded),
    )
    def put(self, request: Request, queue: QueueKey) -> Reply:
        """Make the queue, or leave it as it is; the body is ignored (docs/protocol-v1.md, 4.2)."""
        status = 201 if model.store.queues.create(queue) else 204
        return empty_reply(status, ('Location', queue_href(queue)))

    @expose(replies={204: EMPTY})
    def delete(self, request: Request, queue: QueueKey) -> Reply:
        """Remove the queue and all that is in it (docs/protocol-v1.md, 4.4)."""
        model.store.queues.delete(queue)
        return empty_reply()


_METADATA = Json({'type': 'object', 'propertyNames': {'not': {'pattern': '^_'}}})


class MetadataController:
    """``/v1/queues/{queue}/metadata``."""

    @expose(replies={200: Content(JsonObject, 'Content-Location')}, raises=(QueueNotFound,))
    def get(self, request: Request, queue: QueueKey) -> Reply:
        """The object last stored (docs/protocol-v1.md, 4.5)."""
        return json_reply(Raw(model.store.queues.metadata(queue)), 200, content_location(request))

    @expose(
        body=JsonObject,
        by_hand=ByHand(body=_METADATA),
        at_most='max_queue_metadata',
        replies={204: Content(None, 'Location')},
        raises=(QueueNotFound,),
    )
    def put(self, request: Request, queue: QueueKey, body: JsonObject) -> Reply:
        """Store another object in its place (docs/protocol-v1.md, 4.6)."""
        for name in body.members:
            if name.startswith('_'):
                raise InvalidRequest(f'Names that start with _ are reserved: rename {name[:80]!r}.')
        model.store.queues.set_metadata(queue, body.text)
        return empty_reply(204, ('Location', f'{queue_href(queue)}/metadata'))


class StatsController:
    """``/v1/queues/{queue}/stats``."""

    @expose(
        replies={200: Content(Statistics, 'Content-Location')},
        raises=(QueueNotFound, CountUnderWay),
    )
    def get(self, request: Request, queue: QueueKey) -> Reply:
        """How many messages are there, and the ends of the line (docs/protocol-v1.md, 4.7)."""
        document = stats_document(queue_href(queue), model.store.queues.stats(queue))
        return json_reply(document, 200, content_location(request))
