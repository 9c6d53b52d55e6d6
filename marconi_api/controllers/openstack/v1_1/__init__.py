"""Version 1.1 of the API: the table of its resources. Version 2 grew out of it."""

from marconi_api import policy
from marconi_api.controllers.access.queues import PLACEHOLDERS
from marconi_api.controllers.openstack import actions
from marconi_api.controllers.openstack.documents import error_reply
from marconi_api.controllers.openstack.hooks import IdentityHook
from marconi_api.controllers.openstack.not_offered import pools_and_flavors
from marconi_api.controllers.openstack.v1_1.claims import ClaimController, ClaimsController
from marconi_api.controllers.openstack.v1_1.home import (
    HealthController,
    HomeController,
    PingController,
)
from marconi_api.controllers.openstack.v1_1.messages import MessageController, MessagesController
from marconi_api.controllers.openstack.v1_1.queues import (
    QueueController,
    QueuesController,
    StatsController,
)
from marconi_api.wire.doors import Door

#: How ``GET /`` presents this version (docs/protocol-v1.md, 3.1).
VERSION = {
    'id': '1.1',
    'status': 'DEPRECATED',
    'updated': '2016-7-29T02:22:47Z',
    'media-types': [
        {'base': 'application/json', 'type': 'application/vnd.openstack.messaging-v1_1+json'}
    ],
    'links': [{'href': '/v1.1/', 'rel': 'self'}],
}

#: What looks at each request before its action.
HOOKS = (IdentityHook(required=True),)

PREFIX = '/v1.1'

#: Which controller serves which path.
RESOURCES = {
    f'{PREFIX}': HomeController(PREFIX),
    f'{PREFIX}/ping': PingController(PREFIX),
    f'{PREFIX}/health': HealthController(PREFIX),
    f'{PREFIX}/queues': QueuesController(PREFIX),
    f'{PREFIX}/queues/{{queue}}': QueueController(PREFIX),
    f'{PREFIX}/queues/{{queue}}/stats': StatsController(PREFIX),
    f'{PREFIX}/queues/{{queue}}/messages': MessagesController(PREFIX),
    f'{PREFIX}/queues/{{queue}}/messages/{{message}}': MessageController(PREFIX),
    f'{PREFIX}/queues/{{queue}}/claims': ClaimsController(PREFIX),
    f'{PREFIX}/queues/{{queue}}/claims/{{claim}}': ClaimController(PREFIX),
    **pools_and_flavors(PREFIX),
}

DOOR = Door(
    prefix=PREFIX,
    resources=RESOURCES,
    actions=actions.V1_1,
    policy=policy,
    hooks=HOOKS,
    placeholders=PLACEHOLDERS,
    error_reply=error_reply,
)
