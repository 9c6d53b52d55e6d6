"""The tables, what identifies a row in them, and the conditions that all statements share.

What a client posted never changes and stands in ``messages``. What changes with every
claim stands in the narrow rows of ``message_states``, so that a claim rewrites a few dozen
bytes and never a body. docs/architecture.md draws the picture.

Every key and every hot statement holds ``queue_id``, so that queues can lie on different servers one
day. Citus cannot distribute them: statements rely on transaction ids and row places of one PostgreSQL.
"""

import re
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import UUID as PostgresUuid

metadata = MetaData()

#: The migration that brings the database up to what is written here.
REVISION = '0014'

#: The id of a fresh message, written such that only the index of fresh messages has its order. If all
#: messages were fresh at the last ANALYZE, the planner would otherwise take the primary key, and walk
#: all messages that were claimed since. (steering.py lists all such means.)
FRESH_ID = '(id + 0)'

_timestamp = DateTime(timezone=True)
_text_by_bytes = Text(collation='C')

queues = Table(
    'queues',
    metadata,
    # QueueKey.id: the same for the same project and name, for ever.
    Column('queue_id', BigInteger, primary_key=True, autoincrement=False),
    # '' stands for requests that name no project.
    Column('project', _text_by_bytes, nullable=False),
    Column('name', _text_by_bytes, nullable=False),
    # A JSON object, as the text that the client sent.
    Column('metadata', Text, nullable=False, server_default=text("'{}'")),
    Column('created_at', _timestamp, nullable=False, server_default=text('now()')),
    # A message with a lower id was purged, or belongs to a queue of this name that was
    # deleted before. RETIRED: the queue is being deleted.
    Column('floor', BigInteger, nullable=False),
    # Subscriptions, or remains of some: deliveries, and bodies that were kept for them.
    Column('has_subscribers', Boolean, nullable=False, server_default=text('false')),
    # NO_GROUPS, FAIR or FIFO.
    Column('grouping', SmallInteger, nullable=False, server_default=text("'0'")),
    # The last time an SQS client purged it, which may do so once a minute.
    Column('purged_at', _timestamp),
    Index('queues_by_name', 'project', 'name'),
    Index(
        'queues_with_subscribers',
        'queue_id',
        postgresql_where=text('has_subscribers'),
    ),
    # Those that are being deleted.
    Index(
        'queues_retired',
        'queue_id',
        postgresql_where=text('floor = 9223372036854775807'),
    ),
)

messages = Table(
    'messages',
    metadata,
    Column('queue_id', BigInteger, primary_key=True, autoincrement=False),
    Column('id', BigInteger, primary_key=True, autoincrement=False),
    Column('created_at', _timestamp, nullable=False),
    # Any JSON value, as the text that the client sent; text, since jsonb would reorder
    # members, round numbers and refuse \u0000.
    Column('body', Text, nullable=False),
    # The trace of which the post was a part, as the W3C's header traceparent. A null takes no byte.
    Column('traceparent', _text_by_bytes),
    # Of a message in a FIFO queue: another one with this id is not stored for a while.
    Column('deduplication_id', _text_by_bytes),
    # What an SQS client sent beside the body: a JSON object (message_attributes.py).
    Column('message_attributes', Text),
)

message_states = Table(
    'message_states',
    metadata,
    Column('queue_id', BigInteger, primary_key=True, autoincrement=False),
    Column('id', BigInteger, primary_key=True, autoincrement=False),
    # Fresh: null. Claimed, or delayed where claim_id is null: in the future. Returned
    # (released, lapsed, due): in the past. Parked: infinity. Never null again.
    Column('held_until', _timestamp),
    # Parked: infinity; its ttl starts anew when it is kicked.
    Column('expires_at', _timestamp, nullable=False),
    # The claim that holds the message, or the one that let it lapse.
    Column('claim_id', PostgresUuid),
    # Who posted it, so that a reader need not see its own echoes.
    Column('client_id', PostgresUuid, nullable=False),
    # Seconds of life, as the client sees them; a claim may raise them.
    Column('ttl', Integer, nullable=False),
    # How often the message was handed out since it was posted, moved or kicked.
    Column('claim_count', Integer, nullable=False, server_default=text('0')),
    # When it came here from another queue, or survived a purge: the lowest id that a post of
    # that transaction would have had. Null: it was posted here, and lies above the floor.
    Column('moved_in', BigInteger),
    # Why it is parked, in the words of whoever parked it.
    Column('park_reason', Text),
    # Of a dead letter the queue from which it was put away, of the same project.
    Column('came_from', BigInteger),
    # Null: it was posted without a group. And its place among the messages of the group: in a FIFO
    # queue a number that the group gave out, in another one the id.
    Column('group_key', _text_by_bytes),
    Column('sequence', BigInteger),
    # When an SQS client first got it; null: none did.
    Column('first_received_at', _timestamp),
    # Of a dead letter how often it was handed out before it came here.
    Column('claimed_before', Integer),
    Index(
        'message_states_group',
        'queue_id',
        'group_key',
        'sequence',
        postgresql_where=text('group_key IS NOT NULL'),
    ),
    Index(
        'message_states_fresh',
        'queue_id',
        text(FRESH_ID),
        postgresql_where=text('held_until IS NULL'),
    ),
    Index(
        'message_states_held',
        'queue_id',
        'held_until',
        'id',
        postgresql_where=text('held_until IS NOT NULL'),
    ),
)

