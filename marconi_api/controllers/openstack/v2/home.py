"""``/v2``, the home document."""

from typing import Any

from marconi_api.controllers.openstack.documents import relation
from marconi_api.controllers.openstack.v1_1 import home as v1_1

_QUEUE = {'queue_name': 'param/queue_name'}
_MESSAGE = {**_QUEUE, 'message_id': 'param/message_id'}
_CLAIM = {**_QUEUE, 'claim_id': 'param/claim_id'}
_SUBSCRIPTION = {**_QUEUE, 'subscription_id': 'param/subscription_id'}


class HomeController(v1_1.HomeController):
    """``/v2``: what the API offers, as JSON Home (docs/protocol-v2.md, 4.1)."""

    def relations(self) -> dict[str, Any]:
        """Those of version 1.1, and more."""
        queue = f'{self.prefix}/queues/{{queue_name}}'
        message, claim = f'{queue}/messages/{{message_id}}', f'{queue}/claims/{{claim_id}}'
        subscriptions = f'{queue}/subscriptions'
        subscription = f'{subscriptions}/{{subscription_id}}'
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
            'rel/subscriptions_get': relation(
                f'{subscriptions}{{?marker,limit}}',
                {**_QUEUE, 'marker': 'param/marker', 'limit': 'param/subscription_limit'},
                'GET',
            ),
            'rel/subscriptions_post': relation(subscriptions, _QUEUE, 'POST'),
            'rel/subscription': relation(subscription, _SUBSCRIPTION, 'GET', 'DELETE'),
            'rel/subscription_patch': relation(subscription, _SUBSCRIPTION, 'PATCH'),
            # Beyond Zaqar's: docs/worker.md.
            'rel/claim_verdicts': relation(f'{claim}/verdicts', _CLAIM, 'POST'),
            'rel/claim_heartbeat': relation(f'{claim}/heartbeat', _CLAIM, 'POST'),
            'rel/message_touch': relation(f'{message}/touch{{?claim_id}}', held, 'POST'),
            'rel/message_release': relation(f'{message}/release{{?claim_id}}', held, 'POST'),
            'rel/message_park': relation(f'{message}/park{{?claim_id}}', held, 'POST'),
            'rel/message_kick': relation(f'{message}/kick', _MESSAGE, 'POST'),
            'rel/message_reply': relation(
                f'{message}/reply{{?claim_id,wait}}', {**held, 'wait': 'param/wait'}, 'GET', 'POST'
            ),
            'rel/queue_requests': relation(
                f'{queue}/requests{{?wait}}', {**_QUEUE, 'wait': 'param/wait'}, 'POST'
            ),
            'rel/queue_redrive': relation(f'{queue}/redrive', _QUEUE, 'POST'),
            'rel/queue_redrives': relation(f'{queue}/redrives', _QUEUE, 'GET'),
            'rel/redrive': relation(
                f'{queue}/redrives/{{redrive_id}}',
                {**_QUEUE, 'redrive_id': 'param/redrive_id'},
                *('GET', 'DELETE'),
            ),
            'rel/queue_kick': relation(f'{queue}/kick', _QUEUE, 'POST'),
            'rel/claim_across_queues': relation(f'{self.prefix}/claims', {}, 'POST'),
            'rel/verdicts_across_queues': relation(f'{self.prefix}/verdicts', {}, 'POST'),
            'rel/messages_of_queues': relation(
                f'{self.prefix}/messages{{?queue,limit,echo,state}}', several, 'GET'
            ),
        }
