"""The janitor: removes dead rows, such as those of expired messages and of deleted queues.

Nothing waits for the janitor: no request sees a dead row even before it is removed. So the janitor
may be late, several may run at once, and each may be killed.
"""

import logging
import threading
from collections.abc import Iterator
from itertools import count
from typing import Any, NamedTuple
from uuid import uuid4

from marconi_api.errors import StorageUnavailable
from marconi_api.model.audit import Audit
from marconi_api.model.flows import DELETED, EXPIRED, LAPSED, flows
from marconi_api.model.idempotency import REMOVE_EXPIRED
from marconi_api.model.left_behind import LeftBehind
from marconi_api.model.postgres.bodies import NOBODY_WAITS
from marconi_api.model.postgres.database import Database, Row
from marconi_api.model.postgres.tables import READ_HORIZON, RETIRED
from marconi_api.model.queues import remove_retired
from marconi_api.model.quiet_stretches import LONGEST, QuietStretches
from marconi_api.model.replies import NOTE_ENDS, remove_old, reply_parameters
from marconi_api.model.traffic import traffic

log = logging.getLogger(__name__)

_BEFORE_ALL = -(2**63)


class Janitor:
    """Removes dead messages, claims, keys of requests, replies and subscriptions, batch by batch.

    :param interval: seconds between two rounds
    :param batch_size: rows that one statement looks at, and so removes at most
    :param audit: the audit log, whose old entries the janitor removes
    """

    def __init__(
        self, database: Database, interval: float, batch_size: int, audit: Audit | None = None
    ) -> None:
        self._database = database
        self._audit = audit
        self._interval = interval
        self._batch_size = batch_size
        self._left_behind = LeftBehind(database, batch_size)
        self._quiet = QuietStretches()
        self._name = str(uuid4())
        #: Whether this janitor does the rounds, of all that run on the database.
        self.has_turn = False

    def run_once(self) -> int:
        """Walk all queues once; return how many messages were removed."""
        self._quiet.forget()
        return self._run_round(sweeps=True)

    def run_forever(self, stop: threading.Event | None = None) -> None:
        """Walk all queues every ``interval`` seconds, until ``stop`` is set.

        If several janitors run at once, one of them does the rounds until it stops. It passes over
        the stretches of long queues in which no message can have died since its last look.
        """
        stop = stop or threading.Event()
        rounds = count()
        while not stop.is_set():
            try:
                self.has_turn = self._is_our_turn()
                removed = self._run_round(next(rounds) % _SWEEPS_EVERY == 0) if self.has_turn else 0
                if removed:
                    log.info('removed %d expired messages', removed)
            except StorageUnavailable:
                log.warning('could not look for what is dead; next try in %g s', self._interval)
            stop.wait(self._interval)

    def seconds_since_last_round(self) -> float | None:
        """Seconds since any janitor on the database began its last round; None if none ever did."""
        [(seconds,)] = self._database.rows(_LAST_ROUND, {}, repeatable=True)
        return None if seconds is None else float(seconds)

    def _is_our_turn(self) -> bool:
        parameters = {'me': self._name, 'patience': _ROUNDS_MISSED * self._interval}
        return bool(self._database.rows(_TAKE_TURN, parameters))

    def _run_round(self, sweeps: bool = False) -> int:
        self._remove(_REMOVE_QUEUES, {})
        floors = self._database.rows(_FLOORS, {'ids': self._quiet.queues}, repeatable=True)
        self._quiet.keep({queue_id: floor for queue_id, floor in floors})
        removed = 0
        for start, looks in self._walk(_LOOK_AT_MESSAGES, _BEFORE_ALL):
            for look in looks:
                if look.dead:
                    gone = self._remove_messages(look.queue_id, look.dead)
                    removed += gone
                    if gone < len(look.dead):
                        break
            else:
                self._learn(start, looks)
        # After the messages, since a claim that holds only dead messages counts as dead.
        for _, looks in self._walk(_LOOK_AT_CLAIMS, _BEFORE_ALL_CLAIMS):
            for look in looks:
                if look.dead:
                    self._remove(_REMOVE_CLAIMS, {'queue_id': look.queue_id, 'ids': look.dead})
        for _, looks in self._walk(_LOOK_AT_GROUPS, ''):
            for look in looks:
                if look.dead:
                    self._remove(_REMOVE_GROUPS, {'queue_id': look.queue_id, 'ids': look.dead})
        self._remove_keys()
        self._remove_requests()
        self._remove_left_behind(sweeps)
        self._forget_what_people_did()
        return removed

    def _remove_requests(self) -> None:
        try:
            remove_old(self._database, self._batch_size)
        except StorageUnavailable:
            log.warning('could not remove the replies whose time is over')

    def _remove_left_behind(self, sweeps: bool) -> None:
        try:
            self._left_behind.remove(sweeps)
        except StorageUnavailable:
            log.warning('could not remove what subscriptions left behind')

    def _forget_what_people_did(self) -> None:
        try:
            if self._audit is not None:
                self._audit.remove_old(self._batch_size)
        except StorageUnavailable:
            log.warning('could not remove what is old of the audit log')

    def _remove_keys(self) -> None:
        """Remove the keys of requests whose time is over, batch after batch.

        Each batch starts where the one before ended: as long as somebody has an old snapshot, the
        index still holds the rows that were removed.
        """
        after = '-infinity'
        while True:
            parameters = {'after': after, 'batch_size': self._batch_size}
            try:
                rows = self._database.rows(REMOVE_EXPIRED, parameters)
            except StorageUnavailable:
                log.warning('could not remove the keys of requests whose time is over')
                return
            if len(rows) < self._batch_size:
                return
            after = max(expires_at for (expires_at,) in rows)

    def _learn(self, start: '_Place', looks: list['_Look']) -> None:
        # The gap between two queues, or behind the last message of one, may get new messages.
        [look, *others] = looks
        if not others and look.queue_id == start.queue_id and look.rows == self._batch_size:
            self._quiet.remember(
                look.queue_id, look.floor, start.id, look.last, look.seconds_to_next_death
            )

    def _remove_messages(self, queue_id: int, ids: list[Any]) -> int:
        """Remove dead messages, and count why they died; returns how many were removed."""
        parameters = {'queue_id': queue_id, 'ids': ids, **reply_parameters()}
        gone = self._remove(_REMOVE_MESSAGES, parameters)
        expired = sum(has_expired for has_expired, _ in gone)
        flows.tell(EXPIRED, expired)
        # A message outlives its claim.
        flows.tell(LAPSED, sum(has_expired and was_claimed for has_expired, was_claimed in gone))
        flows.tell(DELETED, len(gone) - expired)
        traffic.left(queue_id, len(gone))
        return len(gone)

    def _remove(self, statement: str, parameters: dict[str, Any]) -> list[Row]:
        """Run a statement that removes rows; returns its result, or nothing if it fails.

        The next round tries again.
        """
        try:
            return self._database.rows(statement, parameters)
        except StorageUnavailable:
            log.warning('could not remove what is dead: %s', parameters.get('queue_id', 'queues'))
            return []

    def _walk(self, statement: str, before_all: Any) -> Iterator[tuple['_Place', list['_Look']]]:
        """Look at all rows, batch after batch; yields where a look started, and what it saw."""
        place: _Place | None = _Place(_BEFORE_ALL, before_all)
        while place:
            if statement is _LOOK_AT_MESSAGES:
                place = place._replace(id=self._quiet.end_of(*place))
            parameters = {**place._asdict(), 'batch_size': self._batch_size}
            try:
                rows = self._database.rows(statement, parameters, repeatable=True)
            except StorageUnavailable:
                log.warning('looking for what is dead takes too long after %s', place)
                place = self._behind(place, before_all)
                continue
            looks = [_Look(*row) for row in rows]
            if looks:
                yield place, looks
            is_end = sum(look.rows for look in looks) < self._batch_size
            place = None if is_end else _Place(looks[-1].queue_id, looks[-1].last)

    def _behind(self, place: '_Place', before_all: Any) -> '_Place | None':
        """Where to go on when a look takes too long: at the next queue; None if there is none.

        As long as somebody has an old snapshot, a look must pass over deleted rows, perhaps millions.
        If these belong to the next queue, the look at that one fails, too, and the walk goes on behind
        it.
        """
        for (queue_id,) in self._database.rows(_NEXT_QUEUE, place._asdict(), repeatable=True):
            return _Place(queue_id, before_all)
        return None