message_groups = Table(
    'message_groups',
    metadata,
    # A group of a FIFO queue. Its row is locked by whoever posts to the group or claims from it
    # (groups.py).
    Column('queue_id', BigInteger, primary_key=True, autoincrement=False),
    Column('group_key', _text_by_bytes, primary_key=True),
    # The last one that was given out.
    Column('last_sequence', BigInteger, nullable=False),
    # No message that is alive, and not parked, has a lower one.
    Column('first_sequence', BigInteger, nullable=False),
    # The first message of the group can be claimed at that time, or later. Null: there is none.
    Column('available_at', _timestamp),
    Index(
        'message_groups_available',
        'queue_id',
        'available_at',
        'group_key',
        postgresql_where=text('available_at IS NOT NULL'),
    ),
    postgresql_with={'fillfactor': 70, 'autovacuum_vacuum_scale_factor': 0.02},
)

claims = Table(
    'claims',
    metadata,
    Column('queue_id', BigInteger, primary_key=True, autoincrement=False),
    Column('id', PostgresUuid, primary_key=True),
    # When the claim was made, or last renewed.
    Column('started_at', _timestamp, nullable=False),
    Column('expires_at', _timestamp, nullable=False),
    Column('ttl', Integer, nullable=False),
    # The messages it took, in any order; it still holds those whose state names it.
    Column('message_ids', ARRAY(BigInteger), nullable=False),
)

idempotency_keys = Table(
    'idempotency_keys',
    metadata,
    Column('queue_id', BigInteger, primary_key=True, autoincrement=False),
    # What the request was to do: of idempotency.py.
    Column('operation', SmallInteger, primary_key=True, autoincrement=False),
    # 128 bits of a hash of what the client sent as Idempotency-Key.
    Column('key', PostgresUuid, primary_key=True),
    # 128 bits of a hash of the rest of the request.
    Column('digest', PostgresUuid, nullable=False),
    # Of a post the id of its first message; of a claim the id that a message of the same transaction
    # would have had. A key with an id below the queue's floor is forgotten.
    Column('first_id', BigInteger, nullable=False),
    # The claim that the request made; null: the request was a post.
    Column('claim_id', PostgresUuid),
    # Of a message in a FIFO queue, which is looked for by its deduplication id: its sequence.
    Column('sequence', BigInteger),
    Column('expires_at', _timestamp, nullable=False),
    Index('idempotency_keys_expiry', 'expires_at'),
)

requests = Table(
    'requests',
    metadata,
    # A message that asks for a reply, and the queue to which it was posted.
    Column('message_id', BigInteger, primary_key=True, autoincrement=False),
    Column('queue_id', BigInteger, primary_key=True, autoincrement=False),
    # The queue in which the message lies by now, of the same project.
    Column('lies_in', BigInteger, nullable=False),
    Column('project', _text_by_bytes, nullable=False),
    # JSON text, as the worker sent it; null: there is none.
    Column('reply', Text),
    # Why there is none, where that is known.
    Column('reason', Text),
    # When the reply was given, or it was found that there will be none.
    Column('ended_at', _timestamp),
    # When the janitor looks at the row. Nobody sees a request that has ended after that.
    Column('kept_until', _timestamp, nullable=False),
    Index('requests_kept', 'kept_until'),
)

