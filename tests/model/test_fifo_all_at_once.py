"""All that can be done with FIFO queues at once, in the same groups: nothing is lost, nobody locked out.

Workers do what they like in a queue and in its dead-letter queue, each call in a transaction of its own.
MARCONI_FIFO_SECONDS says for how long, if the ten seconds of a slow run are not enough.
"""

import json
import os
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest

from marconi_api import model
from marconi_api.errors import ClaimNotFound, RedriveNotFound, RedriveUnderWay
from marconi_api.model import NewMessage, Order, QueueKey, Verdict
from tests.model.conftest import CLIENT
from tests.model.test_fifo_against_a_model import GROUPS_THAT_ARE_LATE

JOBS, DEAD = QueueKey.of('project', 'jobs.fifo'), QueueKey.of('project', 'dead.fifo')
GROUPS = 12
WORKERS = 10
SECONDS = int(os.environ.get('MARCONI_FIFO_SECONDS') or 10)
#: The body of a message that may expire while it is held.
SHORT = '"short"'
#: Seconds for which messages are held, and for which others are kept.
HELD_FOR, TTL = 3600, 100_000

#: A message's queue, group and sequence.
Place = tuple[str, str, int]

EXPIRE_SOON = """
    UPDATE message_states SET expires_at = now() + interval '0.1 seconds'
     WHERE ctid = ANY (ARRAY(
           SELECT ctid FROM message_states WHERE ttl = 60 AND held_until IS NULL
              FOR UPDATE SKIP LOCKED))"""


