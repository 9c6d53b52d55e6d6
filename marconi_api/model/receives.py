"""Receives of SQS: claims whose messages each have a receipt of their own.

A receive is a claim in all but these points. Its ttl is the visibility timeout, from 0 seconds on. A
message that it takes expires when it would have expired anyway. The first receive of a message is noted.
A receipt names the message and the claim: each receive makes another claim, so the receipt of an earlier
receive does not fit any more once the message was taken again.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec

from marconi_api.model import fair, fifo
from marconi_api.model.attempts import claim_of_attempt
from marconi_api.model.became_ready import ReadyListeners
from marconi_api.model.claims import (
    COLUMNS,
    HELD,
    Claims,
    Statements,
    create_statement,
    create_within_limit,
    renew_statement,
)
from marconi_api.model.ended import EndListeners
from marconi_api.model.flows import DELETED, TOUCHED
from marconi_api.model.handled import handled
from marconi_api.model.postgres.database import Database, Row
from marconi_api.model.postgres.dequeue import find
from marconi_api.model.postgres.prepared import OwnText, Prepared
from marconi_api.model.postgres.steering import body_of
from marconi_api.model.postgres.tables import FAIR, FIFO, IS_FAIR, THE_QUEUE, QueueKey, public_id
from marconi_api.model.postgres.transitions import CLAIM_ENDS, NOW, RECEIVED_FOR, SHOWN_AFTER
from marconi_api.model.traffic import traffic
from marconi_api.model.verdicts import WOKEN, WOKEN_OR_EMPTIED, statement_of

#: Seconds for which a message may be kept from others after it was received.
LONGEST_VISIBILITY = 43200

#: What can become of a receipt's use, beyond the results of verdicts.
TOO_LONG = 'too_long'


class Receipt(NamedTuple):
    """One delivery of a message: the message's id and that of the claim that took it."""

    message: int
    claim: str


class Received(msgspec.Struct, frozen=True):
    """A message as an SQS client receives it; times in milliseconds since 1970.

    ``body``: JSON text. ``count``: how often it was handed out, also before it became a dead letter.
    ``sender``: the UUID of the client that posted it. ``source``: the name of the queue from which it
    came as a dead letter, or None. ``group``, ``deduplication_id`` and ``sequence``: see groups.py.
    """

    receipt: Receipt
    body: str
    count: int
    traceparent: str | None
    attributes: str | None
    sender: str
    sent_at: int
    first_received_at: int
    source: str | None
    group: str | None
    deduplication_id: str | None
    sequence: int | None

    @property
    def id(self) -> str:
        """The message's id, as clients see it."""
        return public_id(self.receipt.message)


