"""Messages: posted, looked at, deleted."""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from itertools import chain, combinations, product
from typing import Any, TypeVar

import msgspec

from marconi_api import limits
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
from marconi_api.model.attributes import NO_ATTRIBUTES, Attributes, KnownAttributes
from marconi_api.model.became_ready import ReadyListeners
from marconi_api.model.ended import EndListeners
from marconi_api.model.fan_out import (
    DELIVER,
    NOBODY,
    PLACES,
    PLACES_OF_ONE,
    REPORT,
    SOMEBODY,
    TOO_MANY,
    refuse_too_many,
)
from marconi_api.model.flows import CLAIMED, DELETED, POSTED, flows
from marconi_api.model.handled import handled
from marconi_api.model.idempotency import KNOWN_POST, POST_REMEMBERED, REMEMBER_POST, RequestKey
from marconi_api.model.postgres.bodies import NOBODY_WAITS
from marconi_api.model.postgres.database import Database, Row
from marconi_api.model.postgres.dequeue import FOUND, FRESH, find, look_at_returned, report, take
from marconi_api.model.postgres.low_water_marks import LowWaterMarks
from marconi_api.model.postgres.patience import Patience
from marconi_api.model.postgres.prepared import Prepared
from marconi_api.model.postgres.steering import body_of
from marconi_api.model.postgres.tables import (
    AGE_OF,
    AS_KNOWN,
    FRESH_ID,
    IS_ALIVE,
    IS_CLAIMED,
    IS_DELAYED,
    IS_PARKED,
    IS_READY,
    IS_THE_QUEUE,
    MAY_NUMBER,
    MOST_IN_A_POST,
    NEXT_NUMBER,
    NEXT_TRANSACTION,
    POSITION_BITS,
    READ_HORIZON,
    STATE,
    THE_NUMBERED_QUEUE,
    THE_NUMBERING_QUEUE,
    THE_QUEUE,
    QueueKey,
    claim_id,
    is_public_id,
    message_id,
    public_id,
)
from marconi_api.model.postgres.transitions import CLOCK, due_after
from marconi_api.model.queues import Queues
from marconi_api.model.quotas import Quotas
from marconi_api.model.replies import NOTE_REQUESTS, reply_parameters


# Structs: frozen dataclasses take two and a half times as long to make.
class Message(msgspec.Struct, frozen=True):
    """A live message; ``ttl`` and ``age`` in seconds, ``body`` the JSON text as posted.

    ``claim`` is the id of the live claim that it is under, if it is.
    """

    id: str
    ttl: int
    age: int
    body: str
    claim: str | None = None


class ClaimedMessage(Message, frozen=True):
    """A message that a claim holds; ``claim_count``: how often it was handed out, this time too.

    ``traceparent``: the one with which it was posted, if it was.
    """

    claim_count: int = 1
    traceparent: str | None = None


class PoppedMessage(msgspec.Struct, frozen=True):
    """A message that is gone from the queue; the rest as of :class:`ClaimedMessage`."""

    id: str
    ttl: int
    age: int
    body: str
    claim_count: int
    traceparent: str | None = None


class NewMessage(msgspec.Struct, frozen=True):
    """A message to post: its JSON text, and seconds for which it lives, and for which it waits.

    None: as the attributes of its queue say. ``reply``: whether it asks for one.
    """

    body: str
    ttl: int | None = None
    delay: int | None = None
    reply: bool | None = False


class PeekedMessage(Message, frozen=True):
    """A message with all that is known of it.

    ``state``: ready, claimed, delayed or parked; ``claim_count``: how often it was handed out;
    ``reason``: why it is parked, if it is and somebody said so.
    """

    state: str = 'ready'
    claim_count: int = 0
    reason: str | None = None


M = TypeVar('M', bound=Message)


class Page(list[M]):
    """Messages in posting order. It may be short, or empty, though it is not the last."""

    #: The marker to read on from; None behind the last message.
    next: str | None

    def __init__(self, messages: Iterable[M], reached: str | None) -> None:
        """Take the messages, and the id up to which these are all if it lies behind them."""
        super().__init__(messages)
        self.next = reached or (self[-1].id if self else None)


