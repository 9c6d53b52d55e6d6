"""Claims: messages are reserved for one worker, until it deletes them or the claim's ttl is over."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec
from msgspec.structs import replace

from marconi_api import limits
from marconi_api.errors import (
    AlreadyThere,
    ClaimNotFound,
    Fault,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    IdempotentClaimEnded,
    StorageTooSlow,
    StorageUnavailable,
)
from marconi_api.model import dead_letters, fair, fifo
from marconi_api.model.attempts import claim_of_attempt
from marconi_api.model.attributes import NO_ATTRIBUTES, Attributes, KnownAttributes
from marconi_api.model.became_ready import ReadyListeners
from marconi_api.model.claim_sources import ClaimSource, divide
from marconi_api.model.fair import NoisyGroups
from marconi_api.model.flows import CLAIMED, RELEASED, TOUCHED, flows
from marconi_api.model.groups import with_groups, woken
from marconi_api.model.handled import handled
from marconi_api.model.idempotency import (
    CLAIM,
    CLAIM_ACROSS,
    FORGET_CLAIM,
    KNOWN_CLAIM,
    KNOWN_CLAIMS_ACROSS,
    MOST_CLAIMS_OF_A_QUEUE,
    ONE_AT_A_TIME,
    REMEMBER_CLAIM,
    REMOVE_FORGOTTEN,
    RequestKey,
)
from marconi_api.model.message import (
    ClaimedMessage,
    fair_messages_under,
    grouped_messages_under,
    messages_under,
)
from marconi_api.model.postgres.database import Database, Row
from marconi_api.model.postgres.dequeue import FOUND, HOW_MANY_LAPSED, find, report, take
from marconi_api.model.postgres.low_water_marks import LowWaterMarks
from marconi_api.model.postgres.prepared import OwnText, Prepared
from marconi_api.model.postgres.steering import body_of
from marconi_api.model.postgres.tables import (
    AGE_OF,
    AS_KNOWN,
    FAIR,
    FIFO,
    HAS_NO_GROUPS,
    IS_ALIVE,
    IS_CLAIMED,
    IS_FAIR,
    THE_NUMBERED_QUEUE,
    THE_NUMBERING_QUEUE,
    THE_QUEUE,
    QueueKey,
    claim_id,
)
from marconi_api.model.postgres.transitions import (
    AS_BEFORE_THE_CLAIM,
    CLAIM_ENDS,
    CLOCK,
    HELD_FOR,
    NOW,
    READY_NOW,
)
from marconi_api.model.traffic import traffic

_TRIES = 5


class Claim(msgspec.Struct, frozen=True):
    """A live claim and the live messages it holds, in posting order.

    ``ttl`` and ``age`` are in seconds; ``age`` counts from the claim's start or its last renewal.
    ``is_new`` is false if an earlier request with the same idempotency key made the claim.
    """

    id: str
    ttl: int
    age: int
    messages: list[ClaimedMessage]
    is_new: bool = True


def terms(ttl: int | None, grace: int | None) -> tuple[int, int]:
    """The ttl and the grace of a claim, in seconds; the limits' default in place of None."""
    return (
        limits.in_force.default_claim_ttl if ttl is None else ttl,
        limits.in_force.default_claim_grace if grace is None else grace,
    )


