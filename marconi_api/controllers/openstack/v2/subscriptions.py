"""``/v2/queues/{queue}/subscriptions``: who gets what is posted (docs/protocol-v2.md, 8)."""

from typing import Any

import msgspec

from marconi_api import limits, model
from marconi_api.controllers.access.queues import queue_named
from marconi_api.controllers.openstack.v1_1.controller import Controller
from marconi_api.controllers.openstack.v2.types import (
    Confirmation,
    MadeSubscription,
    NewSubscription,
    Subscription,
    SubscriptionChange,
    SubscriptionPage,
)
from marconi_api.errors import (
    InvalidRequest,
    NotThisQueue,
    QueueCollision,
    QueueNotFound,
    QuotaExceeded,
    SubscriptionCycle,
    SubscriptionExists,
    SubscriptionNotFound,
)
from marconi_api.model import QueueKey
from marconi_api.model.subscription_options import Options, target_of
from marconi_api.policy import SIGNED
from marconi_api.wire.actions import EMPTY, ByHand, Content, expose
from marconi_api.wire.documents import JsonObject, read_document, text_of
from marconi_api.wire.failures import CannotConfirm, CannotUpdateSubscription, NotConfirmedSo
from marconi_api.wire.replies import Raw, Reply, empty_reply, json_reply, next_link
from marconi_api.wire.requests import Request
from marconi_api.wire.values import IntegerParameter, text_parameter

_CHANGEABLE = {'subscriber', 'ttl', 'options'}


class _OfSubscriptions(Controller):
    def path(self, queue: QueueKey) -> str:
        """The path of the queue's subscriptions."""
        return f'{self.href(queue)}/subscriptions'


class SubscriptionsController(_OfSubscriptions):
    """``/v2/queues/{queue}/subscriptions``."""

    @expose(
        marker=text_parameter,
        limit=IntegerParameter('subscription_page'),
        replies={200: Content(SubscriptionPage)},
    )
    def get(self, request: Request, queue: QueueKey, **query: Any) -> Reply:
        """A page of the queue's subscriptions, in the order in which they were made."""
        limit = limits.in_force.subscriptions_on_page(query.get('limit'))
        found = model.store.subscriptions.page(queue, query.get('marker'), limit)
        links = [next_link(self.path(queue), query, marker=found[-1].id)] if found else []
        return json_reply({'subscriptions': [_document(one) for one in found], 'links': links})

    @expose(
        body=NewSubscription,
        replies={201: Content(MadeSubscription, 'Location')},
        raises=(
            *(QueueNotFound, QueueCollision, QuotaExceeded, NotThisQueue),
            *(SubscriptionCycle, SubscriptionExists),
        ),
    )
    def post(self, request: Request, queue: QueueKey, body: Any) -> Reply:
        """Subscribe to the queue, which is made if it is not there.

        The reply is the only one that has the secret which signs what the webhook is sent.
        """
        options = _options_in(body.options)
        _check_queues(request, body.subscriber, options)
        made = model.store.subscriptions.create(queue, body.subscriber, body.ttl, options or '{}')
        document = {'subscription_id': made.id}
        if made.secret:
            document['secret'] = made.secret
        return json_reply(document, 201, ('Location', self.path(queue)))


class SubscriptionController(_OfSubscriptions):
    """``/v2/queues/{queue}/subscriptions/{subscription}``."""

    @expose(replies={200: Content(Subscription)}, raises=(SubscriptionNotFound,))
    def get(self, request: Request, queue: QueueKey, subscription: str) -> Reply:
        """One subscription."""
        return json_reply(_document(model.store.subscriptions.get(queue, subscription)))

    @expose(
        body=JsonObject,
        by_hand=ByHand(body=SubscriptionChange),
        replies={204: Content(None, 'Location')},
        raises=(
            *(SubscriptionNotFound, QueueNotFound, NotThisQueue, SubscriptionCycle),
            *(SubscriptionExists, CannotUpdateSubscription),
        ),
    )
    def patch(
        self, request: Request, queue: QueueKey, subscription: str, body: JsonObject
    ) -> Reply:
        """Change what is sent; null is as good as absent. A subscription that is paused goes on."""
        unknown = set(body.members) - _CHANGEABLE
        if unknown or not body.members:
            raise CannotUpdateSubscription
        change = read_document(SubscriptionChange, body.text)
        options = _options_in(change.options)
        _check_queues(request, change.subscriber, options)
        model.store.subscriptions.change(
            queue, subscription, change.subscriber, change.ttl, options
        )
        return empty_reply(204, ('Location', f'{self.path(queue)}/{subscription}'))

    @expose(replies={204: EMPTY})
    def delete(self, request: Request, queue: QueueKey, subscription: str) -> Reply:
        """End a subscription, with what is still to be delivered."""
        model.store.subscriptions.delete(queue, subscription)
        return empty_reply()


class ConfirmController(_OfSubscriptions):
    """``/v2/queues/{queue}/subscriptions/{subscription}/confirm``."""

    @expose(
        body=Confirmation,
        replies={204: Content(None, 'Location')},
        raises=(SubscriptionNotFound, CannotConfirm, NotConfirmedSo),
    )
    def put(self, request: Request, queue: QueueKey, subscription: str, body: Any) -> Reply:
        """Confirm a subscription, or cancel it.

        Where subscriptions must be confirmed, this takes the signature that was sent to the webhook.
        """
        if body.confirmed is None:
            raise CannotConfirm
        if model.store.subscriptions.requires_confirmation and not _is_signed(request):
            raise NotConfirmedSo
        model.store.subscriptions.confirm(queue, subscription, body.confirmed)
        return empty_reply(204, ('Location', f'{self.path(queue)}/{subscription}/confirm'))


def _is_signed(request: Request) -> bool:
    # No signature that a client can get from `share` reaches as far down as this path.
    return SIGNED in request.identity.roles


def _options_in(sent: msgspec.Raw | None) -> str | None:
    """The text of the options; None if there are none.

    :raises InvalidRequest: if they are not an object
    """
    text = 'null' if sent is None else text_of(sent)
    if text == 'null':
        return None
    if not text.startswith('{'):
        raise InvalidRequest('options must be an object.')
    return text


def _check_queues(request: Request, subscriber: str | None, options: str | None) -> None:
    """Refuse to send messages to queues which the credential is not for."""
    for name in (
        target_of(subscriber) if subscriber else None,
        Options(options).dead_letter_queue if options else None,
    ):
        if name:
            queue_named(request, name)


def _document(found: model.Subscription) -> dict[str, Any]:
    return {
        'id': found.id,
        'source': found.source,
        'subscriber': found.subscriber,
        'ttl': found.ttl,
        'age': found.age,
        'options': Raw(found.options),
        'confirmed': found.confirmed,
        'state': found.state,
        'reason': found.reason,
        'deliveries': {
            'delivered': found.delivered,
            'pending': found.pending,
            'failed': found.failed,
            'oldest_pending_age': found.oldest_pending_age,
        },
    }
