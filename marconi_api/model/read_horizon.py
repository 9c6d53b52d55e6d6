"""Which transaction holds lists back: the oldest that may write, of all in the cluster.

A list stops at the oldest unfinished transaction (docs/architecture.md, Ids). One that stays open
keeps every message that was posted since out of all lists.
"""

from dataclasses import dataclass

from marconi_api.model.postgres.database import Database


@dataclass(frozen=True)
class Holder:
    """A transaction that holds lists back.

    :param transaction: its id
    :param pid: the process of PostgreSQL; None for one that is prepared (PREPARE TRANSACTION)
    :param seconds: since it began; None if PostgreSQL does not show that to us
    :param told: who that is, as far as we may see it, for a line of the log
    """

    transaction: int
    pid: int | None
    seconds: float | None
    told: str


def holder(database: Database) -> Holder | None:
    """The transaction that holds lists back now, if there is one.

    :raises StorageUnavailable: if PostgreSQL cannot be asked
    """
    for row in database.rows(_HOLDER, {}, repeatable=True):
        return Holder(*row)
    return None


# Each transaction holds a lock on its own id, which everybody may see; what others do in their
# sessions only some may. Its own is none: it has no id.
_HOLDER = """
    SELECT locks.transactionid::text::bigint, locks.pid,
           date_part('epoch', clock_timestamp() - coalesce(activity.xact_start, prepared.prepared)),
           concat_ws(', ', nullif(activity.application_name, ''), activity.usename, activity.state,
                     'prepared as ' || prepared.gid)
      FROM (SELECT transactionid, pid FROM pg_locks
             WHERE locktype = 'transactionid' AND mode = 'ExclusiveLock' AND granted
             ORDER BY age(transactionid) DESC LIMIT 1) AS locks
           LEFT JOIN pg_stat_activity AS activity USING (pid)
           LEFT JOIN pg_prepared_xacts AS prepared ON prepared.transaction = locks.transactionid
"""
