"""``/v2/queues/{queue}/redrive``: dead letters are moved back (docs/protocol-v2.md, 15.13)."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from marconi_api import model
from marconi_api.controllers.access.queues import queue_named
from marconi_api.controllers.openstack.audited import actor_of
from marconi_api.controllers.openstack.v1_1.controller import Controller
from marconi_api.controllers.openstack.v2.types import (
    NewRedrive,
    Redrive,
    RedrivePreview,
    Redrives,
)
from marconi_api.errors import (
    InvalidQueueName,
    QueueNotFound,
    RedriveNotFound,
    RedriveUnderWay,
    StorageUnavailable,
)
from marconi_api.model import Order, Preview, QueueKey
from marconi_api.wire.actions import Content, expose
from marconi_api.wire.replies import Reply, json_reply
from marconi_api.wire.requests import Request

# Seconds for which a request counts messages, and for which it then moves some itself.
_COUNTS_FOR = 0.5
_MOVES_FOR = 0.5


class RedriveQueueController(Controller):
    """``/v2/queues/{queue}/redrive``."""

    @expose(
        body=NewRedrive,
        body_is_optional=True,
        replies={200: Content(RedrivePreview), 202: Content(Redrive, 'Location')},
        raises=(InvalidQueueName, QueueNotFound, RedriveUnderWay),
    )
    def post(self, request: Request, queue: QueueKey, body: Any = None) -> Reply:
        """Move dead letters or parked messages back, or say how many would go where."""
        sent = body or NewRedrive()
        order = _order(request, sent)
        redrives = model.store.redrives
        if sent.dry_run:
            return json_reply(_preview(redrives.preview(queue, order, _COUNTS_FOR)))
        started = redrives.start(queue, order, _COUNTS_FOR, actor_of(request))
        # A few messages can be moved before the answer. The janitor's process moves the rest.
        with suppress(StorageUnavailable):
            started = redrives.carry_out(queue, started.id, _MOVES_FOR)
        location = f'{self.href(queue)}/redrives/{started.id}'
        return json_reply(_document(started), 202, ('Location', location))


class RedrivesController(Controller):
    """``/v2/queues/{queue}/redrives``."""

    @expose(replies={200: Content(Redrives)})
    def get(self, request: Request, queue: QueueKey) -> Reply:
        """The last redrives of the queue, the newest first."""
        found = model.store.redrives.page(queue)
        return json_reply({'redrives': [_document(redrive) for redrive in found]})


class RedriveController(Controller):
    """``/v2/queues/{queue}/redrives/{redrive}``."""

    @expose(replies={200: Content(Redrive)}, raises=(RedriveNotFound,))
    def get(self, request: Request, queue: QueueKey, redrive: str) -> Reply:
        """How far a redrive has come."""
        return json_reply(_document(model.store.redrives.get(queue, redrive)))

    @expose(replies={200: Content(Redrive)}, raises=(RedriveNotFound,))
    def delete(self, request: Request, queue: QueueKey, redrive: str) -> Reply:
        """Cancel a redrive: from the answer on it moves nothing more."""
        cancelled = model.store.redrives.cancel(queue, redrive, actor_of(request))
        return json_reply(_document(cancelled))


def _order(request: Request, sent: Any) -> Order:
    if sent.to:
        queue_named(request, sent.to)
    return Order(
        sent.state,
        sent.to,
        sent.min_age,
        sent.max_age,
        sent.reason,
        sent.rate,
        request.identity.queues,
    )


def _preview(found: Preview) -> dict[str, Any]:
    document: dict[str, Any] = {
        'messages': found.messages,
        'targets': [target._asdict() for target in found.targets],
        'without_target': found.without_target,
    }
    return {**document, 'more': True} if found.has_more else document


def _document(redrive: model.Redrive) -> dict[str, Any]:
    return {
        'id': redrive.id,
        'status': redrive.status,
        'state': redrive.state,
        'to': redrive.to,
        'min_age': redrive.min_age,
        'max_age': redrive.max_age,
        'reason': redrive.reason,
        'rate': redrive.rate,
        'total': redrive.total,
        'moved': redrive.moved,
        'without_target': redrive.without_target,
        'failure': redrive.failure,
        'started': _text_of(redrive.started_at),
        'ended': None if redrive.ended_at is None else _text_of(redrive.ended_at),
    }


def _text_of(time: datetime) -> str:
    return time.astimezone(UTC).strftime('%Y-%m-%dT%H:%M:%SZ')
