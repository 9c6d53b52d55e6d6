"""Claims in versions 1.1 and 2."""

from collections.abc import Sequence
from typing import Any, ClassVar

from marconi_api import limits, model
from marconi_api.controllers.openstack.repeats import (
    CLAIM_KEY_FAILURES,
    KEY_HEADER,
    request_key,
)
from marconi_api.controllers.openstack.v1_1.controller import Controller
from marconi_api.controllers.openstack.v1_1.messages import message_documents
from marconi_api.controllers.openstack.v1_1.types import (
    Claim,
    ClaimedMessages,
    ClaimRenewal,
    NewClaim,
)
from marconi_api.controllers.openstack.waits import claim_on
from marconi_api.errors import ClaimNotFound
from marconi_api.model import Message, QueueKey
from marconi_api.wire.actions import EMPTY, ByHand, Content, expose
from marconi_api.wire.replies import Reply, empty_reply, json_reply
from marconi_api.wire.requests import Request
from marconi_api.wire.tracing import MESSAGE_TRACES, message_traces
from marconi_api.wire.values import IntegerParameter
from marconi_api.wire.waiting import may_wait


class ClaimsController(Controller):
    """``/queues/{queue}/claims``."""

    @expose(
        body=NewClaim,
        body_is_optional=True,
        limit=IntegerParameter('claim_size'),
        waits=True,
        by_hand=ByHand(headers=(KEY_HEADER,)),
        replies={201: Content(ClaimedMessages, 'Location', at_times=(MESSAGE_TRACES,)), 204: EMPTY},
        raises=CLAIM_KEY_FAILURES,
    )
    def post(
        self,
        request: Request,
        queue: QueueKey,
        body: NewClaim | None = None,
        limit: int | None = None,
        wait: int | None = None,
    ) -> Reply:
        """Reserve up to ``limit`` messages."""
        most = limits.in_force.messages_in_claim(limit)
        terms = body or NewClaim()
        limits.in_force.check_claim(terms.ttl, terms.grace)
        may_wait(request, wait)
        key = request_key(request, limit)
        claim = claim_on(request, queue, terms.ttl, terms.grace, most, key)
        if claim is None:
            return empty_reply()
        href = self.href(queue)
        document = {'messages': self.documents(href, claim.messages)}
        location = 'Location', f'{href}/claims/{claim.id}'
        return json_reply(document, 201, location, *message_traces(request, claim.messages))

    def documents(self, queue_href: str, messages: Sequence[Message]) -> Sequence[Any]:
        """The messages of a claim as they are shown."""
        return message_documents(queue_href, messages)


class ClaimController(Controller):
    """``/queues/{queue}/claims/{claim}``."""

    #: The document of a claim.
    found_type: ClassVar[type[Claim]] = Claim

    @expose(
        replies={200: Content('found_type', at_times=(MESSAGE_TRACES,))}, raises=(ClaimNotFound,)
    )
    def get(self, request: Request, queue: QueueKey, claim: str) -> Reply:
        """What the claim still holds."""
        held = model.store.claims.get(queue, claim)
        href = self.href(queue)
        document = {
            'age': held.age,
            'ttl': held.ttl,
            'href': f'{href}/claims/{held.id}',
            'messages': self.documents(href, held.messages),
        }
        return json_reply(document, 200, *message_traces(request, held.messages))

    def documents(self, queue_href: str, messages: Sequence[Message]) -> Sequence[Any]:
        """The messages of a claim as they are shown."""
        return message_documents(queue_href, messages)

    @expose(body=ClaimRenewal, replies={204: EMPTY}, raises=(ClaimNotFound,))
    def patch(self, request: Request, queue: QueueKey, claim: str, body: ClaimRenewal) -> Reply:
        """Start the claim anew."""
        limits.in_force.check_renewal(body.ttl, body.grace)
        model.store.claims.renew(queue, claim, body.ttl, body.grace)
        return empty_reply()

    @expose(replies={204: EMPTY})
    def delete(self, request: Request, queue: QueueKey, claim: str) -> Reply:
        """Give the messages back at once."""
        model.store.claims.release(queue, claim)
        return empty_reply()
