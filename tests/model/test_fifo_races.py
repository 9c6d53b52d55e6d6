"""FIFO queues among many senders and consumers at once.

MARCONI_FIFO_SECONDS says for how long, if the ten seconds of a slow run are not enough.
"""

import json
import os
import random
import threading
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest

from marconi_api import model
from marconi_api.errors import MarconiError, StorageUnavailable
from marconi_api.model import NewMessage, QueueKey, Verdict
from tests.model.conftest import CLIENT
from tests.model.test_idempotency import at_once

QUEUE = QueueKey.of('project', 'jobs.fifo')
SECONDS = int(os.environ.get('MARCONI_FIFO_SECONDS') or 10)


@pytest.fixture(autouse=True)
def queue(app: Any) -> QueueKey:
    """A FIFO queue."""
    model.store.queues.create(QUEUE, '{"_fifo": true}')
    return QUEUE


def new(group: str = 'a', id: str | None = None, ttl: int = 300) -> NewMessage:
    return NewMessage('1', ttl, 0, group=group, deduplication_id=id or str(uuid4()))


def post(*messages: NewMessage) -> list[Any]:
    return model.store.messages.post_each(QUEUE, CLIENT, messages)


@pytest.mark.parametrize('groups', [1, 20])
def test_of_twenty_sends_at_once_one_is_stored_and_all_get_its_id(sql: Any, groups: int) -> None:
    for _ in range(5):
        id = str(uuid4())
        messages = [new(f'group-{number % groups}', id) for number in range(20)]
        sent = at_once(20, lambda messages=messages: post(messages.pop())[0])

        assert len({posted.id for posted in sent}) == 1
        assert len({posted.sequence for posted in sent}) == 1
        assert [posted.is_duplicate for posted in sent].count(False) == 1
    assert sql('SELECT count(*) FROM messages') == [(5,)]


def test_sequences_follow_the_order_of_commits_and_ids_do_not() -> None:
    """By ids the second message would stand first, and come after the other was given out."""
    with model.store.database.transaction() as run:
        run('SELECT pg_current_xact_id()', {})
        [[first]] = at_once(1, lambda: post(new()))
        [second] = post(new())

    assert first.sequence < second.sequence
    assert first.id > second.id


def test_a_claim_waits_for_its_turn_in_a_group_to_which_others_post() -> None:
    post(new())
    is_posting = threading.Event()

    def hold_the_group() -> None:
        with model.store.database.transaction():
            post(new())
            is_posting.set()
            time.sleep(0.2)
        model.store.database.close()

    with ThreadPoolExecutor(1) as threads:
        threads.submit(hold_the_group)
        is_posting.wait()
        claim = model.store.claims.create(QUEUE, 60, 60, 10)

    assert claim
    assert len(claim.messages) == 2


def test_a_claim_takes_other_groups_meanwhile() -> None:
    [_, other] = post(new('a'), new('b'))
    with model.store.database.transaction():
        post(new('a'))
        [claim] = at_once(1, lambda: model.store.claims.create(QUEUE, 60, 60, 10))

    assert [message.id for message in claim.messages] == [other.id]


def test_who_deletes_and_posts_in_many_groups_at_once_locks_nobody_out(deadlocks: Any) -> None:
    groups = [f'group-{number}' for number in range(10)]
    before = deadlocks()

    def work() -> None:
        for _ in range(15):
            random.shuffle(groups)
            posted = [one.id for one in post(*map(new, groups))]
            claim = model.store.claims.create(QUEUE, 60, 60, 10)
            if claim:
                held = [message.id for message in claim.messages]
                random.shuffle(held)
                verdicts = [Verdict(id, random.choice(['delete', 'release'])) for id in held]
                model.store.verdicts.give(QUEUE, claim.id, verdicts)
            random.shuffle(posted)
            model.store.messages.delete_many(QUEUE, posted[:5])

    at_once(6, work)

    assert deadlocks() == before


