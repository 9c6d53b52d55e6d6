"""What mends a queue: each verb first says how much it will touch, then is carried out.

``GET`` asks, ``POST`` does it. That a form comes from a page of this console is a matter of
:class:`~marconi_api.controllers.console.sessions.ConsoleHook`.
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple
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

#: What a form can name, by the names of its fields.
FIELDS = ('id', 'claim', 'redrive', 'subscription', 'delivery')

Sent = Mapping[str, list[str]]


class Counted(NamedTuple):
    """How much a verb would touch, and how many seconds ago that was counted.

    The number is None while it is counted for the first time, or where it is not known.
    """

    number: int | None
    age: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Verb:
    """Something that can be done to a queue.

    :param name: the last part of its path
    :param actions: what one must be allowed to do over the API
    :param title: of the page that asks; ``ask`` stands on it
    :param done: what became of what it touched
    :param count: how much it would touch
    :param carry_out: does it, and notes by whom; how much it touched
    :param noun: what it touches
    :param is_final: whether it cannot be undone
    :param takes_reason: whether it takes a reason
    """

    name: str
    actions: tuple[str, ...]
    title: str
    ask: str
    done: str
    count: Callable[[QueueKey, Sent], Counted]
    carry_out: Callable[[QueueKey, Sent, Actor], int]
    noun: tuple[str, str] = ('message', 'messages')
    is_final: bool = False
    takes_reason: bool = False


class VerbController:
    """``/console/queues/{queue}/NAME``."""

    def __init__(self, verb: Verb) -> None:
        self._verb = verb

    @expose(replies={200: Content()})
    def get(self, request: Request, queue: QueueKey) -> Reply:
        """How much it will touch, and a form that does it."""
        sent = parse_qs(request.environ.get('QUERY_STRING', ''))
        counted = self._verb.count(queue, sent)
        return page(
            request,
            'confirm.html',
            queue=queue,
            verb=self._verb,
            count=counted.number,
            age=counted.age,
            named=[(name, value) for name in FIELDS for value in sent.get(name, [])],
            subscription=_last(sent, 'subscription'),
            most_reason=limits.in_force.max_park_reason,
        )

    @expose(replies={200: Content()})
    def post(self, request: Request, queue: QueueKey) -> Reply:
        """Do it."""
        sent = form_of(request)
        count = self._verb.carry_out(queue, sent, actor_of(request))
        model.store.figures.forget()
        return page(
            request,
            'done.html',
            queue=queue,
            verb=self._verb,
            count=count,
            subscription=_last(sent, 'subscription'),
        )


def actor_of(request: Request) -> Actor:
    """Who does it, for the audit log."""
    token = request.identity.token
    return Actor(f'token {token}' if token else 'no token', CONSOLE)


# ---------------------------------------------------------------- a queue as a whole


def _all(queue: QueueKey, sent: Sent) -> Counted:
    return _counted(queue, LIVE_STATES)


def _purge(queue: QueueKey, sent: Sent, by: Actor) -> int:
    return _admin(queue, by).purge()


def _parked(queue: QueueKey, sent: Sent) -> Counted:
    """Those that are parked, as far as one kick goes."""
    count, age = _counted(queue, ('parked',))
    return Counted(None if count is None else min(count, MOST_KICKED), age)


def _kick(queue: QueueKey, sent: Sent, by: Actor) -> int:
    kicked = model.store.verdicts.kick(queue, MOST_KICKED).messages
    # Each batch is a transaction, so that nobody waits for all of them.
    model.store.audit.note('kick', queue, count=kicked, by=by)
    return kicked


def _counted(queue: QueueKey, states: tuple[str, ...]) -> Counted:
    model.store.queues.metadata(queue)
    seen = model.store.figures.queue(queue)
    if seen is None:
        return Counted(None)
    return Counted(sum(seen.figures.counts[state] for state in states), seen.age)


# ---------------------------------------------------------------- a claim, a redrive


def _held(queue: QueueKey, sent: Sent) -> Counted:
    return Counted(len(model.store.claims.get(queue, _last(sent, 'claim')).messages))


def _release(queue: QueueKey, sent: Sent, by: Actor) -> int:
    claim = _last(sent, 'claim')
    # It tells whether there is one, which the release does not.
    model.store.claims.get(queue, claim)
    return _admin(queue, by).release(claim)


def _to_be_moved(queue: QueueKey, sent: Sent) -> Counted:
    return Counted(_left(model.store.redrives.get(queue, _last(sent, 'redrive'))))


def _cancel(queue: QueueKey, sent: Sent, by: Actor) -> int:
    return _left(model.store.redrives.cancel(queue, _last(sent, 'redrive'), by)) or 0


def _left(redrive: Redrive) -> int | None:
    """How many messages are still to be moved; None where they were not counted."""
    if redrive.total is None:
        return None
    return max(0, redrive.total - redrive.moved - redrive.without_target)


# ---------------------------------------------------------------- messages that are named


def _named(queue: QueueKey, sent: Sent) -> Counted:
    """Those that are there."""
    found = 0
    for message in _ids(sent):
        with contextlib.suppress(MessageNotFound):
            peek_at(queue, message)
            found += 1
    return Counted(found)


def _delete(queue: QueueKey, sent: Sent, by: Actor) -> int:
    return _admin(queue, by).delete(_ids(sent))


def _requeue(queue: QueueKey, sent: Sent, by: Actor) -> int:
    """Those that are ready already are not counted."""
    return _admin(queue, by).requeue(_ids(sent))


def _park(queue: QueueKey, sent: Sent, by: Actor) -> int:
    """Park those that no claim holds."""
    reason = _last(sent, 'reason').strip() or None
    verdicts = [Verdict.park(message, reason) for message in _ids(sent)]
    with model.store.database.transaction():
        outcomes = model.store.verdicts.give(queue, None, verdicts)
        parked = [one.message for one in outcomes if one.result == 'done']
        model.store.audit.note('park', queue, count=len(parked), by=by, ids=parked, reason=reason)
    return len(parked)


def _ids(sent: Sent) -> list[str]:
    """The messages that were named, each once."""
    ids = list(dict.fromkeys(sent.get('id', [])))
    if not ids:
        raise InvalidRequest('No message is selected: go back and select some.')
    if len(ids) > MOST_NAMED:
        raise InvalidRequest(f'At most {MOST_NAMED} messages can be named at once.')
    return ids


# ---------------------------------------------------------------- a subscription


def _pending(queue: QueueKey, sent: Sent) -> Counted:
    return Counted(_subscription(queue, sent).pending)


def _failed(queue: QueueKey, sent: Sent) -> Counted:
    return Counted(_subscription(queue, sent).failed)


def _subscription(queue: QueueKey, sent: Sent) -> model.Subscription:
    return model.store.subscriptions.get(queue, _last(sent, 'subscription'))


def _pause(queue: QueueKey, sent: Sent, by: Actor) -> int:
    subscription = _subscription(queue, sent)
    model.store.noted_webhooks.pause(queue, subscription.id, by)
    return subscription.pending


def _resume(queue: QueueKey, sent: Sent, by: Actor) -> int:
    subscription = _subscription(queue, sent)
    model.store.noted_webhooks.resume(queue, subscription.id, by)
    return subscription.pending


def _one(queue: QueueKey, sent: Sent) -> Counted:
    _subscription(queue, sent)
    return Counted(1)


def _retry(queue: QueueKey, sent: Sent, by: Actor) -> int:
    subscription, delivery = _last(sent, 'subscription'), _last(sent, 'delivery')
    model.store.noted_webhooks.retry(queue, subscription, delivery, by)
    return 1


def _retry_all(queue: QueueKey, sent: Sent, by: Actor) -> int:
    return model.store.noted_webhooks.retry_all(queue, _last(sent, 'subscription'), by)


def _admin(queue: QueueKey, by: Actor) -> QueueAdmin:
    return model.store.admin.queue(queue.name, queue.project, by)


def _last(sent: Sent, name: str) -> str:
    return sent.get(name, [''])[-1]


_DELIVERIES = ('delivery', 'deliveries')

#: All of them, by the last part of their path.
VERBS: Mapping[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb(
            name='purge',
            actions=('queues:purge',),
            title='Delete all messages',
            ask='All of them are deleted, also those under a claim, and what is posted until then.',
            done='deleted',
            count=_all,
            carry_out=_purge,
            is_final=True,
        ),
        Verb(
            name='kick',
            actions=('messages:kick',),
            title='Make parked messages ready',
            ask='Each starts anew: with its whole time to live, and as if it had never been handed'
            f' out. {MOST_KICKED:,} at most become ready at once, those that were posted first.',
            done='made ready',
            count=_parked,
            carry_out=_kick,
        ),
        Verb(
            name='release',
            actions=('claims:get', 'claims:delete'),
            title='End the claim',
            ask='What it holds can be claimed by others at once, though its worker may still be at'
            ' work.',
            done='released',
            count=_held,
            carry_out=_release,
        ),
        Verb(
            name='cancel',
            actions=('redrives:get', 'redrives:delete'),
            title='Cancel the redrive',
            ask='They stay where they are. What was moved before stays moved.',
            done='left to be moved, and stay',
            count=_to_be_moved,
            carry_out=_cancel,
        ),
        Verb(
            name='delete',
            actions=('messages:delete', 'messages:delete_without_claim'),
            title='Delete messages',
            ask='They are deleted also where a claim holds them.',
            done='deleted',
            count=_named,
            carry_out=_delete,
            is_final=True,
        ),
        Verb(
            name='requeue',
            actions=('messages:release', 'messages:kick'),
            title='Make messages ready',
            ask='Claimed, delayed and parked ones can be claimed at once. A parked one starts anew.'
            ' The worker that holds a claimed one may still be at work.',
            done='made ready',
            count=_named,
            carry_out=_requeue,
        ),
        Verb(
            name='park',
            actions=('messages:park', 'messages:park_without_claim'),
            title='Park messages',
            ask='They stay, and nobody gets them, until they are made ready. Those under a claim'
            ' are left alone.',
            done='parked',
            count=_named,
            carry_out=_park,
            takes_reason=True,
        ),
        Verb(
            name='pause',
            actions=('subscription:get', 'subscription:update'),
            title='Pause the subscription',
            ask='They wait, with those of later messages, until the subscription is resumed. What'
            ' expires meanwhile has failed.',
            done='left to wait',
            count=_pending,
            carry_out=_pause,
            noun=_DELIVERIES,
        ),
        Verb(
            name='resume',
            actions=('subscription:get', 'subscription:update'),
            title='Resume the subscription',
            ask='They are sent now, the oldest first.',
            done='let go on',
            count=_pending,
            carry_out=_resume,
            noun=_DELIVERIES,
        ),
        Verb(
            name='retry',
            actions=('subscription:get', 'subscription:update'),
            title='Send the delivery again',
            ask='It is sent now, as if it had never been tried.',
            done='put up to be sent again',
            count=_one,
            carry_out=_retry,
            noun=_DELIVERIES,
        ),
        Verb(
            name='retry-all',
            actions=('subscription:get', 'subscription:update'),
            title='Send all failed deliveries again',
            ask='They are sent now, as if they had never been tried.',
            done='put up to be sent again',
            count=_failed,
            carry_out=_retry_all,
            noun=_DELIVERIES,
        ),
    )
}