id_epoch = Table(
    'id_epoch',
    metadata,
    # There is one row: how the transactions of the running server are numbered (see
    # numbering.py).
    Column('only_row', Boolean, primary_key=True, server_default=text('true')),
    # The cluster whose ids are known to lie below these numbers.
    Column('cluster', BigInteger, nullable=False),
    # What is added to a transaction's id to make its number.
    Column('base', BigInteger, nullable=False),
    # Only lower numbers may be given out.
    Column('reserved', BigInteger, nullable=False, server_default=text('0')),
    # When the server was started for which this holds; null: for none.
    Column('server_started_at', _timestamp),
    # The transaction that wrote the row, as its system column xmin has it.
    Column('written_by', BigInteger),
    # No new epoch begins before that.
    Column('rests_until', _timestamp),
    CheckConstraint('only_row', name='id_epoch_has_one_row'),
)

janitor = Table(
    'janitor',
    metadata,
    # There is one row: the process that looks for dead rows, and when its last round began.
    Column('only_row', Boolean, primary_key=True, server_default=text('true')),
    Column('name', PostgresUuid),
    Column('round_at', _timestamp),
    CheckConstraint('only_row', name='janitor_has_one_row'),
)


tokens = Table(
    'tokens',
    metadata,
    # The part of a token that is not secret.
    Column('id', _text_by_bytes, primary_key=True),
    # SHA-256 of the part that is.
    Column('secret_sha256', LargeBinary, nullable=False),
    # The same part, encrypted by a key of the settings, as signatures of SQS need it; null: the token is
    # not an access key.
    Column('encrypted_secret', Text),
    # '' for an operator's, which may name any.
    Column('project', _text_by_bytes, nullable=False),
    Column('roles', ARRAY(Text), nullable=False),
    # What it is for, in words of the person who made it.
    Column('name', Text, nullable=False, server_default=text("''")),
    # The name of a queue, or the beginning of names and an asterisk; null: any queue.
    Column('queues', Text),
    Column('created_at', _timestamp, nullable=False, server_default=text('now()')),
    # Null: never.
    Column('expires_at', _timestamp),
    # To the minute.
    Column('last_used_at', _timestamp),
    Column('revoked_at', _timestamp),
    Index('tokens_by_project', 'project', 'id'),
)

accounts = Table(
    'accounts',
    metadata,
    # What URLs and ARNs of SQS have in place of a project's name: twelve digits, handed out once.
    Column('project', _text_by_bytes, primary_key=True),
    Column('account', _text_by_bytes, nullable=False, unique=True),
    # Seals the receipts of the project.
    Column('receipt_key', LargeBinary, nullable=False),
)

project_limits = Table(
    'project_limits',
    metadata,
    # What a project may have or do where that differs from the settings.
    Column('project', _text_by_bytes, primary_key=True),
    # The setting's name, such as quota.messages.
    Column('setting', _text_by_bytes, primary_key=True),
    # Null: as much as it likes.
    Column('value', BigInteger),
)

subscriptions = Table(
    'subscriptions',
    metadata,
    # Read by each post to the queue: what changes often stands in subscription_owners.
    Column('queue_id', BigInteger, primary_key=True, autoincrement=False),
    # Microseconds since 1970 at which it was made.
    Column('id', BigInteger, primary_key=True, autoincrement=False),
    # A URL, or queue:NAME.
    Column('subscriber', _text_by_bytes, nullable=False),
    # The queue that gets copies; null: a webhook.
    Column('target_id', BigInteger),
    Column('created_at', _timestamp, nullable=False),
    Column('ttl', Integer, nullable=False),
    Column('expires_at', _timestamp, nullable=False),
    # A JSON object as the client sent it, without its secret.
    Column('options', Text, nullable=False, server_default=text("'{}'")),
    # Else nothing is delivered.
    Column('confirmed', Boolean, nullable=False),
    # What signs deliveries; after a rotation both do.
    Column('secret', Text),
    Column('previous_secret', Text),
    Column('rotated_at', _timestamp),
    # Null: active.
    Column('paused_at', _timestamp),
    Column('reason', Text),
    Index(
        'subscriptions_targets',
        'target_id',
        postgresql_where=text('target_id IS NOT NULL'),
    ),
)

subscription_owners = Table(
    'subscription_owners',
    metadata,
    # Of each webhook one row, by the key of its subscription.
    Column('queue_id', BigInteger, primary_key=True, autoincrement=False),
    Column('id', BigInteger, primary_key=True, autoincrement=False),
    # The process that delivers, and until when no other may.
    Column('owner', PostgresUuid),
    Column('owned_until', _timestamp, nullable=False, server_default=text("'-infinity'")),
    Column('delivered', BigInteger, nullable=False, server_default=text('0')),
    # Null: the last attempt succeeded, or there was none.
    Column('failing_since', _timestamp),
    # The Message_Type of a confirmation that is still to be sent.
    Column('confirmation', Text),
    Column('confirmation_due_at', _timestamp),
    Column('confirmation_attempts', SmallInteger, nullable=False, server_default=text('0')),
    postgresql_with={'fillfactor': 50},
)

