"""Groups of messages: what a FIFO queue promises of them, and what all its statements do for that.

A FIFO queue gives out the messages of a group in the order of their posts. As long as one of them is
claimed, delayed or waits for its time, those behind it are not given out. Each group has a row in
``message_groups``. The row is the lock of the group: a post holds it until it is committed, so the
numbers in a group (``sequence``) follow the order of commits. (By the ids of messages the order would
be that in which transactions begin.)

**The rule.** ``available_at`` is never later than the moment at which the first message of the group
can be claimed. A message counts that is alive and not parked. An earlier ``available_at`` does no
harm: a claim looks at the group, finds that its first message cannot be taken, and writes the right
time (fifo.py). So a statement that takes a message away, or lets one return sooner, need not know which
is first: it sets ``available_at`` to the present (:func:`woken`), or to null if it knows that none is left. Nothing happens when a message
expires, since a claim heeds that time, too.

**Locks.** A statement first locks messages, in the order of their ids, then groups, in the order of
their names. A claim locks groups first, and then messages; but it skips what others hold, and so waits
for nobody. A post locks groups, then the rows of deduplication ids. A statement that moves messages to
another queue locks groups there last.
"""

import json
import re
from collections.abc import Sequence
from hashlib import blake2b, sha256
from typing import Any, NamedTuple, TypeVar

from msgspec.structs import replace

from marconi_api.errors import InvalidRequest
from marconi_api.model.attributes import Attributes, KnownAttributes
from marconi_api.model.message import ClaimedMessage, Message, NewMessage
from marconi_api.model.postgres.database import Database
from marconi_api.model.postgres.prepared import Prepared
from marconi_api.model.postgres.tables import FIFO, NO_GROUPS, QueueKey, public_id
from marconi_api.model.postgres.transitions import NOW

#: Seconds for which a second message with a deduplication id is not stored.
DEDUPLICATION_WINDOW = 300

_LONGEST = 128
#: Whether a text can be a group or a deduplication id.
is_name = re.compile(f'[!-~]{{1,{_LONGEST}}}').fullmatch


M = TypeVar('M', bound=Message)


class Posted(NamedTuple):
    """What became of a message that was posted.

    ``sequence``: its number in its group, of a FIFO queue; else None. ``is_duplicate``: it was not
    stored, and id and sequence are those of the first message with its deduplication id.
    """

    id: str
    sequence: int | None = None
    is_duplicate: bool = False


def check_name(what: str, name: str) -> None:
    """Refuse a group or a deduplication id that is not well formed.

    :param what: how the caller calls it
    :raises InvalidRequest: if it is not
    """
    if not is_name(name):
        raise InvalidRequest(
            f'{what} must have 1 to {_LONGEST} characters: letters and digits of ASCII, and its '
            'punctuation, without blanks.'
        )


def are_grouped(messages: Sequence[NewMessage]) -> bool:
    """Whether a message says something that only matters where messages have groups."""
    return any(new.group is not None or new.deduplication_id is not None for new in messages)


def parameters_of_post(messages: Sequence[NewMessage], attributes: Attributes) -> dict[str, Any]:
    """The parameters of a post's statement that are about groups.

    :raises InvalidRequest: if a message lacks something that the queue needs, or has something that
        does not go with it
    """
    for new in messages:
        if new.group is not None:
            check_name('group', new.group)
        if new.deduplication_id is not None:
            check_name('deduplication_id', new.deduplication_id)
    groups = [new.group for new in messages]
    if not attributes.is_fifo:
        if any(new.deduplication_id is not None for new in messages):
            raise InvalidRequest('Only messages in a FIFO queue can have a deduplication_id.')
        return {'groups': groups}
    if None in groups:
        raise InvalidRequest('Each message that is posted to a FIFO queue must have a group.')
    ids = [
        _content_hash(new.body)
        if new.deduplication_id is None and attributes.content_based_deduplication
        else new.deduplication_id
        for new in messages
    ]
    if None in ids:
        raise InvalidRequest(
            'Each message that is posted to this FIFO queue must have a deduplication_id, as the '
            'queue has no _content_based_deduplication.'
        )
    is_by_group = attributes.deduplication_scope == 'group'
    keys = [_key(group if is_by_group else None, id) for group, id in zip(groups, ids, strict=True)]
    return {'groups': groups, 'deduplication_ids': ids, 'keys': keys}


