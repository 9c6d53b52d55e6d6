"""Verdicts: what becomes of each message of a claim, one by one, in one round trip.

A first statement locks the messages, and a second one, in the same transaction, judges them. The
snapshot of the second is younger than the locks. So a verdict is judged by the message's state of
that moment, which nobody else can change.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from marconi_api import limits
from marconi_api.errors import ClaimNotFound, InvalidRequest, NotFinished
from marconi_api.model.attributes import NO_ATTRIBUTES, Attributes, KnownAttributes
from marconi_api.model.became_ready import ReadyListeners
from marconi_api.model.claims import terms
from marconi_api.model.ended import EndListeners
from marconi_api.model.flows import DELETED, PARKED, RELEASED, TOUCHED, flows
from marconi_api.model.groups import woken
from marconi_api.model.handled import handled
from marconi_api.model.postgres.bodies import NOBODY_WAITS
from marconi_api.model.postgres.database import Database, Row
from marconi_api.model.postgres.prepared import Prepared
from marconi_api.model.postgres.tables import (
    IS_ALIVE,
    STATE,
    THE_QUEUE,
    QueueKey,
    claim_id,
    message_id,
    public_id,
)
from marconi_api.model.postgres.transitions import AS_JUDGED, CLOCK, NOW, STARTED_ANEW, after
from marconi_api.model.replies import GIVE_REPLIES, reply_parameters
from marconi_api.model.traffic import traffic

#: The verdicts. All but ``kick`` need the claim that holds the message; ``park`` needs none for a
#: message that no claim holds.
VERDICTS = ('delete', 'release', 'touch', 'park', 'kick')

#: What can become of a verdict; see :class:`Outcome`.
RESULTS = ('done', 'gone', 'expired', 'taken', 'not_in_claim', 'not_parked')

# The id of no message: none is negative.
_NO_MESSAGE = -1


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to become of a message.

    delete    the work is done; ``reply``, JSON text, goes to whoever posted the message
    release   the message goes back to the queue, after ``seconds``
    touch     the claim holds the message for ``seconds`` from now, its other messages as before
    park      the message is out of circulation until it is kicked; ``reason`` may say why
    kick      a parked message goes back to the queue, with its whole ttl and no claims counted

    A message that would expire before its delay or its claim is over is made to outlive that time
    by ``grace`` seconds.
    """

    message: str
    verdict: str
    seconds: int = 0
    grace: int = 0
    reason: str | None = None
    reply: str | None = None

    @classmethod
    def of(cls, message: str, verdict: str, **terms: Any) -> 'Verdict':
        """The verdict of that name, with defaults for the terms that are None.

        :param terms: ``delay``, ``ttl``, ``grace``, ``reason`` or ``reply``
        :raises InvalidRequest: if there is no such verdict, a term does not go with it, or a delay
            or a reason is not within its limits
        """
        if verdict not in VERDICTS:
            raise InvalidRequest(
                f'verdict must be one of {", ".join(VERDICTS)}, not {verdict[:80]!r}.'
            )
        named = {name: value for name, value in terms.items() if value is not None}
        for name in named:
            if name not in _TERMS[verdict]:
                raise InvalidRequest(f'{name} does not go with the verdict {verdict}.')
        if not _TERMS[verdict]:
            return cls(message, verdict)
        made: Verdict = getattr(cls, verdict)(message, **named)
        return made

    @classmethod
    def delete(cls, message: str, reply: str | None = None) -> 'Verdict':
        """A verdict that deletes; ``reply`` is dropped if the message does not ask for one."""
        return cls(message, 'delete', reply=reply)

    @classmethod
    def release(cls, message: str, delay: int | None = None) -> 'Verdict':
        """A verdict that releases; the message outlives a delay by the default grace of claims.

        :param delay: seconds; None: at once
        :raises InvalidRequest: if the delay is not within its limits
        """
        limits.in_force.check_message_delays([delay or 0])
        return cls(message, 'release', delay or 0, limits.in_force.default_claim_grace)

    @classmethod
    def touch(cls, message: str, ttl: int | None = None, grace: int | None = None) -> 'Verdict':
        """A verdict that touches; for a ``ttl`` or ``grace`` of None see :func:`terms`."""
        return cls(message, 'touch', *terms(ttl, grace))

    @classmethod
    def park(cls, message: str, reason: str | None = None) -> 'Verdict':
        """A verdict that parks.

        :raises InvalidRequest: if the reason is too long
        """
        limits.in_force.check_park_reason(reason or '')
        return cls(message, 'park', reason=reason)


