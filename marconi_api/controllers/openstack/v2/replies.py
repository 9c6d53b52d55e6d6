"""Request and reply: a message asks, the worker that deletes it answers (docs/protocol-v2.md, 15.11)."""

from typing import Any

import msgspec
from msgspec.structs import replace

from marconi_api import model
from marconi_api.controllers.openstack.repeats import KEY_FAILURES, KEY_HEADER, request_key
from marconi_api.controllers.openstack.v1_1.controller import Controller
from marconi_api.controllers.openstack.v2.messages import new_message
from marconi_api.controllers.openstack.v2.types import (
    AnsweredRequest,
    EndedRequest,
    GivenReply,
    NewMessage,
    OpenRequest,
    PostedRequest,
)
from marconi_api.controllers.openstack.v2.verdicts import carry_out, required
from marconi_api.controllers.openstack.waits import tell_reply
from marconi_api.errors import (
    ClaimCannotChange,
    ClaimedCannotChange,
    InvalidRequest,
    MessageNotFound,
    QueueCollision,
    QuotaExceeded,
    RequestNotFound,
)
from marconi_api.model import Asked, QueueKey, Verdict
from marconi_api.wire.actions import EMPTY, ByHand, Content, expose
from marconi_api.wire.documents import text_of
from marconi_api.wire.failures import MissingParameter
from marconi_api.wire.replies import Raw, Reply, json_reply
from marconi_api.wire.requests import Request
from marconi_api.wire.tracing import tell_posted, traceparent_of
from marconi_api.wire.values import any_json, text_parameter
from marconi_api.wire.waiting import POSTED, may_wait, wait_parameter

#: Why there is no reply, for people.
_WHY = {
    'expired': 'The message expired: no worker was done with it in time.',
    'deleted': 'The message was deleted, or popped, without a reply.',
    'purged': 'The queue was purged or deleted, and the message with it.',
}


def _ended(reason: str) -> Reply:
    return json_reply({'title': 'No reply', 'description': _WHY[reason], 'reason': reason}, 410)


def _state(asked: Asked) -> dict[str, Any]:
    return {'state': 'waiting' if asked.state == 'ready' else asked.state}


class ReplyController(Controller):
    """``/v2/queues/{queue}/messages/{message}/reply``."""

    @expose(
        wait=wait_parameter,
        waits=True,
        replies={200: Content(GivenReply), 202: Content(OpenRequest), 410: Content(EndedRequest)},
        raises=(RequestNotFound,),
    )
    def get(
        self, request: Request, queue: QueueKey, message: str, wait: int | None = None
    ) -> Reply:
        """The reply to a message, or whether there may be one yet."""
        may_wait(request, wait)
        asked = model.store.replies.find(queue, message)
        tell_reply(request, message, asked)
        if asked.reply is not None:
            return json_reply({'reply': Raw(asked.reply.encode()), 'age': asked.age})
        return _ended(asked.reason) if asked.reason else json_reply(_state(asked), 202)

    @expose(
        body=any_json,
        claim_id=text_parameter,
        replies={204: EMPTY},
        raises=(MissingParameter, MessageNotFound, ClaimCannotChange, ClaimedCannotChange),
    )
    def post(
        self,
        request: Request,
        queue: QueueKey,
        message: str,
        body: msgspec.Raw,
        claim_id: str | None = None,
    ) -> Reply:
        """Give the reply to a message of a claim, and delete the message."""
        return carry_out(queue, required(claim_id), Verdict.delete(message, text_of(body)))


# The body of a request that is run again once its message is posted.
_NOTHING = b'{"body":null}'


class RequestsController(Controller):
    """``/v2/queues/{queue}/requests``."""

    @expose(
        body=NewMessage,
        needs_client_id=True,
        wait=wait_parameter,
        waits=True,
        by_hand=ByHand(headers=(KEY_HEADER, 'traceparent')),
        replies={
            200: Content(AnsweredRequest),
            202: Content(PostedRequest, 'Location'),
            410: Content(EndedRequest),
        },
        raises=(QueueCollision, QuotaExceeded, RequestNotFound, *KEY_FAILURES),
    )
    def post(self, request: Request, queue: QueueKey, body: Any, wait: int | None = None) -> Reply:
        """Put a message into the queue, and wait for the reply to it."""
        if body.reply is False:
            raise InvalidRequest('A request asks for a reply: leave out "reply", or send true.')
        may_wait(request, wait, keeps_body=False)
        message = request.environ.get(POSTED) or self._post(request, queue, body)
        asked = model.store.replies.find(queue, message)
        request.environ[POSTED] = message
        tell_reply(request, message, asked, _NOTHING)
        if asked.reply is not None:
            return json_reply({'id': message, 'reply': Raw(asked.reply.encode())})
        if asked.reason:
            return _ended(asked.reason)
        location = f'{self.href(queue)}/messages/{message}/reply'
        return json_reply({'id': message, **_state(asked)}, 202, ('Location', location))

    def _post(self, request: Request, queue: QueueKey, body: Any) -> str:
        """The id of the message; it is posted now, unless a former run of the request posted it."""
        [message] = model.store.messages.post(
            queue,
            request.require_client_id(),
            [replace(new_message(body), reply=True)],
            request.content_size,
            create=True,
            key=request_key(request, operation='request'),
            traceparent=traceparent_of(request),
        )
        tell_posted(request, [message])
        return message
