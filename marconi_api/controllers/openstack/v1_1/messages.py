"""Messages in versions 1.1 and 2: post, look, pop, delete."""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any, ClassVar

import msgspec

from marconi_api import limits, model
from marconi_api.controllers.openstack.documents import WITH_CLAIMED, posted_location
from marconi_api.controllers.openstack.repeats import KEY_FAILURES, KEY_HEADER, request_key
from marconi_api.controllers.openstack.v1_1 import types
from marconi_api.controllers.openstack.v1_1.controller import Controller
from marconi_api.controllers.openstack.v1_1.types import NewMessages, read_messages
from marconi_api.controllers.openstack.waits import tell_pages
from marconi_api.errors import (
    HeldByAnotherClaim,
    InvalidRequest,
    MessageNotFound,
    NoneOfThemFound,
    NotHeldByThisClaim,
    QueueCollision,
    QuotaExceeded,
)
from marconi_api.model import READY, Message, NewMessage, Page, PoppedMessage, QueueKey
from marconi_api.wire.actions import EMPTY, ByHand, Content, expose, query_reader
from marconi_api.wire.documents import text_of
from marconi_api.wire.replies import Raw, Reply, empty_reply, json_reply, next_link
from marconi_api.wire.requests import Request
from marconi_api.wire.tracing import MESSAGE_TRACES, message_traces, tell_posted, traceparent_of
from marconi_api.wire.values import (
    IntegerParameter,
    ListParameter,
    Parameter,
    boolean_parameter,
    text_parameter,
)
from marconi_api.wire.waiting import may_wait, tell


class MessageDocument(msgspec.Struct, gc=False):
    """``types.Message`` as a struct, to be written as JSON: ten dictionaries took 3 us more."""

    id: str
    href: str
    ttl: int
    age: int
    body: Raw


def message_documents(queue_href: str, messages: Iterable[Message]) -> list[MessageDocument]:
    """Messages as these versions show them: exactly these members (docs/protocol-v2.md, 2.3)."""
    return [
        MessageDocument(
            message.id,
            f'{queue_href}/messages/{message.id}?claim_id={message.claim}'
            if message.claim
            else f'{queue_href}/messages/{message.id}',
            message.ttl,
            message.age,
            Raw(message.body),
        )
        for message in messages
    ]