def available(sql: Any) -> list[bool]:
    """Of each group, in the order of their names, whether a claim looks at it."""
    rows = sql(
        'SELECT coalesce(available_at <= now(), false) FROM message_groups ORDER BY group_key'
    )
    return [is_available for (is_available,) in rows]


def test_a_claim_does_not_look_at_groups_that_a_delete_has_emptied(sql: Any) -> None:
    a, b, last = post(new('a'), new('b'), new('b'))

    assert model.store.messages.delete_many(QUEUE, [a.id, b.id]) == 2
    assert available(sql) == [False, True]

    received = model.store.receives.receive(QUEUE, 60, 10)
    assert received
    [message] = received[1]
    assert message.id == last.id
    assert model.store.receives.delete(QUEUE, [message.receipt]) == ['done']
    assert available(sql) == [False, False]


def test_a_message_that_is_posted_while_the_last_one_is_deleted_is_given_out() -> None:
    """The delete does not see it, and writes the row of the group after the post."""
    [last] = post(new())

    with ThreadPoolExecutor(1) as threads:
        with model.store.database.transaction():
            post(new())
            deleted = threads.submit(delete_here, last.id)
            time.sleep(0.2)
        deleted.result()

    claim = model.store.claims.create(QUEUE, 60, 60, 10)
    assert claim
    assert len(claim.messages) == 1


def test_a_message_that_is_kicked_while_the_last_one_is_deleted_is_given_out() -> None:
    parked, last = post(new(), new())
    model.store.verdicts.give(QUEUE, None, [Verdict(parked.id, 'park')])
    # It passes over the parked one.
    claim = model.store.claims.create(QUEUE, 60, 60, 10)
    assert claim
    assert [message.id for message in claim.messages] == [last.id]

    with ThreadPoolExecutor(1) as threads:
        with model.store.database.transaction():
            model.store.verdicts.kick(QUEUE)
            deleted = threads.submit(delete_here, last.id)
            time.sleep(0.2)
        deleted.result()

    claim = model.store.claims.create(QUEUE, 60, 60, 10)
    assert claim
    assert [message.id for message in claim.messages] == [parked.id]


def test_a_kick_and_a_delete_in_one_request_leave_the_kicked_message() -> None:
    parked, last = post(new(), new())
    model.store.verdicts.give(QUEUE, None, [Verdict(parked.id, 'park')])
    claim = model.store.claims.create(QUEUE, 60, 60, 10)
    assert claim

    verdicts = [Verdict(parked.id, 'kick'), Verdict(last.id, 'delete')]
    told = model.store.verdicts.give(QUEUE, claim.id, verdicts)

    assert [one.result for one in told] == ['done', 'done']
    again = model.store.claims.create(QUEUE, 60, 60, 10)
    assert again
    assert [message.id for message in again.messages] == [parked.id]


def delete_here(id: str) -> None:
    try:
        assert model.store.messages.delete_many(QUEUE, [id]) == 1
    finally:
        model.store.database.close()


GROUPS = 12


