"""Redrives: dead letters and parked messages are moved back, a batch at a time.

A redrive is a row. Who carries it out locks the row, moves a batch, and counts it, in one
transaction. So any number of processes may carry out redrives, and any may be killed: no message is
lost or moved twice, the count is exact, and another process goes on from there. A redrive that was
cancelled moves nothing more: its row says so before the next batch begins.

The request or the command that starts one begins to carry it out at once. What it does not complete
is done by the process of the janitor, which looks each second.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import inf
from typing import Any, NamedTuple
from uuid import uuid4

from marconi_api import limits
from marconi_api.errors import (
    InvalidRequest,
    MarconiError,
    QueueNotFound,
    RedriveNotFound,
    RedriveUnderWay,
)
from marconi_api.model.audit import Actor, Audit
from marconi_api.model.became_ready import ReadyListeners
from marconi_api.model.flows import REDRIVEN, flows
from marconi_api.model.postgres.database import Database, Row, Run
from marconi_api.model.postgres.patience import Patience
from marconi_api.model.postgres.tables import (
    MAY_NUMBER,
    NEXT_TRANSACTION,
    THE_QUEUE,
    QueueKey,
    claim_id,
)
from marconi_api.model.redrive import (
    BATCH_SIZE,
    BEFORE_ALL,
    COUNT,
    LOOK,
    PARKED,
    READY,
    Batch,
    Slice,
    move_batch,
)
from marconi_api.model.traffic import traffic

log = logging.getLogger(__name__)

#: What can become of a redrive.
STATUSES = ('running', 'completed', 'cancelled', 'failed')


@dataclass(frozen=True, slots=True)
class Order:
    """Which messages of a queue are to be moved, where to, and how fast.

    :param state: ready, as dead letters are in their queue, or parked
    :param to: the name of a queue of the same project; None: back to where they came from, which of
        parked messages is the queue in which they are
    :param min_age: seconds since a message was posted, at least
    :param max_age: the same, at most
    :param reason: a part of the reason for which it is parked
    :param rate: messages a second, at most
    :param origins: a pattern for the names of queues to which messages may go back; None: any
    """

    state: str = READY
    to: str | None = None
    min_age: int | None = None
    max_age: int | None = None
    reason: str | None = None
    rate: int | None = None
    origins: str | None = None


class Target(NamedTuple):
    """How many messages go to a queue."""

    queue: str
    messages: int


@dataclass(frozen=True, slots=True)
class Preview:
    """What a redrive would do; with ``has_more`` there are more messages than were counted."""

    targets: Sequence[Target]
    #: Messages that would stay, as the queue that they came from is not known, or is gone.
    without_target: int
    has_more: bool

    @property
    def messages(self) -> int:
        """How many messages it would move."""
        return sum(target.messages for target in self.targets)


@dataclass(frozen=True, slots=True)
class Redrive:
    """A redrive as it is now; ``total`` is None where there were too many messages to be counted."""

    id: str
    status: str
    state: str
    to: str | None
    min_age: int | None
    max_age: int | None
    reason: str | None
    rate: int | None
    total: int | None
    moved: int
    without_target: int
    failure: str | None
    started_at: datetime
    ended_at: datetime | None

    @property
    def is_running(self) -> bool:
        """Whether it may still move messages."""
        return self.ended_at is None


class _Task(NamedTuple):
    """A redrive as whoever carries it out has it."""

    queue_id: int
    id: str
    project: str
    name: str
    state: str
    target: str | None
    origins: str | None
    min_age: int | None
    max_age: int | None
    reason: str | None
    rate: int | None
    before: int
    place: int
    started_at: datetime

    @property
    def queue(self) -> QueueKey:
        """The queue from which messages are moved."""
        return QueueKey(self.queue_id, self.project, self.name)


class Redrives:
    """The redrives of all queues.

    :param audit: notes who starts and cancels one
    """

    def __init__(self, database: Database, became_ready: ReadyListeners, audit: Audit) -> None:
        self._database = database
        self._became_ready = became_ready
        self._audit = audit

    def preview(self, queue: QueueKey, order: Order, seconds: float = inf) -> Preview:
        """What a redrive would do now.

        :param seconds: for which messages are counted, at most
        :raises QueueNotFound: if the queue is not there, or the one that is named
        """
        order = _checked(queue, order)
        for name in filter(None, (queue.name, order.to)):
            key = QueueKey.of(queue.project, name)
            if not self._database.rows(THE_QUEUE, key.parameters, repeatable=True):
                raise QueueNotFound(name, queue.project)
        return self._count(queue, order, seconds)

    def start(
        self,
        queue: QueueKey,
        order: Order,
        seconds: float = inf,
        by: Actor | None = None,
    ) -> Redrive:
        """Let a redrive begin: from now on it is carried out.

        :param seconds: for which messages are counted, at most
        :param by: who starts it, if that is not the user of this process
        :raises QueueNotFound: if the queue is not there, or the one that is named
        :raises RedriveUnderWay: if the queue has one already
        """
        order = _checked(queue, order)
        found = self.preview(queue, order, seconds)
        parameters = {
            **queue.parameters,
            'id': str(uuid4()),
            'state': order.state,
            'target': order.to,
            'origins': order.origins,
            'min_age': order.min_age,
            'max_age': order.max_age,
            'reason': order.reason,
            'rate': order.rate,
            'total': None if found.has_more else found.messages,
            'kept': MOST_KEPT - 1,
        }
        with self._database.transaction() as run:
            if not run(f'{THE_QUEUE} FOR KEY SHARE', queue.parameters):
                raise QueueNotFound(queue.name, queue.project)
            run(_FORGET, parameters)
            for row in run(_START, parameters):
                started = _redrive(row)
                self._audit.note(
                    'redrive',
                    queue,
                    count=found.messages,
                    by=by,
                    redrive=started.id,
                    to=order.to,
                    state=order.state,
                )
                return started
            [(under_way,)] = run(_RUNNING, queue.parameters) or [('',)]
        raise RedriveUnderWay(under_way, queue.name)

    def page(self, queue: QueueKey) -> list[Redrive]:
        """The last redrives of a queue, the newest first: those that are still kept."""
        return [_redrive(row) for row in self._database.rows(_PAGE, queue.parameters, True)]

    def get(self, queue: QueueKey, redrive: str) -> Redrive:
        """One of them.

        :raises RedriveNotFound: if there is none of this id
        """
        for row in self._rows(_GET, queue, redrive):
            return _redrive(row)
        raise RedriveNotFound(redrive, queue.name, queue.project)

    def running(self, queue: QueueKey) -> str | None:
        """The id of the queue's redrive that is under way, if there is one."""
        rows = self._database.rows(_RUNNING, queue.parameters, repeatable=True)
        return str(rows[0][0]) if rows else None

    def cancel(self, queue: QueueKey, redrive: str, by: Actor | None = None) -> Redrive:
        """Let a redrive move nothing more; what it has moved stays moved. One that ended stays so.

        :raises RedriveNotFound: if there is none of this id
        """
        with self._database.transaction():
            for row in self._rows(_CANCEL, queue, redrive):
                cancelled = _redrive(row)
                self._audit.note(
                    'redrive cancel', queue, count=cancelled.moved, by=by, redrive=cancelled.id
                )
                return cancelled
        return self.get(queue, redrive)

    def _rows(self, statement: str, queue: QueueKey, redrive: str) -> list[Row]:
        # It has the form of a claim's.
        if claim_id(redrive) is None:
            return []
        parameters = {**queue.parameters, 'id': redrive}
        return self._database.rows(statement, parameters, repeatable=True)

    def _count(self, queue: QueueKey, order: Order, seconds: float) -> Preview:
        patience = Patience(seconds)
        targets: dict[str, int] = {}
        strays, place, has_more = 0, BEFORE_ALL, True
        while has_more and not (patience.is_over and place != BEFORE_ALL):
            parameters = {
                **_terms(queue, order),
                'before': 2**63 - 1,
                'started_at': None,
                'after': place,
                'slice': _SLICE,
            }
            rows = self._database.rows(COUNT[order.state], parameters, repeatable=True)
            has_more = False
            for found in (Slice(*row) for row in rows):
                name = queue.name if _is_in_place(order.state, order.to) else found.target
                if name is None:
                    strays += found.messages
                elif found.messages:
                    targets[name] = targets.get(name, 0) + found.messages
                place, has_more = found.last, found.looked_at == _SLICE
        return Preview([Target(*item) for item in sorted(targets.items())], strays, has_more)

    # ------------------------------------------------------------ for whoever carries them out

    def carry_out(self, queue: QueueKey, redrive: str, seconds: float) -> Redrive:
        """Carry a redrive out for so many seconds, or as far as its rate allows; how it then is."""
        patience = Patience(seconds)
        while self.step(queue, redrive) and not patience.is_over:
            pass
        return self.get(queue, redrive)

    def step(self, queue: QueueKey, redrive: str) -> bool:
        """Move one batch; False if the redrive has ended, is not due, or somebody else is at it."""
        return self._step(_TAKE, {'queue_id': queue.id, 'id': redrive})

    def run_forever(self, stop: threading.Event | None = None) -> None:
        """Carry out all redrives that are due, in turn, until ``stop`` is set."""
        stop = stop or threading.Event()
        while not stop.is_set():
            try:
                if self._seconds_until_due() > 0 or not self._step(_TAKE_NEXT, {}):
                    stop.wait(min(_LOOK_EVERY, max(_PAUSE, self._seconds_until_due())))
            except MarconiError:
                log.warning('could not carry out redrives; next try in %g s', _LOOK_EVERY)
                stop.wait(_LOOK_EVERY)

    def _seconds_until_due(self) -> float:
        [(seconds,)] = self._database.rows(_NEXT_DUE, {}, repeatable=True)
        return inf if seconds is None else float(seconds)

    def _step(self, take: str, parameters: Mapping[str, Any]) -> bool:
        task: _Task | None = None
        try:
            with self._database.transaction() as run:
                for row in run(take, parameters):
                    task = _Task(*row)
                if task is None:
                    return False
                batch = _move(run, task)
                run(_NOTE, _progress(task, batch))
        except MarconiError:
            if task is not None:
                # Others come first.
                self._database.rows(_PUT_OFF, {'queue_id': task.queue_id, 'id': task.id})
            raise
        self._tell(task, batch)
        return True

    def _tell(self, task: _Task, batch: Batch) -> None:
        flows.tell(REDRIVEN, batch.moved)
        for name, count in zip(batch.targets, batch.counts, strict=True):
            target = QueueKey.of(task.project, name)
            if target.id != task.queue_id:
                traffic.left(task.queue_id, count)
                traffic.came(target.id, count)
            self._became_ready.tell(target, count)