class Ledger:
    """What the workers know of the messages that they posted, and of those that they hold."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.posted: set[str] = set()
        self.short: set[str] = set()
        self.ended: set[str] = set()
        #: Deleted whether or not somebody held them.
        self.torn: set[str] = set()
        self._held: dict[str, Place] = {}
        #: Messages that were handed out while one that stood before them was held: both.
        self.out_of_turn: list[tuple[Place, str, Place]] = []
        self.twice: list[str] = []

    def note_posted(self, ids: Iterable[str], is_short: bool) -> None:
        with self._lock:
            (self.short if is_short else self.posted).update(ids)

    def note_held(self, queue: QueueKey, messages: Iterable[Any]) -> None:
        """Note what a claim took, and what was taken though it was not its turn."""
        with self._lock:
            taken = {
                message.id: (queue.name, message.group, message.sequence) for message in messages
            }
            self.twice += [id for id in taken if id in self._held]
            for place in taken.values():
                self.out_of_turn += [
                    (place, id, held)
                    for id, held in self._held.items()
                    if held[:2] == place[:2] and held[2] < place[2]
                ]
            self._held |= {id: place for id, place in taken.items() if id not in self.short}

    def forget_held(self) -> None:
        with self._lock:
            self._held.clear()
            self.out_of_turn.clear()

    def let_go(self, ids: Iterable[str]) -> None:
        with self._lock:
            for id in ids:
                self._held.pop(id, None)

    def note_ended(self, ids: Iterable[str], is_torn: bool = False) -> None:
        with self._lock:
            self.ended.update(ids)
            if is_torn:
                self.torn.update(ids)


class Worker:
    """Does one thing after the other, drawn at random, until the time is over."""

    def __init__(self, ledger: Ledger, ends_at: float, may_purge: bool) -> None:
        self._ledger = ledger
        self._ends_at = ends_at
        self._random = random.Random()
        self._claims: list[tuple[QueueKey, str, list[str]]] = []
        self._receipts: list[tuple[QueueKey, Any]] = []
        self._posted: list[str] = []
        rules: list[tuple[Callable[[], None], int]] = [
            *((self.post, 10), (self.claim, 24), (self.judge, 24), (self.receive, 8)),
            *((self.settle, 10), (self.release, 3), (self.renew, 3), (self.delete_some, 2)),
            *((self.pop, 2), (self.kick, 3), (self.park, 3), (self.redrive, 4)),
            *(
                (self.run_janitor, 1),
                (self.let_expire, 2),
                (self.delete_unclaimed, 1 if may_purge else 0),
            ),
            (self.purge, 1 if may_purge else 0),
        ]
        self._rules, self._weights = zip(*rules, strict=True)

    def __call__(self) -> None:
        while time.monotonic() < self._ends_at:
            [rule] = self._random.choices(self._rules, self._weights)
            rule()
        while self._claims:
            self.release()
        while self._receipts:
            self.settle()
        model.store.database.close()

    def _queue(self) -> QueueKey:
        return self._random.choice([JOBS, JOBS, JOBS, DEAD])

    def post(self) -> None:
        is_short = self._random.random() < 0.05
        messages = [
            NewMessage(
                *(SHORT if is_short else '1', 60 if is_short else TTL),
                self._random.choice([0] * 9 + [1]),
                group=f'group-{self._random.randrange(GROUPS)}',
                deduplication_id=str(uuid4()),
            )
            for _ in range(self._random.choice([1, 1, 5, 10]))
        ]
        ids = model.store.messages.post(self._queue(), CLIENT, messages)
        self._ledger.note_posted(ids, is_short)
        self._posted = [*self._posted[-50:], *ids]

    def claim(self) -> None:
        if len(self._claims) > 1:
            return self.judge()
        queue = self._queue()
        is_forgotten = self._random.random() < 0.1
        limit = self._random.choice([1, 3, 10])
        claim = model.store.claims.create(queue, 1 if is_forgotten else HELD_FOR, 60, limit)
        if claim and not is_forgotten:
            self._ledger.note_held(queue, claim.messages)
            ids = [message.id for message in claim.messages]
            self._claims.append((queue, claim.id, ids))

    def judge(self) -> None:
        """Verdicts on all messages of a claim but some, in any order."""
        if not self._claims:
            return
        queue, claim, ids = self._claims.pop(0)
        self._random.shuffle(ids)
        verdicts = [
            Verdict(id, verdict, self._random.choice([0, 1]) if verdict == 'release' else HELD_FOR)
            for id in ids
            for verdict in self._random.choices(
                ['delete', 'release', 'touch', 'park'], [8, 5, 4, 1]
            )
        ]
        self._ledger.let_go(one.message for one in verdicts if one.verdict != 'touch')
        told = model.store.verdicts.give(queue, claim, verdicts)
        self._ledger.note_ended(
            one.message for one in told if (one.verdict, one.result) == ('delete', 'done')
        )
        left = [one.message for one in verdicts if one.verdict == 'touch']
        if left:
            self._claims.append((queue, claim, left))

    def release(self) -> None:
        if self._claims:
            queue, claim, ids = self._claims.pop(0)
            self._ledger.let_go(ids)
            model.store.claims.release(queue, claim)

    def renew(self) -> None:
        if self._claims:
            queue, claim, _ = self._random.choice(self._claims)
            # All of its messages may be deleted, and the claim removed by the janitor.
            with suppress(ClaimNotFound):
                model.store.claims.renew(queue, claim, HELD_FOR, 60)

    def receive(self) -> None:
        """As a client of SQS does."""
        queue, visibility = self._queue(), self._random.choice([0, 1, HELD_FOR, HELD_FOR, HELD_FOR])
        attempt = self._random.choice([None, None, f'try-{self._random.randrange(3)}'])
        taken = model.store.receives.receive(
            queue, visibility, self._random.choice([1, 10]), attempt
        )
        assert taken
        # What several receives of one attempt get is theirs together.
        if visibility == HELD_FOR and not attempt:
            self._ledger.note_held(queue, taken[1])
            self._receipts += [(queue, message) for message in taken[1]]

    def settle(self) -> None:
        """Delete or show what was received."""
        if not self._receipts:
            return
        self._random.shuffle(self._receipts)
        queue = self._receipts[0][0]
        chosen = [one for of, one in self._receipts if of == queue][:5]
        self._receipts = [one for one in self._receipts if one[1] not in chosen]
        self._ledger.let_go(message.id for message in chosen)
        receipts = [message.receipt for message in chosen]
        if self._random.random() < 0.3:
            model.store.receives.hide(queue, receipts, [0] * len(receipts))
            return
        results = model.store.receives.delete(queue, receipts)
        self._ledger.note_ended(
            one.id for one, result in zip(chosen, results, strict=True) if result == 'done'
        )

    def delete_some(self) -> None:
        """Delete messages that others may hold."""
        ids = self._random.sample(self._posted, min(3, len(self._posted)))
        self._ledger.note_ended(ids, is_torn=True)
        model.store.messages.delete_many(self._queue(), ids)

    def pop(self) -> None:
        popped = model.store.messages.pop(self._queue(), self._random.choice([1, 3]))
        self._ledger.note_ended(message.id for message in popped)

    def kick(self) -> None:
        model.store.verdicts.kick(self._queue(), self._random.choice([None, 2]))

    def park(self) -> None:
        """Park messages that nobody holds."""
        ids = self._random.sample(self._posted, min(3, len(self._posted)))
        model.store.verdicts.give(self._queue(), None, [Verdict(id, 'park') for id in ids])

    def redrive(self) -> None:
        """Move dead letters back, or those that are parked."""
        queue = self._random.choice([DEAD, DEAD, JOBS])
        order = Order('ready' if queue == DEAD and self._random.random() < 0.7 else 'parked')
        # Another worker has begun one; or so many were begun since that it is forgotten.
        with suppress(RedriveUnderWay, RedriveNotFound):
            started = model.store.redrives.start(queue, order)
            model.store.redrives.carry_out(queue, started.id, 1)

    def run_janitor(self) -> None:
        model.store.janitor.run_once()

    def let_expire(self) -> None:
        """Have messages expire soon, of those that are kept for a minute and were not claimed yet."""
        model.store.database.rows(EXPIRE_SOON, {})

    def delete_unclaimed(self) -> None:
        model.store.messages.delete_unclaimed(self._queue())

    def purge(self) -> None:
        model.store.queues.purge(self._queue())


@pytest.fixture(autouse=True)
def queues(app: Any) -> None:
    """A FIFO queue, and that of its dead letters."""
    model.store.queues.create(DEAD, '{"_fifo": true}')
    metadata = {'_fifo': True, '_max_claim_count': 3, '_dead_letter_queue': DEAD.name}
    model.store.queues.create(JOBS, json.dumps(metadata))


def work(ledger: Ledger, seconds: float, may_purge: bool = False) -> None:
    ends_at = time.monotonic() + seconds
    with ThreadPoolExecutor(WORKERS) as threads:
        done = [threads.submit(Worker(ledger, ends_at, may_purge)) for _ in range(WORKERS)]
    for one in done:
        one.result()


def drained(age: Any) -> list[tuple[str, Place]]:
    """Take all that is left, in the order in which it is given out."""
    age(2 * HELD_FOR)
    found = []
    for queue in (JOBS, DEAD):
        while model.store.verdicts.kick(queue).messages:
            pass
    for queue in (JOBS, DEAD):
        while claim := model.store.claims.create(queue, 43200, 60, 20):
            found += [
                (message.id, (queue.name, message.group or '', message.sequence or 0))
                for message in claim.messages
            ]
            model.store.messages.delete_many(queue, [one.id for one in claim.messages])
    return found


def check(seconds: float, sql: Any, age: Any, deadlocks: Any) -> int:
    """Have all at work, and look at what came of it; returns how many messages were posted."""
    before = deadlocks()
    ledger = Ledger()
    work(ledger, seconds / 3, may_purge=True)
    # What was purged may be gone, and holds up nobody any more.
    of_the_first = set(ledger.posted)
    ledger.forget_held()
    work(ledger, seconds * 2 / 3)

    assert deadlocks() == before
    assert sql(GROUPS_THAT_ARE_LATE) == []
    assert [one for one in ledger.out_of_turn if one[1] not in ledger.torn] == []
    assert set(ledger.twice) <= ledger.torn
    left = drained(age)
    by_group: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for _, (queue, group, sequence) in left:
        by_group[queue, group].append(sequence)
    assert [own for own in by_group.values() if own != sorted(own)] == []
    ids = [id for id, _ in left]
    assert len(ids) == len(set(ids))
    assert set(ids).isdisjoint(ledger.ended - ledger.torn)
    assert ledger.posted - of_the_first - ledger.ended - set(ids) == set()
    assert sql('SELECT count(*) FROM message_states WHERE expires_at > now()') == [(0,)]
    return len(ledger.posted)


def test_nothing_is_lost_and_nobody_locked_out_when_all_is_done_at_once(
    sql: Any, age: Any, deadlocks: Any
) -> None:
    assert check(3, sql, age, deadlocks) > 100


@pytest.mark.slow
def test_nothing_is_lost_and_nobody_locked_out_for_long(sql: Any, age: Any, deadlocks: Any) -> None:
    posted = check(SECONDS, sql, age, deadlocks)

    print(posted, 'messages')
