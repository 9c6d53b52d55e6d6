"""The repository of messages: they are posted, listed, popped and deleted."""

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
from marconi_api.model import fifo
from marconi_api.model.attributes import NO_ATTRIBUTES, Attributes, KnownAttributes
from marconi_api.model.became_ready import ReadyListeners
from marconi_api.model.claimants import Claimant, Claimants
from marconi_api.model.claims import Claim
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
from marconi_api.model.grouped_posting import NOTE_GROUPS, POSTS_TO_GROUPS
from marconi_api.model.groups import (
    WAKE_GROUPS,
    M,
    Posted,
    are_grouped,
    parameters_of_post,
    with_groups,
)
from marconi_api.model.handled import handled
from marconi_api.model.idempotency import KNOWN_POST, RequestKey
from marconi_api.model.message import (
    Message,
    NewMessage,
    Page,
    PeekedMessage,
    PoppedMessage,
    messages_in,
    messages_under,
    popped_messages,
)
from marconi_api.model.pages import GET, LIST, LIST_READY, MANY, READY
from marconi_api.model.postgres.database import Database, Row
from marconi_api.model.postgres.dequeue import take
from marconi_api.model.postgres.low_water_marks import LowWaterMarks
from marconi_api.model.postgres.patience import Patience
from marconi_api.model.postgres.prepared import Prepared
from marconi_api.model.postgres.tables import (
    NO_GROUPS,
    THE_QUEUE,
    QueueKey,
    claim_id,
    is_public_id,
    message_id,
    public_id,
)
from marconi_api.model.posting import (
    FLOOR_IS_AHEAD,
    POST_ONES,
    POSTS,
    POSTS_WITH_ATTRIBUTES,
    batch_of,
)
from marconi_api.model.posting_claimed import POST_CLAIMED
from marconi_api.model.queues import Queues
from marconi_api.model.quotas import Quotas
from marconi_api.model.traffic import traffic


def _up_to_the_end(rows: list[Row]) -> tuple[list[Row], int | None]:
    """The messages of a page, and the id at which the look was cut short, or None.

    A statement of a page that was cut short says so by a last row without a ttl.
    """
    for count, row in enumerate(rows):
        if row[1] is None:
            return rows[:count], row[0]
    return rows, None


#: The parameters of a post's statement that describe the sender: ``client_id``, ``traceparent``.
Sender = Mapping[str, str | None]