def _is_in_place(state: str, to: str | None) -> bool:
    return state == PARKED and to is None


def _checked(queue: QueueKey, order: Order) -> Order:
    """The order, once it is seen to make sense.

    :raises InvalidRequest: if it does not
    """
    if order.state not in (READY, PARKED):
        raise InvalidRequest(f'state must be {READY} or {PARKED}, not {order.state[:80]!r}.')
    to = order.to or None
    if to is not None:
        limits.in_force.check_other_queue_name(to)
    if to == queue.name:
        if order.state == READY:
            raise InvalidRequest('Messages cannot be moved to the queue in which they are.')
        to = None
    within = limits.in_force
    for name, value, bounds in (
        ('min_age', order.min_age, within.message_age),
        ('max_age', order.max_age, within.message_age),
        ('rate', order.rate, within.redrive_rate),
    ):
        if value is not None:
            bounds.check(name, value)
    if order.min_age is not None and order.max_age is not None and order.min_age > order.max_age:
        raise InvalidRequest('min_age must not be above max_age.')
    within.check_park_reason(order.reason or '')
    return Order(
        order.state,
        to,
        order.min_age,
        order.max_age,
        order.reason or None,
        order.rate,
        order.origins,
    )


def _terms(queue: QueueKey, order: 'Order | _Task') -> dict[str, Any]:
    """What the statements of redrive.py take of an order."""
    target = order.to if isinstance(order, Order) else order.target
    return {
        **queue.parameters,
        'target_id': None if target is None else QueueKey.of(queue.project, target).id,
        'target_name': target,
        'origins': order.origins,
        'min_age': order.min_age,
        'max_age': order.max_age,
        'reason': order.reason,
    }


