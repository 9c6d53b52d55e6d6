"""Queues in version 2: attributes with defaults, patches, filters, purges."""

import json
from typing import Any

from marconi_api import limits, model
from marconi_api.controllers.access.queues import own_queues, start_of_list
from marconi_api.controllers.openstack.audited import actor_of
from marconi_api.controllers.openstack.v1_1 import queues as v1_1
from marconi_api.controllers.openstack.v1_1.controller import Controller
from marconi_api.controllers.openstack.v2 import patch
from marconi_api.controllers.openstack.v2.types import Operation, Purge, QueuePage, Statistics
from marconi_api.errors import (
    DeadLetterCycle,
    InvalidRequest,
    MetadataConflict,
    NotFinished,
    QueueNotFound,
)
from marconi_api.model import Queue, QueueFilter, QueueKey, Stats, attributes
from marconi_api.wire.actions import EMPTY, ByHand, Content, expose, unnamed_parameters
from marconi_api.wire.documents import JsonObject, text_of
from marconi_api.wire.replies import Reply, empty_reply, json_reply
from marconi_api.wire.requests import Request
from marconi_api.wire.values import (
    IntegerParameter,
    Json,
    OtherParameters,
    Parameter,
    boolean_parameter,
    text_parameter,
)

PATCH_TYPE = 'application/openstack-messaging-v2.0-json-patch'

_METADATA = Json(attributes.schema_with_defaults)

_PARAMETERS: dict[str, Parameter] = {
    'marker': text_parameter,
    'limit': IntegerParameter('queue_page'),
    'detailed': boolean_parameter,
    'name': text_parameter,
    'with_count': boolean_parameter,
}


class QueuesController(v1_1.QueuesController):
    """``/v2/queues``."""

    @expose(
        by_hand=ByHand(query={'filter': OtherParameters()}),
        replies={200: Content(QueuePage)},
        **_PARAMETERS,
    )
    def get(self, request: Request, **query: Any) -> Reply:
        """A page of the project's queues, of those that the filters let through.

        See docs/protocol-v2.md, 5.1.

        With filters a page may be short, or empty, though there are more: then it has a link.
        """
        limit = limits.in_force.queues_on_page(query.get('limit'))
        wanted = QueueFilter(query.get('name') or '', unnamed_parameters(request, _PARAMETERS))
        start = start_of_list(request, query.get('marker', ''))
        found, goes_on_after = self._find(request.project, start, limit, wanted)
        queues = own_queues(request, found)
        # Queues that the credential is not for come after all those that it is for.
        document = self.page(queues, query, goes_on_after if queues == found else None)
        counts = query.get('with_count') and request.identity.queues is None
        if counts and (count := model.store.queues.count(request.project)):
            document['count'] = count
        return json_reply(document)

    def _find(
        self, project: str, marker: str, limit: int, wanted: QueueFilter
    ) -> tuple[list[Queue], str | None]:
        if wanted:
            return model.store.queues.search(project, marker, limit, wanted)
        return model.store.queues.page(project, marker, limit), None

    def shown(self, metadata: str) -> Any:
        """With the attributes that are not set."""
        return _with_defaults(metadata)


class QueueController(v1_1.QueueController):
    """``/v2/queues/{queue}``."""

    @expose(replies={200: Content(_METADATA)})
    def get(self, request: Request, queue: QueueKey) -> Reply:
        """The queue's metadata, with the attributes that are not set (docs/protocol-v2.md, 5.3)."""
        return json_reply(_with_defaults(model.store.queues.find_metadata(queue) or '{}'))

    @expose(
        body=[Operation],
        at_most='max_queue_metadata',
        media_type=PATCH_TYPE,
        replies={200: Content(_METADATA)},
        raises=(QueueNotFound, MetadataConflict, DeadLetterCycle),
    )
    def patch(self, request: Request, queue: QueueKey, body: list[Operation]) -> Reply:
        """Change the queue's metadata, all that is asked or nothing (docs/protocol-v2.md, 5.4)."""
        patch.check(body)

        def patched(metadata: str) -> str:
            changed = patch.patched(metadata, body)
            v1_1.check_dead_letters(request, changed, instead_of=metadata)
            return changed

        return json_reply(_with_defaults(model.store.queues.change_metadata(queue, patched)))


def _with_defaults(metadata: str) -> dict[str, Any]:
    return {**JsonObject(metadata).members, **attributes.values_not_set(metadata)}


class StatsController(v1_1.StatsController):
    """``/v2/queues/{queue}/stats``."""

    shown_type = Statistics

    def document(self, queue: QueueKey, stats: Stats) -> dict[str, Any]:
        """With the parked messages, which are neither free nor claimed."""
        document = super().document(queue, stats)
        document['messages']['parked'] = stats.parked
        document['messages']['total'] += stats.parked
        return document


class PurgeController(Controller):
    """``/v2/queues/{queue}/purge``."""

    @expose(body=Purge, body_is_optional=True, replies={204: EMPTY}, raises=(NotFinished,))
    def post(self, request: Request, queue: QueueKey, body: Purge | None = None) -> Reply:
        """Remove all messages that are not claimed, or the parked ones alone; or subscriptions.

        See docs/protocol-v2.md, 5.7.
        """
        purged = json.loads(text_of(body.resource_types)) if body else ['messages', 'subscriptions']
        known = ('messages', 'parked', 'subscriptions')
        if not isinstance(purged, list) or not all(kind in known for kind in purged):
            raise InvalidRequest(
                'resource_types must be a list of some of "messages", "parked", "subscriptions".'
            )
        # Noted before the purge, as that may take several transactions.
        model.store.audit.note('purge', queue, by=actor_of(request), kinds=purged)
        if 'messages' in purged:
            model.store.messages.delete_unclaimed(queue)
        elif 'parked' in purged:
            model.store.verdicts.delete_parked(queue)
        if 'subscriptions' in purged:
            model.store.subscriptions.delete_all(queue)
        return empty_reply()