class Claims:
    """The claims on all queues. An id that is not well formed counts as unknown."""

    def __init__(
        self,
        database: Database,
        marks: LowWaterMarks,
        attributes: KnownAttributes,
        became_ready: ReadyListeners,
    ) -> None:
        self._database = database
        self._marks = marks
        self._attributes = attributes
        self._became_ready = became_ready
        self._noisy = NoisyGroups(database)

    def create(
        self,
        queue: QueueKey,
        ttl: int | None,
        grace: int | None,
        limit: int,
        key: RequestKey | None = None,
        attempt: str | None = None,
    ) -> Claim | None:
        """Reserve up to ``limit`` messages for ``ttl`` seconds; None if there are none.

        Returned messages come first, then fresh ones in posting order. A message that would
        expire before the claim ends is made to outlive the claim by ``grace`` seconds. A claim
        does not wait for other requests: it skips the messages that they lock at this moment. A
        message that was claimed as often as the queue's attributes allow is a dead letter: the
        claim moves or parks it, and does not hand it out again.

        :param ttl: seconds; for None, and for a ``grace`` of None, see :func:`terms`
        :param key: the request's idempotency key; a request that is sent again under it gets the
            same claim, with the messages that the claim still holds
        :param attempt: a name of the client's for this claim, which only matters in FIFO queues: see
            attempts.py
        :returns: None also if there is no such queue
        :raises IdempotencyKeyReused: if another request had the key
        :raises IdempotencyKeyInUse: if the first request with the key does not end in time
        :raises IdempotentClaimEnded: if the claim of the first request has ended
        """
        if attempt and self.is_fifo(queue):
            claim = self._claim_of_attempt(queue, ttl, grace, limit, attempt)
        elif key:
            claim = self._claim_once(queue, ttl, grace, limit, key, CLAIM)
        else:
            claim = self._claim(queue, ttl, grace, limit)
        return claim if claim and claim.messages else None

    def create_across(
        self,
        sources: Sequence[ClaimSource],
        ttl: int | None,
        grace: int | None,
        limit: int,
        key: RequestKey | None = None,
    ) -> tuple[list[tuple[QueueKey, Claim]], list[QueueKey]]:
        """Reserve up to ``limit`` messages of several queues, each queue under its own claims.

        Without weights the queues are asked in order, until there are enough messages. With
        weights each message is drawn for a queue by chance, in proportion to the weights; what a
        queue does not have is left to the others. Each queue that is asked takes one statement.
        If a statement fails after some messages were claimed, these are returned, and no error is
        raised.

        :param key: the request's idempotency key, as in :meth:`create`, with the same errors
        :returns: the claims, each with its queue; and the queues that do not exist
        """
        claims: list[tuple[QueueKey, Claim]] = []
        missing: list[QueueKey] = []
        if key and (claims := self._known_across([source.queue for source in sources], key)):
            return claims, missing

        def claim_of(queue: QueueKey, count: int) -> Claim | None:
            if key is None:
                return self._claim(queue, ttl, grace, count)
            number = sum(other == queue for other, _ in claims)
            if number == MOST_CLAIMS_OF_A_QUEUE:
                return Claim('', 0, 0, [])
            return self._claim_once(queue, ttl, grace, count, key, CLAIM_ACROSS + number)

        def claim(queue: QueueKey, count: int) -> int:
            try:
                made = claim_of(queue, count)
            except (Fault, StorageUnavailable, IdempotencyKeyInUse, IdempotentClaimEnded):
                # If this raised, no worker would learn of the claims made so far, and their
                # messages would be held for the whole ttl.
                if claims:
                    return 0
                raise
            if made is None:
                missing.append(queue)
                return 0
            if made.messages:
                claims.append((queue, made))
            # A request with the same key may have made this claim just now, and asked for more.
            return min(count, len(made.messages))

        divide(sources, limit, claim)
        return claims, missing

    def _claim_once(
        self,
        queue: QueueKey,
        ttl: int | None,
        grace: int | None,
        limit: int,
        key: RequestKey,
        operation: int,
    ) -> Claim | None:
        """A claim under a key, or that of a former request with the key."""
        remembered = key.parameters_of_claim(queue, operation)
        for _ in range(_TRIES):
            if known := self._known(queue, remembered):
                return known
            try:
                claim = self._claim(queue, ttl, grace, limit, remembered)
            except AlreadyThere:
                # Another request wrote the key first; or the key's row is there, but has expired.
                given = {**queue.parameters, **remembered}
                self._database.rows(REMOVE_FORGOTTEN, given, repeatable=True)
                continue
            except StorageTooSlow as error:
                raise IdempotencyKeyInUse from error
            if claim is None or claim.messages:
                return claim
            # Another request with the key may have taken all that there was just now.
            return self._known(queue, remembered) or claim
        raise StorageUnavailable

    def is_fifo(self, queue: QueueKey) -> bool:
        """Whether the queue is a FIFO queue, as far as this process knows."""
        attributes = self._attributes.recall(queue) or self._attributes.read(queue)
        return attributes is not None and attributes.is_fifo

    def visibility_of(self, queue: QueueKey) -> int:
        """For how many seconds SQS clients of the queue have a message, unless they say so."""
        attributes = self._attributes.recall(queue) or self._attributes.read(queue)
        return (attributes or NO_ATTRIBUTES).visibility_timeout

    def _claim_of_attempt(
        self, queue: QueueKey, ttl: int | None, grace: int | None, limit: int, attempt: str
    ) -> Claim | None:
        """The claim of an earlier attempt with this id, held anew, or a new one."""
        held_for, spared = terms(ttl, grace)

        def again(claim: str) -> Claim | None:
            given = {**queue.parameters, 'claim_id': claim, 'ttl': held_for, 'grace': spared}
            if self._database.rows(_RENEW_IF_INTACT, given, repeatable=True):
                with suppress(ClaimNotFound):
                    return replace(self.get(queue, claim), is_new=False)
            return None

        def make(remembered: Mapping[str, Any]) -> Claim | None:
            claim = self._claim(queue, ttl, grace, limit, remembered)
            return claim if claim and claim.messages else None

        return claim_of_attempt(self._database, queue, attempt, again, make)

    def _known(self, queue: QueueKey, remembered: Mapping[str, Any]) -> Claim | None:
        """The claim that was made under the key; None if there was none."""
        given = {**queue.parameters, **remembered}
        for identity, is_the_same in self._database.rows(KNOWN_CLAIM, given, repeatable=True):
            if not is_the_same:
                raise IdempotencyKeyReused
            try:
                return replace(self.get(queue, identity), is_new=False)
            except ClaimNotFound as error:
                raise IdempotentClaimEnded from error
        return None

    def _known_across(
        self, queues: Sequence[QueueKey], key: RequestKey
    ) -> list[tuple[QueueKey, Claim]]:
        """The live claims that were made under the key, each with its queue; empty if none was made.

        :raises IdempotentClaimEnded: if claims were made, and all have ended
        """
        by_id = {queue.id: queue for queue in queues}
        given = {'ids': list(by_id), **key.parameters}
        rows = self._database.rows(KNOWN_CLAIMS_ACROSS, given, repeatable=True)
        claims = []
        for queue_id, identity, is_the_same in rows:
            if not is_the_same:
                raise IdempotencyKeyReused
            with suppress(ClaimNotFound):
                claim = self.get(by_id[queue_id], identity)
                claims.append((by_id[queue_id], replace(claim, is_new=False)))
        if rows and not claims:
            raise IdempotentClaimEnded
        return claims

    def _claim(
        self,
        queue: QueueKey,
        ttl: int | None,
        grace: int | None,
        limit: int,
        remembered: Mapping[str, Any] | None = None,
    ) -> Claim | None:
        """A claim, stored if it holds messages; None if there is no such queue.

        :param remembered: parameters of its key, if it has one
        """
        identity = str(uuid4())
        ttl, grace = terms(ttl, grace)
        # Each claim has another id, so a connection need not keep its literal.
        own = OwnText(identity)
        parameters = {'claim_id': own, 'ttl': ttl, 'grace': grace, 'limit': limit}
        if remembered:
            parameters |= remembered
        taken = self.take(queue, _ONCE if remembered else _USUAL, parameters)
        if taken is None:
            return None
        return Claim(identity, ttl, 0, self._messages(queue, identity, taken))

    def _messages(self, queue: QueueKey, claim: str, taken: 'Taken') -> list[ClaimedMessage]:
        if taken.grouping == FIFO:
            return grouped_messages_under(claim, taken.rows)
        if taken.grouping == FAIR:
            self.note_groups(queue, [row[6] for row in taken.rows])
            return fair_messages_under(claim, taken.rows)
        return messages_under(claim, taken.rows)

    def note_groups(self, queue: QueueKey, groups: Iterable[str | None]) -> None:
        """Note of which groups a claim on a queue that is not FIFO took messages."""
        self._noisy.note_taken(queue, groups)

    def take(
        self, queue: QueueKey, statements: 'Statements', parameters: dict[str, Any]
    ) -> 'Taken | None':
        """What a statement of a claim took; None if there is no such queue.

        :param parameters: those of the claim; a ``ttl`` of None is the queue's visibility timeout
        """
        # A queue that this process does not know most likely has no attributes.
        attributes = self._attributes.recall(queue) or NO_ATTRIBUTES
        for _ in range(_TRIES):
            given = {**parameters, **_parameters(queue, attributes)}
            if given['ttl'] is None:
                given['ttl'] = attributes.visibility_timeout
            limit = attributes.max_claim_count
            tell_moved = partial(self._tell_of_dead_letters, queue, attributes) if limit else None
            if attributes.is_fifo:
                taken = fifo.take(
                    self._database, queue, statements.fifo[bool(limit)], given, tell_moved
                )
            else:
                chosen = statements.within_limit if limit else statements.usual
                if attributes.grouping == FAIR:
                    noisy = self._noisy.of(queue)
                    chosen = statements.fair[bool(limit), bool(noisy)]
                    given |= self._noisy.parameters(queue, noisy)
                taken = take(
                    self._database,
                    self._marks,
                    queue,
                    chosen,
                    given,
                    limit,
                    tell_moved,
                )
            if taken is not None:
                handled.add(len(taken), CLAIMED)
                traffic.handed_out(queue.id, taken)
                if given['ttl'] <= 0:
                    self._became_ready.tell(queue, len(taken))
                return Taken(taken, attributes.grouping)
            read = self._attributes.read(queue)
            if read is None:
                return None
            attributes = read
        raise StorageUnavailable

    def _tell_of_dead_letters(self, queue: QueueKey, attributes: Attributes, count: int) -> None:
        traffic.left(queue.id, count)
        if target := dead_letters.target_of(queue, attributes):
            traffic.came(target.id, count)
            self._became_ready.tell(target, count)

    def get(self, queue: QueueKey, claim: str) -> Claim:
        """The claim with the messages that it still holds.

        :raises ClaimNotFound: if there is no such claim, it has lapsed, or it holds nothing
        """
        identity = claim_id(claim)
        rows = identity and self._database.rows(
            _GET, {**queue.parameters, 'claim_id': identity}, repeatable=True
        )
        if not identity or not rows:
            raise ClaimNotFound(claim, queue.name, queue.project)
        handled.add(len(rows))
        ttl, age = rows[0][6:]
        messages = messages_under(identity, rows)
        messages = with_groups(self._database, self._attributes, queue, messages)
        # In FIFO queues the order of ids is not that of sequences.
        messages.sort(key=lambda message: message.sequence or 0)
        return Claim(identity, ttl, age, messages)

    def renew(self, queue: QueueKey, claim: str, ttl: int | None, grace: int | None) -> None:
        """Renew the claim: it holds what it still holds for ``ttl`` seconds from now.

        A message that would expire before the claim ends is made to outlive the claim by ``grace``
        seconds.

        :raises ClaimNotFound: if there is no such claim, it has lapsed, or it holds nothing;
            nothing is changed
        """
        identity = claim_id(claim)
        ttl, grace = terms(ttl, grace)
        parameters = {**queue.parameters, 'claim_id': identity, 'ttl': ttl, 'grace': grace}
        renewed = self._database.rows(_RENEW, parameters, repeatable=True) if identity else []
        if not renewed:
            raise ClaimNotFound(claim, queue.name, queue.project)
        handled.add(len(renewed), TOUCHED)
        if ttl <= 0:
            self._became_ready.tell(queue, len(renewed))

    def release(self, queue: QueueKey, claim: str) -> int:
        """Release the messages that the claim still holds; returns their number.

        If there is no such claim the number is 0.
        """
        parameters = {**queue.parameters, 'claim_id': claim_id(claim)}
        count = len(self._database.rows(_RELEASE, parameters, repeatable=True))
        handled.add(count, RELEASED)
        self._became_ready.tell(queue, count)
        return count

    def undo(self, queue: QueueKey, claim: str) -> int:
        """Release a claim that nobody has seen, and that does not count; returns the number of its messages."""
        parameters = {**queue.parameters, 'claim_id': claim}
        count = len(self._database.rows(_UNDO, parameters, repeatable=True))
        flows.tell(RELEASED, count)
        self._became_ready.tell(queue, count)
        return count

    def give_back(self, queue: QueueKey, claim: str, key: RequestKey | None) -> None:
        """Release a claim whose id never reached its client.

        Its idempotency key is forgotten, so that a request with the key makes a new claim.
        """
        if key:
            # Before the release: else a client that sends the request again in between would be
            # told that its claim has ended.
            given = {'queue_id': queue.id, 'claim_id': claim, **key.parameters}
            self._database.rows(FORGET_CLAIM, given, repeatable=True)
        self.release(queue, claim)


