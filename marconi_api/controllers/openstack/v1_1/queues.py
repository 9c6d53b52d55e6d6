"""Queues in versions 1.1 and 2: their metadata is the queue's own document."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from marconi_api import limits, model
from marconi_api.controllers.access.queues import own_queues, queue_named, start_of_list
from marconi_api.controllers.openstack.documents import QueuePage, Statistics, stats_document
from marconi_api.controllers.openstack.v1_1.controller import Controller
from marconi_api.errors import (
    CountUnderWay,
    DeadLetterCycle,
    QueueCollision,
    QueueNotFound,
    QuotaExceeded,
)
from marconi_api.model import Attributes, Queue, QueueKey, Stats, attributes
from marconi_api.wire.actions import EMPTY, ByHand, Content, expose
from marconi_api.wire.documents import JsonObject
from marconi_api.wire.replies import Raw, Reply, empty_reply, json_reply, next_link
from marconi_api.wire.requests import Request
from marconi_api.wire.values import IntegerParameter, Json, boolean_parameter, text_parameter


class QueuesController(Controller):
    """``/queues``."""

    @expose(
        marker=text_parameter,
        limit=IntegerParameter('queue_page'),
        detailed=boolean_parameter,
        replies={200: Content(QueuePage)},
    )
    def get(self, request: Request, **query: Any) -> Reply:
        """A page of the project's queues, by name."""
        limit = limits.in_force.queues_on_page(query.get('limit'))
        start = start_of_list(request, query.get('marker', ''))
        queues = own_queues(request, model.store.queues.page(request.project, start, limit))
        return json_reply(self.page(queues, query))

    def page(
        self, queues: Sequence[Queue], query: Mapping[str, Any], goes_on_after: str | None = None
    ) -> dict[str, Any]:
        """The document of a page, which may be empty.

        :param goes_on_after: the name after which the next page starts, if not the last one here
        """
        path = f'{self.prefix}/queues'
        marker = goes_on_after or (queues[-1].name if queues else None)
        links = [next_link(path, query, marker=marker)] if marker else []
        return {
            'queues': [self._entry(queue, query.get('detailed', False)) for queue in queues],
            'links': links,
        }

    def _entry(self, queue: Queue, detailed: bool) -> dict[str, Any]:
        entry: dict[str, Any] = {'name': queue.name, 'href': f'{self.prefix}/queues/{queue.name}'}
        if detailed:
            entry['metadata'] = self.shown(queue.metadata)
        return entry

    def shown(self, metadata: str) -> Any:
        """A queue's metadata as this version shows it."""
        return Raw(metadata)


def check_dead_letters(request: Request, metadata: str, instead_of: str = '{}') -> None:
    """Refuse metadata that would send messages to a queue which the credential is not for."""
    to = Attributes.of(metadata).dead_letter_queue
    if to and to != Attributes.of(instead_of).dead_letter_queue:
        queue_named(request, to)


class QueueController(Controller):
    """``/queues/{queue}``."""

    @expose(replies={200: Content(JsonObject)})
    def get(self, request: Request, queue: QueueKey) -> Reply:
        """The queue's metadata; that of a queue which does not exist is empty."""
        return json_reply(Raw(model.store.queues.find_metadata(queue) or '{}'))

    @expose(
        body=JsonObject,
        at_most='max_queue_metadata',
        body_is_optional=True,
        by_hand=ByHand(body=Json(attributes.schema)),
        replies={201: Content(None, 'Location'), 204: Content(None, 'Location')},
        raises=(QueueCollision, DeadLetterCycle, QuotaExceeded),
    )
    def put(self, request: Request, queue: QueueKey, body: JsonObject | None = None) -> Reply:
        """Make the queue with its metadata, or leave it as it is."""
        if body:
            attributes.check(body.text)
            check_dead_letters(request, body.text)
        created = model.store.queues.create(queue, body.text if body else '{}')
        return empty_reply(201 if created else 204, ('Location', self.href(queue)))

    @expose(replies={204: EMPTY})
    def delete(self, request: Request, queue: QueueKey) -> Reply:
        """Remove the queue and all that is in it."""
        model.store.queues.delete(queue)
        return empty_reply()


class StatsController(Controller):
    """``/queues/{queue}/stats``."""

    #: The type of the reply's document.
    shown_type: ClassVar[type[Statistics]] = Statistics

    @expose(replies={200: Content('shown_type')}, raises=(CountUnderWay,))
    def get(self, request: Request, queue: QueueKey) -> Reply:
        """How many messages are there; none in a queue that does not exist."""
        try:
            stats = model.store.queues.stats(queue)
        except QueueNotFound:
            stats = Stats(free=0, claimed=0, parked=0, oldest=None, newest=None)
        return json_reply(self.document(queue, stats))

    def document(self, queue: QueueKey, stats: Stats) -> dict[str, Any]:
        """The statistics as this version shows them."""
        return stats_document(self.href(queue), stats)