class Traffic:
    """Senders and consumers, each in a thread, and what they saw."""

    def __init__(self, seconds: float) -> None:
        self.ends_at = time.monotonic() + seconds
        self.lock = threading.Lock()
        #: Group and sequence of what a consumer began to work on, in this order, and what it deleted.
        self.begun: list[tuple[str, int]] = []
        self.deleted: Counter[tuple[str, int]] = Counter()
        #: Messages of a claim that were not in the order of their sequences.
        self.mixed: list[Any] = []

    def send(self) -> None:
        while time.monotonic() < self.ends_at:
            messages = [
                new(f'group-{random.randrange(GROUPS)}', ttl=random.choice([600] * 30 + [61]))
                for _ in range(random.choice([1, 1, 5]))
            ]
            # A transaction of several statements is not repeated if PostgreSQL undoes it.
            undone = suppress(ZeroDivisionError, StorageUnavailable)
            with undone, model.store.database.transaction() as run:
                run('SELECT pg_current_xact_id()', {})
                if random.random() < 0.3:
                    time.sleep(0.01)
                post(*messages)
                if random.random() < 0.1:
                    raise ZeroDivisionError
        model.store.database.close()

    def consume(self) -> None:
        idle_since = time.monotonic()
        while time.monotonic() < self.ends_at or time.monotonic() - idle_since < 3:
            claim = None
            with suppress(ZeroDivisionError), model.store.database.transaction():
                claim = model.store.claims.create(QUEUE, 1, 60, random.choice([1, 3, 10]))
                if random.random() < 0.1:
                    claim = None
                    raise ZeroDivisionError
            if claim is None:
                time.sleep(0.002)
                continue
            idle_since = time.monotonic()
            self.work_on(claim)
        model.store.database.close()

    def work_on(self, claim: model.Claim) -> None:
        if random.random() < 0.03:
            return
        by_group: defaultdict[str, list[int]] = defaultdict(list)
        for message in claim.messages:
            assert message.group
            assert message.sequence
            by_group[message.group].append(message.sequence)
        with self.lock:
            self.mixed += [own for own in by_group.values() if own != sorted(own)]
        done = random.choice([len(claim.messages)] * 3 + [1, 0])
        for message in claim.messages[:done]:
            place = message.group or '', message.sequence or 0
            with self.lock:
                self.begun.append(place)
            try:
                model.store.messages.delete(QUEUE, message.id, claim.id)
            except MarconiError:
                return
            with self.lock:
                self.deleted[place] += 1
        model.store.claims.release(QUEUE, claim.id)


def run(seconds: float) -> Traffic:
    traffic = Traffic(seconds)
    with ThreadPoolExecutor(10) as threads:
        done = [threads.submit(traffic.send) for _ in range(4)]
        done += [threads.submit(traffic.consume) for _ in range(6)]
    for one in done:
        one.result()
    return traffic


def judge(traffic: Traffic, sql: Any) -> None:
    """None twice, none stuck, none out of order."""
    assert traffic.mixed == []
    assert set(traffic.deleted.values()) == {1}
    # A message whose claim lapsed amid the work is begun again, and counts by its last beginning.
    last = {place: number for number, place in enumerate(traffic.begun)}
    in_order = sorted(traffic.deleted, key=lambda place: last[place])
    for number in range(GROUPS):
        sequences = [sequence for group, sequence in in_order if group == f'group-{number}']
        assert sequences == sorted(sequences)
    assert sql('SELECT count(*) FROM message_states WHERE expires_at > now()') == [(0,)]


def test_consumers_get_each_message_once_and_in_order(sql: Any) -> None:
    traffic = run(1.5)

    judge(traffic, sql)
    assert len(traffic.deleted) > 50


@pytest.mark.slow
def test_consumers_get_each_message_once_and_in_order_for_long(sql: Any) -> None:
    traffic = run(SECONDS)

    judge(traffic, sql)
    print(len(traffic.deleted), 'messages')
    assert len(traffic.deleted) > 50 * SECONDS


def test_a_dead_letter_and_a_redrive_at_once_lose_nothing(sql: Any, age: Any) -> None:
    dead = QueueKey.of('project', 'dead.fifo')
    model.store.queues.create(dead, '{"_fifo": true}')
    limited = QueueKey.of('project', 'limited.fifo')
    metadata = {'_fifo': True, '_max_claim_count': 1, '_dead_letter_queue': dead.name}
    model.store.queues.create(limited, json.dumps(metadata))
    messages = [new(f'group-{number % 5}') for number in range(50)]
    model.store.messages.post_each(limited, CLIENT, messages)

    def work() -> None:
        for _ in range(10):
            claim = model.store.claims.create(limited, 60, 60, 5)
            if claim:
                model.store.claims.release(limited, claim.id)
            model.store.admin.queue(dead.name, dead.project).redrive()

    with suppress(MarconiError):
        at_once(1, work)
    at_once(3, lambda: [model.store.claims.create(limited, 0, 60, 5) for _ in range(10)])

    assert sql('SELECT count(*), count(DISTINCT id) FROM message_states') == [(50, 50)]
    assert sql('SELECT count(*) FROM messages') == [(50,)]