class _Place(NamedTuple):
    """A row, which need not exist: a walk goes on after it."""

    queue_id: int
    id: Any


class _Look(NamedTuple):
    """What a batch holds of one queue."""

    queue_id: int
    last: Any
    rows: int
    #: The ids of what is dead.
    dead: list[Any] | None
    #: Of a look at messages: the floor of the queue, if it exists.
    floor: int = 0
    #: Of a look at messages: seconds until the next live message expires, ten minutes at most.
    seconds_to_next_death: float = 0


# Rounds between two sweeps for bodies that nobody needs.
_SWEEPS_EVERY = 20

# If the janitor that did the last round misses so many rounds, another one takes its turn.
_ROUNDS_MISSED = 3

# (A round in the future: the clock was set back.)
_TAKE_TURN = """
    UPDATE janitor SET name = %(me)s::uuid, round_at = now()
     WHERE name IS NOT DISTINCT FROM %(me)s::uuid
        OR coalesce(abs(date_part('epoch', now() - round_at)) > %(patience)s, true)
 RETURNING round_at
"""

_LAST_ROUND = "SELECT date_part('epoch', now() - round_at) FROM janitor"

_FLOORS = 'SELECT queue_id, floor FROM queues WHERE queue_id = ANY (%(ids)s::bigint[])'

_NEXT_QUEUE = """
    SELECT queue_id FROM queues WHERE queue_id > %(queue_id)s ORDER BY queue_id LIMIT 1"""