class Statements(NamedTuple):
    """The statements of one kind of claim, by what the queue's attributes say.

    ``fifo``: for FIFO queues, by whether the attributes limit claims, and by whether the statement waits
    for a group. ``fair``: for other queues whose messages have groups, by whether the attributes limit
    claims, and whether some of the groups are noisy.
    """

    usual: Prepared
    within_limit: Prepared
    fifo: Mapping[bool, Mapping[bool, Prepared]]
    fair: Mapping[tuple[bool, bool], Prepared]


class Taken(NamedTuple):
    """Rows of messages, and what groups mean to their queue: in a FIFO queue the rows tell of them."""

    rows: list[Row]
    grouping: int


def _parameters(queue: QueueKey, attributes: Attributes) -> dict[str, Any]:
    if attributes.max_claim_count:
        return dead_letters.parameters(queue, attributes)
    return {'digest': attributes.digest}


#: The columns of a message that a claim took.
COLUMNS = {
    'id': 'taken.id',
    'ttl': 'taken.ttl',
    'age': AGE_OF.format('message.created_at'),
    'body': 'message.body',
    'claim_count': 'taken.claim_count',
    'traceparent': 'message.traceparent',
}


def create_statement(
    the_queue: str = THE_NUMBERED_QUEUE,
    may_be_claimed: str = 'true',
    put_away: str = '',
    first_alive: str | None = None,
    moved: str = '0',
    parked: str = '0',
    lapsed: str = HOW_MANY_LAPSED,
    is_remembered: bool = False,
    held_for: str = HELD_FOR,
    also: str = '',
    columns: Mapping[str, str] = COLUMNS,
    finding: Callable[[str, str], str] = find,
    of_groups: str = HAS_NO_GROUPS,
) -> str:
    """The statement of a claim.

    :param held_for: the transition of the messages that it takes
    :param also: further columns of ``message_states`` that ``columns`` need, after a comma
    :param columns: the SQL of each column of a message, by its name
    :param finding: makes the start of the statement, as ``dequeue.find``
    :param of_groups: the condition for what groups mean to the queue
    """
    the_queue += AS_KNOWN + of_groups + (ONE_AT_A_TIME if is_remembered else '')
    return f"""{finding(the_queue, may_be_claimed)},
    {CLOCK},{put_away}
    taken AS (
        UPDATE message_states
           SET claim_id = %(claim_id)s::uuid, claim_count = claim_count + 1, {held_for}
         WHERE {FOUND}
     RETURNING id, ttl, held_until, claim_count{also}),
    claim AS (
        INSERT INTO claims (queue_id, id, started_at, expires_at, ttl, message_ids)
        SELECT %(queue_id)s, %(claim_id)s::uuid,
               max(held_until) - %(ttl)s * interval '1 second', max(held_until), %(ttl)s,
               array_agg(id)
          FROM taken HAVING max(held_until) IS NOT NULL){REMEMBER_CLAIM if is_remembered else ''}
    {report(columns, _TAKEN, first_alive, moved, parked, lapsed)}"""