def _content_hash(body: str) -> str:
    """The deduplication id of a message by its content: what SQS makes of the same text."""
    content = json.loads(body) if body.startswith('"') else body
    return sha256(content.encode('utf-8', 'surrogatepass')).hexdigest()


def _key(group: str | None, id: str | None) -> str:
    scope = 'queue' if group is None else f'group {group}'
    return blake2b(f'{scope} {id}'.encode(), digest_size=16).hexdigest()


#: Of messages their groups, sequences and deduplication ids, by their ids.
GROUPS_OF = Prepared(
    """
    SELECT id, group_key, sequence,
           (SELECT deduplication_id FROM messages
             WHERE queue_id = %(queue_id)s AND messages.id = state.id LIMIT 1)
      FROM message_states AS state
     WHERE queue_id = %(queue_id)s AND id = ANY (%(ids)s::bigint[])""",
    'groups_of',
)


def with_groups(
    database: Database, attributes: KnownAttributes, queue: QueueKey, messages: list[M]
) -> list[M]:
    """The messages with their groups, if messages in this queue have groups.

    It takes a look at the database for queues whose messages do.
    """
    if not messages:
        return messages
    known = attributes.recall(queue) or attributes.read(queue)
    if known is None or known.grouping == NO_GROUPS:
        return messages
    ids = [int(message.id, 16) for message in messages]
    rows = database.rows(GROUPS_OF, {'queue_id': queue.id, 'ids': ids}, repeatable=True)
    places = {
        public_id(id): (group, sequence if known.is_fifo else None, deduplication_id)
        for id, group, sequence, deduplication_id in rows
    }
    return [_placed(message, *places.get(message.id, _NO_PLACE)) for message in messages]


_NO_PLACE = None, None, None


def _placed(message: M, group: str | None, sequence: int | None, deduplication_id: str | None) -> M:
    if isinstance(message, ClaimedMessage):
        message = replace(message, deduplication_id=deduplication_id)
    return replace(message, group=group, sequence=sequence)


# ---------------------------------------------------------------- parts of statements


def woken(changed: str, kicked: str = 'false', gone: str = '') -> str:
    """A part of a statement: the groups of messages that it changed are looked at by the next claim.

    ``CLOCK`` must come before this part, and ``the_queue``. The rows are there; an upsert is the one form in
    which no plan reads the rows of all groups.

    A group of which all messages were deleted is not looked at: else each claim would first look at the
    groups that the deletes before it have emptied. See ``_EMPTIED`` for the proof.

    :param changed: the part of the statement that has the messages, with ``group_key``
    :param kicked: the SQL of whether there may be messages among them that were parked
    :param gone: the part that has their ids, if they were deleted; ``changed`` then has ``sequence``, too
    """
    if gone:
        emptied, rows = _EMPTIED, _groups_without(changed, gone)
    else:
        emptied = 'false'
        rows = f"""
        SELECT DISTINCT %(queue_id)s::bigint, group_key, 0, 0, {NOW}
          FROM {changed}, the_queue
         WHERE grouping = {FIFO} AND group_key IS NOT NULL
         ORDER BY group_key"""
    return f"""
    woken AS (
        INSERT INTO message_groups AS known
               (queue_id, group_key, first_sequence, last_sequence, available_at){rows}
            ON CONFLICT (queue_id, group_key) DO UPDATE
           SET available_at = CASE WHEN {emptied} THEN NULL ELSE excluded.available_at END,
               first_sequence = CASE WHEN {kicked} THEN 0 ELSE known.first_sequence END)"""


# The statement's snapshot had no other message of the group from its ``first_sequence`` on, and
# ``excluded`` has that, and the highest sequence that was deleted. ``known`` is the group's row as it is now:
# - Whatever was posted later has a higher sequence, and raised ``last_sequence`` in the same transaction. What
#   has a lower one was there before, as sequences follow the order of commits; so the snapshot had it.
# - Nothing that can be claimed has a lower sequence than ``first_sequence``: who kicks a parked message lowers
#   that.
_EMPTIED = """known.last_sequence <= excluded.last_sequence
                                    AND known.first_sequence >= excluded.first_sequence"""


