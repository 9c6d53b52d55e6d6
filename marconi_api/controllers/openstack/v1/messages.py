"""``/v1/queues/{queue}/messages``: post, look, delete."""

from collections.abc import Iterable
from typing import Any

import msgspec

from marconi_api import limits, model
from marconi_api.controllers.openstack.documents import WITH_CLAIMED, posted_location
from marconi_api.controllers.openstack.repeats import KEY_FAILURES, KEY_HEADER, request_key
from marconi_api.controllers.openstack.v1 import types
from marconi_api.controllers.openstack.v1.queues import queue_href
from marconi_api.controllers.openstack.v1.types import NewMessage
from marconi_api.controllers.openstack.waits import tell_pages
from marconi_api.errors import (
    HeldByAnotherClaim,
    InvalidRequest,
    MessageNotFound,
    NotHeldByThisClaim,
    QueueNotFound,
    QuotaExceeded,
)
from marconi_api.model import MOST_IN_A_POST, READY, Message, QueueKey
from marconi_api.wire.actions import EMPTY, ByHand, Content, expose, query_reader
from marconi_api.wire.documents import text_of
from marconi_api.wire.failures import MissingHeader, MissingParameter
from marconi_api.wire.replies import (
    Raw,
    Reply,
    content_location,
    empty_reply,
    json_reply,
    next_link,
)
from marconi_api.wire.requests import Request
from marconi_api.wire.tracing import tell_posted, traceparent_of
from marconi_api.wire.values import (
    IntegerParameter,
    ListOf,
    ListParameter,
    boolean_parameter,
    text_parameter,
)
from marconi_api.wire.waiting import may_wait


class MessageDocument(msgspec.Struct, gc=False):
    """``types.Message`` as a struct, to be written as JSON: ten dictionaries took 3 us more."""

    href: str
    ttl: int
    age: int
    body: Raw


def message_documents(
    queue: QueueKey, messages: Iterable[Message], claim: str | None = None
) -> list[MessageDocument]:
    """Messages as version 1 shows them: exactly these members (docs/protocol-v1.md, 5).

    :param claim: the claim that hands the messages out, if one does
    """
    path = f'{queue_href(queue)}/messages'
    query = f'?claim_id={claim}' if claim else ''
    return [
        MessageDocument(f'{path}/{message.id}{query}', message.ttl, message.age, Raw(message.body))
        for message in messages
    ]


#: The parameters of a page; beside ``ids`` they are ignored, even malformed
#: (docs/protocol-v1.md, 5.2).
PAGE = {
    'marker': text_parameter,
    'limit': IntegerParameter('message_page'),
    'echo': boolean_parameter,
    'include_claimed': boolean_parameter,
}
_read_page = query_reader(PAGE)


class MessagesController:
    """``/v1/queues/{queue}/messages``."""

    @expose(
        ids=ListParameter('ids'),
        by_hand=ByHand(query=PAGE),
        waits=True,
        replies={
            200: Content((types.MessagePage, [types.Message]), 'Content-Location'),
            204: Content(None, 'Content-Location'),
        },
        raises=(MissingHeader,),
    )
    def get(self, request: Request, queue: QueueKey, ids: list[str] | None = None) -> Reply:
        """The messages that ``ids`` names, or a page of the queue.

        See docs/protocol-v1.md, 5.2, 5.1.
        """
        if ids is None:
            return self._get_page(request, queue, **_read_page(request))

        limits.in_force.check_ids(ids)
        messages = model.store.messages.get_many(queue, ids)
        if not messages:
            return empty_reply(204, content_location(request))
        return json_reply(message_documents(queue, messages), 200, content_location(request))

    def _get_page(self, request: Request, queue: QueueKey, **query: Any) -> Reply:
        client_id = request.require_client_id()
        states = WITH_CLAIMED if query.get('include_claimed') else READY
        may_wait(request)
        messages = model.store.messages.page(
            queue,
            marker=query.get('marker'),
            limit=limits.in_force.messages_on_page(query.get('limit')),
            excluding_client=None if query.get('echo') else client_id,
            states=states,
        )
        tell_pages(request, {queue: messages}, states)
        if messages.next is None:
            return empty_reply(204, content_location(request))
        path = f'{queue_href(queue)}/messages'
        page = {
            'messages': message_documents(queue, messages),
            'links': [next_link(path, query, marker=messages.next)],
        }
        return json_reply(page, 200, content_location(request))

    @expose(
        body=[NewMessage],
        by_hand=ByHand(
            body=ListOf(NewMessage, at_least=1, at_most=MOST_IN_A_POST),
            headers=(KEY_HEADER, 'traceparent'),
        ),
        needs_client_id=True,
        replies={201: Content(types.Posted, 'Location')},
        raises=(QueueNotFound, QuotaExceeded, *KEY_FAILURES),
    )
    def post(self, request: Request, queue: QueueKey, body: list[NewMessage]) -> Reply:
        """Put messages into the queue, all or none (docs/protocol-v1.md, 5.3)."""
        if not body:
            raise InvalidRequest('At least one message is required.')
        messages = [model.NewMessage(text_of(message.body), message.ttl, 0) for message in body]
        ids = model.store.messages.post(
            queue,
            request.require_client_id(),
            messages,
            key=request_key(request),
            traceparent=traceparent_of(request),
        )
        tell_posted(request, ids)
        path = f'{queue_href(queue)}/messages'
        document = {'resources': [f'{path}/{message}' for message in ids], 'partial': False}
        return json_reply(document, 201, ('Location', posted_location(path, ids)))

    @expose(
        ids=ListParameter('ids', required=True),
        replies={204: EMPTY},
        raises=(MissingParameter,),
    )
    def delete(self, request: Request, queue: QueueKey, ids: list[str] | None = None) -> Reply:
        """Delete the messages that ``ids`` names, claimed or not (docs/protocol-v1.md, 5.4)."""
        if ids is None:
            raise MissingParameter('Name the messages to delete: ?ids=ID1,ID2')
        limits.in_force.check_ids(ids)
        model.store.messages.delete_many(queue, ids)
        return empty_reply()


class MessageController:
    """``/v1/queues/{queue}/messages/{message}``."""

    @expose(replies={200: Content(types.Message, 'Content-Location')}, raises=(MessageNotFound,))
    def get(self, request: Request, queue: QueueKey, message: str) -> Reply:
        """One message, claimed or not (docs/protocol-v1.md, 5.5)."""
        [document] = message_documents(queue, [model.store.messages.get(queue, message)])
        return json_reply(document, 200, content_location(request))

    @expose(
        claim_id=text_parameter,
        replies={204: EMPTY},
        raises=(NotHeldByThisClaim, HeldByAnotherClaim),
    )
    def delete(
        self, request: Request, queue: QueueKey, message: str, claim_id: str | None = None
    ) -> Reply:
        """Delete one message; a claimed one only by its claim (docs/protocol-v1.md, 6.6)."""
        model.store.messages.delete(queue, message, claim_id)
        return empty_reply()