class Receives:
    """What SQS clients do with messages: they receive, delete and hide them."""

    def __init__(
        self,
        database: Database,
        claims: Claims,
        became_ready: ReadyListeners,
        ended: EndListeners,
    ) -> None:
        self._database = database
        self._claims = claims
        self._became_ready = became_ready
        self._ended = ended

    def receive(
        self, queue: QueueKey, visibility: int | None, limit: int, attempt: str | None = None
    ) -> tuple[str, list[Received]] | None:
        """Take up to ``limit`` messages for ``visibility`` seconds.

        :param visibility: None: as long as the queue's attributes say
        :param attempt: a name of the client's for this receive, which only matters in FIFO queues: see
            attempts.py
        :returns: the id of the claim, and the messages; None if there is no such queue
        :raises IdempotencyKeyInUse: if another request with this attempt does not end in time
        """
        if attempt and self._claims.is_fifo(queue):
            return self._receive_again(queue, visibility, limit, attempt) or (str(uuid4()), [])
        return self._receive(queue, visibility, limit, _RECEIVES)

    def _receive(
        self,
        queue: QueueKey,
        visibility: int | None,
        limit: int,
        statements: Statements,
        remembered: Mapping[str, Any] | None = None,
    ) -> tuple[str, list[Received]] | None:
        claim = str(uuid4())
        parameters = {'claim_id': OwnText(claim), 'ttl': visibility, 'limit': limit}
        taken = self._claims.take(queue, statements, {**parameters, **(remembered or {})})
        if taken is None:
            return None
        messages = _received(claim, taken.rows)
        if taken.grouping == FAIR:
            self._claims.note_groups(queue, [message.group for message in messages])
        return claim, messages

    def _receive_again(
        self, queue: QueueKey, visibility: int | None, limit: int, attempt: str
    ) -> tuple[str, list[Received]] | None:
        held_for = self._claims.visibility_of(queue) if visibility is None else visibility

        def again(claim: str) -> tuple[str, list[Received]] | None:
            given = {**queue.parameters, 'claim_id': claim, 'ttl': held_for}
            if not self._database.rows(_HOLD_ANEW, given, repeatable=True):
                return None
            rows = self._database.rows(_RECEIVED_BEFORE, given, repeatable=True)
            return (claim, _received(claim, rows)) if rows else None

        def make(remembered: Mapping[str, Any]) -> tuple[str, list[Received]] | None:
            made = self._receive(queue, visibility, limit, _RECEIVES_ONCE, remembered)
            return made if made and made[1] else None

        return claim_of_attempt(self._database, queue, attempt, again, make)

    def delete(self, queue: QueueKey, receipts: Sequence[Receipt]) -> list[str]:
        """Delete the messages whose receipts nobody's later receive has outdated.

        :returns: for each receipt ``done``, or another of ``verdicts.RESULTS``
        """
        results = self._settle(queue, 'delete', receipts, [0] * len(receipts))
        deleted = [
            receipt.message
            for receipt, result in zip(receipts, results, strict=True)
            if result == 'done'
        ]
        handled.add(len(deleted), DELETED)
        traffic.left(queue.id, len(deleted))
        self._ended.tell(deleted)
        if deleted and self._became_ready and self._claims.is_fifo(queue):
            # The messages behind those that are gone.
            self._became_ready.tell(queue, 1)
        return results

    def hide(
        self, queue: QueueKey, receipts: Sequence[Receipt], seconds: Sequence[int]
    ) -> list[str]:
        """Keep each message from others for so many seconds from now.

        :returns: for each receipt ``done``, ``too_long`` if it would be kept from others for more than
            12 hours since it was received, or another of ``verdicts.RESULTS``
        """
        results = self._settle(queue, 'touch', receipts, seconds)
        handled.add(results.count('done'), TOUCHED)
        shown = sum(
            result == 'done' and not left for result, left in zip(results, seconds, strict=True)
        )
        self._became_ready.tell(queue, shown)
        return results

    def _settle(
        self, queue: QueueKey, verdict: str, receipts: Sequence[Receipt], seconds: Sequence[int]
    ) -> list[str]:
        statement = _HIDE
        if verdict == 'delete':
            statement = _DELETE_FIFO if self._claims.is_fifo(queue) else _DELETE
        parameters: dict[str, Any] = {
            **queue.parameters,
            'ids': [receipt.message for receipt in receipts],
            'claim_ids': [receipt.claim for receipt in receipts],
            'seconds': list(seconds),
            'is_claimless': False,
        }
        # The last of several statements has the rows.
        rows: list[Row] = self._database.rows(statement, parameters)
        return [row[1] for row in rows]


def _received(claim: str, rows: Sequence[Row]) -> list[Received]:
    return [Received(Receipt(row[0], claim), row[3], *row[4:14]) for row in rows]


_MILLISECONDS = "(date_part('epoch', {}) * 1000)::bigint"


def _of_a_receive(is_fifo: bool = False) -> dict[str, Any]:
    """What differs from the statement of a claim: the parameters of ``create_statement``."""
    columns = {
        **COLUMNS,
        'claim_count': 'taken.claim_count + coalesce(taken.claimed_before, 0)',
        'message_attributes': 'message.message_attributes',
        'sender': 'taken.client_id::text',
        'sent_at': _MILLISECONDS.format('message.created_at'),
        'first_received_at': _MILLISECONDS.format('taken.first_received_at'),
        'source': """(
               SELECT name FROM queues
                WHERE queue_id = taken.came_from AND project = %(project)s LIMIT 1)""",
        'group_key': 'taken.group_key',
        'deduplication_id': 'message.deduplication_id',
        'sequence': 'taken.sequence' if is_fifo else 'NULL::bigint',
    }
    also = ', client_id, first_received_at, came_from, claimed_before'
    # Statements for FIFO queues have the other columns anyway.
    also += '' if is_fifo else ', group_key'
    return {'held_for': RECEIVED_FOR, 'also': also, 'columns': columns}


_RECEIVE = Prepared(create_statement(**_of_a_receive()), 'receive')
_RECEIVE_WITHIN_LIMIT = Prepared(create_within_limit(**_of_a_receive()), 'receive_within_limit')
#: For FIFO queues: by whether the attributes limit claims, whether it waits for a group, and whether the
#: attempt has a name.
_RECEIVE_FIFO = {
    (is_within_limit, waits, is_remembered): Prepared(
        fifo.claim_statement(is_within_limit, is_remembered, waits, **_of_a_receive(is_fifo=True)),
        'receive_fifo'
        + ('_once' if is_remembered else '')
        + ('_within_limit' if is_within_limit else '')
        + ('_in_turn' if waits else ''),
    )
    for is_within_limit in (False, True)
    for waits in (False, True)
    for is_remembered in (False, True)
}