class Messages:
    """The messages of all queues. An id that is not well formed counts as unknown."""

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
        #: Where posts find claims that wait for a message.
        self.claimants = Claimants()

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
        :param size: bytes of the request's body, to be held to the limit among the queue's
            attributes; None: they are not checked
        :param create: whether to make the queue if it does not exist
        :param key: the request's idempotency key; a request that is sent again under it stores
            nothing, and gets the ids of the first time
        :param traceparent: the trace of which the post is a part, for those who get the messages
        :raises InvalidRequest: if the queue or the service does not take the messages
        :raises QueueNotFound: if the queue does not exist, and ``create`` is false
        :raises QuotaExceeded: if the project would have more than it may have
        :raises RateExceeded: if it posts more messages a second than it may
        :raises IdempotencyKeyReused: if another request had the key
        :raises IdempotencyKeyInUse: if the first request with the key does not end in time
        """
        sender = {'client_id': client_id, 'traceparent': traceparent}
        lacks_something, is_grouped = size is not None, False
        for new in messages:
            if new.ttl is None or new.delay is None or new.reply is not False:
                lacks_something = True
            if new.group is not None or new.deduplication_id is not None:
                is_grouped = True
        try:
            if self._quotas:
                self._quotas.admit_post(queue.project, len(messages), lambda: _bytes_of(messages))
            if is_grouped:
                return self._post_ids_to_groups(queue, sender, messages, size, create, key)
            if lacks_something:
                return self._post_by_attributes(queue, sender, messages, size, create, key)
            return self._post_as_it_is(queue, sender, messages, create, key)
        except (InvalidRequest, QuotaExceeded, RateExceeded):
            # A post that succeeded is not refused when it is sent again, whatever has changed since.
            if key and (ids := self._known(queue, len(messages), key)):
                return ids
            raise

    def post_each(
        self,
        queue: QueueKey,
        client_id: str,
        messages: Sequence[NewMessage],
        size: int | None = None,
        create: bool = False,
        traceparent: str | None = None,
    ) -> list[Posted]:
        """Store messages, as :meth:`post`; returns of each what became of it, in the order given.

        In a FIFO queue a message is not stored if one with its deduplication id was posted within
        five minutes, here or in another post.
        """
        attributes = self._attributes.recall(queue) or self._attributes.read(queue)
        if not are_grouped(messages) and not (attributes and attributes.is_fifo):
            posted = self.post(queue, client_id, messages, size, create, None, traceparent)
            return [Posted(identity) for identity in posted]
        sender = {'client_id': client_id, 'traceparent': traceparent}
        if self._quotas:
            self._quotas.admit_post(queue.project, len(messages), lambda: _bytes_of(messages))
        return self._post_to_groups(queue, sender, messages, size, create)

    def _post_ids_to_groups(
        self,
        queue: QueueKey,
        sender: Sender,
        messages: Sequence[NewMessage],
        size: int | None,
        create: bool,
        key: RequestKey | None,
    ) -> list[str]:
        if key:
            raise InvalidRequest(
                'An Idempotency-Key does not go with messages that have a group, or are posted to a '
                'FIFO queue: there each message has a deduplication_id instead.'
            )
        posted = self._post_to_groups(queue, sender, messages, size, create)
        return [one.id for one in posted]

    def _post_to_groups(
        self,
        queue: QueueKey,
        sender: Sender,
        messages: Sequence[NewMessage],
        size: int | None,
        create: bool,
    ) -> list[Posted]:
        """Post messages that have groups, by the queue's attributes."""
        attributes, is_current = self._attributes.recall(queue), False
        for _ in range(_TRIES_TO_POST):
            if attributes is None:
                attributes, is_current = self._attributes.read(queue), True
            if attributes is None:
                self._make(queue, create)
                continue
            try:
                batch = batch_of(messages, size, attributes)
                batch |= parameters_of_post(messages, attributes)
            except InvalidRequest:
                if is_current:
                    raise
                # The attributes that this process remembers refuse it; they may be out of date.
                attributes = None
                continue
            if attributes.grouping == NO_GROUPS:
                self._database.rows(NOTE_GROUPS, queue.parameters, repeatable=True)
            elif posted := self._post_batch_to_groups(queue, sender, batch, attributes):
                return posted
            before, attributes = attributes, self._attributes.read(queue)
            is_current = True
            if attributes == before:
                self._see_to_floor(queue)
        raise StorageUnavailable

    def _post_batch_to_groups(
        self, queue: QueueKey, sender: Sender, batch: dict[str, Any], attributes: Attributes
    ) -> list[Posted]:
        choice = attributes.is_fifo, attributes.has_subscribers, 'asking' in batch
        batch['digest'] = attributes.digest
        batch.setdefault('attributes', [None] * len(batch['bodies']))
        parameters = {**queue.parameters, **sender, **batch}
        rows = self._database.rows(POSTS_TO_GROUPS[choice], parameters)
        if rows and rows[0][0] < 0:
            refuse_too_many(len(batch['bodies']), -rows[0][0])
        posted = [Posted(public_id(row[0]), row[1], row[2]) for row in rows]
        stored = [not one.is_duplicate for one in posted]
        if any(stored):
            self._tell_posted(queue, batch, rows[0][3:], stored)
        return posted

    def _known(self, queue: QueueKey, count: int, key: RequestKey) -> list[str]:
        """The ids of the ``count`` messages that were posted under the key; empty if none were."""
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
        """Post messages that need no default of the queue's attributes."""
        batch = batch_of(messages, None, NO_ATTRIBUTES)
        attributes = self._attributes.recall(queue)
        for _ in range(_TRIES_TO_POST):
            known = attributes or NO_ATTRIBUTES
            if ids := self._post(queue, sender, batch, key, known):
                return ids
            attributes = self._attributes.read(queue)
            if attributes is None:
                self._make(queue, create)
            elif attributes.is_fifo:
                return self._post_ids_to_groups(queue, sender, messages, None, create, key)
            elif attributes.has_subscribers == known.has_subscribers:
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
        """Post messages with the defaults and limits of the attributes.

        If the attributes change meanwhile, it fills the messages in again and tries again.
        """
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
                # The attributes that this process remembers refuse it; they may be out of date.
                attributes = None
                continue
            if attributes is None:
                self._make(queue, create)
                continue
            if attributes.is_fifo:
                return self._post_ids_to_groups(queue, sender, messages, size, create, key)
            batch['digest'] = attributes.digest
            if ids := self._post(queue, sender, batch, key, attributes):
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
        attributes: Attributes,
    ) -> list[str]:
        """Post a batch, and return the ids; those of the first time if the key was used before.

        The list is empty, and nothing was stored, if the queue does not exist, if it was purged just
        now, or if its attributes or subscribers are not those that the statement was made for.

        :param attributes: as this process knows them
        """
        has_subscribers = attributes.has_subscribers
        by_attributes = 'digest' in batch
        asks = 'asking' in batch
        statement = POSTS[by_attributes, key is not None, has_subscribers, asks]
        parameters = {**queue.parameters, **sender, **batch}
        if key is None:
            if 'attributes' in batch:
                statement = POSTS_WITH_ATTRIBUTES[has_subscribers, asks]
            elif batch['delays'] == [0] and not asks:
                statement = POST_ONES[by_attributes, has_subscribers]
                [parameters['ttl']], [parameters['body']] = batch['ttls'], batch['bodies']
                if claimant := self._borrow(queue, attributes, len(parameters['body'])):
                    return self._post_to(claimant, queue, batch, parameters)
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

    def _borrow(self, queue: QueueKey, attributes: Attributes, length: int) -> Claimant | None:
        # A transaction that is open may not be committed for a while.
        if attributes.is_plain and self._database.thread.run is None:
            return self.claimants.borrow(queue, length)
        return None

    def _post_to(
        self,
        claimant: Claimant,
        queue: QueueKey,
        batch: dict[str, Any],
        parameters: dict[str, Any],
    ) -> list[str]:
        """Post one message, and hand it to a claimant if nothing else can be claimed in the queue."""
        terms = claimant.terms
        parameters |= {'claim_id': terms.claim, 'claim_ttl': terms.ttl, 'grace': terms.grace}
        body, traceparent = parameters['body'], parameters['traceparent']

        def show(rows: list[Row]) -> None:
            for id, ttl in rows:
                if ttl is not None:
                    row = id, ttl, 0, body, 1, traceparent
                    messages = messages_under(terms.claim, [row])
                    claimant.show(Claim(terms.claim, terms.ttl, 0, messages))

        try:
            rows = self._database.rows(
                POST_CLAIMED['digest' in batch],
                lambda: {**self._marks.mark(queue.id).parameters, **parameters},
                before_commit=show,
            )
        except BaseException:
            claimant.lose()
            raise
        for id, ttl in rows:
            if ttl is None:
                claimant.keep_waiting(is_more=True)
                return self._posted(queue, batch, id, [])
            claimant.serve()
            handled.add(1, POSTED)
            flows.tell(CLAIMED, 1)
            traffic.came(queue.id, 1)
            traffic.handed_out(queue.id, [(id, ttl, 0)])
            return [public_id(id)]
        claimant.keep_waiting(is_more=False)
        return []

    def _posted(
        self,
        queue: QueueKey,
        batch: dict[str, Any],
        first_id: int,
        fanned_out: list[list[str]],
        is_new: bool = True,
    ) -> list[str]:
        """Tell the listeners of the messages, and return the ids.

        :param fanned_out: of a queue with subscribers, the columns of ``fan_out.REPORT``
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

    def _tell_posted(
        self, queue: QueueKey, batch: dict[str, Any], fanned_out: Row, stored: list[bool]
    ) -> None:
        """Tell the listeners of messages that a post to groups stored: those that ``stored`` says."""
        delays = [
            delay for delay, is_stored in zip(batch['delays'], stored, strict=True) if is_stored
        ]
        handled.add(len(delays), POSTED)
        traffic.came(queue.id, len(delays))
        self._became_ready.tell(queue, delays.count(0))
        if fanned_out:
            self._tell_subscribers(queue, {'bodies': delays, 'delays': delays}, *fanned_out)

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
        # A post to a queue that exists can fail for three reasons: the queue was purged, it was
        # deleted and made anew, or it was restored from a dump whose ids are ahead of this
        # cluster's. Only the last one calls for a higher base.
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

        A reader who goes on from ``next`` of each page sees every message once. For that, a page
        stops at the read horizon: it shows no message behind an unfinished transaction. A page may
        be short, or even empty, and not the last, if many messages at that place are not shown.
        Before an empty page is returned, the search goes on for a quarter of a second.

        :param marker: an id as clients see it; None: from the first message on
        :param limit: messages on the page, at most
        :param excluding_client: the UUID of a client whose messages are left out
        :param states: those of STATES that are shown
        """
        rows, reached = self._page(queue, marker, limit, excluding_client, states, in_detail=False)
        return Page(self._with_groups(queue, messages_in(rows)), reached)

    def peek(
        self,
        queue: QueueKey,
        marker: str | None,
        limit: int,
        excluding_client: str | None = None,
        states: Set[str] = READY,
        walks_on: bool = True,
    ) -> 'Page[PeekedMessage]':
        """A page as of :meth:`page`, with the state, claim count and reason of each message.

        :param walks_on: whether the search goes on for a while before an empty page is returned
        """
        rows, reached = self._page(queue, marker, limit, excluding_client, states, True, walks_on)
        messages = [PeekedMessage(public_id(row[0]), *row[1:]) for row in rows]
        return Page(self._with_groups(queue, messages), reached)

    def _with_groups(self, queue: QueueKey, messages: list[M]) -> list[M]:
        return with_groups(self._database, self._attributes, queue, messages)

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
        """The rows of a page, and the id up to which the page is complete; None if nothing follows."""
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
        """The rows that one statement finds, and the last id that it looked at if it was cut short.

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
        """One message, claimed or not.

        :raises MessageNotFound: if there is no such message, or it has expired
        """
        for found in self.get_many(queue, [message]):
            return found
        raise MessageNotFound(message, queue.name, queue.project)

    def get_many(self, queue: QueueKey, messages: Sequence[str]) -> list[Message]:
        """The messages with these ids that exist, claimed or not, in posting order."""
        parameters = {**queue.parameters, 'ids': _known(messages)}
        found = messages_in(self._database.rows(GET, parameters, repeatable=True))
        handled.add(len(found))
        return self._with_groups(queue, found)

    def delete(self, queue: QueueKey, message: str, claim: str | None = None) -> None:
        """Delete one message; a message that does not exist is no error.

        :param claim: the claim that must hold the message; None: no claim may hold it
        :raises NotHeldByThisClaim: if ``claim`` has lapsed or does not hold the message
        :raises HeldByAnotherClaim: if another claim holds the message
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
            # The message changed while the statement ran: try again.
        raise StorageUnavailable

    def _delete(
        self, statements: Mapping[bool, Prepared], queue: QueueKey, parameters: Mapping[str, Any]
    ) -> list[Row]:
        """Run a statement that deletes messages; no rows if it found none.

        :param statements: by whether the queue has subscribers or is FIFO; the statement for other
            queues finds nothing in these
        """
        attributes = self._attributes.recall(queue)
        has_more = attributes is not None and (attributes.has_subscribers or attributes.is_fifo)
        rows = self._database.rows(statements[has_more], parameters, repeatable=True)
        if not rows and not has_more:
            rows = self._database.rows(statements[True], parameters, repeatable=True)
            if rows:
                attributes = self._attributes.read(queue)
        if rows and attributes is not None and attributes.is_fifo:
            # The messages behind those that are gone.
            self._became_ready.tell(queue, 1)
        return rows

    def pop(self, queue: QueueKey, limit: int) -> list[PoppedMessage]:
        """Delete up to ``limit`` ready messages, and return them: those that a claim would take.

        The list is empty also if there is no such queue.
        """
        taken = self._pop(queue, limit)
        handled.add(len(taken), CLAIMED, DELETED)
        traffic.handed_out(queue.id, taken)
        traffic.left(queue.id, len(taken))
        if self._ended:
            self._ended.tell([row[0] for row in taken])
        return popped_messages(taken)

    def _pop(self, queue: QueueKey, limit: int) -> list[Row]:
        attributes = self._attributes.recall(queue)
        if not (attributes and attributes.is_fifo):
            taken = take(self._database, self._marks, queue, POP, {'limit': limit})
            if taken is not None:
                return taken
            # There is no such queue, or it is FIFO.
            attributes = self._attributes.read(queue)
            if not (attributes and attributes.is_fifo):
                return []
        return fifo.take(self._database, queue, fifo.POPS, {'limit': limit}) or []

    def delete_unclaimed(self, queue: QueueKey) -> None:
        """Delete all messages that no claim holds; a queue that does not exist is no error.

        The purge raises the queue's floor above the messages; the janitor removes their rows. A post
        or a claim that is under way counts as before or as after the purge. So a claim may lose
        messages that it takes at this moment.
        """
        with self._database.transaction() as run:
            # Until the transaction ends, nobody else can purge the queue or make it anew.
            if run(f'{THE_QUEUE} FOR NO KEY UPDATE', queue.parameters):
                run(LOCK_CLAIMED, queue.parameters)
                run(PURGE_UNCLAIMED, queue.parameters)
                run(WAKE_GROUPS, queue.parameters)

    def delete_many(self, queue: QueueKey, messages: Sequence[str]) -> int:
        """Delete the messages with these ids, claimed or not; returns how many existed."""
        ids = _known(messages)
        parameters = {**queue.parameters, 'ids': ids}
        rows = self._delete(DELETE_MANY, queue, parameters)
        count = rows[0][0] if rows else 0
        handled.add(count, DELETED)
        traffic.left(queue.id, count)
        self._ended.tell(ids)
        return count


# Seconds after which an empty page is returned, though there may be more.
_PATIENCE = 0.25
_TRIES = 5
# A post tries more often, as others may be changing or deleting the queue over and over.
_TRIES_TO_POST = 20


def _known(messages: Sequence[str]) -> list[int]:
    # In order, so that two requests that delete the same messages can't lock each other out.
    return sorted({int(message, 16) for message in filter(is_public_id, messages)})


def _bytes_of(messages: Sequence[NewMessage]) -> int:
    # To look whether a text is of ASCII takes no time: Python knows it.
    return sum(len(new.body) if new.body.isascii() else len(new.body.encode()) for new in messages)