#: The flows that are counted for each verdict.
_FLOWS: dict[str, tuple[str, ...]] = {
    'delete': (DELETED,),
    'release': (RELEASED,),
    'touch': (TOUCHED,),
    'park': (PARKED,),
    'kick': (),
}

#: The terms of each verdict; a verdict that has terms has a method above.
_TERMS: dict[str, tuple[str, ...]] = {
    'delete': ('reply',),
    'release': ('delay',),
    'touch': ('ttl', 'grace'),
    'park': ('reason',),
    'kick': (),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a verdict.

    ``result``:

    done          as asked
    gone          the message was deleted or has expired
    expired       the claim has lapsed, and no other took the message since: nothing was changed
    taken         another claim holds the message: nothing was changed
    not_in_claim  no claim holds the message: nothing was changed
    not_parked    the message is not parked, and cannot be kicked: nothing was changed

    ``state`` is the message's state afterwards: ready, claimed, delayed, parked or gone.
    """

    message: str
    verdict: str
    result: str
    state: str


class Kicked(NamedTuple):
    """How many messages were kicked, and whether another call would find more of them."""

    messages: int
    has_more: bool


class Verdicts:
    """Verdicts on the messages of all queues."""

    def __init__(
        self,
        database: Database,
        attributes: KnownAttributes,
        became_ready: ReadyListeners,
        ended: EndListeners,
    ) -> None:
        self._database = database
        self._attributes = attributes
        self._became_ready = became_ready
        self._ended = ended

    def give(
        self, queue: QueueKey, claim: str | None, verdicts: Sequence[Verdict]
    ) -> list[Outcome]:
        """Carry out the verdicts in one transaction; returns an outcome for each, in order.

        A verdict that cannot be carried out changes nothing, and does not hinder the others.

        :param claim: the claim that holds the messages; None if there is none
        :param verdicts: each message may have one at most
        :raises InvalidRequest: if a reply is longer than a message of the queue may be
        """
        self._check_replies(queue, verdicts)
        holder = None if claim is None else claim_id(claim)
        # A claim whose id is not well formed is not the same as no claim.
        is_claimless = claim is None
        given = _parameters(verdicts)
        parameters = {'claim_id': holder, 'is_claimless': is_claimless, **given}
        rows = self._rows(_GIVE['replies' in given], queue, parameters)
        self._tell_ends(rows, verdicts)
        return self._told(queue, _outcomes(verdicts, rows))

    def _tell_ends(self, rows: Sequence[Row], verdicts: Sequence[Verdict]) -> None:
        if self._ended:
            self._ended.tell(
                [
                    row[0]
                    for row, verdict in zip(rows, verdicts, strict=True)
                    if verdict.verdict == 'delete' and row[1] == 'done'
                ]
            )

    def give_across(self, given: Sequence[tuple[QueueKey, str, Verdict]]) -> list[Outcome]:
        """Carry out verdicts on messages of several queues and claims, one statement a queue.

        If the statement of a queue fails, the verdicts of the queues before it stay carried out.

        :param given: for each verdict the queue, and the claim that holds the message
        :returns: an outcome for each verdict, in order
        :raises InvalidRequest: if a reply is too long; then nothing was done
        """
        for queue, _, verdict in given:
            self._check_replies(queue, [verdict])
        places: dict[QueueKey, list[int]] = {}
        for place, (queue, _, _) in enumerate(given):
            places.setdefault(queue, []).append(place)
        outcomes: dict[int, Outcome] = {}
        for queue, own in places.items():
            told = self._give_in(queue, [given[place][1:] for place in own])
            outcomes.update(zip(own, told, strict=True))
        return [outcomes[place] for place in range(len(given))]

    def _check_replies(self, queue: QueueKey, verdicts: Sequence[Verdict]) -> None:
        for verdict in verdicts:
            if verdict.reply is not None:
                self._check_reply(queue, len(verdict.reply.encode()))

    def _check_reply(self, queue: QueueKey, size: int) -> None:
        """Refuse a reply that is longer than the body of a post to the queue may be."""
        known = self._attributes.recall(queue)
        if known and size <= _longest_reply(known):
            return
        # What is remembered may be older than the queue's limit.
        most = _longest_reply(self._attributes.read(queue) or NO_ATTRIBUTES)
        if size > most:
            raise InvalidRequest(f'A reply must not exceed {most} bytes; this one has {size}.')

    def _give_in(self, queue: QueueKey, given: Sequence[tuple[str, Verdict]]) -> list[Outcome]:
        """Carry out the verdicts on messages of several claims of a queue."""
        holders = [claim_id(claim) for claim, _ in given]
        verdicts = [verdict for _, verdict in given]
        parameters = {'claim_ids': holders, 'is_claimless': False, **_parameters(verdicts)}
        rows = self._rows(_GIVE_BY_CLAIMS['replies' in parameters], queue, parameters)
        self._tell_ends(rows, verdicts)
        return self._told(queue, _outcomes(verdicts, rows))

    def heartbeat(
        self, queue: QueueKey, claim: str, ttl: int | None, grace: int | None
    ) -> list[Outcome]:
        """Renew the claim, as ``Claims.renew``; returns an outcome for each message it ever took.

        :raises ClaimNotFound: if there is no such claim
        """
        identity = claim_id(claim)
        ttl, grace = terms(ttl, grace)
        parameters = {'claim_id': identity, 'is_claimless': False, 'ttl': ttl, 'grace': grace}
        rows = self._rows(_HEARTBEAT, queue, parameters) if identity else []
        if not rows:
            raise ClaimNotFound(claim, queue.name, queue.project)
        return self._told(queue, [Outcome(public_id(row[0]), 'touch', *row[1:]) for row in rows])

    def _told(self, queue: QueueKey, outcomes: list[Outcome]) -> list[Outcome]:
        """Count the outcomes, tell the listeners which messages became ready, and return them."""
        done = Counter(outcome.verdict for outcome in outcomes if outcome.result == 'done')
        for verdict, count in done.items():
            handled.add(count, *_FLOWS[verdict])
        traffic.left(queue.id, done['delete'])
        if self._became_ready and done['delete'] + done['park'] and self._is_fifo(queue):
            # The messages behind those that are gone.
            self._became_ready.tell(queue, 1)
        if self._became_ready:
            became_ready = [
                outcome.result == 'done' and outcome.state == 'ready' for outcome in outcomes
            ]
            self._became_ready.tell(queue, became_ready.count(True))
        return outcomes

    def _is_fifo(self, queue: QueueKey) -> bool:
        attributes = self._attributes.recall(queue)
        return attributes is not None and attributes.is_fifo

    def kick(self, queue: QueueKey, limit: int | None = None) -> Kicked:
        """Kick parked messages, in posting order; one call kicks 10,000 at most.

        :param limit: how many at most; None: all
        """
        most = _MOST_AT_ONCE if limit is None else min(_MOST_AT_ONCE, limit)
        kicked, last = self._in_batches(_KICK, queue, most, self._became_ready.tell)
        has_more = kicked == _MOST_AT_ONCE != limit and self._has_parked(queue, last)
        return Kicked(kicked, has_more)

    def delete_parked(self, queue: QueueKey) -> None:
        """Delete all parked messages; one call deletes 10,000 at most.

        :raises NotFinished: if more are left; another call goes on
        """
        deleted, last = self._in_batches(_DELETE_PARKED, queue, _MOST_AT_ONCE, _tell_deleted)
        if deleted == _MOST_AT_ONCE and self._has_parked(queue, last):
            raise NotFinished(f'{deleted} parked messages were deleted, and there are more')

    def _in_batches(
        self,
        statement: str,
        queue: QueueKey,
        most: int,
        done: Callable[[QueueKey, int], None] | None = None,
    ) -> tuple[int, int]:
        """Run a statement on parked messages, batch after batch.

        Each batch starts behind the one before: as long as somebody has an old snapshot, the index
        still holds the messages that are no longer parked.

        :param done: called after each batch with the number of messages that it changed
        :returns: how many messages were changed, and the highest id among them
        """
        changed, last = 0, _NO_MESSAGE
        while changed < most:
            batch = min(_BATCH_SIZE, most - changed)
            rows = self._rows(statement, queue, {'after': last, 'batch_size': batch})
            changed += len(rows)
            if done:
                done(queue, len(rows))
            last = max((last, *(identity for (identity,) in rows)))
            if len(rows) < batch:
                break
        return changed, last

    def _has_parked(self, queue: QueueKey, after: int) -> bool:
        return bool(self._rows(_NEXT_PARKED, queue, {'after': after}))

    def _rows(self, statement: str, queue: QueueKey, parameters: dict[str, Any]) -> list[Row]:
        return self._database.rows(statement, {**queue.parameters, **parameters})


def _tell_deleted(queue: QueueKey, count: int) -> None:
    flows.tell(DELETED, count)
    traffic.left(queue.id, count)


def _longest_reply(attributes: Attributes) -> int:
    most = limits.in_force.max_messages_post_size
    return min(most, attributes.max_messages_post_size or most)


def _parameters(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    ids = [message_id(verdict.message) for verdict in verdicts]
    given: dict[str, Any] = {
        'ids': [_NO_MESSAGE if identity is None else identity for identity in ids],
        'verdicts': [verdict.verdict for verdict in verdicts],
        'seconds': [verdict.seconds for verdict in verdicts],
        'graces': [verdict.grace for verdict in verdicts],
        'reasons': [verdict.reason for verdict in verdicts],
    }
    replies = [verdict.reply for verdict in verdicts]
    if any(replies):
        given |= {'replies': replies, **reply_parameters()}
    return given


def _outcomes(verdicts: Sequence[Verdict], rows: Sequence[Row]) -> list[Outcome]:
    return [
        Outcome(verdict.message, verdict.verdict, *row[1:])
        for verdict, row in zip(verdicts, rows, strict=True)
    ]


#: Lets the next claim look at the groups of messages on which verdicts were given.
WOKEN = woken('done', kicked="EXISTS (SELECT FROM done WHERE verdict = 'kick')")
#: For FIFO queues, where all verdicts are deletes; it costs PostgreSQL time in others, too.
WOKEN_OR_EMPTIED = woken('done', gone='deleted')

_BATCH_SIZE = 1000
#: Parked messages that one call changes at most, which takes about half a second.
_MOST_AT_ONCE = 10_000


def statement_of(
    ids: str,
    asked: str,
    and_claim: str,
    the_claims: str = 'id = %(claim_id)s::uuid',
    holder: str = '%(claim_id)s::uuid',
    replies: bool = False,
    if_held: str = "'done'",
    if_held_before: str = "'expired'",
    as_judged: str = AS_JUDGED,
    of_groups: str = WOKEN,
) -> str:
    """Lock the claim and the messages, judge what is asked, carry out what can be.

    The claim is locked before the messages, as a renewal and a release lock them. The messages are
    locked in the order of their ids, since PostgreSQL searches an index for the members of an array
    in order. There is no ORDER BY: with one, PostgreSQL 15 walks the whole queue.

    :param ids: the ids of the messages, as an SQL array
    :param asked: the query that gives id, verdict, seconds, grace, reason and place
    :param and_claim: the part of the statement that changes the claim itself
    :param the_claims: the condition for the claims that are locked
    :param holder: the claim that must hold the message of a verdict
    :param replies: whether ``asked`` has replies to messages that are deleted
    :param if_held: the result for a message that the claim holds
    :param if_held_before: the result for a message whose claim has lapsed and that nobody took since
    :param as_judged: the transition of messages that are not deleted
    :param of_groups: the part that lets the next claim look at the groups of messages
    """
    return f"""
    SELECT FROM claims
     WHERE queue_id = %(queue_id)s AND {the_claims} FOR NO KEY UPDATE;

    SELECT FROM message_states
     WHERE queue_id = %(queue_id)s AND id = ANY ({ids}) FOR UPDATE;

    WITH the_queue AS MATERIALIZED ({THE_QUEUE}),
    asked AS MATERIALIZED ({asked}),
    found AS MATERIALIZED (
        SELECT id, ctid AS place_in_table, claim_id, group_key, sequence, {STATE} AS state
          FROM message_states
         WHERE queue_id = %(queue_id)s AND id = ANY ({ids}) AND {IS_ALIVE}),
    judged AS MATERIALIZED (
        SELECT asked.*, found.place_in_table, found.group_key, found.sequence, found.state,
               CASE WHEN found.id IS NULL THEN 'gone'
                    WHEN verdict = 'kick'
                    THEN CASE state WHEN 'parked' THEN 'done' ELSE 'not_parked' END
                    WHEN state = 'claimed'
                    THEN CASE WHEN claim_id = {holder} THEN {if_held} ELSE 'taken' END
                    WHEN %(is_claimless)s AND verdict = 'park' THEN 'done'
                    WHEN claim_id = {holder} THEN {if_held_before}
                    ELSE 'not_in_claim' END AS result
          FROM asked LEFT JOIN found USING (id)),
    deleted AS (
        DELETE FROM message_states
         WHERE ctid = ANY (ARRAY(
               SELECT place_in_table FROM judged WHERE result = 'done' AND verdict = 'delete'))
     RETURNING id),
    bodies AS (
        DELETE FROM messages
         WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM deleted)){NOBODY_WAITS}),{GIVE_REPLIES if replies else ''}
    {CLOCK},
    changes AS MATERIALIZED (
        SELECT place_in_table, verdict, reason, grace, seconds, {after('seconds')} AS until
          FROM judged WHERE result = 'done' AND verdict <> 'delete'),
    changed AS (
        UPDATE message_states AS state
           SET {as_judged}
          FROM changes
         WHERE state.ctid = changes.place_in_table),
    done AS MATERIALIZED (
        SELECT group_key, sequence, verdict FROM judged WHERE result = 'done'),{of_groups}{and_claim}
    SELECT id, result,
           CASE WHEN result <> 'done' THEN coalesce(state, 'gone')
                WHEN verdict = 'delete' THEN 'gone'
                WHEN verdict = 'park' THEN 'parked'
                WHEN seconds = 0 THEN 'ready'
                WHEN verdict = 'touch' THEN 'claimed'
                ELSE 'delayed' END
      FROM judged ORDER BY place
    """


def _given(more: str = '', names: str = '', replies: bool = False) -> str:
    """The query that makes rows of verdicts from parameters that are lists.

    :param more: further lists, each after a comma
    :param names: the names of their columns, likewise
    """
    more += ', %(replies)s::text[]' if replies else ''
    names += ', reply' if replies else ''
    return f"""
        SELECT * FROM unnest(%(ids)s::bigint[], %(verdicts)s::text[], %(seconds)s::int[],
                             %(graces)s::int[], %(reasons)s::text[]{more})
                      WITH ORDINALITY
                      AS given (id, verdict, seconds, grace, reason{names}, place)"""


def _give(replies: bool) -> str:
    # The claim's row need not be checked: it exists as long as the claim holds a message.
    return statement_of(
        '%(ids)s::bigint[]',
        _given(replies=replies),
        """,
    claim_touched AS (
        UPDATE claims SET expires_at = greatest(expires_at, held.until)
          FROM (SELECT max(until) AS until FROM changes WHERE verdict = 'touch') AS held
         WHERE queue_id = %(queue_id)s AND id = %(claim_id)s::uuid AND held.until IS NOT NULL)""",
        replies=replies,
    )


def _give_by_claims(replies: bool) -> str:
    return statement_of(
        '%(ids)s::bigint[]',
        _given(', %(claim_ids)s::text[]::uuid[]', ', holder', replies),
        f""",
    claims_touched AS (
        UPDATE claims SET expires_at = greatest(expires_at, {after('held.seconds')})
          FROM (SELECT holder, max(seconds) AS seconds FROM judged
                 WHERE result = 'done' AND verdict = 'touch' GROUP BY holder) AS held
         WHERE queue_id = %(queue_id)s AND id = held.holder)""",
        the_claims='id = ANY (%(claim_ids)s::text[]::uuid[])',
        holder='holder',
        replies=replies,
    )


#: By whether there are replies.
_GIVE = {
    False: Prepared(_give(replies=False), 'verdicts'),
    True: Prepared(_give(replies=True), 'verdicts_with_replies'),
}
_GIVE_BY_CLAIMS = {
    False: Prepared(_give_by_claims(replies=False), 'verdicts_by_claims'),
    True: Prepared(_give_by_claims(replies=True), 'verdicts_by_claims_with_replies'),
}

_HEARTBEAT = Prepared(
    statement_of(
        """(
           SELECT message_ids FROM claims
            WHERE queue_id = %(queue_id)s AND id = %(claim_id)s::uuid)::bigint[]""",
        """
        SELECT taken.id, 'touch' AS verdict, %(ttl)s::int AS seconds, %(grace)s::int AS grace,
               NULL::text AS reason, taken.id AS place
          FROM claims, unnest(message_ids) AS taken (id)
         WHERE queue_id = %(queue_id)s AND claims.id = %(claim_id)s::uuid""",
        f""",
    claim_renewed AS (
        UPDATE claims
           SET started_at = {NOW}, ttl = %(ttl)s, expires_at = (SELECT max(until) FROM changes)
         WHERE queue_id = %(queue_id)s AND id = %(claim_id)s::uuid
           AND EXISTS (SELECT FROM changes))""",
    ),
    'heartbeat',
)

_PARKED = f"""
         WHERE queue_id = %(queue_id)s AND held_until = 'infinity' AND id > %(after)s
           AND {IS_ALIVE}
         ORDER BY held_until, id"""

_NEXT_PARKED = f"""
    WITH the_queue AS MATERIALIZED ({THE_QUEUE})
    SELECT id FROM message_states {_PARKED} LIMIT 1"""

_BATCH = f"""
    WITH the_queue AS MATERIALIZED ({THE_QUEUE}),
    batch AS MATERIALIZED (
        SELECT ctid FROM message_states {_PARKED} LIMIT %(batch_size)s FOR UPDATE SKIP LOCKED)"""

# Each message gets another `held_until`: a low-water mark cannot start amid many equal ones.
_KICK = Prepared(
    f"""{_BATCH},
    {CLOCK},
    places AS MATERIALIZED (
        SELECT ctid AS place,
               {NOW} + row_number() OVER () * interval '1 microsecond' AS until
          FROM batch),
    kicked AS (
        UPDATE message_states AS state
           SET {STARTED_ANEW}
          FROM places WHERE state.ctid = places.place
     RETURNING id, group_key),{woken('kicked', kicked='true')}
    SELECT id FROM kicked
""",
    'kick',
)

_DELETE_PARKED = f"""{_BATCH},
    gone AS (
        DELETE FROM message_states WHERE ctid = ANY (ARRAY(SELECT ctid FROM batch))
     RETURNING id),
    bodies AS (
        DELETE FROM messages
         WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM gone)){NOBODY_WAITS})
    SELECT id FROM gone
"""