def _of_fifo(is_remembered: bool) -> Mapping[bool, Mapping[bool, Prepared]]:
    return {
        is_within_limit: {
            waits: _RECEIVE_FIFO[is_within_limit, waits, is_remembered] for waits in (False, True)
        }
        for is_within_limit in (False, True)
    }


#: By whether the attributes limit claims, and whether groups are noisy.
_RECEIVE_FAIR = {
    (is_within_limit, is_noisy): Prepared(
        (create_within_limit if is_within_limit else create_statement)(
            **_of_a_receive(), finding=fair.find if is_noisy else find, of_groups=IS_FAIR
        ),
        ('receive_fair' if is_noisy else 'receive_grouped')
        + ('_within_limit' if is_within_limit else ''),
    )
    for is_within_limit in (False, True)
    for is_noisy in (False, True)
}
_RECEIVES = Statements(_RECEIVE, _RECEIVE_WITHIN_LIMIT, _of_fifo(False), _RECEIVE_FAIR)
#: Only a receive from a FIFO queue is made under the name of its attempt.
_RECEIVES_ONCE = _RECEIVES._replace(fifo=_of_fifo(True))

_HOLD_ANEW = Prepared(
    renew_statement(only_if_intact=True, held_for=f'held_until = {CLAIM_ENDS}'), 'receive_anew'
)

_COLUMNS = ', '.join(
    f'{expression} AS {name}' for name, expression in _of_a_receive(is_fifo=True)['columns'].items()
)
_RECEIVED_BEFORE = Prepared(
    f"""
    WITH the_queue AS MATERIALIZED ({THE_QUEUE}),
    claim AS MATERIALIZED (
        SELECT message_ids FROM claims
         WHERE queue_id = %(queue_id)s AND id = %(claim_id)s::uuid AND expires_at > now()),
    taken AS MATERIALIZED (
        SELECT id, ttl, claim_count, claimed_before, client_id, first_received_at, came_from,
               group_key, sequence
          FROM message_states WHERE {HELD})
    SELECT {_COLUMNS} FROM taken, {body_of('taken')}
     ORDER BY taken.group_key, taken.sequence""",
    'received_before',
)


def _of_receipts(
    verdict: str, if_held_before: str, and_claims: str = '', of_groups: str = WOKEN
) -> str:
    return statement_of(
        '%(ids)s::bigint[]',
        f"""
        SELECT id, '{verdict}' AS verdict, seconds, holder, NULL::text AS reason, 0 AS grace, place
          FROM unnest(%(ids)s::bigint[], %(claim_ids)s::text[]::uuid[], %(seconds)s::int[])
               WITH ORDINALITY AS given (id, holder, seconds, place)""",
        and_claims,
        the_claims='id = ANY (%(claim_ids)s::text[]::uuid[])',
        holder='holder',
        if_held_before=if_held_before,
        as_judged=SHOWN_AFTER,
        if_held=_WITHIN_BOUNDS if verdict == 'touch' else "'done'",
        of_groups=of_groups,
    )


_WITHIN_BOUNDS = f"""CASE WHEN (
                              SELECT started_at FROM claims
                               WHERE queue_id = %(queue_id)s AND claims.id = holder LIMIT 1)
                              + interval '{LONGEST_VISIBILITY} seconds'
                              < now() + seconds * interval '1 second'
                         THEN '{TOO_LONG}' ELSE 'done' END"""

# In a FIFO queue the group goes on once the deadline is past, so that a late delete is refused.
_IF_LATE = f"CASE WHEN (SELECT grouping FROM the_queue) = {FIFO} THEN 'expired' ELSE 'done' END"
_DELETE = Prepared(_of_receipts('delete', _IF_LATE), 'delete_by_receipts')
# Either statement is right for any queue.
_DELETE_FIFO = Prepared(
    _of_receipts('delete', _IF_LATE, of_groups=WOKEN_OR_EMPTIED), 'delete_by_receipts_fifo'
)

_HIDE = Prepared(
    _of_receipts(
        'touch',
        "'expired'",
        f""",
    claims_touched AS (
        UPDATE claims SET expires_at = greatest(expires_at, {NOW} + held.seconds * interval '1 second')
          FROM (SELECT holder, max(seconds) AS seconds FROM judged
                 WHERE result = 'done' GROUP BY holder) AS held
         WHERE queue_id = %(queue_id)s AND id = held.holder)""",
    ),
    'hide_by_receipts',
)
