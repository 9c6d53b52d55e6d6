"""``/v2``, the home document, and ``/v2/health``."""

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from marconi_api import model
from marconi_api.controllers.documents import relation
from marconi_api.controllers.v1_1 import home as v1_1
from marconi_api.controllers.v1_1.controller import Controller
from marconi_api.controllers.v2.types import Health
from marconi_api.errors import NotAuthorized, StorageUnavailable
from marconi_api.model import QueueKey
from marconi_api.wire import ByHand, Content, Reply, Request, expose, json_reply

_QUEUE = {'queue_name': 'param/queue_name'}
_MESSAGE = {**_QUEUE, 'message_id': 'param/message_id'}
_CLAIM = {**_QUEUE, 'claim_id': 'param/claim_id'}


class HomeController(v1_1.HomeController):
    """``/v2``: what the API offers, as JSON Home (contract v2, 4.1)."""

    def relations(self) -> dict[str, Any]:
        """Those of version 1.1, and more."""
        queue = f'{self.prefix}/queues/{{queue_name}}'
        message, claim = f'{queue}/messages/{{message_id}}', f'{queue}/claims/{{claim_id}}'
        held = {**_MESSAGE, 'claim_id': 'param/claim_id'}
        several = {
            'queue': 'param/queue_names',
            'limit': 'param/messages_limit',
            'echo': 'param/echo',
            'state': 'param/state',
        }
        return {
            **super().relations(),
            'rel/queue': relation(queue, _QUEUE, 'GET', 'PUT', 'DELETE', 'PATCH'),
            'rel/queue_share': relation(f'{queue}/share', _QUEUE, 'POST'),
            'rel/queue_purge': relation(f'{queue}/purge', _QUEUE, 'POST'),
            'rel/message_get': relation(message, _MESSAGE, 'GET'),
            # Beyond Zaqar's: docs/worker.md.
            'rel/claim_verdicts': relation(f'{claim}/verdicts', _CLAIM, 'POST'),
            'rel/claim_heartbeat': relation(f'{claim}/heartbeat', _CLAIM, 'POST'),
            'rel/message_touch': relation(f'{message}/touch{{?claim_id}}', held, 'POST'),
            'rel/message_release': relation(f'{message}/release{{?claim_id}}', held, 'POST'),
            'rel/message_park': relation(f'{message}/park{{?claim_id}}', held, 'POST'),
            'rel/message_kick': relation(f'{message}/kick', _MESSAGE, 'POST'),
            'rel/queue_kick': relation(f'{queue}/kick', _QUEUE, 'POST'),
            'rel/claim_over_queues': relation(f'{self.prefix}/claims', {}, 'POST'),
            'rel/messages_of_queues': relation(
                f'{self.prefix}/messages{{?queue,limit,echo,state}}', several, 'GET'
            ),
        }


class HealthController(Controller):
    """``/v2/health``: each operation tried, for those with the role admin (contract v2, 4.3)."""

    @expose(
        by_hand=ByHand(headers=('X-Roles',)),
        replies={200: Content(Health)},
        raises=(NotAuthorized,),
        needs_storage=False,
    )
    def get(self, request: Request) -> Reply:
        """What works, how long it takes, and how many messages there are."""
        roles = request.environ.get('HTTP_X_ROLES', '').split(',')
        if 'admin' not in [role.strip().lower() for role in roles]:
            raise NotAuthorized('admin')
        is_reachable = model.is_healthy()
        document = {
            'catalog_reachable': is_reachable,
            'storage_reachable': is_reachable,
            'operation_status': _try_operations(),
            'message_volume': _volume() if is_reachable else {},
        }
        return json_reply(document)


def _volume() -> dict[str, int]:
    # Counting takes long where there are millions: it may fail alone.
    try:
        return model.message_volume()
    except StorageUnavailable:
        return {}


def _try_operations() -> dict[str, Any]:
    # A name that nobody else uses; it is gone when the answer is sent.
    queue = QueueKey.of('', f'health-{uuid4()}')
    client_id = str(uuid4())
    operations: dict[str, Callable[[], Any]] = {
        'create_queue': lambda: model.queues.create(queue),
        'post_messages': lambda: model.messages.post(queue, client_id, [60], ['null']),
        'list_messages': lambda: model.messages.list(queue, None, 1),
        'claim_messages': lambda: model.claims.create(queue, 60, 60, 1),
        'delete_messages': lambda: model.messages.delete_many(queue, []),
        'delete_queue': lambda: model.queues.delete(queue),
    }
    return {name: _try(operation) for name, operation in operations.items()}


def _try(operation: Callable[[], Any]) -> dict[str, Any]:
    started = time.monotonic()
    try:
        operation()
    except StorageUnavailable as error:
        return {'succeeded': False, 'seconds': time.monotonic() - started, 'ref': str(error)}
    return {'succeeded': True, 'seconds': time.monotonic() - started, 'ref': None}
