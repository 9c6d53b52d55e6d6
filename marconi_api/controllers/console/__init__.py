"""The console: pages for people who look at queues, and mend them (docs/console.md)."""

from marconi_api import policy
from marconi_api.controllers.access.queues import PLACEHOLDERS
from marconi_api.controllers.console.audit import AuditController
from marconi_api.controllers.console.overview import OverviewController
from marconi_api.controllers.console.pages import error_reply
from marconi_api.controllers.console.queue import (
    MessageController,
    MessagesController,
    QueueController,
)
from marconi_api.controllers.console.redrive import RedriveController
from marconi_api.controllers.console.sessions import PREFIX, ConsoleHook
from marconi_api.controllers.console.sign_in import SignInController, SignOutController
from marconi_api.controllers.console.static import NothingController, StaticController
from marconi_api.controllers.console.subscriptions import (
    SubscriptionController,
    SubscriptionsController,
)
from marconi_api.controllers.console.tokens import (
    NewTokenController,
    RevokeTokenController,
    TokensController,
)
from marconi_api.controllers.console.verbs import VERBS, VerbController
from marconi_api.wire.doors import Door

DOOR = Door(
    prefix=PREFIX,
    resources={
        f'{PREFIX}': OverviewController(),
        f'{PREFIX}/tokens': TokensController(),
        f'{PREFIX}/tokens/new': NewTokenController(),
        f'{PREFIX}/tokens/revoke': RevokeTokenController(),
        f'{PREFIX}/audit': AuditController(),
        f'{PREFIX}/queues/{{queue}}': QueueController(),
        f'{PREFIX}/queues/{{queue}}/messages': MessagesController(),
        f'{PREFIX}/queues/{{queue}}/messages/{{message}}': MessageController(),
        f'{PREFIX}/queues/{{queue}}/subscriptions': SubscriptionsController(),
        f'{PREFIX}/queues/{{queue}}/subscriptions/{{subscription}}': SubscriptionController(),
        **{
            f'{PREFIX}/queues/{{queue}}/{name}': VerbController(verb)
            for name, verb in VERBS.items()
        },
        f'{PREFIX}/queues/{{queue}}/redrive': RedriveController(),
        f'{PREFIX}/sign-in': SignInController(),
        f'{PREFIX}/sign-out': SignOutController(),
        f'{PREFIX}/{{page}}': NothingController(),
        f'{PREFIX}/static/{{file}}': StaticController(),
    },
    # What one sees or does here is what one may do over the API.
    actions={
        'GET': ('queues:get_all', 'queues:stats'),
        'GET /queues/{queue}': ('queues:get', 'queues:stats', 'claims:get'),
        'GET /queues/{queue}/messages': ('messages:get_all',),
        'GET /queues/{queue}/messages/{message}': ('messages:get', 'claims:get'),
        **{
            f'{method} /queues/{{queue}}/{name}': verb.actions
            for name, verb in VERBS.items()
            for method in ('GET', 'POST')
        },
        'GET /queues/{queue}/subscriptions': ('subscription:get_all',),
        'GET /queues/{queue}/subscriptions/{subscription}': ('subscription:get',),
        'GET /queues/{queue}/redrive': ('redrives:get',),
        'POST /queues/{queue}/redrive': ('redrives:create',),
        # Who may do such things, may see who did them.
        'GET /tokens': ('tokens:get_all',),
        'GET /tokens/new': ('tokens:create',),
        'POST /tokens/new': ('tokens:create',),
        'GET /tokens/revoke': ('tokens:get_all', 'tokens:delete'),
        'POST /tokens/revoke': ('tokens:get_all', 'tokens:delete'),
        'GET /audit': ('queues:purge',),
        'GET /sign-in': ('ping:get',),
        'POST /sign-in': ('ping:get',),
        'POST /sign-out': ('ping:get',),
        'GET /{page}': ('ping:get',),
        'GET /static/{file}': ('ping:get',),
    },
    policy=policy,
    hooks=(ConsoleHook(),),
    placeholders=PLACEHOLDERS,
    error_reply=error_reply,
    is_described=False,
)
