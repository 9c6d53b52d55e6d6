"""Several queues in one request: a claim over them, and a look at them."""

from typing import Any

from marconi_api import limits, model
from marconi_api.controllers.access.queues import queue_named
from marconi_api.controllers.openstack.repeats import (
    CLAIM_KEY_FAILURES,
    KEY_HEADER,
    request_key,
)
from marconi_api.controllers.openstack.v1_1.controller import Controller
from marconi_api.controllers.openstack.v2.grouped import documents_with_groups, members_of
from marconi_api.controllers.openstack.v2.messages import shows_own, state_parameter
from marconi_api.controllers.openstack.v2.types import (
    ClaimedAcrossQueues,
    NewClaimAcrossQueues,
    NewClaimSource,
    PeekedMessages,
)
from marconi_api.controllers.openstack.waits import claim_on, is_given, tell_claims, tell_pages
from marconi_api.errors import InvalidQueueName, InvalidRequest
from marconi_api.model import ClaimSource, QueueKey
from marconi_api.wire.actions import ByHand, Content, expose
from marconi_api.wire.failures import MissingParameter
from marconi_api.wire.replies import Reply, json_reply, next_link
from marconi_api.wire.requests import Request
from marconi_api.wire.tracing import MESSAGE_TRACES, message_traces
from marconi_api.wire.values import IntegerParameter, ListParameter, boolean_parameter
from marconi_api.wire.waiting import may_wait, wait_parameter


def _keys(request: Request, names: list[str]) -> list[QueueKey]:
    """The queues of these names.

    :raises InvalidRequest: if a queue is named twice
    """
    limits.in_force.queues_in_request.check('The number of queues', len(names))
    keys = [queue_named(request, name) for name in names]
    if len(set(names)) < len(names):
        raise InvalidRequest('Name each queue once.')
    return keys


class ClaimsAcrossQueuesController(Controller):
    """``/v2/claims``."""

    @expose(
        body=NewClaimAcrossQueues,
        wait=wait_parameter,
        waits=True,
        by_hand=ByHand(headers=(KEY_HEADER,)),
        replies={
            200: Content(ClaimedAcrossQueues),
            201: Content(ClaimedAcrossQueues, at_times=(MESSAGE_TRACES,)),
        },
        raises=(InvalidQueueName, *CLAIM_KEY_FAILURES),
    )
    def post(self, request: Request, body: NewClaimAcrossQueues, wait: int | None = None) -> Reply:
        """Reserve messages of several queues, by preference or by weight.

        A claim stays within its queue, so there is one for each queue that gave messages.
        """
        limit = limits.in_force.messages_in_claim(body.limit)
        limits.in_force.check_claim(body.ttl, body.grace)
        keys = _keys(request, [sent.name for sent in body.queues])
        sources = [_source(key, sent) for key, sent in zip(keys, body.queues, strict=True)]
        may_wait(request, wait)
        key = request_key(request)
        missing: list[QueueKey] = []
        if is_given(request):
            # It waits for one queue.
            claim = claim_on(request, keys[0], body.ttl, body.grace, limit, key)
            claims = [(keys[0], claim)] if claim else []
        else:
            claims, missing = model.store.claims.create_across(
                sources, body.ttl, body.grace, limit, key
            )
            tell_claims(request, keys, claims, limit, key, (body.ttl, body.grace))
        document = {
            'messages': [
                {
                    **members_of(shown),
                    'queue': queue.name,
                    'claim_id': claim.id,
                    'claim_count': message.claim_count,
                }
                for queue, claim in claims
                for message, shown in zip(
                    claim.messages,
                    documents_with_groups(self.href(queue), claim.messages),
                    strict=True,
                )
            ],
            'claims': [
                {
                    'queue': queue.name,
                    'id': claim.id,
                    'href': f'{self.href(queue)}/claims/{claim.id}',
                }
                for queue, claim in claims
            ],
            'missing': [queue.name for queue in missing],
        }
        handed_out = [message for _, claim in claims for message in claim.messages]
        return json_reply(document, 201 if claims else 200, *message_traces(request, handed_out))


def _source(queue: QueueKey, sent: NewClaimSource) -> ClaimSource:
    if sent.limit is not None:
        limits.in_force.messages_in_claim(sent.limit)
    if sent.weight is not None:
        limits.in_force.queue_weight.check('The weight of a queue', sent.weight)
    return ClaimSource(queue, sent.limit, sent.weight)


class MessagesOfQueuesController(Controller):
    """``/v2/messages``."""

    @expose(
        queue=ListParameter('queues_in_request', required=True),
        limit=IntegerParameter('message_page'),
        echo=boolean_parameter,
        state=state_parameter,
        wait=wait_parameter,
        waits=True,
        replies={200: Content(PeekedMessages)},
        raises=(MissingParameter, InvalidQueueName),
    )
    def get(self, request: Request, queue: list[str] | None = None, **query: Any) -> Reply:
        """A page of each queue, after a marker of each (``queue=NAME:MARKER``)."""
        if not queue:
            raise MissingParameter('Name the queues to list: ?queue=NAME1&queue=NAME2:MARKER')
        places = [place.partition(':') for place in queue]
        keys = _keys(request, [name for name, _, _ in places])
        markers = {key: marker for key, (_, _, marker) in zip(keys, places, strict=True)}
        may_wait(request, query.get('wait'))
        states = {query.get('state', 'ready')}
        documents, pages, missing, is_end = [], {}, [], True
        for key in keys:
            page = pages[key] = model.store.messages.peek(
                key,
                markers[key] or None,
                limits.in_force.messages_on_page(query.get('limit')),
                None if shows_own(query) else request.require_client_id(),
                states,
                walks_on=False,
            )
            documents += [
                {
                    **members_of(shown),
                    'queue': key.name,
                    'state': message.state,
                    'claim_count': message.claim_count,
                    'reason': message.reason,
                }
                for message, shown in zip(
                    page, documents_with_groups(self.href(key), page), strict=True
                )
            ]
            if page.next:
                markers[key], is_end = page.next, False
            elif not model.store.queues.exists(key):
                missing.append(key.name)
        tell_pages(request, pages, states)
        return json_reply(
            {
                'messages': documents,
                'links': [] if is_end else [self._next(query, markers)],
                'missing': missing,
            }
        )

    def _next(self, query: dict[str, Any], markers: dict[QueueKey, str]) -> dict[str, str]:
        places = [f'{key.name}:{marker}' if marker else key.name for key, marker in markers.items()]
        return next_link(f'{self.prefix}/messages', query, queue=places)