deliveries = Table(
    'deliveries',
    metadata,
    # A message that a webhook has not got yet. The body stays in messages, though the
    # message may be gone from its queue.
    Column('queue_id', BigInteger, primary_key=True, autoincrement=False),
    Column('subscription_id', BigInteger, primary_key=True, autoincrement=False),
    Column('message_id', BigInteger, primary_key=True, autoincrement=False),
    # Of the message; of a delivery that failed, the end of the time for which it is kept.
    Column('expires_at', _timestamp, nullable=False),
    # Null: never tried. Infinity: failed for good.
    Column('due_at', _timestamp),
    Column('attempts', SmallInteger, nullable=False, server_default=text('0')),
    Index(
        'deliveries_due',
        'queue_id',
        'subscription_id',
        'due_at',
        postgresql_where=text('due_at IS NOT NULL'),
    ),
    postgresql_with={'autovacuum_vacuum_scale_factor': 0.02},
)

delivery_attempts = Table(
    'delivery_attempts',
    metadata,
    # An attempt that failed; of each delivery the last ones.
    Column('queue_id', BigInteger, primary_key=True, autoincrement=False),
    Column('subscription_id', BigInteger, primary_key=True, autoincrement=False),
    Column('message_id', BigInteger, primary_key=True, autoincrement=False),
    Column('attempt', Integer, primary_key=True, autoincrement=False),
    Column('attempted_at', _timestamp, nullable=False),
    # Of the answer; null: there was none.
    Column('status', SmallInteger),
    # What went wrong, in a word.
    Column('error', Text),
    Column('milliseconds', Integer, nullable=False),
)

redrives = Table(
    'redrives',
    metadata,
    # The queue from which messages are moved, and its names, for whoever carries it out.
    Column('queue_id', BigInteger, primary_key=True, autoincrement=False),
    Column('id', PostgresUuid, primary_key=True),
    Column('project', _text_by_bytes, nullable=False),
    Column('name', _text_by_bytes, nullable=False),
    # Of the messages that are moved: ready or parked.
    Column('state', Text, nullable=False),
    # The name of the queue to which they go; null: back to where they came from.
    Column('target', _text_by_bytes),
    # A pattern for the names of the queues to which they may go back; null: any.
    Column('origins', _text_by_bytes),
    # Seconds, and a part of the reason: which messages are moved; null: all.
    Column('min_age', Integer),
    Column('max_age', Integer),
    Column('reason', Text),
    # Messages a second; null: as many as can be.
    Column('rate', Integer),
    # What came to the queue later stays: the lowest id that a post could then have had.
    Column('before', BigInteger, nullable=False),
    # How many there were to move at the start; null: too many to be counted then.
    Column('total', BigInteger),
    # The id of the last message that was looked at.
    Column('place', BigInteger, nullable=False, server_default=text("'-1'")),
    Column('moved', BigInteger, nullable=False, server_default=text("'0'")),
    # Messages that stay, as the queue that they came from is not known, or is gone.
    Column('without_target', BigInteger, nullable=False, server_default=text("'0'")),
    # running, completed, cancelled or failed; and why it failed.
    Column('status', Text, nullable=False, server_default=text("'running'")),
    Column('failure', Text),
    Column('started_at', _timestamp, nullable=False, server_default=text('now()')),
    # No batch begins before that.
    Column('due_at', _timestamp, nullable=False, server_default=text('now()')),
    Column('ended_at', _timestamp),
    # Of each queue one at a time.
    Index(
        'redrives_running',
        'queue_id',
        unique=True,
        postgresql_where=text('ended_at IS NULL'),
    ),
)

audit = Table(
    'audit',
    metadata,
    Column('id', BigInteger, Identity(), primary_key=True),
    Column('at', _timestamp, nullable=False, server_default=text('now()')),
    # A user of a host, or a token's id; and by which way: command, shell, api or console.
    Column('who', Text, nullable=False),
    Column('way', Text, nullable=False),
    Column('action', _text_by_bytes, nullable=False),
    # Null: the action is not about one.
    Column('project', _text_by_bytes),
    Column('queue', _text_by_bytes),
    # Messages; null: they were not counted, or it was not about any.
    Column('count', BigInteger),
    # A JSON object.
    Column('details', Text, nullable=False, server_default=text("'{}'")),
    Index('audit_times', 'at'),
)

