"""``/v1/queues/{queue}/claims``: reserve messages, keep them, give them back."""

from marconi_api import limits, model
from marconi_api.controllers.openstack.repeats import (
    CLAIM_KEY_FAILURES,
    KEY_HEADER,
    request_key,
)
from marconi_api.controllers.openstack.v1.messages import message_documents
from marconi_api.controllers.openstack.v1.queues import queue_href
from marconi_api.controllers.openstack.v1.types import Claim, ClaimRenewal, Message, NewClaim
from marconi_api.controllers.openstack.waits import claim_on
from marconi_api.errors import ClaimNotFound
from marconi_api.model import QueueKey
from marconi_api.wire.actions import EMPTY, ByHand, Content, expose
from marconi_api.wire.replies import Reply, content_location, empty_reply, json_reply
from marconi_api.wire.requests import Request
from marconi_api.wire.tracing import MESSAGE_TRACES, message_traces
from marconi_api.wire.values import IntegerParameter
from marconi_api.wire.waiting import may_wait


class ClaimsController:
    """``/v1/queues/{queue}/claims``."""

    @expose(
        body=NewClaim,
        limit=IntegerParameter('claim_size'),
        waits=True,
        by_hand=ByHand(headers=(KEY_HEADER,)),
        replies={201: Content([Message], 'Location', at_times=(MESSAGE_TRACES,)), 204: EMPTY},
        raises=CLAIM_KEY_FAILURES,
    )
    def post(
        self, request: Request, queue: QueueKey, body: NewClaim, limit: int | None = None
    ) -> Reply:
        """Reserve up to ``limit`` messages (docs/protocol-v1.md, 6.1)."""
        most = limits.in_force.messages_in_claim(limit)
        limits.in_force.check_claim(body.ttl, body.grace)
        may_wait(request)
        key = request_key(request, limit)
        claim = claim_on(request, queue, body.ttl, body.grace, most, key)
        if claim is None:
            return empty_reply()
        documents = message_documents(queue, claim.messages, claim.id)
        location = 'Location', f'{queue_href(queue)}/claims/{claim.id}'
        return json_reply(documents, 201, location, *message_traces(request, claim.messages))


class ClaimController:
    """``/v1/queues/{queue}/claims/{claim}``."""

    @expose(
        replies={200: Content(Claim, 'Content-Location', at_times=(MESSAGE_TRACES,))},
        raises=(ClaimNotFound,),
    )
    def get(self, request: Request, queue: QueueKey, claim: str) -> Reply:
        """What the claim still holds (docs/protocol-v1.md, 6.2)."""
        held = model.store.claims.get(queue, claim)
        document = {
            'age': held.age,
            'ttl': held.ttl,
            'href': f'{queue_href(queue)}/claims/{held.id}',
            'messages': message_documents(queue, held.messages, held.id),
        }
        traces = message_traces(request, held.messages)
        return json_reply(document, 200, content_location(request), *traces)

    @expose(body=ClaimRenewal, replies={204: EMPTY}, raises=(ClaimNotFound,))
    def patch(self, request: Request, queue: QueueKey, claim: str, body: ClaimRenewal) -> Reply:
        """Start the claim anew, for another ``ttl`` (docs/protocol-v1.md, 6.3)."""
        limits.in_force.check_renewal(body.ttl, body.grace)
        model.store.claims.renew(queue, claim, body.ttl, body.grace)
        return empty_reply()

    @expose(replies={204: EMPTY})
    def delete(self, request: Request, queue: QueueKey, claim: str) -> Reply:
        """Give the messages back at once (docs/protocol-v1.md, 6.4)."""
        model.store.claims.release(queue, claim)
        return empty_reply()
