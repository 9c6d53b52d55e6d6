"""How transactions are numbered, so that no message id is given out twice, whatever happens.

A message's id starts with the number of the transaction that posted it: PostgreSQL's id of
the transaction, plus a *base*. As long as one PostgreSQL server runs, its transaction ids only
rise, and the base stays. After anything that may set them back (a dump that is restored, a
standby that is promoted though it was behind, a point-in-time recovery, an older copy of the
data directory) another server runs: it was started at another time, or somebody else wrote
the row of ``id_epoch``. That begins a new *epoch*, with a base that lifts its numbers above
all former ones. So each restart of PostgreSQL begins an epoch, too.

**Which epoch a row belongs to.** The row says when its server was started, and by which
transaction it was written. A restored row has the start of another server, or was written by
the transaction that restored it. Each statement that numbers messages, or that relies on
their numbers, names the base that its process knows and checks the row
(``tables.IS_NUMBERED_AS_KNOWN``, ``MAY_NUMBER``). So no process goes on with an old base, whatever became of
its connection. In a new epoch every such statement fails until one process has begun it.

**Where an epoch starts.** Where the clock says, at 2^17 numbers a second since 2026. A server
would have to begin 131,072 transactions a second from its start on to be ahead of that. So a
later epoch starts above all ids of a former one, also if that one went on after the copy was
made, and whatever the copy knows of it.

A machine's clock may be wrong. So numbers are *reserved* in the row before they are given out,
up to the clock and a second beyond: a mark that outlives the messages, in every copy of the database.
Where the clock has not come to the mark, as after a quick restart, the new epoch waits for a
second or two. Where it is behind by more, the epoch starts a stride above the mark. For
another cluster than the row says it starts above all ids that are stored, too: rows may have
come without the mark.

For example: a server is started on the 1st of May, works through a million messages, and is
dumped. It goes on for a day. The dump is restored on the 2nd of May: its ids start 11 billion
higher than those of the 1st, while the former server has used some millions of them.
"""

from marconi_api.model.postgres.tables import (
    IS_EPOCH_OF_THIS_SERVER,
    NEXT_NUMBER,
    POSITION_BITS,
    RETIRED,
)

_A_SECOND = 2**17
# Numbers that are reserved beyond those in use.
_RESERVED_AT_ONCE = _A_SECOND
# Numbers that a new epoch leaves out if the clock is behind the mark.
_STRIDE = 2**32
# Seconds for which a new epoch waits for the clock to come to the mark.
_PATIENCE = 3

_CLUSTER = '(SELECT system_identifier FROM pg_control_system())'
_TRANSACTION = 'pg_current_xact_id()::text::bigint'
# The transaction's id as the system column xmin shows it: its lower 32 bits.
_WRITER = f'{_TRANSACTION} & 4294967295'

# A number has 49 bits. A clock that is far ahead must not use them up.
_BY_THE_CLOCK = f"""least({2**48}, {_A_SECOND} * date_part('epoch',
                clock_timestamp() - timestamptz '2026-01-01 00:00:00+00'))::bigint"""

# One look into an index for each queue.
_ABOVE_ALL_STORED = f"""(
    SELECT (coalesce(max(greatest(CASE WHEN floor < {RETIRED} THEN floor END, newest.id)), 0)
            >> {POSITION_BITS}) + 1
      FROM queues,
           LATERAL (SELECT max(id) AS id FROM messages
                     WHERE messages.queue_id = queues.queue_id) AS newest)"""

#: The base of the current epoch: no row if it is still to begin.
BASE = f'SELECT base FROM id_epoch WHERE {IS_EPOCH_OF_THIS_SERVER}'

_IS_DUE = f"""(
    NOT {IS_EPOCH_OF_THIS_SERVER} AND coalesce(rests_until <= clock_timestamp(), true))"""

#: Begins a new epoch if one is due. If several processes try at once, one of them does it.
BEGIN_EPOCH = f"""
    BEGIN;
    SET LOCAL statement_timeout = 0;
    SELECT pg_sleep(ahead) FROM (
        SELECT (reserved - {_BY_THE_CLOCK})::float / {_A_SECOND} AS ahead
          FROM id_epoch WHERE {_IS_DUE}) AS mark
     WHERE ahead BETWEEN 0 AND {_PATIENCE};
    WITH former AS MATERIALIZED (
        SELECT *, {_BY_THE_CLOCK} AS by_the_clock FROM id_epoch WHERE {_IS_DUE} FOR UPDATE),
    first AS MATERIALIZED (
        SELECT greatest(
                   CASE WHEN by_the_clock >= reserved THEN by_the_clock
                        ELSE reserved + {_STRIDE} END,
                   CASE WHEN cluster = {_CLUSTER} THEN 0 ELSE {_ABOVE_ALL_STORED} END) AS number
          FROM former)
    UPDATE id_epoch
       SET cluster = {_CLUSTER}, server_started_at = pg_postmaster_start_time(),
           written_by = {_WRITER}, rests_until = NULL,
           base = number - {_TRANSACTION}, reserved = number + {_RESERVED_AT_ONCE}
      FROM first;
    COMMIT
"""

#: Reserves further numbers if the epoch runs short of them. Numbers up to the clock can be reserved
#: freely, as a later epoch starts above the clock anyway. So the older an epoch
#: is, the more it reserves at a time, and the less often.
RESERVE = f"""
    UPDATE id_epoch
       SET reserved = greatest({NEXT_NUMBER} + {_RESERVED_AT_ONCE}, {_BY_THE_CLOCK}),
           written_by = {_WRITER}
     WHERE {IS_EPOCH_OF_THIS_SERVER} AND {NEXT_NUMBER} + {_RESERVED_AT_ONCE // 2} >= reserved
"""

#: Ends the current epoch, since rows from another cluster have ids above its own. Returns the time.
#: The next epoch begins when the statements that are still under way have ended. One of them could
#: otherwise store a message under a lower id than a message of the new epoch, and later than it.
END_EPOCH = f"""
    UPDATE id_epoch
       SET server_started_at = NULL, cluster = 0,
           rests_until = clock_timestamp() + %(seconds)s * interval '1 second'
     WHERE {IS_EPOCH_OF_THIS_SERVER}
 RETURNING clock_timestamp()
"""

#: How many transactions may still run that began before the epoch's end. (A post takes the
#: timeouts of its statement and of its commit at most, and a second between them.)
STILL_UNDER_WAY = """
    SELECT count(*) FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid()
       AND backend_type = 'client backend' AND xact_start <= %(ended_at)s
       AND xact_start > clock_timestamp() - %(seconds)s * interval '1 second'
"""

#: Lets the next epoch begin.
END_REST = 'UPDATE id_epoch SET rests_until = NULL WHERE rests_until IS NOT NULL'