queue_minutes = Table(
    'queue_minutes',
    metadata,
    # Of the last hour; by the minute first, as those of a minute are written and removed together.
    Column('minute', _timestamp, primary_key=True),
    Column('queue_id', BigInteger, primary_key=True, autoincrement=False),
    # Messages that came to the queue in the minute, and that left it.
    Column('came', BigInteger, nullable=False, server_default=text('0')),
    Column('gone', BigInteger, nullable=False, server_default=text('0')),
    # Those that were handed out, by steps of their age; null: none was.
    Column('handed_out', ARRAY(BigInteger)),
    # What the queue held when that was counted in the minute; null: it was not.
    Column('ready', BigInteger),
    Column('claimed', BigInteger),
    Column('delayed', BigInteger),
    Column('parked', BigInteger),
    # Seconds, of the oldest that is not parked.
    Column('oldest_age', BigInteger),
    prefixes=['UNLOGGED'],
    postgresql_with={'fillfactor': 70},
)


# ---------------------------------------------------------------- what identifies a row


class QueueKey(NamedTuple):
    """A queue of a project; ``project`` is '' if the client names none."""

    id: int
    project: str
    name: str

    @classmethod
    @lru_cache(maxsize=4096)
    def of(cls, project: str, name: str) -> 'QueueKey':
        """The key of a queue, which it has whether or not it exists.

        The id is the BLAKE2b hash of both names, as a signed integer of 64 bits. The project's length
        is hashed, too, to keep ('a', 'bc') apart from ('ab', 'c'). Statements check the names beside
        the id, so that two names with the same hash do not share a queue.
        """
        digest = blake2b(f'{len(project)}:{project}{name}'.encode(), digest_size=8).digest()
        return cls(int.from_bytes(digest, 'big', signed=True), project, name)

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of THE_QUEUE."""
        return {'queue_id': self.id, 'project': self.project, 'name': self.name}


# A message's id is the 64-bit id of the transaction that posted it, then its place in the
# post, in this many bits: ids grow in the order in which transactions begin, and a reader
# who stops short of the oldest unfinished transaction (READ_HORIZON) misses none.
POSITION_BITS = 14
#: Messages that one request can post.
MOST_IN_A_POST = 2**POSITION_BITS

#: Whether a message can have the id, as clients see it.
is_public_id = re.compile(r'[0-7][0-9a-f]{15}').fullmatch


def public_id(message_id: int) -> str:
    """A message's id as clients see it: hexadecimal, in posting order as text too."""
    return f'{message_id:016x}'


def message_id(public: str) -> int | None:
    """The id that clients see as ``public``; None if it is not well formed."""
    return int(public, 16) if is_public_id(public) else None


def claim_id(public: str) -> str | None:
    """A claim's id if ``public`` is a UUID in its canonical spelling; else None."""
    try:
        return public if str(UUID(public)) == public else None
    except ValueError:
        return None


# ---------------------------------------------------------------- shared conditions

#: What the messages' groups mean to a queue: nothing, as there are none; a fair share for each; or
#: an order within each. The column ``grouping``.
NO_GROUPS, FAIR, FIFO = 0, 1, 2

#: The floor of a queue that is being deleted: no message is above it.
RETIRED = 2**63 - 1

#: The condition for the row of the queue that a statement is about.
IS_THE_QUEUE = f"""queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
       AND floor < {RETIRED}"""

#: The queue that a statement is about: one row if it exists, none else.
THE_QUEUE = f'SELECT floor, has_subscribers, grouping FROM queues WHERE {IS_THE_QUEUE}'

# Transactions that may take a number while one statement runs.
_MARGIN = 2**15

#: The number above all that the statement's snapshot knows of, by the row of id_epoch.
NEXT_NUMBER = '(pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base)'

#: Whether the row of id_epoch holds for the server that runs.
IS_EPOCH_OF_THIS_SERVER = """coalesce(
           server_started_at = pg_postmaster_start_time()
           AND written_by = id_epoch.xmin::text::bigint,
           false)"""

# The row of id_epoch, if it says what this process knows.
_AS_THIS_PROCESS_KNOWS = f'only_row AND base = %(base)s AND {IS_EPOCH_OF_THIS_SERVER}'


