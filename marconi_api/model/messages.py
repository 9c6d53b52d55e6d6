"""Messages: posted, looked at, deleted."""

from collections.abc import Mapping, Sequence, Set
from typing import Any

from marconi_api.errors import (
    HeldByAnotherClaim,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    InvalidRequest,
    MessageNotFound,
    NotHeldByThisClaim,
    QueueNotFound,
    QuotaExceeded,
    RateExceeded,
    StorageTooSlow,
    StorageUnavailable,
)
from marconi_api.model.attributes import NO_ATTRIBUTES, KnownAttributes
from marconi_api.model.became_ready import ReadyListeners
from marconi_api.model.deletes import (
    DELETE_CLAIMED,
    DELETE_FREE,
    DELETE_MANY,
    LOCK_CLAIMED,
    POP,
    PURGE_UNCLAIMED,
)
from marconi_api.model.ended import EndListeners
from marconi_api.model.fan_out import (
    refuse_too_many,
)
from marconi_api.model.flows import CLAIMED, DELETED, POSTED, flows
from marconi_api.model.handled import handled
from marconi_api.model.idempotency import KNOWN_POST, RequestKey
from marconi_api.model.message import (
    Message,
    NewMessage,
    Page,
    PeekedMessage,
    PoppedMessage,
    messages_in,
)
from marconi_api.model.pages import GET, LIST, LIST_READY, MANY, READY
from marconi_api.model.postgres.database import Database, Row
from marconi_api.model.postgres.dequeue import take
from marconi_api.model.postgres.low_water_marks import LowWaterMarks
from marconi_api.model.postgres.patience import Patience
from marconi_api.model.postgres.prepared import Prepared
from marconi_api.model.postgres.tables import (
    THE_QUEUE,
    QueueKey,
    claim_id,
    is_public_id,
    message_id,
    public_id,
)
from marconi_api.model.posting import FLOOR_IS_AHEAD, POST_ONES, POSTS, batch_of
from marconi_api.model.queues import Queues
from marconi_api.model.quotas import Quotas
from marconi_api.model.traffic import traffic


def _up_to_the_end(rows: list[Row]) -> tuple[list[Row], int | None]:
    """The messages up to the row without a ttl, if there is one; and the id of that."""
    for count, row in enumerate(rows):
        if row[1] is None:
            return rows[:count], row[0]
    return rows, None


#: What a post's statement is told of who sends it: ``client_id`` and ``traceparent``.
Sender = Mapping[str, str | None]


