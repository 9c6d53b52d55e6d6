"""What mends a queue: each verb first says how many messages it will touch, then is carried out.

``GET`` asks, ``POST`` does it. That a form comes from a page of this console is a matter of
:class:`~marconi_api.controllers.console.sessions.ConsoleHook`.
"""

import contextlib
from collections.abc import Mapping
from urllib.parse import parse_qs

from marconi_api import limits, model
from marconi_api.controllers.console.pages import page
from marconi_api.controllers.console.queue import peek_at
from marconi_api.controllers.console.sessions import form_of
from marconi_api.errors import InvalidRequest, MessageNotFound
from marconi_api.model import Actor, QueueKey, Redrive, Verdict
from marconi_api.model.admin import LIVE_STATES, QueueAdmin
from marconi_api.model.audit import CONSOLE
from marconi_api.wire.actions import Content, expose
from marconi_api.wire.replies import Reply
from marconi_api.wire.requests import Request

#: Messages that a form can name, at most.
MOST_NAMED = 100

#: Parked messages that one kick makes ready, at most.
MOST_KICKED = 10_000

Sent = Mapping[str, list[str]]


class VerbController:
    """``/console/queues/{queue}/NAME``.

    ``title`` and ``ask`` stand on the page that asks; ``done`` says what became of the messages.
    """

    name = ''
    title = ''
    ask = ''
    done = ''
    #: Whether it cannot be undone.
    is_final = False
    #: Whether it takes a reason.
    takes_reason = False

    @expose(replies={200: Content()})
    def get(self, request: Request, queue: QueueKey) -> Reply:
        """How many messages it will touch, and a form that does it."""
        sent = parse_qs(request.environ.get('QUERY_STRING', ''))
        count, age = self.count(queue, sent)
        return page(
            request,
            'confirm.html',
            queue=queue,
            verb=self,
            count=count,
            age=age,
            named=[
                (name, value) for name in ('id', 'claim', 'redrive') for value in sent.get(name, [])
            ],
            most_reason=limits.in_force.max_park_reason,
        )

    @expose(replies={200: Content()})
    def post(self, request: Request, queue: QueueKey) -> Reply:
        """Do it."""
        count = self.carry_out(queue, form_of(request), actor_of(request))
        model.store.figures.forget()
        return page(request, 'done.html', queue=queue, verb=self, count=count)

    def count(self, queue: QueueKey, sent: Sent) -> tuple[int | None, float]:
        """How many messages it would touch, and how many seconds ago that was counted.

        The number is None while it is counted for the first time.
        """
        raise NotImplementedError

    def carry_out(self, queue: QueueKey, sent: Sent, by: Actor) -> int:
        """Do it, and note by whom; how many messages it touched."""
        raise NotImplementedError


class PurgeController(VerbController):
    """All messages of the queue are deleted."""

    name = 'purge'
    title = 'Delete all messages'
    ask = 'All of them are deleted, also those under a claim, and what is posted until then.'
    done = 'deleted'
    is_final = True

    def count(self, queue: QueueKey, sent: Sent) -> tuple[int | None, float]:
        """All that are alive."""
        return _counted(queue, LIVE_STATES)

    def carry_out(self, queue: QueueKey, sent: Sent, by: Actor) -> int:
        """Put them below the floor."""
        return _admin(queue, by).purge()


class KickController(VerbController):
    """All parked messages of the queue become ready."""

    name = 'kick'
    title = 'Make parked messages ready'
    ask = (
        'Each starts anew: with its whole time to live, and as if it had never been handed out.'
        f' {MOST_KICKED:,} at most become ready at once, those that were posted first.'
    )
    done = 'made ready'

    def count(self, queue: QueueKey, sent: Sent) -> tuple[int | None, float]:
        """Those that are parked, as far as one kick goes."""
        count, age = _counted(queue, ('parked',))
        return (None if count is None else min(count, MOST_KICKED)), age

    def carry_out(self, queue: QueueKey, sent: Sent, by: Actor) -> int:
        """Kick them."""
        kicked = model.store.verdicts.kick(queue, MOST_KICKED).messages
        # Each batch is a transaction, so that nobody waits for all of them.
        model.store.audit.note('kick', queue, count=kicked, by=by)
        return kicked


class ReleaseController(VerbController):
    """A claim is ended."""

    name = 'release'
    title = 'End the claim'
    ask = 'What it holds can be claimed by others at once, though its worker may still be at work.'
    done = 'released'

    def count(self, queue: QueueKey, sent: Sent) -> tuple[int | None, float]:
        """Those that the claim holds."""
        return len(model.store.claims.get(queue, _claim(sent)).messages), 0.0

    def carry_out(self, queue: QueueKey, sent: Sent, by: Actor) -> int:
        """Release it."""
        claim = _claim(sent)
        # It tells whether there is one, which the release does not.
        model.store.claims.get(queue, claim)
        return _admin(queue, by).release(claim)