#: The condition for each state in which a live message can be.
STATES = {
    'ready': IS_READY,
    'claimed': IS_CLAIMED,
    'delayed': IS_DELAYED,
    'parked': IS_PARKED,
}
READY = frozenset({'ready'})


# As public_id does: ten calls take one microsecond.
def messages_under(claim: str, rows: Iterable[Row]) -> list[ClaimedMessage]:
    """The messages in rows that begin with id, ttl, age, body, count and trace, under one claim."""
    return [
        ClaimedMessage(f'{row[0]:016x}', row[1], row[2], row[3], claim, row[4], row[5])
        for row in rows
    ]


def _messages_in(rows: Iterable[Row]) -> list[Message]:
    return [
        Message(f'{identity:016x}', ttl, age, body, claim)
        for identity, ttl, age, body, claim in rows
    ]


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
        try:
            return self._post_new(queue, sender, messages, size, create, key)
        except (InvalidRequest, QuotaExceeded, RateExceeded):
            # What was posted before is not refused for what holds since then.
            if key and (ids := self._known(queue, len(messages), key)):
                return ids
            raise

    def _post_new(
        self,
        queue: QueueKey,
        sender: Sender,
        messages: Sequence[NewMessage],
        size: int | None,
        create: bool,
        key: RequestKey | None,
    ) -> list[str]:
        if self._quotas:
            self._quotas.admit_post(queue.project, len(messages), lambda: _bytes_of(messages))
        if size is None and not any(
            new.ttl is None or new.delay is None or new.reply is not False for new in messages
        ):
            return self._post_as_it_is(queue, sender, messages, create, key)
        return self._post_by_attributes(queue, sender, messages, size, create, key)

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
        batch = _batch(messages, None, NO_ATTRIBUTES)
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
                batch = _batch(messages, size, attributes or NO_ATTRIBUTES)
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
        statement = _POSTS[by_attributes, key is not None, has_subscribers, asks]
        parameters = {**queue.parameters, **sender, **batch}
        if key is None:
            if batch['delays'] == [0] and not asks:
                statement = _POST_ONES[by_attributes, has_subscribers]
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
            if self._became_ready:
                self._became_ready.tell(queue, batch['delays'].count(0))
            if fanned_out:
                self._tell_subscribers(queue, batch, *fanned_out)
        return [public_id(first_id + position) for position in range(count)]

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
            self._became_ready.tell(QueueKey.of(queue.project, name), batch['delays'].count(0))
        for name in set(of_webhooks):
            self._became_deliverable.tell(QueueKey.of(queue.project, name), count)

    def _see_to_floor(self, queue: QueueKey) -> None:
        # A post that fails though its queue is there met a purge, or a queue that was made
        # anew. Or the queue was restored from a dump whose ids are ahead of this cluster's.
        if self._database.rows(_FLOOR_IS_AHEAD, queue.parameters):
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
        return Page(_messages_in(rows), reached)

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

        :param wanted: a key of _LIST
        """
        if wanted[0] == READY:
            rows = self._database.rows(
                _LIST_READY[wanted[1:]],
                lambda: {**parameters, **self._marks.mark(queue.id).parameters},
                repeatable=True,
            )
            if not rows or rows[0][0] != _MANY:
                return _up_to_the_end(rows)
        rows = self._database.rows(_LIST[wanted], parameters, repeatable=True)
        return _up_to_the_end(rows)

    def get(self, queue: QueueKey, message: str) -> Message:
        """One message, claimed or not."""
        for found in self.get_many(queue, [message]):
            return found
        raise MessageNotFound(message, queue.name, queue.project)

    def get_many(self, queue: QueueKey, messages: Sequence[str]) -> list[Message]:
        """Those of the messages that there are, claimed or not, in posting order."""
        parameters = {**queue.parameters, 'ids': _known(messages)}
        found = _messages_in(self._database.rows(_GET, parameters, repeatable=True))
        handled.add(len(found))
        return found

    def delete(self, queue: QueueKey, message: str, claim: str | None = None) -> None:
        """Delete one message, or see that it is gone.

        :param claim: the claim that must hold the message; without one, none may
        """
        identity = message_id(message)
        if identity is None:
            return
        statements = _DELETE_FREE if claim is None else _DELETE_CLAIMED
        holder = None if claim is None else claim_id(claim)
        parameters = {**queue.parameters, 'id': identity, 'claim_id': holder}
        for _ in range(_TRIES):
            rows = self._delete(statements, queue, parameters)
            if not rows:
                return
            [(is_deleted, was_claimed, was_held_by_claim)] = rows
            if is_deleted:
                handled.add(1, DELETED)
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
        taken = take(self._database, self._marks, queue, _POP, {'limit': limit}) or []
        handled.add(len(taken), CLAIMED, DELETED)
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
                run(_LOCK_CLAIMED, queue.parameters)
                run(_PURGE_UNCLAIMED, queue.parameters)

    def delete_many(self, queue: QueueKey, messages: Sequence[str]) -> int:
        """Delete those of the messages that there are, claimed or not; how many those were."""
        ids = _known(messages)
        parameters = {**queue.parameters, 'ids': ids}
        count = len(self._delete(_DELETE_MANY, queue, parameters))
        handled.add(count, DELETED)
        self._ended.tell(ids)
        return count


_TRIES = 5
# More, as somebody may be changing the queue's metadata over and over, or the queue itself.
_TRIES_TO_POST = 20


def _known(messages: Sequence[str]) -> list[int]:
    # In order, so that two requests that delete the same messages can't lock each other out.
    return sorted({int(message, 16) for message in messages if is_public_id(message)})


def _bytes_of(messages: Sequence[NewMessage]) -> int:
    # To look whether a text is of ASCII takes no time: Python knows it.
    return sum(len(new.body) if new.body.isascii() else len(new.body.encode()) for new in messages)


def _batch(
    messages: Sequence[NewMessage], size: int | None, attributes: Attributes
) -> dict[str, Any]:
    """The messages as parameters of a statement: what they lack is filled in.

    :raises InvalidRequest: for what the attributes or the limits do not let pass
    """
    within = limits.in_force
    if len(messages) > MOST_IN_A_POST:
        raise InvalidRequest(
            f'One request can post {MOST_IN_A_POST} messages at most, not {len(messages)}: '
            'send them in several requests.'
        )
    if size is not None:
        allowed = within.max_messages_post_size
        within.check_body(size, min(allowed, attributes.max_messages_post_size or allowed))
    default_ttl = attributes.default_message_ttl or within.default_message_ttl
    default_delay = attributes.default_message_delay or 0
    ttls = [default_ttl if new.ttl is None else new.ttl for new in messages]
    delays = [default_delay if new.delay is None else new.delay for new in messages]
    within.check_message_ttls(ttls)
    within.check_message_delays(delays)
    for ttl, delay in zip(ttls, delays, strict=True):
        if ttl <= delay:
            raise InvalidRequest(
                f'A message with ttl {ttl} and delay {delay} would end before it is due.'
            )
    batch: dict[str, Any] = {
        'ttls': ttls,
        'bodies': [new.body for new in messages],
        'delays': delays,
    }
    default = attributes.default_reply
    if default or any([new.reply for new in messages]):
        asking = [int(default if new.reply is None else new.reply) for new in messages]
        batch |= {'asking': asking, **reply_parameters()}
    return batch


# The id of the first message of a post.
_FIRST_ID = f'(pg_current_xact_id()::text::bigint + %(base)s) << {POSITION_BITS}'


# Locking the queue's row holds off its deletion until the post is over, and finds that it
# exists. Posts do not hinder each other. Below the floor a message would not exist.
def _post_statement(
    the_queue: str, is_remembered: bool, has_subscribers: bool, asks: bool = False
) -> str:
    column, given = (', asks', ', %(asking)s::int[]') if asks else ('', '')
    first, of_place, places = 'transaction', '%(queue_id)s, id', ''
    if has_subscribers:
        first, of_place, places = 'begun', 'queue_id, id + ids_before', ', places'
    return f"""
    WITH the_queue AS MATERIALIZED ({the_queue}{SOMEBODY if has_subscribers else NOBODY} FOR KEY SHARE),
    numbered AS MATERIALIZED (
        SELECT {_FIRST_ID} AS first_id, floor FROM the_queue),
    {first} AS MATERIALIZED (
        SELECT first_id FROM numbered WHERE first_id >= floor),{PLACES if has_subscribers else ''}{REMEMBER_POST if is_remembered else ''}
    {CLOCK},
    posted AS MATERIALIZED (
        SELECT first_id + place - 1 AS id, ttl, body, {due_after('delay')} AS held_until{column}
          FROM {'mine' if is_remembered else 'transaction'},
               unnest(%(ttls)s::int[], %(bodies)s::text[], %(delays)s::int[]{given}) WITH ORDINALITY
                   AS given (ttl, body, delay{column}, place)),{NOTE_REQUESTS if asks else ''}
    state AS (
        INSERT INTO message_states (queue_id, id, held_until, expires_at, client_id, ttl)
        SELECT {of_place}, held_until, now() + ttl * interval '1 second',
               %(client_id)s::uuid, ttl
          FROM posted{places}),
    message AS (
        INSERT INTO messages (queue_id, id, created_at, body, traceparent)
        SELECT {of_place}, now(), body, %(traceparent)s::text FROM posted{places}){DELIVER if has_subscribers else ''}
    {_post_report(is_remembered, has_subscribers)}
    """


def _post_report(is_remembered: bool, has_subscribers: bool) -> str:
    """The row of the statement: what :meth:`Messages._post` reads."""
    columns, source, nothing = 'first_id', 'transaction', ''
    if is_remembered:
        columns, source, nothing = POST_REMEMBERED, 'remembered', 'true, false, '
    if not has_subscribers:
        return f'SELECT {columns} FROM {source}'
    return f'SELECT {columns}, {REPORT} FROM {source}{TOO_MANY.format(nothing=nothing)}'


# PostgreSQL takes a quarter more for one message that comes in arrays.
def _post_one_statement(the_queue: str) -> str:
    """The same for one message that is ready at once."""
    return f"""
    WITH the_queue AS MATERIALIZED ({the_queue}{NOBODY} FOR KEY SHARE),
    posted AS MATERIALIZED (
        SELECT {_FIRST_ID} AS id FROM the_queue WHERE {_FIRST_ID} >= floor),
    state AS (
        INSERT INTO message_states (queue_id, id, expires_at, client_id, ttl)
        SELECT %(queue_id)s, id, now() + %(ttl)s * interval '1 second', %(client_id)s::uuid, %(ttl)s
          FROM posted),
    message AS (
        INSERT INTO messages (queue_id, id, created_at, body, traceparent)
        SELECT %(queue_id)s, id, now(), %(body)s, %(traceparent)s::text FROM posted)
    SELECT id FROM posted
    """


def _post_one_to_subscribers_statement(the_queue: str) -> str:
    return f"""
    WITH the_queue AS MATERIALIZED ({the_queue}{SOMEBODY} FOR KEY SHARE),
    begun AS MATERIALIZED (
        SELECT {_FIRST_ID} AS first_id FROM the_queue WHERE {_FIRST_ID} >= floor),{PLACES_OF_ONE}
    posted AS MATERIALIZED (
        SELECT first_id AS id, %(ttl)s::int AS ttl FROM begun),
    state AS (
        INSERT INTO message_states (queue_id, id, expires_at, client_id, ttl)
        SELECT queue_id, id + ids_before, now() + ttl * interval '1 second', %(client_id)s::uuid, ttl
          FROM posted, places),
    message AS (
        INSERT INTO messages (queue_id, id, created_at, body, traceparent)
        SELECT queue_id, id + ids_before, now(), %(body)s, %(traceparent)s::text
          FROM posted, places){DELIVER}
    SELECT id, {REPORT} FROM posted
    """


def _post_prepared(
    by_attributes: bool, is_remembered: bool, has_subscribers: bool, asks: bool
) -> Prepared:
    the_queue = THE_NUMBERING_QUEUE + (AS_KNOWN if by_attributes else '')
    name = 'post_requests' if asks else 'post'
    name += '_once' if is_remembered else ''
    # Whether a message asks for a reply is an attribute, too.
    name += '_by_attributes' if by_attributes and not asks else ''
    name += '_to_subscribers' if has_subscribers else ''
    return Prepared(_post_statement(the_queue, is_remembered, has_subscribers, asks), name)


#: By whether the attributes matter, whether the request has a key, whether the queue has
#: subscribers, and whether a message asks for a reply.
_POSTS = {
    choice: _post_prepared(*choice)
    for choice in product((False, True), repeat=4)
    if choice[0] or not choice[3]
}
_POST = _POSTS[False, False, False, False]
_POST_AS_KNOWN = _POSTS[True, False, False, False]
#: By whether the attributes matter, and whether the queue has subscribers.
_POST_ONES = {
    (by_attributes, has_subscribers): Prepared(
        statement(THE_NUMBERING_QUEUE + (AS_KNOWN if by_attributes else '')),
        'post_one'
        + ('_by_attributes' if by_attributes else '')
        + ('_to_subscribers' if has_subscribers else ''),
    )
    for by_attributes in (False, True)
    for has_subscribers, statement in (
        (False, _post_one_statement),
        (True, _post_one_to_subscribers_statement),
    )
}
_POST_ONE = _POST_ONES[False, False]


# A floor is set no higher than the transactions that its statement knew of. A statement that
# sees such a floor knows of those, too.
_FLOOR_IS_AHEAD = f"""
    SELECT 1 FROM id_epoch, ({THE_NUMBERING_QUEUE}) AS the_queue
     WHERE floor > {NEXT_NUMBER} << {POSITION_BITS}"""


def _with_bodies(page: str = 'page', in_detail: bool = False) -> str:
    """The body and age of each row of a page, in its order; a row that is no message has none.

    :param page: a part of the statement that is called so, or a query that does
    """
    details = ', page.state, page.claim_count, page.park_reason' if in_detail else ''
    return f"""
    SELECT page.id, page.ttl, {AGE_OF.format('message.created_at')}, message.body, page.claim
           {details}
      FROM {page}
           LEFT JOIN {body_of('page')} ON true"""


_CLAIM = f'CASE WHEN {IS_CLAIMED} THEN claim_id::text END'


# Messages that a statement looks at.
_LOOK = 5000
# Returned messages that are all read and put in order. With more of them, the walk over the
# messages of all states soon has a page together, where most of what it meets has returned.
_FEW = 1000
# The id of no message: tells that the returned ones are not few.
_MANY = -1
# Seconds after which an empty page is returned, though there may be more.
_PATIENCE = 0.25


def _list_statement(states: Set[str], without_own: bool, in_detail: bool) -> str:
    """A statement that walks the messages of all states; parked ones by their own index.

    It goes as far as the page needs it, within a bound. If it comes to that first, the last row
    of the page is the last one that it came to, without a ttl.
    """
    claim = _CLAIM if 'claimed' in states else 'NULL::text'
    wanted = ' OR '.join(STATES[state] for state in STATES if state in states)
    shown = f'{IS_ALIVE} AND ({wanted}) {_IS_OTHERS if without_own else ""}'
    is_parked = states == {'parked'}
    return f"""
    WITH the_queue AS MATERIALIZED ({THE_NUMBERED_QUEUE}),
    walked AS MATERIALIZED (
        SELECT {_columns(in_detail, claim)}, {shown} AS is_shown FROM message_states
         WHERE queue_id = %(queue_id)s AND {_following('id', READ_HORIZON)} AND EXISTS (SELECT FROM the_queue)
               {"AND held_until = 'infinity'" if is_parked else ''}
         ORDER BY {'held_until, id' if is_parked else 'id'} LIMIT {_LOOK}),
    page AS MATERIALIZED ({_shown_of_walked(in_detail)})
    {_with_bodies(in_detail=in_detail)}"""


def _list_ready_statement(without_own: bool, in_detail: bool) -> str:
    """The same for ready messages: it walks the fresh ones, and reads those that returned.

    If these are not few, the page may lack some, and its first row is ``_MANY``.
    """
    others = _IS_OTHERS if without_own else ''
    columns, names = _columns(in_detail), _names(in_detail)
    # The read horizon stands in a query of its own, as it would be reckoned for each message else.
    is_shown = f'{IS_ALIVE} AND {_following("id", f"(SELECT {READ_HORIZON})")} {others}'
    # Its limit keeps a query apart from the rest as a materialized part would, for 1.5 us less.
    page = f"""(
        SELECT * FROM ({_shown_of_walked(in_detail)}) AS fresh
         UNION ALL
        SELECT {names} FROM returned WHERE is_shown
         UNION ALL
        (SELECT {_MANY}, {_nulls(in_detail)} FROM returned OFFSET {_FEW} LIMIT 1)
         ORDER BY id LIMIT %(limit)s) AS page"""
    return f"""
    WITH the_queue AS MATERIALIZED ({THE_NUMBERED_QUEUE}),
    returned AS MATERIALIZED (
        {look_at_returned('held_mark', _FEW + 1, f'{columns}, {is_shown} AS is_shown')}),
    walked AS MATERIALIZED (
        SELECT {columns}, expires_at > now() {others} AS is_shown FROM message_states
         WHERE {FRESH} AND {_following(FRESH_ID, READ_HORIZON)}
         ORDER BY {FRESH_ID} LIMIT {_LOOK})
    {_with_bodies(page, in_detail)}"""


def _shown_of_walked(in_detail: bool) -> str:
    """The rows of a page; the last one tells the end of the walk, if that is where it was cut.

    PostgreSQL comes to the second part only if the first has not filled the page.
    """
    return f"""
        SELECT * FROM (
            SELECT {_names(in_detail)} FROM walked WHERE is_shown
             UNION ALL
            (SELECT id, {_nulls(in_detail)} FROM walked OFFSET {_LOOK - 1} LIMIT 1)) AS shown
         LIMIT %(limit)s"""


_IS_OTHERS = 'AND client_id <> %(excluding_client)s::uuid'


def _following(id: str, horizon: str) -> str:
    return f'{id} > %(after)s AND {id} < {horizon}'


def _columns(in_detail: bool, claim: str = 'NULL::text') -> str:
    details = f', {STATE} AS state, claim_count, park_reason' if in_detail else ''
    return f'id, ttl, {claim} AS claim{details}'


def _names(in_detail: bool) -> str:
    return f'id, ttl, claim{", state, claim_count, park_reason" if in_detail else ""}'


def _nulls(in_detail: bool) -> str:
    """What stands for the names behind the id in a row that is no message."""
    return f'NULL, NULL{", NULL, NULL, NULL" if in_detail else ""}'


_CHOICES_OF_STATES = map(
    frozenset, chain.from_iterable(combinations(STATES, count) for count in (1, 2, 3, 4))
)
_CHOICES = list(product(_CHOICES_OF_STATES, (False, True), (False, True)))
#: By the states, whether messages of one's own are left out, and whether details are told.
_LIST = {choice: Prepared(_list_statement(*choice), 'list_by_state') for choice in _CHOICES}
_LIST_READY = {
    choice: Prepared(_list_ready_statement(*choice), 'list')
    for choice in product((False, True), repeat=2)
}

_GET = Prepared(
    f"""
    WITH the_queue AS MATERIALIZED ({THE_QUEUE}),
    page AS MATERIALIZED (
        SELECT id, ttl, {_CLAIM} AS claim FROM message_states
         WHERE queue_id = %(queue_id)s AND id = ANY(%(ids)s::bigint[]) AND {IS_ALIVE})
    {_with_bodies()} ORDER BY id""",
    'get_messages',
)


# What looks for deliveries takes PostgreSQL some time even where it does not run. So queues without
# subscribers have statements without that; those with find no queue by them.
def _deletes(statement: Callable[[str, str], str], name: str) -> dict[bool, Prepared]:
    """A statement that deletes, by whether the queue has subscribers.

    :param statement: makes it of the queue, and of what is to hold for bodies
    """
    return {
        False: Prepared(statement(THE_QUEUE + NOBODY, ''), name),
        True: Prepared(statement(THE_QUEUE, NOBODY_WAITS), f'{name}_with_subscribers'),
    }


def _delete_one(condition: str) -> Callable[[str, str], str]:
    return lambda the_queue, nobody_waits: (
        f"""
    WITH the_queue AS MATERIALIZED ({the_queue}),
    seen AS MATERIALIZED (
        SELECT {IS_CLAIMED} AS was_claimed, claim_id = %(claim_id)s::uuid AS was_held_by_claim
          FROM message_states
         WHERE queue_id = %(queue_id)s AND id = %(id)s AND {IS_ALIVE}),
    gone AS (
        DELETE FROM message_states
         WHERE queue_id = %(queue_id)s AND id = %(id)s AND {IS_ALIVE} AND {condition}
     RETURNING id),
    body AS (
        DELETE FROM messages
         WHERE queue_id = %(queue_id)s AND id = (SELECT id FROM gone){nobody_waits})
    SELECT EXISTS (SELECT FROM gone), was_claimed, was_held_by_claim FROM seen"""
    )


def _delete_many(the_queue: str, nobody_waits: str) -> str:
    return f"""
    WITH the_queue AS MATERIALIZED ({the_queue}),
    gone AS (
        DELETE FROM message_states
         WHERE queue_id = %(queue_id)s AND id = ANY(%(ids)s::bigint[]) AND {IS_ALIVE}
     RETURNING id),
    body AS (
        DELETE FROM messages
         WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM gone)){nobody_waits})
    SELECT 1 FROM gone"""


_DELETE_FREE = _deletes(_delete_one(f'NOT {IS_CLAIMED}'), 'delete_unclaimed')
_DELETE_CLAIMED = _deletes(
    _delete_one(f'claim_id = %(claim_id)s::uuid AND {IS_CLAIMED}'), 'delete_claimed'
)
_DELETE_MANY = _deletes(_delete_many, 'delete_many')


_POPPED = {
    'id': 'gone.id',
    'ttl': 'gone.ttl',
    'age': AGE_OF.format('message.created_at'),
    'body': 'message.body',
    'claim_count': 'gone.claim_count',
    'traceparent': 'message.traceparent',
}
_POP = Prepared(
    f"""{find(THE_NUMBERED_QUEUE)},
    gone AS (
        DELETE FROM message_states WHERE {FOUND}
     RETURNING id, ttl, claim_count),
    body_gone AS (
        DELETE FROM messages
         WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM gone)){NOBODY_WAITS})
    {report(_POPPED, f'gone, {body_of("gone")}')}""",
    'pop',
)

# As in IS_CLAIMED and IS_DELAYED, but by the index on held_until.
_CLAIMED_HERE = f"""queue_id = %(queue_id)s AND held_until > now() AND held_until < 'infinity'
           AND claim_id IS NOT NULL AND {IS_ALIVE}"""

# In the order of their ids, as verdicts do. A renewal that is under way is waited for: the
# next statement, whose snapshot is younger, sees what it made of the message.
_LOCK_CLAIMED = f"""
    WITH the_queue AS MATERIALIZED ({THE_QUEUE}),
    claimed AS MATERIALIZED (
        SELECT id FROM message_states WHERE {_CLAIMED_HERE} ORDER BY held_until, id)
    SELECT FROM (SELECT id FROM claimed ORDER BY id) AS claimed,
           LATERAL (SELECT FROM message_states
                     WHERE queue_id = %(queue_id)s AND id = claimed.id LIMIT 1 FOR UPDATE) AS state
"""

# What is claimed survives as what was moved here does: by `moved_in`.
_PURGE_UNCLAIMED = f"""
    WITH the_queue AS MATERIALIZED ({THE_QUEUE}),
    claimed AS MATERIALIZED (
        SELECT ctid FROM message_states WHERE {_CLAIMED_HERE} ORDER BY held_until, id),
    kept AS (
        UPDATE message_states SET moved_in = {NEXT_TRANSACTION}
         WHERE ctid = ANY (ARRAY(SELECT ctid FROM claimed)))
    UPDATE queues SET floor = greatest(floor, {NEXT_TRANSACTION})
     WHERE {IS_THE_QUEUE} AND {MAY_NUMBER}
"""