def _numbered(more: str = '') -> str:
    return f"""1 / EXISTS (
           SELECT FROM id_epoch WHERE {_AS_THIS_PROCESS_KNOWS}{more})::int = 1"""


#: The condition that transactions are numbered as this process knows. If they are not, the statement
#: fails with a division by zero, by which the process learns of a new epoch (numbering.py). SQL has no
#: other way to raise an error from within a statement.
IS_NUMBERED_AS_KNOWN = _numbered()

#: The same for a statement that stores numbers; it also fails if too few reserved ones are left.
MAY_NUMBER = _numbered(f"""
              AND {NEXT_NUMBER} + {_MARGIN} < reserved""")

#: Conditions after a query for a queue, for the statements of queues that are not FIFO, of those whose
#: messages have no groups at all, and of the other ones.
IS_NOT_FIFO = f"""
       AND grouping < {FIFO}"""
HAS_NO_GROUPS = f"""
       AND grouping = {NO_GROUPS}"""
IS_FAIR = f"""
       AND grouping = {FAIR}"""

#: The queue, for a statement that relies on the numbers of messages. It fails as by
#: ``IS_NUMBERED_AS_KNOWN``: ``only_row`` is null if the join finds no row of ``id_epoch``. A join takes
#: PostgreSQL 10 us less than a subquery. The result cannot be locked.
THE_NUMBERED_QUEUE = f"""SELECT floor, has_subscribers, grouping
      FROM queues LEFT JOIN id_epoch ON {_AS_THIS_PROCESS_KNOWS}
     WHERE {IS_THE_QUEUE}
       AND 1 / (only_row IS NOT NULL)::int = 1"""

#: The queue, for a statement that numbers messages.
THE_NUMBERING_QUEUE = f"""{THE_QUEUE}
       AND {MAY_NUMBER}"""

#: The condition that the queue's metadata is what the statement was made for, by ``Attributes.digest``.
#: It follows one of the queries above. A hash takes PostgreSQL 8 us, and metadata is mostly short.
AS_KNOWN = """
       AND (metadata = %(digest)s
            OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)"""

#: The condition that a message belongs to this queue: it was not purged, and was not left by a deleted
#: queue of the same name.
IS_HERE = 'coalesce(moved_in, id) >= (SELECT floor FROM the_queue)'

#: The same for fresh messages, none of which was ever moved. A scan of their index can start at it.
IS_FRESH_HERE = f'{FRESH_ID} >= (SELECT floor FROM the_queue)'

#: A message that has not expired, and that is here.
IS_ALIVE = f'expires_at > now() AND {IS_HERE}'

# Not `held_until > now()`: where nothing was held at the last ANALYZE, the planner would
# take the index on held_until and walk every claim, dead ones too. It can't for coalesce.
_IS_HELD = 'coalesce(held_until > now(), false)'

#: Under a live claim.
IS_CLAIMED = f'(claim_id IS NOT NULL AND {_IS_HELD})'

#: Not to be claimed before its time, which will come.
IS_DELAYED = f"(claim_id IS NULL AND {_IS_HELD} AND held_until < 'infinity')"

#: Out of circulation until somebody says otherwise.
IS_PARKED = "(held_until IS NOT DISTINCT FROM 'infinity')"

#: Waiting to be claimed: fresh or returned.
IS_READY = f'NOT {_IS_HELD}'

#: The state of a message that is alive, in one word.
STATE = """CASE WHEN held_until IS NULL OR held_until <= now() THEN 'ready'
                WHEN held_until = 'infinity' THEN 'parked'
                WHEN claim_id IS NOT NULL THEN 'claimed'
                ELSE 'delayed' END"""

#: The id of the oldest unfinished transaction, as the upper part of message ids.
OLDEST_UNFINISHED = '(pg_snapshot_xmin(pg_current_snapshot())::text::bigint + %(base)s)'

#: Messages with lower ids are all there, or never will be: where a listing must stop.
READ_HORIZON = f'({OLDEST_UNFINISHED} << {POSITION_BITS})'

#: The lowest id that a transaction which has not begun yet can give: use it together with
#: MAY_NUMBER.
NEXT_TRANSACTION = (
    f'((pg_snapshot_xmax(pg_current_snapshot())::text::bigint + %(base)s) << {POSITION_BITS})'
)

#: Seconds since a time, never negative. (Not by extract, whose numeric takes half as long again.)
AGE_OF = "floor(greatest(0, date_part('epoch', now() - {})))::bigint"
