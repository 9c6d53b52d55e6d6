"""Messages in version 2: they may be posted with a delay, and listed by state."""

from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, ClassVar

from marconi_api import model
from marconi_api.controllers.openstack.documents import WITH_CLAIMED
from marconi_api.controllers.openstack.v1_1 import messages as v1_1
from marconi_api.controllers.openstack.v2.grouped import (
    documents_with_groups,
    members_of,
    place_of,
)
from marconi_api.controllers.openstack.v2.types import (
    FoundMessages,
    MessageInGroup,
    NewMessages,
    PoppedMessagesInGroups,
)
from marconi_api.controllers.openstack.waits import begin_stream
from marconi_api.errors import NoneOfThemFound
from marconi_api.model import (
    READY,
    STATES,
    Message,
    NewMessage,
    Page,
    PeekedMessage,
    PoppedMessage,
    QueueKey,
)
from marconi_api.wire.actions import EMPTY, ByHand, Content, expose
from marconi_api.wire.documents import text_of
from marconi_api.wire.replies import Reply
from marconi_api.wire.requests import Request
from marconi_api.wire.tracing import MESSAGE_TRACES
from marconi_api.wire.values import (
    IntegerParameter,
    ListParameter,
    Parameter,
    WordParameter,
    boolean_parameter,
)
from marconi_api.wire.waiting import wait_parameter, wants_stream

state_parameter = WordParameter(*STATES)


def shows_own(query: Mapping[str, Any]) -> bool:
    """Whether a list shows the client's own messages; by default only if the list names a state."""
    return bool(query.get('echo', 'state' in query))


class MessagesController(v1_1.MessagesController):
    """``/v2/queues/{queue}/messages``."""

    posted_type = NewMessages
    found_type = FoundMessages
    popped_type = PoppedMessagesInGroups

    page_parameters: ClassVar[dict[str, Parameter]] = {
        **v1_1.MessagesController.page_parameters,
        'include_delayed': boolean_parameter,
        'state': state_parameter,
        'wait': wait_parameter,
    }

    @expose(
        ids=ListParameter('ids'),
        by_hand=ByHand(query='page_parameters', headers=('Last-Event-ID',)),
        waits=True,
        replies={
            200: Content(
                'found_type', at_times=('Cache-Control', 'X-Accel-Buffering'), or_stream=True
            )
        },
        raises=(NoneOfThemFound,),
    )
    def get(self, request: Request, queue: QueueKey, ids: list[str] | None = None) -> Reply:
        """The messages that ``ids`` names, or a page of the queue; or all that follow, as a stream."""
        return super().get(request, queue, ids)

    @expose(
        ids=ListParameter('ids'),
        pop=IntegerParameter('pop_size'),
        wait=wait_parameter,
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
        return super().delete(request, queue, ids, pop, wait)

    def _get_page(self, request: Request, queue: QueueKey, **query: Any) -> Reply:
        if wants_stream(request):
            return begin_stream(request, queue, self.states(query))
        return super()._get_page(request, queue, **query)

    def states(self, query: Mapping[str, Any]) -> Set[str]:
        """One state that is asked for; else the ready ones, with those that are included."""
        if 'state' in query:
            return {query['state']}
        states = WITH_CLAIMED if query.get('include_claimed') else READY
        return states | {'delayed'} if query.get('include_delayed') else states

    def lister(self, query: Mapping[str, Any]) -> Callable[..., Page[Any]]:
        """What finds the messages on a page; with more of each where a state is named."""
        return model.store.messages.peek if 'state' in query else model.store.messages.page

    def shows_own(self, query: Mapping[str, Any]) -> bool:
        """Whether a page shows what the same client posted."""
        return shows_own(query)

    def documents(self, queue_href: str, messages: Sequence[Any]) -> Sequence[Any]:
        """The messages on a page as they are shown: with the reason, if it was looked for."""
        shown = documents_with_groups(queue_href, messages)
        if not (messages and isinstance(messages[0], PeekedMessage)):
            return shown
        return [
            members_of(document)
            | {'claim_count': message.claim_count}
            | ({'reason': message.reason} if message.state == 'parked' else {})
            for document, message in zip(shown, messages, strict=True)
        ]

    def new_messages(self, sent: list[Any]) -> list[NewMessage]:
        """What is to be posted, each message with its own delay or the queue's."""
        return [new_message(message) for message in sent]

    def popped_document(self, message: PoppedMessage) -> dict[str, Any]:
        """With its group, if it has one."""
        return super().popped_document(message) | place_of(message)


class MessageController(v1_1.MessageController):
    """``/v2/queues/{queue}/messages/{message}``."""

    found_type = MessageInGroup

    def documents(self, queue_href: str, messages: Sequence[Message]) -> Sequence[Any]:
        """With its group, if it has one."""
        return documents_with_groups(queue_href, messages)


def new_message(sent: Any) -> NewMessage:
    """What is to be posted, by a document of version 2."""
    return NewMessage(
        text_of(sent.body), sent.ttl, sent.delay, sent.reply, sent.group, sent.deduplication_id
    )