_TAKEN = f'taken, {body_of("taken")}'


_CREATE = Prepared(create_statement(), 'claim')
_CREATE_ONCE = Prepared(create_statement(is_remembered=True), 'claim_once')
#: The same for a queue whose attributes limit claims: it puts dead letters away.
create_within_limit = partial(
    create_statement,
    THE_NUMBERING_QUEUE,
    dead_letters.MAY_BE_CLAIMED,
    f'{dead_letters.PUT_AWAY},',
    dead_letters.FIRST_ALIVE,
    dead_letters.MOVED,
    dead_letters.PARKED_ONES,
    dead_letters.LAPSED,
)
_CREATE_WITHIN_LIMIT = Prepared(create_within_limit(), 'claim_within_limit')
_CREATE_ONCE_WITHIN_LIMIT = Prepared(
    create_within_limit(is_remembered=True), 'claim_once_within_limit'
)


def _of_fifo(is_remembered: bool) -> Mapping[bool, Mapping[bool, Prepared]]:
    return {
        is_within_limit: {
            waits: fifo.CLAIMS[is_within_limit, is_remembered, waits] for waits in (False, True)
        }
        for is_within_limit in (False, True)
    }


def _of_fair(is_remembered: bool) -> Mapping[tuple[bool, bool], Prepared]:
    own: dict[str, Any] = {
        'is_remembered': is_remembered,
        'also': ', group_key',
        'columns': {**COLUMNS, 'group_key': 'taken.group_key'},
        'of_groups': IS_FAIR,
    }
    statements = {}
    for is_noisy in (False, True):
        name = 'claim_fair' if is_noisy else 'claim_grouped'
        name += '_once' if is_remembered else ''
        finding = fair.find if is_noisy else find
        statements[False, is_noisy] = Prepared(create_statement(**own, finding=finding), name)
        statements[True, is_noisy] = Prepared(
            create_within_limit(**own, finding=finding), f'{name}_within_limit'
        )
    return statements


