"""What a webhook has not taken yet, and how its project mends that (docs/protocol-v2.md, 15.12)."""

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import msgspec
from wsme import types as wtypes

from marconi_api import limits, model
from marconi_api.controllers.openstack.documents import Link
from marconi_api.controllers.openstack.v1_1.controller import Controller
from marconi_api.errors import DeliveryNotFound, InvalidRequest, SubscriptionNotFound
from marconi_api.model import QueueKey
from marconi_api.model.webhooks import STATES, Callee
from marconi_api.webhooks import rules
from marconi_api.webhooks.forms import TEST, filled, notification
from marconi_api.wire.actions import Content, expose
from marconi_api.wire.documents import Document
from marconi_api.wire.failures import TooManyTests
from marconi_api.wire.replies import Reply, empty_reply, json_reply, next_link
from marconi_api.wire.requests import Request
from marconi_api.wire.values import (
    IntegerParameter,
    NullableInteger,
    String,
    WordParameter,
    natural,
    nullable_string,
    string,
    text_parameter,
)

if TYPE_CHECKING:
    from marconi_api.webhooks.calling import Attempt

# Seconds that a test may take. A thread that answers requests waits for it.
_TEST_TIMEOUT = 5.0

# What a test sends.
_TEST_ID, _TEST_BODY = 'test', '"This is a test."'


class DeliveryAttempt(Document):
    """A call of a webhook: the status of its answer, or an error in a word."""

    at = wtypes.wsattr(String({'format': 'date-time'}), mandatory=True)
    status = wtypes.wsattr(NullableInteger(), mandatory=True)
    error = wtypes.wsattr(nullable_string, mandatory=True)
    ms = wtypes.wsattr(natural, mandatory=True)


class Delivery(Document):
    """A message that a webhook has not taken."""

    id = wtypes.wsattr(string, mandatory=True)
    message_id = wtypes.wsattr(string, mandatory=True)
    state = wtypes.wsattr(String({'enum': list(STATES)}), mandatory=True)
    age = wtypes.wsattr(natural, mandatory=True)
    next_attempt = wtypes.wsattr(nullable_string, mandatory=True)
    attempts = wtypes.wsattr([DeliveryAttempt], mandatory=True)


class Deliveries(Document):
    """A page of deliveries, with a link unless it is the last."""

    deliveries = wtypes.wsattr([Delivery], mandatory=True)
    links = wtypes.wsattr([Link], mandatory=True)


class Secret(Document):
    """What signs deliveries from now on."""

    secret = wtypes.wsattr(string, mandatory=True)


#: The reply to a request whose work goes on after the reply.
ACCEPTED = {202: Content()}


class DeliveriesController(Controller):
    """``/v2/queues/{queue}/subscriptions/{subscription}/deliveries``."""

    @expose(
        state=WordParameter(*STATES),
        marker=text_parameter,
        limit=IntegerParameter('message_page'),
        replies={200: Content(Deliveries)},
        raises=(SubscriptionNotFound,),
    )
    def get(self, request: Request, queue: QueueKey, subscription: str, **query: Any) -> Reply:
        """What is still to be delivered, and what has failed."""
        page = model.store.webhooks.page(
            queue,
            subscription,
            query.get('state'),
            query.get('marker'),
            limits.in_force.messages_on_page(query.get('limit')),
        )
        path = f'{self.href(queue)}/subscriptions/{subscription}/deliveries'
        links = [next_link(path, query, marker=page.next)] if page.next else []
        return json_reply({'deliveries': msgspec.to_builtins(list(page)), 'links': links})


class RetryController(Controller):
    """``/v2/queues/{queue}/subscriptions/{subscription}/deliveries/{delivery}/retry``."""

    @expose(replies=ACCEPTED, raises=(SubscriptionNotFound, DeliveryNotFound))
    def post(self, request: Request, queue: QueueKey, subscription: str, delivery: str) -> Reply:
        """Send it again now; its attempts are counted anew."""
        model.store.webhooks.retry(queue, subscription, delivery)
        return empty_reply(202)


