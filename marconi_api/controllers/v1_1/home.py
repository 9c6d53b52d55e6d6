"""The home documents of versions 1.1 and 2, and their ping."""

from typing import Any

from marconi_api import model
from marconi_api.controllers.documents import Home, relation
from marconi_api.controllers.v1_1.controller import Controller
from marconi_api.wire import EMPTY, Content, Reply, Request, empty_reply, expose, json_reply

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

    @expose(replies={204: EMPTY, 503: EMPTY}, needs_storage=False)
    def get(self, request: Request) -> Reply:
        """204 if PostgreSQL answers, else 503."""
        return empty_reply(204 if model.is_healthy() else 503)

    @expose(replies={204: EMPTY}, needs_storage=False)
    def head(self, request: Request) -> Reply:
        """204 as long as the service itself answers."""
        return empty_reply()