#: By whether the request has a key.
_FAIR = {is_remembered: _of_fair(is_remembered) for is_remembered in (False, True)}

_USUAL = Statements(_CREATE, _CREATE_WITHIN_LIMIT, _of_fifo(is_remembered=False), _FAIR[False])
_ONCE = Statements(
    _CREATE_ONCE, _CREATE_ONCE_WITHIN_LIMIT, _of_fifo(is_remembered=True), _FAIR[True]
)

#: The condition for the messages that a claim still holds, by the part ``claim`` with its row.
HELD = f"""
       queue_id = %(queue_id)s AND id = ANY ((SELECT message_ids FROM claim)::bigint[])
       AND claim_id = %(claim_id)s::uuid AND {IS_CLAIMED} AND {IS_ALIVE}"""

_GET = Prepared(
    f"""
    WITH the_queue AS MATERIALIZED ({THE_QUEUE}),
    claim AS MATERIALIZED (
        SELECT ttl, started_at, message_ids FROM claims
         WHERE queue_id = %(queue_id)s AND id = %(claim_id)s::uuid AND expires_at > now()),
    held AS MATERIALIZED (SELECT id, ttl, claim_count FROM message_states WHERE {HELD})
    SELECT held.id, held.ttl, {AGE_OF.format('message.created_at')}, message.body, held.claim_count,
           message.traceparent, claim.ttl, {AGE_OF.format('claim.started_at')}
      FROM claim, held,
           {body_of('held')}
     ORDER BY held.id
""",
    'get_claim',
)


