"""``/console/queues/{queue}``: one queue, and a look at its messages that changes nothing."""

import msgspec

from marconi_api import model
from marconi_api.controllers.console import plots
from marconi_api.controllers.console.pages import page
from marconi_api.controllers.console.sessions import query_of
from marconi_api.errors import MessageNotFound
from marconi_api.model import STATES, PeekedMessage, QueueKey
from marconi_api.model.figures import MOST_CLAIMS
from marconi_api.model.postgres.tables import message_id, public_id
from marconi_api.wire.actions import Content, expose
from marconi_api.wire.replies import Reply
from marconi_api.wire.requests import Request

#: Messages on a page. Each body may have 256 KB.
ON_A_PAGE = 20

#: Characters of a body that a list shows.
SNIPPET = 200


class QueueController:
    """``/console/queues/{queue}``."""

    @expose(replies={200: Content()})
    def get(self, request: Request, queue: QueueKey) -> Reply:
        """What the queue holds, and who holds claims."""
        metadata = model.store.queues.metadata(queue)
        seen = model.store.figures.queue(queue)
        minutes = seen.figures.minutes if seen else []
        return page(
            request,
            'queue.html',
            queue=queue,
            seen=seen,
            plots=plots.plots_of(tuple(minutes)) if minutes else [],
            rows=plots.rows_of(minutes),
            waited=plots.waited(minutes),
            parts=plots.PARTS,
            metadata=pretty(metadata),
            most_claims=MOST_CLAIMS,
        )


class MessagesController:
    """``/console/queues/{queue}/messages``."""

    @expose(replies={200: Content()})
    def get(self, request: Request, queue: QueueKey) -> Reply:
        """Messages in posting order, of one state or of all."""
        model.store.queues.metadata(queue)
        query = query_of(request)
        state = query.get('state', '')
        if state not in STATES:
            state = ''
        found = model.store.messages.peek(
            queue, query.get('after'), ON_A_PAGE + 1, states={state} if state else STATES.keys()
        )
        shown = list(found[:ON_A_PAGE])
        after = shown[-1].id if len(found) > ON_A_PAGE else None
        if len(found) <= ON_A_PAGE and found.next != (shown[-1].id if shown else None):
            # So much lies in between that the rest was not looked at.
            after = found.next
        return page(
            request,
            'messages.html',
            queue=queue,
            state=state,
            states=STATES.keys(),
            messages=shown,
            snippet=SNIPPET,
            after=after,
            is_first='after' not in query,
        )


class MessageController:
    """``/console/queues/{queue}/messages/{message}``."""

    @expose(replies={200: Content()})
    def get(self, request: Request, queue: QueueKey, message: str) -> Reply:
        """All that is known of a message."""
        found = peek_at(queue, message)
        return page(
            request,
            'message.html',
            queue=queue,
            message=found,
            body=pretty(found.body),
            origin=_origin(request, queue, message),
        )


def _origin(request: Request, queue: QueueKey, message: str) -> str | None:
    """Where a dead letter came from, if that is one of the queues that the credential is for."""
    name = model.store.figures.origin(queue, message)
    return name if name and request.identity.may_name(name) else None


def peek_at(queue: QueueKey, message: str) -> PeekedMessage:
    """A message, whatever its state.

    :raises MessageNotFound: if it is not there
    """
    number = message_id(message)
    if number:
        before = public_id(number - 1)
        for found in model.store.messages.peek(queue, before, 1, states=STATES.keys()):
            if found.id == message:
                return found
    raise MessageNotFound(message, queue.name, queue.project)


def pretty(text: str) -> str:
    """JSON with a line for each of its parts, which are left as they were sent."""
    return msgspec.json.format(text, indent=2)