class MessagesController(Controller):
    """``/queues/{queue}/messages``."""

    #: The document of a POST.
    posted_type: ClassVar[type[NewMessages]] = NewMessages

    #: The document of what a GET found.
    found_type: ClassVar[type[types.Messages]] = types.Messages

    #: The document of what a pop took.
    popped_type: ClassVar[type[types.PoppedMessages]] = types.PoppedMessages

    #: The parameters of a page; beside ``ids`` they are ignored, even malformed.
    page_parameters: ClassVar[dict[str, Parameter]] = {
        'marker': text_parameter,
        'limit': IntegerParameter('message_page'),
        'echo': boolean_parameter,
        'include_claimed': boolean_parameter,
    }

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        self._read_page = query_reader(self.page_parameters)

    @expose(
        ids=ListParameter('ids'),
        by_hand=ByHand(query='page_parameters'),
        waits=True,
        replies={200: Content('found_type')},
        raises=(NoneOfThemFound,),
    )
    def get(self, request: Request, queue: QueueKey, ids: list[str] | None = None) -> Reply:
        """The messages that ``ids`` names, or a page of the queue."""
        if ids is None:
            return self._get_page(request, queue, **self._read_page(request))

        limits.in_force.check_ids(ids)
        messages = model.store.messages.get_many(queue, ids)
        if not messages:
            raise NoneOfThemFound(queue.name, queue.project)
        return json_reply({'messages': self.documents(self.href(queue), messages)})

    def _get_page(self, request: Request, queue: QueueKey, **query: Any) -> Reply:
        may_wait(request, query.get('wait'))
        states = self.states(query)
        messages = self.lister(query)(
            queue,
            marker=query.get('marker'),
            limit=limits.in_force.messages_on_page(query.get('limit')),
            excluding_client=None if self.shows_own(query) else request.require_client_id(),
            states=states,
        )
        tell_pages(request, {queue: messages}, states)
        href = self.href(queue)
        links = (
            [next_link(f'{href}/messages', query, marker=messages.next)] if messages.next else []
        )
        return json_reply({'messages': self.documents(href, messages), 'links': links})

    def shows_own(self, query: Mapping[str, Any]) -> bool:
        """Whether a page shows what the same client posted."""
        return bool(query.get('echo'))

    def lister(self, query: Mapping[str, Any]) -> Callable[..., Page[Any]]:
        """The method of the model that finds the messages on a page."""
        return model.store.messages.page

    def documents(self, queue_href: str, messages: Sequence[Any]) -> Sequence[Any]:
        """The messages on a page as they are shown."""
        return message_documents(queue_href, messages)

    def states(self, query: Mapping[str, Any]) -> Set[str]:
        """The states of the messages on a page."""
        return WITH_CLAIMED if query.get('include_claimed') else READY

    @expose(
        by_hand=ByHand(body='posted_type', headers=(KEY_HEADER, 'traceparent')),
        replies={201: Content(types.Posted, 'Location')},
        raises=(QueueCollision, QuotaExceeded, *KEY_FAILURES),
    )
    def post(self, request: Request, queue: QueueKey) -> Reply:
        """Put messages into the queue, all or none; the queue is made if it is not there.

        The queue's attributes say how long the body may be, and what a message lacks.
        """
        client_id = request.require_client_id()
        text = request.read_text(limits.in_force.max_messages_post_size)
        messages = self.new_messages(read_messages(self.posted_type, text))
        ids = model.store.messages.post(
            queue,
            client_id,
            messages,
            request.content_size,
            create=True,
            key=request_key(request),
            traceparent=traceparent_of(request),
        )
        tell_posted(request, ids)
        path = f'{self.href(queue)}/messages'
        document = {'resources': [f'{path}/{message}' for message in ids]}
        return json_reply(document, 201, ('Location', posted_location(path, ids)))

    def new_messages(self, sent: list[types.NewMessage]) -> list[NewMessage]:
        """What is to be posted; version 1.1 knows of no delays."""
        return [NewMessage(text_of(message.body), message.ttl, 0) for message in sent]

    @expose(
        ids=ListParameter('ids'),
        pop=IntegerParameter('pop_size'),
        waits=True,
        replies={200: Content('popped_type', at_times=(MESSAGE_TRACES,)), 204: EMPTY},
    )
    def delete(
        self,
        request: Request,
        queue: QueueKey,
        ids: list[str] | None = None,
        pop: int | None = None,
        wait: int | None = None,
    ) -> Reply:
        """Delete the messages that ``ids`` names, claimed or not; or ``pop`` free ones."""
        if (ids is None) == (pop is None):
            raise InvalidRequest(
                'Name the messages to delete, ?ids=ID1,ID2, or how many to pop, ?pop=5'
            )
        if ids is not None:
            limits.in_force.check_ids(ids)
            model.store.messages.delete_many(queue, ids)
            return empty_reply()

        assert pop is not None
        most = limits.in_force.messages_in_pop(pop)
        may_wait(request, wait)
        popped = model.store.messages.pop(queue, most)
        tell(request, [queue.id], {queue.id: len(popped)} if popped else {}, len(popped) == most)
        documents = [self.popped_document(message) for message in popped]
        return json_reply({'messages': documents}, 200, *message_traces(request, popped))

    def popped_document(self, message: PoppedMessage) -> dict[str, Any]:
        """A popped message as it is shown."""
        return {
            'id': message.id,
            'age': message.age,
            'ttl': message.ttl,
            'body': Raw(message.body),
            'claim_id': None,
            'claim_count': message.claim_count,
        }


class MessageController(Controller):
    """``/queues/{queue}/messages/{message}``."""

    #: The document of a message.
    found_type: ClassVar[type[types.Message]] = types.Message

    @expose(replies={200: Content('found_type')}, raises=(MessageNotFound,))
    def get(self, request: Request, queue: QueueKey, message: str) -> Reply:
        """One message, claimed or not."""
        [document] = self.documents(self.href(queue), [model.store.messages.get(queue, message)])
        return json_reply(document)

    def documents(self, queue_href: str, messages: Sequence[Message]) -> Sequence[Any]:
        """The message as it is shown."""
        return message_documents(queue_href, messages)

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
