"""Version 1 of the API, frozen since 2014: the table of its resources."""

from marconi_api import policy
from marconi_api.controllers.access.queues import PLACEHOLDERS
from marconi_api.controllers.openstack import actions
from marconi_api.controllers.openstack.documents import error_reply
from marconi_api.controllers.openstack.hooks import IdentityHook
from marconi_api.controllers.openstack.v1.claims import ClaimController, ClaimsController
from marconi_api.controllers.openstack.v1.home import HealthController, HomeController
from marconi_api.controllers.openstack.v1.messages import MessageController, MessagesController
from marconi_api.controllers.openstack.v1.queues import (
    MetadataController,
    QueueController,
    QueuesController,
    StatsController,
)
from marconi_api.wire.doors import Door

#: How ``GET /`` presents this version (docs/protocol-v1.md, 3.1).
VERSION = {
    'id': '1',
    'status': 'DEPRECATED',
    'updated': '2014-9-11T17:47:05Z',
    'media-types': [
        {'base': 'application/json', 'type': 'application/vnd.openstack.messaging-v1+json'}
    ],
    'links': [{'href': '/v1/', 'rel': 'self'}],
}

#: What looks at each request before its action.
HOOKS = (IdentityHook(required=False),)

PREFIX = '/v1'

#: Which controller serves which path.
RESOURCES = {
    '/v1': HomeController(),
    '/v1/health': HealthController(),
    '/v1/queues': QueuesController(),
    '/v1/queues/{queue}': QueueController(),
    '/v1/queues/{queue}/metadata': MetadataController(),
    '/v1/queues/{queue}/stats': StatsController(),
    '/v1/queues/{queue}/messages': MessagesController(),
    '/v1/queues/{queue}/messages/{message}': MessageController(),
    '/v1/queues/{queue}/claims': ClaimsController(),
    '/v1/queues/{queue}/claims/{claim}': ClaimController(),
}

DOOR = Door(
    prefix=PREFIX,
    resources=RESOURCES,
    actions=actions.V1,
    policy=policy,
    hooks=HOOKS,
    placeholders=PLACEHOLDERS,
    error_reply=error_reply,
)