class Messages:
    """The messages of all queues. Ids that cannot be parsed are ids of no message."""

    def __init__(
        self,
        database: Database,
        marks: LowWaterMarks,
        queues: Queues,
        attributes: KnownAttributes,
        became_ready: ReadyListeners,
        became_deliverable: ReadyListeners,
        quotas: Quotas | None = None,
        ended: EndListeners | None = None,
    ) -> None:
        self._became_deliverable = became_deliverable
        self._quotas = quotas if quotas and quotas.is_on else None
        self._database = database
        self._marks = marks
        self._queues = queues
        self._attributes = attributes
        self._became_ready = became_ready
        self._ended = EndListeners() if ended is None else ended

    def post(
        self,
        queue: QueueKey,
        client_id: str,
        messages: Sequence[NewMessage],
        size: int | None = None,
        create: bool = False,
        key: RequestKey | None = None,
        traceparent: str | None = None,
    ) -> list[str]:
        """Store messages, all or none, and return their ids in the order given.

        :param client_id: the poster's UUID
        :param size: bytes of the request, if the queue's attributes may limit them
        :param create: whether a queue that is not there is made
        :param key: by which the request may be sent again: it is then not done again, and the
            ids are those of the first time
        :param traceparent: of which trace the post is a part, for those who get the messages
        :raises InvalidRequest: for what the queue, or the service, does not take
        :raises QueueNotFound: if there is no queue, and none is to be made
        :raises QuotaExceeded: if the project would have more than it may have
        :raises RateExceeded: if it posts more messages a second than it may
        :raises IdempotencyKeyReused: if another request had the key
        :raises IdempotencyKeyInUse: if the first request with the key does not end in time
        """
        sender = {'client_id': client_id, 'traceparent': traceparent}
        lacks_something = size is not None
        for new in messages:
            if new.ttl is None or new.delay is None or new.reply is not False:
                lacks_something = True
        try:
            if self._quotas:
                self._quotas.admit_post(queue.project, len(messages), lambda: _bytes_of(messages))
            if lacks_something:
                return self._post_by_attributes(queue, sender, messages, size, create, key)
            return self._post_as_it_is(queue, sender, messages, create, key)
        except (InvalidRequest, QuotaExceeded, RateExceeded):
            # What was posted before is not refused for what holds since then.
            if key and (ids := self._known(queue, len(messages), key)):
                return ids
            raise

    def _known(self, queue: QueueKey, count: int, key: RequestKey) -> list[str]:
        """The ids of so many messages that were posted under the key, if they were."""
        given = {**queue.parameters, **key.parameters}
        for first_id, is_the_same in self._database.rows(KNOWN_POST, given, repeatable=True):
            if is_the_same:
                return [public_id(first_id + position) for position in range(count)]
        return []

    def _post_as_it_is(
        self,
        queue: QueueKey,
        sender: Sender,
        messages: Sequence[NewMessage],
        create: bool,
        key: RequestKey | None,
    ) -> list[str]:
        """Post messages that lack nothing, whatever the queue's attributes are."""
        batch = batch_of(messages, None, NO_ATTRIBUTES)
        attributes = self._attributes.recall(queue)
        for _ in range(_TRIES_TO_POST):
            has_subscribers = attributes is not None and attributes.has_subscribers
            if ids := self._post(queue, sender, batch, key, has_subscribers):
                return ids
            attributes = self._attributes.read(queue)
            if attributes is None:
                self._make(queue, create)
            elif attributes.has_subscribers == has_subscribers:
                self._see_to_floor(queue)
        raise StorageUnavailable

    def _post_by_attributes(
        self,
        queue: QueueKey,
        sender: Sender,
        messages: Sequence[NewMessage],
        size: int | None,
        create: bool,
        key: RequestKey | None,
    ) -> list[str]:
        """Post what becomes of the messages by the attributes, as often as these change."""
        attributes = self._attributes.recall(queue)
        is_current = False
        for _ in range(_TRIES_TO_POST):
            if attributes is None:
                attributes, is_current = self._attributes.read(queue), True
            try:
                batch = batch_of(messages, size, attributes or NO_ATTRIBUTES)
            except InvalidRequest:
                if is_current:
                    raise
                # That may hold for what the attributes were, and no longer.
                attributes = None
                continue
            if attributes is None:
                self._make(queue, create)
                continue
            batch['digest'] = attributes.digest
            if ids := self._post(queue, sender, batch, key, attributes.has_subscribers):
                return ids
            before, attributes = attributes, self._attributes.read(queue)
            is_current = True
            if attributes == before:
                self._see_to_floor(queue)
        raise StorageUnavailable

    def _make(self, queue: QueueKey, create: bool) -> None:
        if not create:
            raise QueueNotFound(queue.name, queue.project)
        self._queues.create(queue)

    def _post(
        self,
        queue: QueueKey,
        sender: Sender,
        batch: dict[str, Any],
        key: RequestKey | None,
        has_subscribers: bool,
    ) -> list[str]:
        """Post a batch; the ids of the first time if that was posted before under the key.

        There are no ids if the queue is not there, was purged just now, or is not as the batch
        and we suppose.
        """
        by_attributes = 'digest' in batch
        asks = 'asking' in batch
        statement = POSTS[by_attributes, key is not None, has_subscribers, asks]
        parameters = {**queue.parameters, **sender, **batch}
        if key is None:
            if batch['delays'] == [0] and not asks:
                statement = POST_ONES[by_attributes, has_subscribers]
                [parameters['ttl']], [parameters['body']] = batch['ttls'], batch['bodies']
            for first_id, *fanned_out in self._database.rows(statement, parameters):
                return self._posted(queue, batch, first_id, fanned_out)
            return []
        parameters |= key.parameters
        try:
            rows = self._database.rows(statement, parameters, repeatable=True)
        except StorageTooSlow as error:
            raise IdempotencyKeyInUse from error
        for first_id, is_the_same, is_new, *fanned_out in rows:
            if not is_the_same:
                raise IdempotencyKeyReused
            return self._posted(queue, batch, first_id, fanned_out, is_new)
        return []

    def _posted(
        self,
        queue: QueueKey,
        batch: dict[str, Any],
        first_id: int,
        fanned_out: list[list[str]],
        is_new: bool = True,
    ) -> list[str]:
        """The ids of the messages, once it is told that they became ready.

        :param fanned_out: of a queue with subscribers, what REPORT says
        """
        count = len(batch['bodies'])
        if first_id < 0:
            refuse_too_many(count, -first_id)
        if is_new:
            handled.add(count, POSTED)
            traffic.came(queue.id, count)
            if self._became_ready:
                self._became_ready.tell(queue, batch['delays'].count(0))
            if fanned_out:
                self._tell_subscribers(queue, batch, *fanned_out)
        # As public_id does, which would be a call for each.
        return [f'{first_id + position:016x}' for position in range(count)]

    def _tell_subscribers(
        self,
        queue: QueueKey,
        batch: dict[str, Any],
        places: list[str],
        of_webhooks: list[str],
    ) -> None:
        count = len(batch['bodies'])
        copied_to = places[1:]
        flows.tell(POSTED, count * len(copied_to))
        for name in copied_to:
            copy = QueueKey.of(queue.project, name)
            traffic.came(copy.id, count)
            self._became_ready.tell(copy, batch['delays'].count(0))
        for name in set(of_webhooks):
            self._became_deliverable.tell(QueueKey.of(queue.project, name), count)

    def _see_to_floor(self, queue: QueueKey) -> None:
        # A post that fails though its queue is there met a purge, or a queue that was made
        # anew. Or the queue was restored from a dump whose ids are ahead of this cluster's.
        if self._database.rows(FLOOR_IS_AHEAD, queue.parameters):
            self._database.raise_base()

    def page(
        self,
        queue: QueueKey,
        marker: str | None,
        limit: int,
        excluding_client: str | None = None,
        states: Set[str] = READY,
    ) -> 'Page[Message]':
        """The next messages in posting order, after the one whose id is ``marker``.

        A reader who goes on from ``next`` of each page sees every message once: one that was
        posted by a transaction still unfinished is not shown, nor is any that comes after it.
        Where much lies in between that is not shown, a page may be short, or even empty, and
        not the last; before an empty one is returned, more is looked at for a while.

        :param excluding_client: the UUID of a client whose messages are left out
        :param states: those of STATES that are shown
        """
        rows, reached = self._page(queue, marker, limit, excluding_client, states, in_detail=False)
        return Page(messages_in(rows), reached)

    def peek(
        self,
        queue: QueueKey,
        marker: str | None,
        limit: int,
        excluding_client: str | None = None,
        states: Set[str] = READY,
        walks_on: bool = True,
    ) -> 'Page[PeekedMessage]':
        """The same, with all that is known of each.

        :param walks_on: whether more is looked at for a while, before an empty page is returned
        """
        rows, reached = self._page(queue, marker, limit, excluding_client, states, True, walks_on)
        return Page([PeekedMessage(public_id(row[0]), *row[1:]) for row in rows], reached)

    def _page(
        self,
        queue: QueueKey,
        marker: str | None,
        limit: int,
        excluding_client: str | None,
        states: Set[str],
        in_detail: bool,
        walks_on: bool = True,
    ) -> tuple[list[Row], str | None]:
        """The rows of a page; and up to where it tells all, if more may lie behind that."""
        wanted = frozenset(states), excluding_client is not None, in_detail
        parameters = {**queue.parameters, 'limit': limit, 'excluding_client': excluding_client}
        after = -1 if marker is None else message_id(marker)
        if after is None:
            return [], None
        rows, reached = self._look(wanted, queue, {**parameters, 'after': after})
        if walks_on and not rows and reached is not None:
            patience = Patience(_PATIENCE)
            while not (rows or reached is None or patience.is_over):
                rows, reached = self._look(wanted, queue, {**parameters, 'after': reached})
        handled.add(len(rows))
        return rows, None if reached is None else public_id(reached)

    def _look(
        self,
        wanted: tuple[frozenset[str], bool, bool],
        queue: QueueKey,
        parameters: Mapping[str, Any],
    ) -> tuple[list[Row], int | None]:
        """What one statement finds of a page; and the last id it came to if it was cut short.

        :param wanted: a key of LIST
        """
        if wanted[0] == READY:
            rows = self._database.rows(
                LIST_READY[wanted[1:]],
                lambda: {**parameters, **self._marks.mark(queue.id).parameters},
                repeatable=True,
            )
            if not rows or rows[0][0] != MANY:
                return _up_to_the_end(rows)
        rows = self._database.rows(LIST[wanted], parameters, repeatable=True)
        return _up_to_the_end(rows)

    def get(self, queue: QueueKey, message: str) -> Message:
        """One message, claimed or not."""
        for found in self.get_many(queue, [message]):
            return found
        raise MessageNotFound(message, queue.name, queue.project)

    def get_many(self, queue: QueueKey, messages: Sequence[str]) -> list[Message]:
        """Those of the messages that there are, claimed or not, in posting order."""
        parameters = {**queue.parameters, 'ids': _known(messages)}
        found = messages_in(self._database.rows(GET, parameters, repeatable=True))
        handled.add(len(found))
        return found

    def delete(self, queue: QueueKey, message: str, claim: str | None = None) -> None:
        """Delete one message, or see that it is gone.

        :param claim: the claim that must hold the message; without one, none may
        """
        identity = message_id(message)
        if identity is None:
            return
        statements = DELETE_FREE if claim is None else DELETE_CLAIMED
        holder = None if claim is None else claim_id(claim)
        parameters = {**queue.parameters, 'id': identity, 'claim_id': holder}
        for _ in range(_TRIES):
            rows = self._delete(statements, queue, parameters)
            if not rows:
                return
            [(is_deleted, was_claimed, was_held_by_claim)] = rows
            if is_deleted:
                handled.add(1, DELETED)
                traffic.left(queue.id, 1)
                self._ended.tell((identity,))
                return
            if claim is not None and (holder is None or not was_claimed):
                raise NotHeldByThisClaim(message, claim)
            if was_claimed and not was_held_by_claim:
                raise HeldByAnotherClaim(message)
            # It could have been deleted, but changed under the statement's hands: look again.
        raise StorageUnavailable

    def _delete(
        self, statements: Mapping[bool, Prepared], queue: QueueKey, parameters: Mapping[str, Any]
    ) -> list[Row]:
        """Delete messages; nothing if there are none.

        :param statements: by whether the queue has subscribers: that for a queue without finds
            nothing in one with
        """
        attributes = self._attributes.recall(queue)
        has_subscribers = attributes is not None and attributes.has_subscribers
        rows = self._database.rows(statements[has_subscribers], parameters, repeatable=True)
        if rows or has_subscribers:
            return rows
        rows = self._database.rows(statements[True], parameters, repeatable=True)
        if rows:
            self._attributes.read(queue)
        return rows

    def pop(self, queue: QueueKey, limit: int) -> list[PoppedMessage]:
        """Delete up to ``limit`` free messages and return them: those that a claim would take."""
        taken = take(self._database, self._marks, queue, POP, {'limit': limit}) or []
        handled.add(len(taken), CLAIMED, DELETED)
        traffic.handed_out(queue.id, taken)
        traffic.left(queue.id, len(taken))
        if self._ended:
            self._ended.tell([row[0] for row in taken])
        return [PoppedMessage(public_id(row[0]), *row[1:6]) for row in taken]

    def delete_unclaimed(self, queue: QueueKey) -> None:
        """Delete all messages that are not under a live claim; no such queue is no error.

        They are left below the floor, for the janitor to remove. A post or a claim that is
        under way may come before or after: what is being claimed at this moment may be gone
        from under its claim.
        """
        with self._database.transaction() as run:
            # Until the end the queue can neither be purged by others nor be made anew.
            if run(f'{THE_QUEUE} FOR NO KEY UPDATE', queue.parameters):
                run(LOCK_CLAIMED, queue.parameters)
                run(PURGE_UNCLAIMED, queue.parameters)

    def delete_many(self, queue: QueueKey, messages: Sequence[str]) -> int:
        """Delete those of the messages that there are, claimed or not; how many those were."""
        ids = _known(messages)
        parameters = {**queue.parameters, 'ids': ids}
        count = len(self._delete(DELETE_MANY, queue, parameters))
        handled.add(count, DELETED)
        traffic.left(queue.id, count)
        self._ended.tell(ids)
        return count


# Seconds after which an empty page is returned, though there may be more.
_PATIENCE = 0.25
_TRIES = 5
# More, as somebody may be changing the queue's metadata over and over, or the queue itself.
_TRIES_TO_POST = 20


def _known(messages: Sequence[str]) -> list[int]:
    # In order, so that two requests that delete the same messages can't lock each other out.
    return sorted({int(message, 16) for message in messages if is_public_id(message)})


def _bytes_of(messages: Sequence[NewMessage]) -> int:
    # To look whether a text is of ASCII takes no time: Python knows it.
    return sum(len(new.body) if new.body.isascii() else len(new.body.encode()) for new in messages)