# Queues whose deletion was broken off after its first step.
_REMOVE_QUEUES = remove_retired()

_BEFORE_ALL_CLAIMS = '00000000-0000-0000-0000-000000000000'

# A message is dead when it has expired, when its queue is gone, or when it belonged to an
# earlier queue of that name.
_LOOK_AT_MESSAGES = f"""
    WITH batch AS MATERIALIZED (
        SELECT queue_id, id, expires_at, moved_in FROM message_states
         WHERE (queue_id, id) > (%(queue_id)s, %(id)s)
         ORDER BY queue_id, id LIMIT %(batch_size)s)
    SELECT queue_id, max(id), count(*),
           array_agg(id) FILTER (
               WHERE expires_at <= now() OR floor IS NULL OR coalesce(moved_in, id) < floor),
           coalesce(floor, 0),
           date_part('epoch', least(min(expires_at) FILTER (WHERE expires_at > now()),
                                    now() + {LONGEST} * interval '1 second') - now())
      FROM batch LEFT JOIN queues USING (queue_id)
     GROUP BY queue_id, floor ORDER BY queue_id
"""

_REMOVE_MESSAGES = f"""
    WITH the_queue AS MATERIALIZED (
        SELECT floor, has_subscribers FROM queues WHERE queue_id = %(queue_id)s),
    gone AS (
        DELETE FROM message_states
         WHERE queue_id = %(queue_id)s
           AND id = ANY (ARRAY(
               SELECT id FROM message_states
                WHERE queue_id = %(queue_id)s AND id = ANY (%(ids)s::bigint[])
                  AND (expires_at <= now()
                       OR coalesce(moved_in, id) < coalesce(
                           (SELECT floor FROM the_queue), {RETIRED}))
                  FOR UPDATE SKIP LOCKED))
     RETURNING id, expires_at <= now() AS has_expired, claim_id IS NOT NULL AS was_claimed),
    bodies AS (
        DELETE FROM messages
         WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM gone)){NOBODY_WAITS}),{NOTE_ENDS}
    SELECT has_expired, was_claimed FROM gone
"""

# A claim is dead when its time is over, and as good as dead when it holds nothing more.
_LOOK_AT_CLAIMS = """
    WITH batch AS MATERIALIZED (
        SELECT queue_id, id, expires_at, message_ids FROM claims
         WHERE (queue_id, id) > (%(queue_id)s, %(id)s::uuid)
         ORDER BY queue_id, id LIMIT %(batch_size)s)
    SELECT queue_id, (array_agg(id ORDER BY id DESC))[1]::text, count(*),
           array_agg(id::text) FILTER (
               WHERE expires_at <= now()
                  OR NOT EXISTS (SELECT FROM message_states AS state
                                  WHERE state.queue_id = batch.queue_id
                                    AND state.id = ANY (batch.message_ids)
                                    AND state.claim_id = batch.id))
      FROM batch
     GROUP BY queue_id ORDER BY queue_id
"""

# A group is dead when it has no messages, not even dead ones. (The first sequence of its next post is
# higher than its last one, once all transactions have ended that were there before that.)
_IS_EMPTY = """(SELECT true FROM message_states AS state
                 WHERE state.queue_id = {queue_id} AND state.group_key = known.group_key
                 LIMIT 1) IS NULL"""

_LOOK_AT_GROUPS = f"""
    WITH batch AS MATERIALIZED (
        SELECT queue_id, group_key FROM message_groups
         WHERE (queue_id, group_key) > (%(queue_id)s, %(id)s)
         ORDER BY queue_id, group_key LIMIT %(batch_size)s)
    SELECT queue_id, max(group_key), count(*),
           array_agg(group_key) FILTER (WHERE {_IS_EMPTY.format(queue_id='known.queue_id')})
      FROM batch AS known
     GROUP BY queue_id ORDER BY queue_id
"""

_REMOVE_GROUPS = f"""
    DELETE FROM message_groups
     WHERE ctid = ANY (ARRAY(
           SELECT ctid FROM message_groups AS known
            WHERE queue_id = %(queue_id)s AND group_key = ANY (%(ids)s::text[])
              AND last_sequence < {READ_HORIZON}
              AND {_IS_EMPTY.format(queue_id='%(queue_id)s')}
              FOR UPDATE SKIP LOCKED))
 RETURNING group_key
"""

_REMOVE_CLAIMS = """
    DELETE FROM claims
     WHERE queue_id = %(queue_id)s
       AND id = ANY (ARRAY(
           SELECT id FROM claims AS claim
            WHERE queue_id = %(queue_id)s AND id = ANY (%(ids)s::uuid[])
              AND (expires_at <= now()
                   OR NOT EXISTS (SELECT FROM message_states AS state
                                   WHERE state.queue_id = %(queue_id)s
                                     AND state.id = ANY (claim.message_ids)
                                     AND state.claim_id = claim.id))
              FOR UPDATE SKIP LOCKED))
 RETURNING id
"""
