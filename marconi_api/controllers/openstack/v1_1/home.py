"""The home documents of versions 1.1 and 2, their ping and their health."""

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from marconi_api import limits, model
from marconi_api.controllers.openstack.documents import HEALTH_REPLIES, Home, health_reply, relation
from marconi_api.controllers.openstack.v1_1.controller import Controller
from marconi_api.controllers.openstack.v1_1.types import Health
from marconi_api.errors import MarconiError, StorageUnavailable
from marconi_api.model import NewMessage, QueueKey
from marconi_api.wire.actions import EMPTY, ByHand, Content, expose
from marconi_api.wire.replies import Reply, empty_reply, json_reply
from marconi_api.wire.requests import Request

_QUEUE = {'queue_name': 'param/queue_name'}
_MESSAGE = {**_QUEUE, 'message_id': 'param/message_id'}
_CLAIM = {**_QUEUE, 'claim_id': 'param/claim_id'}


class HomeController(Controller):
    """The version's root: what it offers, as JSON Home."""

    @expose(
        replies={200: Content(Home, 'Cache-Control', media_type='application/json-home')},
        needs_storage=False,
    )
    def get(self, request: Request) -> Reply:
        """The document, which clients may keep for a day."""
        return json_reply(
            {'resources': self.relations()},
            200,
            ('Cache-Control', 'max-age=86400'),
            content_type='application/json-home',
        )

    def relations(self) -> dict[str, Any]:
        """The relations of version 1.1, with this version's paths."""
        queues = f'{self.prefix}/queues'
        queue = queues + '/{queue_name}'
        messages, claims = f'{queue}/messages', f'{queue}/claims'
        one_message, one_claim = messages + '/{message_id}', claims + '/{claim_id}'
        marker = {'marker': 'param/marker'}
        page = {'limit': 'param/messages_limit', 'echo': 'param/echo'}
        claim_limit = {**_QUEUE, 'limit': 'param/claim_limit'}
        deleted = {**_QUEUE, 'ids': 'param/ids', 'pop': 'param/pop'}
        listed = {**marker, 'limit': 'param/queue_limit', 'detailed': 'param/detailed'}
        paged = {**_QUEUE, **marker, **page, 'include_claimed': 'param/include_claimed'}
        return {
            'rel/queues': relation(queues + '{?marker,limit,detailed}', listed, 'GET'),
            'rel/queue': relation(queue, _QUEUE, 'PUT', 'DELETE'),
            'rel/queue_stats': relation(f'{queue}/stats', _QUEUE, 'GET'),
            'rel/messages': relation(
                messages + '{?marker,limit,echo,include_claimed}', paged, 'GET'
            ),
            'rel/post_messages': relation(messages, _QUEUE, 'POST'),
            'rel/messages_delete': relation(messages + '{?ids,pop}', deleted, 'DELETE'),
            'rel/message_delete': relation(
                one_message + '{?claim}', {**_MESSAGE, 'claim': 'param/claim_id'}, 'DELETE'
            ),
            'rel/claim': relation(one_claim, _CLAIM, 'GET'),
            'rel/post_claim': relation(claims + '{?limit}', claim_limit, 'POST'),
            'rel/patch_claim': relation(one_claim, _CLAIM, 'PATCH'),
            'rel/delete_claim': relation(one_claim, _CLAIM, 'DELETE'),
            'rel/ping': relation(f'{self.prefix}/ping', {}, 'GET'),
        }


class PingController(Controller):
    """``/ping``: whether requests can be served."""

    @expose(replies=HEALTH_REPLIES, needs_storage=False)
    def get(self, request: Request) -> Reply:
        """204 if messages can be stored, else 503."""
        return health_reply()

    @expose(replies={204: EMPTY}, needs_storage=False)
    def head(self, request: Request) -> Reply:
        """204 as long as the service itself answers."""
        return empty_reply()


class HealthController(Controller):
    """``/health``: each operation tried, for those with the role admin.

    See docs/protocol-v2.md, 4.3.
    """

    @expose(
        by_hand=ByHand(headers=('X-Roles',)),
        replies={200: Content(Health)},
        needs_storage=False,
    )
    def get(self, request: Request) -> Reply:
        """What works, how long it takes, and how many messages there are."""
        is_reachable = model.store.is_healthy()
        document = {
            'catalog_reachable': is_reachable,
            'storage_reachable': is_reachable,
            'operation_status': _try_operations(),
            'message_volume': _volume() if is_reachable else {},
        }
        return json_reply(document)


def _volume() -> dict[str, int]:
    # To count millions of messages takes long: the count may fail without the rest.
    try:
        return model.store.queues.volume()
    except MarconiError:
        return {}


def _try_operations() -> dict[str, Any]:
    # Nobody else uses this name, and the queue is deleted before the answer is sent.
    queue = QueueKey.of('', f'health-{uuid4()}')
    client_id = str(uuid4())
    message = NewMessage('null', limits.in_force.min_message_ttl, 0)
    operations: dict[str, Callable[[], Any]] = {
        'create_queue': lambda: model.store.queues.create(queue),
        'post_messages': lambda: model.store.messages.post(queue, client_id, [message]),
        'list_messages': lambda: model.store.messages.page(queue, None, 1),
        'claim_messages': lambda: model.store.claims.create(queue, 60, 60, 1),
        'delete_messages': lambda: model.store.messages.delete_many(queue, []),
        'delete_queue': lambda: model.store.queues.delete(queue),
    }
    return {name: _try(operation) for name, operation in operations.items()}


def _try(operation: Callable[[], Any]) -> dict[str, Any]:
    started = time.monotonic()
    try:
        # Each operation would wait for PostgreSQL anew.
        if model.store.database.is_silent:
            raise StorageUnavailable
        operation()
    except MarconiError as error:
        return {'succeeded': False, 'seconds': time.monotonic() - started, 'ref': str(error)}
    return {'succeeded': True, 'seconds': time.monotonic() - started, 'ref': None}