def _move(run: Run, task: _Task) -> Batch:
    parameters = {
        **_terms(task.queue, task),
        'before': task.before,
        'started_at': task.started_at,
        'after': task.place,
        'look': LOOK,
        'batch_size': min(BATCH_SIZE, task.rate or BATCH_SIZE),
    }
    return move_batch(run, task.state, _is_in_place(task.state, task.target), parameters)


def _progress(task: _Task, batch: Batch) -> dict[str, Any]:
    """What a batch changes in the row of its redrive."""
    missing = (
        task.name
        if not batch.is_source
        else task.target
        if task.target is not None and not batch.is_target
        else None
    )
    is_full = batch.moved >= min(BATCH_SIZE, task.rate or BATCH_SIZE)
    is_end = batch.looked_at < LOOK and not is_full
    status = 'failed' if missing else 'completed' if is_end else 'running'
    if batch.is_blocked:
        status = 'running'
    return {
        'queue_id': task.queue_id,
        'id': task.id,
        'place': task.place if batch.is_blocked or batch.place is None else batch.place,
        'moved': batch.moved,
        'without_target': 0 if batch.is_blocked else batch.without_target,
        'seconds': batch.moved / task.rate if task.rate else 0.0,
        'status': status,
        'failure': str(QueueNotFound(missing, task.project)) if missing else None,
    }


