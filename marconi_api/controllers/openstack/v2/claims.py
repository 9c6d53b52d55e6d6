"""Claims in version 2: a request for one may wait, by its query."""

from collections.abc import Sequence
from typing import Any

from marconi_api.controllers.openstack.repeats import CLAIM_KEY_FAILURES, KEY_HEADER
from marconi_api.controllers.openstack.v1_1 import claims as v1_1
from marconi_api.controllers.openstack.v1_1.types import NewClaim
from marconi_api.controllers.openstack.v2.grouped import documents_with_groups
from marconi_api.controllers.openstack.v2.types import ClaimedMessages, ClaimInGroups
from marconi_api.model import Message, QueueKey
from marconi_api.wire.actions import EMPTY, ByHand, Content, expose
from marconi_api.wire.replies import Reply
from marconi_api.wire.requests import Request
from marconi_api.wire.tracing import MESSAGE_TRACES
from marconi_api.wire.values import IntegerParameter
from marconi_api.wire.waiting import wait_parameter


class ClaimsController(v1_1.ClaimsController):
    """``/v2/queues/{queue}/claims``."""

    @expose(
        body=NewClaim,
        body_is_optional=True,
        limit=IntegerParameter('claim_size'),
        wait=wait_parameter,
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
        return super().post(request, queue, body, limit, wait)

    def documents(self, queue_href: str, messages: Sequence[Message]) -> Sequence[Any]:
        """With their groups, if they have some."""
        return documents_with_groups(queue_href, messages)


class ClaimController(v1_1.ClaimController):
    """``/v2/queues/{queue}/claims/{claim}``."""

    found_type = ClaimInGroups

    def documents(self, queue_href: str, messages: Sequence[Message]) -> Sequence[Any]:
        """With their groups, if they have some."""
        return documents_with_groups(queue_href, messages)