def _groups_without(changed: str, gone: str) -> str:
    """The rows of the groups of messages, whose ``last_sequence`` is 0 if there are others in them."""
    return f"""
        SELECT %(queue_id)s::bigint, own.group_key, coalesce(seen.first_sequence, 0),
               CASE WHEN seen.first_sequence IS NOT NULL AND other.is_there IS NULL
                    THEN last_sequence ELSE 0 END, {NOW}
          FROM (SELECT group_key, max(sequence) AS last_sequence
                  FROM {changed}, the_queue
                 WHERE grouping = {FIFO} AND group_key IS NOT NULL
                 GROUP BY group_key) AS own
               LEFT JOIN LATERAL (
                   SELECT first_sequence FROM message_groups
                    WHERE queue_id = %(queue_id)s AND group_key = own.group_key
                    LIMIT 1) AS seen ON true
               LEFT JOIN LATERAL (
                   SELECT true AS is_there FROM message_states
                    WHERE queue_id = %(queue_id)s AND group_key = own.group_key
                      AND sequence >= seen.first_sequence
                      AND id <> ALL (ARRAY(SELECT id FROM {gone}))
                    ORDER BY sequence LIMIT 1) AS other ON true
         ORDER BY own.group_key"""


#: Lets the next claim look at all groups that wait for their time: all but claimed messages are purged.
WAKE_GROUPS = """
    WITH waiting AS MATERIALIZED (
        SELECT queue_id, group_key FROM message_groups
         WHERE queue_id = %(queue_id)s AND available_at > now()
         ORDER BY available_at, group_key)
    INSERT INTO message_groups (queue_id, group_key, first_sequence, last_sequence, available_at)
    SELECT queue_id, group_key, 0, 0, now() FROM waiting
     ORDER BY group_key
        ON CONFLICT (queue_id, group_key) DO UPDATE SET available_at = excluded.available_at
 RETURNING group_key
"""


def joined(arrivals: str, queue_id: str, first: str, floor: str) -> str:
    """Two parts of a statement that number messages which come to groups of FIFO queues.

    The rows are written in the order of their names, which is that of the columns (``C``), as elsewhere.
    ``numbered_groups`` writes the rows of the groups, and ``arrived`` has the columns of ``arrivals``
    and ``sequence``. A group that was empty, or was purged, is available from then on, though a delay may
    not be over, and a message may be a duplicate that is not stored. A sequence
    is never lower than the ids of its transaction. So sequences also grow after the janitor has removed
    the row of an empty group, and what was posted before a purge has sequences below the floor.

    :param arrivals: the part with the messages: ``place``, in order, ``group_key``, and what the
        other parameters use
    :param queue_id: the SQL of the queue to which they come
    :param first: the SQL of the lowest id of this transaction
    :param floor: the SQL of that queue's floor
    """
    return f"""
    numbered_groups AS (
        INSERT INTO message_groups AS known
               (queue_id, group_key, first_sequence, last_sequence, available_at)
        SELECT {queue_id}, group_key, {first}, {first} - 1 + count(*), {NOW}
          FROM {arrivals}
         GROUP BY 1, group_key, {first} ORDER BY 1, group_key COLLATE "C"
            ON CONFLICT (queue_id, group_key) DO UPDATE
           SET last_sequence = greatest(
                   known.last_sequence + 1 + excluded.last_sequence - excluded.first_sequence,
                   excluded.last_sequence),
               available_at = CASE WHEN known.last_sequence < {floor}
                                   THEN least(known.available_at, excluded.available_at)
                                   ELSE coalesce(known.available_at, excluded.available_at) END
     RETURNING queue_id, group_key, last_sequence),
    arrived AS MATERIALIZED (
        SELECT arrivals.*,
               last_sequence + row_number() OVER (PARTITION BY known.queue_id, known.group_key ORDER BY place)
               - count(*) OVER (PARTITION BY known.queue_id, known.group_key) AS sequence
          FROM {arrivals} AS arrivals
               JOIN numbered_groups AS known
                 ON known.queue_id = {queue_id} AND known.group_key = arrivals.group_key)"""
