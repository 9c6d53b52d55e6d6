"""``/v1``, the home document, and ``/v1/health``."""

from marconi_api.controllers.openstack.documents import HEALTH_REPLIES, Home, health_reply, relation
from marconi_api.wire.actions import EMPTY, Content, expose
from marconi_api.wire.replies import Reply, empty_reply, json_reply
from marconi_api.wire.requests import Request


class HomeController:
    """``/v1``: what the API offers, as JSON Home (docs/protocol-v1.md, 3.2)."""

    @expose(
        replies={200: Content(Home, 'Cache-Control', media_type='application/json-home')},
        needs_storage=False,
    )
    def get(self, request: Request) -> Reply:
        """The document, which clients may keep for a day."""
        return json_reply(
            HOME_DOCUMENT,
            200,
            ('Cache-Control', 'max-age=86400'),
            content_type='application/json-home',
        )


class HealthController:
    """``/v1/health``: whether requests can be served (docs/protocol-v1.md, 3.3)."""

    @expose(replies=HEALTH_REPLIES, needs_storage=False)
    def get(self, request: Request) -> Reply:
        """204 if messages can be stored, else 503."""
        return health_reply()

    @expose(replies={204: EMPTY}, needs_storage=False)
    def head(self, request: Request) -> Reply:
        """204 as long as the service itself answers."""
        return empty_reply()


_QUEUE = {'queue_name': 'param/queue_name'}

HOME_DOCUMENT = {
    'resources': {
        'rel/queues': relation(
            '/v1/queues{?marker,limit,detailed}',
            {
                'marker': 'param/marker',
                'limit': 'param/queue_limit',
                'detailed': 'param/detailed',
            },
            'GET',
        ),
        'rel/queue': relation('/v1/queues/{queue_name}', _QUEUE, 'GET', 'HEAD', 'PUT', 'DELETE'),
        'rel/queue-metadata': relation('/v1/queues/{queue_name}/metadata', _QUEUE, 'GET', 'PUT'),
        'rel/queue-stats': relation('/v1/queues/{queue_name}/stats', _QUEUE, 'GET'),
        'rel/messages': relation(
            '/v1/queues/{queue_name}/messages{?marker,limit,echo,include_claimed}',
            {
                **_QUEUE,
                'marker': 'param/marker',
                'limit': 'param/messages_limit',
                'echo': 'param/echo',
                'include_claimed': 'param/include_claimed',
            },
            'GET',
        ),
        'rel/post-messages': relation('/v1/queues/{queue_name}/messages', _QUEUE, 'POST'),
        'rel/claim': relation(
            '/v1/queues/{queue_name}/claims{?limit}',
            {**_QUEUE, 'limit': 'param/claim_limit'},
            'POST',
        ),
    }
}
