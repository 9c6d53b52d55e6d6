"""``/console/queues/{queue}/subscriptions``: who gets what is posted, and what could not be sent."""

from marconi_api import limits, model
from marconi_api.controllers.console.pages import page
from marconi_api.controllers.console.queue import pretty
from marconi_api.controllers.console.sessions import query_of
from marconi_api.model import QueueKey
from marconi_api.model.subscription_options import target_of
from marconi_api.model.webhooks import STATES
from marconi_api.wire.actions import Content, expose
from marconi_api.wire.replies import Reply
from marconi_api.wire.requests import Request

#: Subscriptions and deliveries on a page.
ON_A_PAGE = 20


class SubscriptionsController:
    """``/console/queues/{queue}/subscriptions``."""

    @expose(replies={200: Content()})
    def get(self, request: Request, queue: QueueKey) -> Reply:
        """Those of a queue, in the order in which they were made."""
        model.store.queues.metadata(queue)
        after = query_of(request).get('after')
        found = model.store.subscriptions.page(queue, after, ON_A_PAGE + 1)
        return page(
            request,
            'subscriptions.html',
            queue=queue,
            subscriptions=found[:ON_A_PAGE],
            after=found[ON_A_PAGE - 1].id if len(found) > ON_A_PAGE else None,
            is_first=after is None,
            most=limits.in_force.max_subscriptions_per_queue,
        )


class SubscriptionController:
    """``/console/queues/{queue}/subscriptions/{subscription}``."""

    @expose(replies={200: Content()})
    def get(self, request: Request, queue: QueueKey, subscription: str) -> Reply:
        """One subscription, and the deliveries that are not over."""
        found = model.store.subscriptions.get(queue, subscription)
        query = query_of(request)
        state = query.get('state')
        deliveries = model.store.webhooks.page(
            queue, subscription, state if state in STATES else None, query.get('after'), ON_A_PAGE
        )
        is_full = len(deliveries) == ON_A_PAGE
        is_cut_short = deliveries.next != (deliveries[-1].id if deliveries else None)
        return page(
            request,
            'subscription.html',
            queue=queue,
            subscription=found,
            is_webhook=target_of(found.subscriber) is None,
            options=pretty(found.options),
            state=state,
            states=STATES,
            deliveries=deliveries,
            after=deliveries.next if is_full or is_cut_short else None,
            is_first='after' not in query,
        )
