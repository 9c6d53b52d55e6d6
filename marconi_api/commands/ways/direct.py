"""The queues as the database has them; no service needs to run."""

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

from marconi_api import limits
from marconi_api.commands.failures import NothingFound
from marconi_api.commands.interrupts import end_soon_at_ctrl_c
from marconi_api.commands.store import open_store
from marconi_api.commands.ways.way import Details, End, QueueLine, Told
from marconi_api.controllers.openstack.v2.types import NewMessages
from marconi_api.errors import InvalidQueueName, InvalidRequest, NotFinished, StorageTooSlow
from marconi_api.model import (
    Claim,
    Created,
    Delivery,
    NewMessage,
    Order,
    PeekedMessage,
    Preview,
    QueueKey,
    Redrive,
    Store,
    Subscription,
)
from marconi_api.model.admin import QueueAdmin
from marconi_api.model.postgres.tables import message_id
from marconi_api.model.queues import MessageSummary
from marconi_api.wire.documents import read_document

# As of a project's that clients cannot name.
_SEPARATOR = ','


def open_quietly() -> Store:
    """The store; see :func:`open_store`."""
    # What goes wrong is told in the one line with which the command ends.
    logging.disable(logging.WARNING)
    end_soon_at_ctrl_c()
    return open_store()


class Direct:
    """The queues of one project on the database; see ``Way``."""

    def __init__(self, project: str) -> None:
        self._store = open_quietly()
        limits.in_force.check_project(project)
        if _SEPARATOR in project or not project.isprintable():
            raise InvalidQueueName('A project is named without commas and control characters.')
        self._project = project

    def queues(self, limit: int) -> list[QueueLine]:
        """The deepest queues first."""
        return [_line(view) for view in self._store.admin.overview(limit, self._project)]

    def queues_of_all_projects(self, limit: int) -> list[QueueLine]:
        """The same, whosever they are."""
        return [_line(view) for view in self._store.admin.overview(limit)]

    def projects(self) -> list[str]:
        """The projects that have queues."""
        return self._store.admin.projects()

    def details(self, queue: str) -> Details:
        """All that is known of a queue."""
        admin = self.admin(queue)
        stats = self._store.queues.stats(self.key(queue))
        states = admin.stats()
        return Details(
            QueueLine(self._project, queue, stats.free, stats.claimed, stats.parked),
            _end(stats.oldest),
            _end(stats.newest),
            admin.metadata(),
            states['ready'],
            states['delayed'],
            admin.claims(),
        )

    def peek(
        self, queue: str, states: Sequence[str], limit: int, after: str | None
    ) -> list[PeekedMessage]:
        """The first messages in those states."""
        key = self.key(queue)
        found: list[PeekedMessage] = []
        while len(found) < limit:
            page = self._store.messages.peek(
                key, after, min(limit - len(found), _PAGE), states=frozenset(states)
            )
            found += page
            after = page.next
            if after is None:
                break
        return found

    def line(self, queue: str) -> QueueLine:
        """A queue and how many messages it has."""
        stats = self._store.queues.stats(self.key(queue))
        return QueueLine(self._project, queue, stats.free, stats.claimed, stats.parked)

    def post(
        self, queue: str, bodies: Sequence[str], ttl: int | None, delay: int | None
    ) -> list[str]:
        """Store messages; the limits of a request hold here, too."""
        limits.in_force.check_queue_name(queue)
        # As HTTP would have it, which looks at levels and sizes.
        documents = ', '.join(f'{{"body": {body}}}' for body in bodies)
        text = f'{{"messages": [{documents}]}}'
        size = len(text.encode())
        if size > limits.in_force.max_messages_post_size:
            raise InvalidRequest(
                f'These messages have {size} bytes, and '
                f'{limits.in_force.max_messages_post_size} are allowed.'
            )
        read_document(NewMessages, text)
        return self._store.messages.post(
            QueueKey.of(self._project, queue),
            str(uuid4()),
            [NewMessage(body, ttl, delay) for body in bodies],
            size,
            create=True,
        )

    def claim(self, queue: str, ttl: int | None, grace: int | None, limit: int) -> Claim | None:
        """Reserve messages; the limits of a request hold here, too."""
        allowed = limits.in_force
        return self._store.claims.create(
            self.key(queue),
            allowed.claim_ttl.asked_or_default('The ttl of a claim', ttl),
            allowed.claim_grace.asked_or_default('The grace of a claim', grace),
            allowed.messages_in_claim(limit),
        )

    def release(self, queue: str, identity: str) -> int:
        """Let the messages of a claim, or one message, be claimed."""
        admin = self.admin(queue)
        return (
            admin.requeue(identity) if message_id(identity) is not None else admin.release(identity)
        )

    def release_parked(self, queue: str, told: Told) -> int:
        """Let all parked messages be claimed."""
        key = self.key(queue)
        audit = self._store.audit
        entry = audit.note('release', key, count=0, state='parked')
        total = 0
        while True:
            with self._store.database.transaction():
                kicked = self._store.verdicts.kick(key, _BATCH).messages
                audit.add(entry, kicked)
            if not kicked:
                return total
            told(kicked)
            total += kicked

    def purge(self, queue: str, only_parked: bool, also_claimed: bool) -> None:
        """Delete messages."""
        key = self.key(queue)
        if also_claimed:
            self.admin(queue).purge()
            return
        stats, audit = self._store.queues.stats(key), self._store.audit
        if not only_parked:
            with self._store.database.transaction():
                self._store.messages.delete_unclaimed(key)
                audit.note('purge', key, count=stats.free + stats.parked, state='not claimed')
            return
        # Before it, as it may take many transactions.
        audit.note('purge', key, count=stats.parked, state='parked')
        is_finished = False
        while not is_finished:
            with suppress(NotFinished):
                self._store.verdicts.delete_parked(key)
                is_finished = True

    def preview_redrive(self, queue: str, order: Order) -> Preview:
        """What a redrive would do now."""
        return self._store.redrives.preview(self.key(queue), self._known(order))

    def start_redrive(self, queue: str, order: Order) -> Redrive:
        """Let a redrive begin."""
        return self._store.redrives.start(self.key(queue), self._known(order))

    def go_on_with_redrive(self, queue: str, redrive: Redrive) -> Redrive:
        """Carry a redrive out; no service need run."""
        now = self._store.redrives.carry_out(
            QueueKey.of(self._project, queue), redrive.id, _MOVES_FOR
        )
        if now.is_running and now.moved == redrive.moved:
            # It is not due yet, or a service is at it.
            time.sleep(_PAUSE)
        return now

    def cancel_redrive(self, queue: str, redrive: str) -> Redrive:
        """Let a redrive move nothing more."""
        return self._store.redrives.cancel(QueueKey.of(self._project, queue), redrive)

    def redrives(self, queue: str) -> list[Redrive]:
        """The last redrives of a queue, the newest first."""
        return self._store.redrives.page(self.key(queue))

    def subscriptions(self, queue: str, limit: int) -> list[Subscription]:
        """The first subscriptions to a queue."""
        return self._store.subscriptions.page(self.key(queue), None, limit)

    def subscription(self, queue: str, identity: str) -> Subscription:
        """One subscription."""
        return self._store.subscriptions.get(self.key(queue), identity)

    def subscribe(
        self, queue: str, subscriber: str, ttl: int | None, options: str | None
    ) -> Created:
        """Subscribe to a queue; the limits of a request hold here, too."""
        limits.in_force.check_queue_name(queue)
        key = QueueKey.of(self._project, queue)
        with self._store.database.transaction():
            made = self._store.subscriptions.create(key, subscriber, ttl, options or '{}')
            # Its URL may hold a secret.
            self._store.audit.note('subscription create', key, subscription=made.id)
        return made

    def unsubscribe(self, queue: str, identity: str) -> None:
        """End a subscription."""
        key = self.key(queue)
        with self._store.database.transaction():
            self._store.subscriptions.delete(key, identity)
            self._store.audit.note('subscription delete', key, subscription=identity)

    def pause(self, queue: str, identity: str) -> None:
        """Call a webhook no more until it is resumed."""
        self._store.noted_webhooks.pause(self.key(queue), identity)

    def resume(self, queue: str, identity: str) -> None:
        """Let a subscription go on that is paused."""
        self._store.noted_webhooks.resume(self.key(queue), identity)

    def deliveries(
        self, queue: str, identity: str, state: str | None, limit: int
    ) -> list[Delivery]:
        """The first messages that a webhook has not taken."""
        key = self.key(queue)
        found: list[Delivery] = []
        after: str | None = None
        while len(found) < limit:
            asked = min(limit - len(found), _PAGE)
            page = self._store.webhooks.page(key, identity, state, after, asked)
            found += page
            after = page.next
            if after is None:
                break
        return found

    def retry(self, queue: str, identity: str, delivery: str) -> None:
        """Send a message to a webhook again now."""
        self._store.noted_webhooks.retry(self.key(queue), identity, delivery)

    def retry_all(self, queue: str, identity: str) -> None:
        """Send all that have failed again."""
        key = self.key(queue)
        try:
            self._store.noted_webhooks.retry_all(key, identity)
        except StorageTooSlow:
            # A request gives up there. A command goes on, and has noted it already.
            is_finished = False
            while not is_finished:
                with suppress(StorageTooSlow):
                    self._store.webhooks.retry_all(key, identity)
                    is_finished = True

    def _known(self, order: Order) -> Order:
        """The order, once the queue that it names is seen to be there."""
        if order.to:
            self.key(order.to)
        return order

    def admin(self, queue: str) -> QueueAdmin:
        """A queue that is there, as an administrator has it."""
        self.key(queue)
        return self._store.admin.queue(queue, self._project)

    def key(self, queue: str) -> QueueKey:
        """The key of a queue that is there."""
        limits.in_force.check_queue_name(queue)
        key = QueueKey.of(self._project, queue)
        if not self._store.queues.exists(key):
            raise NothingFound(self._not_found(queue))
        return key

    def _not_found(self, queue: str) -> str:
        whose = f'project {self._project}' if self._project else 'no project'
        others = self._store.admin.projects_with(queue)
        hint = ', '.join(f'--project {other!r}' for other in others)
        missing = f'there is no queue {queue} of {whose}'
        return f'{missing}; there is one with {hint}' if hint else missing


# Messages that one statement shows.
_PAGE = 1000

# Messages that are released between two moves of the progress bar.
_BATCH = 1000

# Seconds for which a redrive is carried out between two of them, and of a pause where there is
# nothing to do.
_MOVES_FOR = 0.1
_PAUSE = 0.02


def _line(view: Any) -> QueueLine:
    return QueueLine(view.project, view.name, view.ready + view.delayed, view.claimed, view.parked)


def _end(summary: MessageSummary | None) -> End | None:
    return None if summary is None else End(summary.id, summary.age)