def renew_statement(only_if_intact: bool, held_for: str = HELD_FOR) -> str:
    """The statement that lets a claim begin anew.

    :param only_if_intact: whether all its messages must be there, and be held for the same time
    :param held_for: the transition of its messages
    """
    intact, is_intact = '', ''
    if only_if_intact:
        intact = f"""
    intact AS MATERIALIZED (
        SELECT FROM message_states WHERE {HELD}
        HAVING count(*) = (SELECT cardinality(message_ids) FROM claim)
           AND min(held_until) = max(held_until)),"""
        is_intact = ' AND EXISTS (SELECT FROM intact)'
    return f"""
    WITH the_queue AS MATERIALIZED ({THE_QUEUE}),
    claim AS MATERIALIZED (
        SELECT message_ids FROM claims
         WHERE queue_id = %(queue_id)s AND id = %(claim_id)s::uuid AND expires_at > now()
           FOR NO KEY UPDATE),{intact}
    {CLOCK},
    renewed AS (
        UPDATE message_states SET {held_for}
         WHERE {HELD}{is_intact}
     RETURNING id, group_key),{woken('renewed')},
    claim_renewed AS (
        UPDATE claims SET started_at = {NOW}, expires_at = {CLAIM_ENDS}, ttl = %(ttl)s
         WHERE queue_id = %(queue_id)s AND id = %(claim_id)s::uuid
           AND EXISTS (SELECT FROM renewed))
    SELECT id FROM renewed
"""


_RENEW = Prepared(renew_statement(only_if_intact=False), 'renew')
_RENEW_IF_INTACT = Prepared(renew_statement(only_if_intact=True), 'renew_if_intact')


def _release_statement(ready_now: str) -> str:
    """The statement that ends a claim.

    :param ready_now: the transition of the messages that it still holds
    """
    return f"""
    WITH the_queue AS MATERIALIZED ({THE_QUEUE}),
    claim AS (
        DELETE FROM claims
         WHERE queue_id = %(queue_id)s AND id = %(claim_id)s::uuid
     RETURNING message_ids),
    {CLOCK},
    released AS (
        UPDATE message_states SET {ready_now}
         WHERE {HELD}
     RETURNING id, group_key),{woken('released')}
    SELECT id FROM released
"""


_RELEASE = Prepared(_release_statement(READY_NOW), 'release')
_UNDO = Prepared(_release_statement(AS_BEFORE_THE_CLAIM), 'undo_claim')