def _redrive(row: Row) -> Redrive:
    return Redrive(*row)


#: Of a queue so many redrives are kept, for a month.
MOST_KEPT = 20
_DAYS_KEPT = 30

# Seconds between two looks for redrives that are due, and the least wait between two of them.
_LOOK_EVERY = 1.0
_PAUSE = 0.02

# Seconds after which a redrive is tried again that could not be carried out.
_PATIENCE = 5

# Messages that one statement counts.
_SLICE = 20_000

_COLUMNS = """id::text, status, state, target, min_age, max_age, reason, rate, total, moved,
           without_target, failure, started_at, ended_at"""

_TASK_COLUMNS = """queue_id, id::text, project, name, state, target, origins, min_age, max_age, reason,
           rate, before, place, started_at"""

_FORGET = f"""
    DELETE FROM redrives
     WHERE queue_id = %(queue_id)s AND ended_at IS NOT NULL
       AND (ended_at < now() - interval '{_DAYS_KEPT} days'
            OR id IN (SELECT id FROM redrives
                       WHERE queue_id = %(queue_id)s AND ended_at IS NOT NULL
                       ORDER BY started_at DESC OFFSET %(kept)s))
"""

_START = f"""
    INSERT INTO redrives (queue_id, id, project, name, state, target, origins, min_age, max_age,
                          reason, rate, total, before)
    SELECT %(queue_id)s, %(id)s::uuid, %(project)s, %(name)s, %(state)s, %(target)s, %(origins)s,
           %(min_age)s, %(max_age)s, %(reason)s, %(rate)s, %(total)s, {NEXT_TRANSACTION}
     WHERE {MAY_NUMBER}
        ON CONFLICT (queue_id) WHERE ended_at IS NULL DO NOTHING
 RETURNING {_COLUMNS}
"""

_RUNNING = """
    SELECT id::text FROM redrives WHERE queue_id = %(queue_id)s AND ended_at IS NULL
"""

_PAGE = f"""
    SELECT {_COLUMNS} FROM redrives
     WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
     ORDER BY started_at DESC, id
"""

_GET = f"""
    SELECT {_COLUMNS} FROM redrives
     WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
       AND id = %(id)s::uuid
"""

_CANCEL = f"""
    UPDATE redrives SET status = 'cancelled', ended_at = now()
     WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
       AND id = %(id)s::uuid AND ended_at IS NULL
 RETURNING {_COLUMNS}
"""

_TAKE = f"""
    SELECT {_TASK_COLUMNS} FROM redrives
     WHERE queue_id = %(queue_id)s AND id = %(id)s::uuid AND ended_at IS NULL
       AND due_at <= clock_timestamp()
       FOR NO KEY UPDATE SKIP LOCKED
"""

_TAKE_NEXT = f"""
    SELECT {_TASK_COLUMNS} FROM redrives
     WHERE ended_at IS NULL AND due_at <= clock_timestamp()
     ORDER BY due_at LIMIT 1
       FOR NO KEY UPDATE SKIP LOCKED
"""

_NEXT_DUE = """
    SELECT date_part('epoch', min(due_at) - clock_timestamp()) FROM redrives WHERE ended_at IS NULL
"""

# Those that have no rate come in turn, too.
_NOTE = """
    UPDATE redrives
       SET place = %(place)s, moved = moved + %(moved)s,
           without_target = without_target + %(without_target)s,
           due_at = clock_timestamp() + %(seconds)s * interval '1 second',
           status = %(status)s, failure = %(failure)s,
           ended_at = CASE WHEN %(status)s <> 'running' THEN clock_timestamp() END
     WHERE queue_id = %(queue_id)s AND id = %(id)s::uuid
"""

_PUT_OFF = f"""
    UPDATE redrives SET due_at = now() + interval '{_PATIENCE} seconds'
     WHERE queue_id = %(queue_id)s AND id = %(id)s::uuid
"""
