"""Version 2 of the API, which today's clients speak: the table of its resources."""

from marconi_api import policy
from marconi_api.controllers.access.queues import PLACEHOLDERS
from marconi_api.controllers.openstack import actions
from marconi_api.controllers.openstack.documents import error_reply
from marconi_api.controllers.openstack.hooks import IdentityHook, SignedUrlHook
from marconi_api.controllers.openstack.not_offered import (
    pools_and_flavors,
    topics,
)
from marconi_api.controllers.openstack.v1_1.home import HealthController, PingController
from marconi_api.controllers.openstack.v2 import deliveries
from marconi_api.controllers.openstack.v2.claims import ClaimController, ClaimsController
from marconi_api.controllers.openstack.v2.home import HomeController
from marconi_api.controllers.openstack.v2.messages import MessageController, MessagesController
from marconi_api.controllers.openstack.v2.queues import (
    PurgeController,
    QueueController,
    QueuesController,
    StatsController,
)
from marconi_api.controllers.openstack.v2.redrives import (
    RedriveController,
    RedriveQueueController,
    RedrivesController,
)
from marconi_api.controllers.openstack.v2.replies import ReplyController, RequestsController
from marconi_api.controllers.openstack.v2.several import (
    ClaimsAcrossQueuesController,
    MessagesOfQueuesController,
)
from marconi_api.controllers.openstack.v2.share import ShareController
from marconi_api.controllers.openstack.v2.subscriptions import (
    ConfirmController,
    SubscriptionController,
    SubscriptionsController,
)
from marconi_api.controllers.openstack.v2.tokens import TokenController, TokensController
from marconi_api.controllers.openstack.v2.verdicts import (
    HeartbeatController,
    KickAllController,
    KickController,
    MessageVerdictController,
    VerdictsAcrossQueuesController,
    VerdictsController,
)
from marconi_api.wire.doors import Door

#: How ``GET /`` presents this version (docs/protocol-v1.md, 3.1).
VERSION = {
    'id': '2',
    'status': 'CURRENT',
    'updated': '2014-9-24T04:06:47Z',
    'media-types': [
        {'base': 'application/json', 'type': 'application/vnd.openstack.messaging-v2+json'}
    ],
    'links': [{'href': '/v2/', 'rel': 'self'}],
}

#: The hooks that check each request before its action. The first is also a hook of the application, and
#: has run by then. It is listed here for ``openapi``, since only paths of this version can be signed.
HOOKS = (SignedUrlHook(), IdentityHook(required=True, streams=True))

PREFIX = '/v2'

#: Which controller serves which path.
RESOURCES = {
    f'{PREFIX}': HomeController(PREFIX),
    f'{PREFIX}/ping': PingController(PREFIX),
    f'{PREFIX}/health': HealthController(PREFIX),
    f'{PREFIX}/queues': QueuesController(PREFIX),
    f'{PREFIX}/queues/{{queue}}': QueueController(PREFIX),
    f'{PREFIX}/queues/{{queue}}/stats': StatsController(PREFIX),
    f'{PREFIX}/queues/{{queue}}/purge': PurgeController(PREFIX),
    f'{PREFIX}/queues/{{queue}}/redrive': RedriveQueueController(PREFIX),
    f'{PREFIX}/queues/{{queue}}/redrives': RedrivesController(PREFIX),
    f'{PREFIX}/queues/{{queue}}/redrives/{{redrive}}': RedriveController(PREFIX),
    f'{PREFIX}/queues/{{queue}}/share': ShareController(PREFIX),
    f'{PREFIX}/queues/{{queue}}/messages': MessagesController(PREFIX),
    f'{PREFIX}/queues/{{queue}}/messages/{{message}}': MessageController(PREFIX),
    f'{PREFIX}/queues/{{queue}}/claims': ClaimsController(PREFIX),
    f'{PREFIX}/queues/{{queue}}/claims/{{claim}}': ClaimController(PREFIX),
    f'{PREFIX}/queues/{{queue}}/claims/{{claim}}/verdicts': VerdictsController(PREFIX),
    f'{PREFIX}/queues/{{queue}}/claims/{{claim}}/heartbeat': HeartbeatController(PREFIX),
    f'{PREFIX}/queues/{{queue}}/messages/{{message}}/touch': MessageVerdictController(
        PREFIX, 'touch'
    ),
    f'{PREFIX}/queues/{{queue}}/messages/{{message}}/release': MessageVerdictController(
        PREFIX, 'release'
    ),
    f'{PREFIX}/queues/{{queue}}/messages/{{message}}/park': MessageVerdictController(
        PREFIX, 'park'
    ),
    f'{PREFIX}/queues/{{queue}}/messages/{{message}}/kick': KickController(PREFIX),
    f'{PREFIX}/queues/{{queue}}/messages/{{message}}/reply': ReplyController(PREFIX),
    f'{PREFIX}/queues/{{queue}}/requests': RequestsController(PREFIX),
    f'{PREFIX}/queues/{{queue}}/kick': KickAllController(PREFIX),
    f'{PREFIX}/queues/{{queue}}/subscriptions': SubscriptionsController(PREFIX),
    f'{PREFIX}/queues/{{queue}}/subscriptions/{{subscription}}': SubscriptionController(PREFIX),
    f'{PREFIX}/queues/{{queue}}/subscriptions/{{subscription}}/confirm': ConfirmController(PREFIX),
    **deliveries.resources(PREFIX),
    f'{PREFIX}/claims': ClaimsAcrossQueuesController(PREFIX),
    f'{PREFIX}/verdicts': VerdictsAcrossQueuesController(PREFIX),
    f'{PREFIX}/messages': MessagesOfQueuesController(PREFIX),
    f'{PREFIX}/tokens': TokensController(PREFIX),
    f'{PREFIX}/tokens/{{token}}': TokenController(PREFIX),
    **topics(PREFIX),
    **pools_and_flavors(PREFIX),
}

DOOR = Door(
    prefix=PREFIX,
    resources=RESOURCES,
    actions=actions.V2,
    policy=policy,
    hooks=HOOKS,
    placeholders=PLACEHOLDERS,
    error_reply=error_reply,
)
