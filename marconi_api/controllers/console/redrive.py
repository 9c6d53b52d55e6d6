"""``/console/queues/{queue}/redrive``: dead letters are moved back."""

from contextlib import suppress

from marconi_api import model
from marconi_api.controllers.access.queues import queue_named
from marconi_api.controllers.console.pages import link, page, see
from marconi_api.controllers.console.sessions import form_of, query_of
from marconi_api.controllers.console.verbs import actor_of
from marconi_api.errors import InvalidRequest, StorageUnavailable
from marconi_api.model import Order, QueueKey
from marconi_api.wire.actions import Content, expose
from marconi_api.wire.replies import Reply
from marconi_api.wire.requests import Request

#: The states of messages that can be moved.
STATES = ('ready', 'parked')

# Seconds for which a page counts messages, and for which it then moves some itself.
_COUNTS_FOR = 0.2
_MOVES_FOR = 0.2


class RedriveController:
    """``/console/queues/{queue}/redrive``."""

    @expose(replies={200: Content()})
    def get(self, request: Request, queue: QueueKey) -> Reply:
        """What a redrive would move where, and how far those of before have come."""
        model.store.queues.metadata(queue)
        query = query_of(request)
        chosen = {name: query.get(name, '').strip() for name in ('to', 'rate')}
        chosen['state'] = query.get('state') or STATES[0]
        preview = None
        if 'state' in query:
            preview = model.store.redrives.preview(queue, _order(request, **chosen), _COUNTS_FOR)
        return page(
            request,
            'redrive.html',
            queue=queue,
            states=STATES,
            chosen=chosen,
            preview=preview,
            redrives=model.store.redrives.page(queue),
        )

    @expose(replies={303: Content()})
    def post(self, request: Request, queue: QueueKey) -> Reply:
        """Let a redrive begin."""
        form = form_of(request)
        state, to, rate = (form.get(name, [''])[-1].strip() for name in ('state', 'to', 'rate'))
        redrives = model.store.redrives
        order = _order(request, state, to, rate)
        started = redrives.start(queue, order, _COUNTS_FOR, actor_of(request))
        # Few messages are moved by the time of the answer. The rest is left for the service.
        with suppress(StorageUnavailable):
            redrives.carry_out(queue, started.id, _MOVES_FOR)
        model.store.figures.forget()
        return see(link(f'/queues/{queue.name}/redrive', project=queue.project))


def _order(request: Request, state: str, to: str, rate: str) -> Order:
    if state not in STATES:
        raise InvalidRequest(f'The state must be one of {", ".join(STATES)}.')
    if to:
        queue_named(request, to)
    if rate and not (rate.isascii() and rate.isdigit() and 0 < len(rate) < 10 and int(rate)):
        raise InvalidRequest('The rate must be a number of messages a second, 1 at least.')
    return Order(
        state, to or None, rate=int(rate) if rate else None, origins=request.identity.queues
    )