class CancelController(VerbController):
    """A redrive is cancelled."""

    name = 'cancel'
    title = 'Cancel the redrive'
    ask = 'They stay where they are. What was moved before stays moved.'
    done = 'left to be moved, and stay'

    def count(self, queue: QueueKey, sent: Sent) -> tuple[int | None, float]:
        """Those that are still to be moved."""
        return _left(model.store.redrives.get(queue, _redrive(sent))), 0.0

    def carry_out(self, queue: QueueKey, sent: Sent, by: Actor) -> int:
        """Let it move nothing more."""
        return _left(model.store.redrives.cancel(queue, _redrive(sent), by)) or 0


class NamedMessagesController(VerbController):
    """Does something to messages that are named, by the fields ``id``."""

    def count(self, queue: QueueKey, sent: Sent) -> tuple[int | None, float]:
        """Those that are there."""
        found = 0
        for message in _ids(sent):
            with contextlib.suppress(MessageNotFound):
                peek_at(queue, message)
                found += 1
        return found, 0.0


class DeleteController(NamedMessagesController):
    """Messages are deleted."""

    name = 'delete'
    title = 'Delete messages'
    ask = 'They are deleted also where a claim holds them.'
    done = 'deleted'
    is_final = True

    def carry_out(self, queue: QueueKey, sent: Sent, by: Actor) -> int:
        """Delete them."""
        return _admin(queue, by).delete(_ids(sent))


class RequeueController(NamedMessagesController):
    """Messages become ready."""

    name = 'requeue'
    title = 'Make messages ready'
    ask = (
        'Claimed, delayed and parked ones can be claimed at once. A parked one starts anew. The'
        ' worker that holds a claimed one may still be at work.'
    )
    done = 'made ready'

    def carry_out(self, queue: QueueKey, sent: Sent, by: Actor) -> int:
        """Requeue them; those that are ready already are not counted."""
        return _admin(queue, by).requeue(_ids(sent))


class ParkController(NamedMessagesController):
    """Messages are parked."""

    name = 'park'
    title = 'Park messages'
    ask = 'They stay, and nobody gets them, until they are made ready. Those under a claim are left alone.'
    done = 'parked'
    takes_reason = True

    def carry_out(self, queue: QueueKey, sent: Sent, by: Actor) -> int:
        """Park those that no claim holds."""
        reason = sent.get('reason', [''])[-1].strip() or None
        verdicts = [Verdict.park(message, reason) for message in _ids(sent)]
        with model.store.database.transaction():
            outcomes = model.store.verdicts.give(queue, None, verdicts)
            parked = [one.message for one in outcomes if one.result == 'done']
            model.store.audit.note(
                'park', queue, count=len(parked), by=by, ids=parked, reason=reason
            )
        return len(parked)


def actor_of(request: Request) -> Actor:
    """Who does it, for the audit log."""
    token = request.identity.token
    return Actor(f'token {token}' if token else 'no token', CONSOLE)


def _admin(queue: QueueKey, by: Actor) -> QueueAdmin:
    return model.store.admin.queue(queue.name, queue.project, by)


def _counted(queue: QueueKey, states: tuple[str, ...]) -> tuple[int | None, float]:
    model.store.queues.metadata(queue)
    seen = model.store.figures.queue(queue)
    if seen is None:
        return None, 0.0
    return sum(seen.figures.counts[state] for state in states), seen.age


def _ids(sent: Sent) -> list[str]:
    """The messages that were named, each once."""
    ids = list(dict.fromkeys(sent.get('id', [])))
    if not ids:
        raise InvalidRequest('No message is selected: go back and select some.')
    if len(ids) > MOST_NAMED:
        raise InvalidRequest(f'At most {MOST_NAMED} messages can be named at once.')
    return ids


def _redrive(sent: Sent) -> str:
    return sent.get('redrive', [''])[-1]


def _left(redrive: Redrive) -> int | None:
    """How many messages are still to be moved; None where they were not counted."""
    if redrive.total is None:
        return None
    return max(0, redrive.total - redrive.moved - redrive.without_target)


def _claim(sent: Sent) -> str:
    return sent.get('claim', [''])[-1]


#: All of them, by the last part of their path, with what one must be allowed to do over the API.
VERBS: Mapping[str, tuple[VerbController, tuple[str, ...]]] = {
    verb.name: (verb, actions)
    for verb, actions in (
        (PurgeController(), ('queues:purge',)),
        (KickController(), ('messages:kick',)),
        (ReleaseController(), ('claims:get', 'claims:delete')),
        (CancelController(), ('redrives:get', 'redrives:delete')),
        (DeleteController(), ('messages:delete', 'messages:delete_without_claim')),
        (RequeueController(), ('messages:release', 'messages:kick')),
        (ParkController(), ('messages:park', 'messages:park_without_claim')),
    )
}