class RetryAllController(Controller):
    """``/v2/queues/{queue}/subscriptions/{subscription}/retry``."""

    @expose(replies=ACCEPTED, raises=(SubscriptionNotFound,))
    def post(self, request: Request, queue: QueueKey, subscription: str) -> Reply:
        """Send all that have failed again."""
        model.store.webhooks.retry_all(queue, subscription)
        return empty_reply(202)


class PauseController(Controller):
    """``/v2/queues/{queue}/subscriptions/{subscription}/pause``."""

    @expose(replies=ACCEPTED, raises=(SubscriptionNotFound, InvalidRequest))
    def post(self, request: Request, queue: QueueKey, subscription: str) -> Reply:
        """Call the webhook no more until it is resumed; what it is to get waits."""
        model.store.webhooks.pause(queue, subscription)
        return empty_reply(202)


class ResumeController(Controller):
    """``/v2/queues/{queue}/subscriptions/{subscription}/resume``."""

    @expose(replies=ACCEPTED, raises=(SubscriptionNotFound,))
    def post(self, request: Request, queue: QueueKey, subscription: str) -> Reply:
        """Let a subscription go on that is paused, by a request or as all had failed for a day."""
        model.store.webhooks.resume(queue, subscription)
        return empty_reply(202)


class RotateController(Controller):
    """``/v2/queues/{queue}/subscriptions/{subscription}/rotate``."""

    @expose(replies={200: Content(Secret)}, raises=(SubscriptionNotFound, InvalidRequest))
    def post(self, request: Request, queue: QueueKey, subscription: str) -> Reply:
        """Sign with a new secret, too; this is the only time that it is shown."""
        return json_reply({'secret': model.store.webhooks.rotate(queue, subscription)})


class TestController(Controller):
    """``/v2/queues/{queue}/subscriptions/{subscription}/test``."""

    # Not a test of pytest's.
    __test__ = False

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        # One test at a time, or a client with webhooks that hang could make all threads wait.
        self._is_testing = threading.Lock()

    @expose(
        replies={200: Content(DeliveryAttempt)},
        raises=(SubscriptionNotFound, InvalidRequest, TooManyTests),
    )
    def post(self, request: Request, queue: QueueKey, subscription: str) -> Reply:
        """Call the webhook once, with a message of the type Test, and tell what came of it."""
        callee = model.store.webhooks.callee(queue, subscription)
        if not self._is_testing.acquire(blocking=False):
            raise TooManyTests
        try:
            attempt = _call(queue, subscription, callee)
        finally:
            self._is_testing.release()
        return json_reply(
            {
                'at': attempt.at.strftime('%Y-%m-%dT%H:%M:%SZ'),
                'status': attempt.status,
                'error': attempt.error,
                'ms': attempt.ms,
            }
        )


def _call(queue: QueueKey, subscription: str, callee: Callee) -> 'Attempt':
    """:raises InvalidRequest: if the URL is not allowed any more."""
    # Imported here: few processes ever test a webhook, and each would start a tenth of a second later.

    from marconi_api.webhooks.calling import Caller
    from marconi_api.webhooks.sending import Subscriber, send

    options: dict[str, Any] = msgspec.json.decode(callee.options)
    to = Subscriber(callee.subscriber, options, callee.secrets)
    body = filled(options, notification(queue.name, _TEST_ID, 0, _TEST_BODY, TEST))
    seconds = min(options.get('_timeout') or _TEST_TIMEOUT, _TEST_TIMEOUT)
    in_force = rules.in_force
    call_id = f'{subscription}-{_TEST_ID}'

    async def called() -> 'Attempt':
        caller = Caller(in_force)
        try:
            return await send(caller, in_force, to, call_id, body, seconds)
        finally:
            await caller.close()

    return asyncio.run(called())


def resources(prefix: str) -> dict[str, Controller]:
    """Which controller serves which path."""
    subscription = f'{prefix}/queues/{{queue}}/subscriptions/{{subscription}}'
    return {
        f'{subscription}/deliveries': DeliveriesController(prefix),
        f'{subscription}/deliveries/{{delivery}}/retry': RetryController(prefix),
        f'{subscription}/retry': RetryAllController(prefix),
        f'{subscription}/pause': PauseController(prefix),
        f'{subscription}/resume': ResumeController(prefix),
        f'{subscription}/rotate': RotateController(prefix),
        f'{subscription}/test': TestController(prefix),
    }
