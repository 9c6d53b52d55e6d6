"""What a claim promises, below the wire."""

import random
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from marconi_api import model
from marconi_api.errors import ClaimNotFound
from marconi_api.model import QueueKey
from tests.model.conftest import ids


def test_a_claim_takes_the_oldest_messages_in_posting_order(queue, post, claim):
    posted = post(5)

    taken = claim(limit=3)

    assert ids(taken) == posted[:3]


def test_a_claim_finds_nothing_in_an_empty_queue(queue, claim):
    assert claim() is None


def test_a_claim_finds_nothing_in_a_queue_that_does_not_exist(app):
    missing = QueueKey.of('project', 'missing')

    assert model.store.claims.create(missing, ttl=60, grace=60, limit=10) is None


def test_a_claimed_message_is_not_claimed_again(post, claim):
    post(3)
    claim(limit=2)

    second = claim()

    assert len(second.messages) == 1
    assert claim() is None


def test_a_lapsed_claim_gives_its_messages_back_by_itself(post, claim, age):
    posted = post(2)
    claim(ttl=60)

    age(61)

    assert ids(claim()) == posted


def test_a_released_claim_gives_its_messages_back_at_once(queue, post, claim):
    posted = post(2)

    model.store.claims.release(queue, claim().id)

    assert ids(claim()) == posted


def test_returned_messages_come_before_the_backlog(queue, post, claim, age):
    crashed = post(2)
    claim(ttl=60)
    age(61)
    backlog = post(20)

    taken = claim(limit=3)

    assert ids(taken) == [*crashed, backlog[0]]


def test_what_returned_first_is_claimed_first(queue, post, claim):
    first, second = post(1), post(1)
    claims = [claim(limit=1), claim(limit=1)]
    model.store.claims.release(queue, claims[1].id)
    model.store.claims.release(queue, claims[0].id)

    assert ids(claim(limit=1)) == second
    assert ids(claim(limit=1)) == first


def test_a_claim_that_is_undone_does_not_count(queue, post, claim):
    post(2)
    held = claim()

    assert model.store.claims.undo(queue, held.id) == 2
    assert [message.claim_count for message in claim().messages] == [1, 1]
    assert model.store.claims.undo(queue, held.id) == 0


def test_every_hand_out_is_counted(queue, post, claim, sql):
    post(1)
    for _ in range(3):
        model.store.claims.release(queue, claim().id)

    claim()

    assert sql('SELECT claim_count FROM message_states') == [(4,)]


def test_an_expired_message_is_never_claimed(post, claim, age):
    post(1, ttl=60)

    age(61)

    assert claim() is None


def test_a_claim_does_not_wait_for_a_message_that_another_is_taking(queue, post, claim, session):
    posted = post(3)
    other = session()
    other.execute('SELECT FROM message_states ORDER BY id LIMIT 1 FOR UPDATE')

    taken = claim(limit=2)

    assert ids(taken) == posted[1:]


def test_renewing_keeps_the_messages_beyond_the_first_term(queue, post, claim, age):
    post(1)
    held = claim(ttl=60)
    age(50)

    model.store.claims.renew(queue, held.id, ttl=60, grace=60)
    age(50)

    assert claim() is None
    assert len(model.store.claims.get(queue, held.id).messages) == 1


def test_a_claim_that_holds_nothing_cannot_be_renewed_and_stays_as_it_is(queue, post, claim, sql):
    [posted] = post(1)
    held = claim()
    model.store.messages.delete(queue, posted, held.id)
    before = sql('SELECT * FROM claims')

    with pytest.raises(ClaimNotFound):
        model.store.claims.renew(queue, held.id, ttl=43200, grace=60)

    assert sql('SELECT * FROM claims') == before


def test_a_lapsed_claim_cannot_be_renewed_though_nobody_took_its_messages(queue, post, claim, age):
    post(1)
    held = claim(ttl=60)
    age(61)

    with pytest.raises(ClaimNotFound):
        model.store.claims.renew(queue, held.id, ttl=60, grace=60)

    assert len(claim().messages) == 1


def test_a_lapsed_claim_releases_nothing_that_another_holds_now(queue, post, claim, age):
    post(1)
    stale = claim(ttl=60)
    age(61)
    fresh = claim(ttl=60)

    model.store.claims.release(queue, stale.id)

    assert len(model.store.claims.get(queue, fresh.id).messages) == 1


def test_a_claim_that_was_undone_leaves_its_messages_to_others(queue, post, claim, session):
    posted = post(1)
    undone = session()
    undone.execute(
        "UPDATE message_states SET claim_id = gen_random_uuid(), held_until = now() + '60 s'"
    )
    assert claim() is None

    undone.connection.rollback()

    assert ids(claim()) == posted


def test_a_claim_is_one_round_trip(queue, post, claim, monkeypatch):
    post(1)
    statements = []
    rows = model.store.database.rows
    monkeypatch.setattr(
        model.store.database,
        'rows',
        lambda *args, **kw: statements.append(args) or rows(*args, **kw),
    )

    claim()

    assert len(statements) == 1


def test_a_claim_that_lost_a_race_looks_again(queue, post, session, monkeypatch):
    """What a claim sees and what it gets its hands on are a moment apart."""
    posted = post(1)
    other = session()
    other.execute('SELECT FROM message_states FOR UPDATE')
    rows = model.store.database.rows
    answers = []

    def let_go_after_the_first(*args: Any, **kw: Any) -> Any:
        answers.append(rows(*args, **kw))
        other.connection.rollback()
        return answers[-1]

    monkeypatch.setattr(model.store.database, 'rows', let_go_after_the_first)

    taken = model.store.claims.create(queue, ttl=60, grace=60, limit=1)

    assert len(answers) == 2
    assert ids(taken) == posted


def test_claims_take_each_message_once_while_it_is_freshly_analyzed_as_an_empty_queue(
    queue, post, claim, sql
):
    """Statistics of an empty queue once made a claim of ten rows run for 20 seconds."""
    sql('VACUUM ANALYZE message_states')
    for _ in range(60):
        post(100)
    sql("SET statement_timeout = '1 s'")

    taken = [ids(claim(limit=20)) for _ in range(10)]

    assert len({identity for batch in taken for identity in batch}) == 200


WORKERS = 8
MESSAGES = 20_000


class Ledger:
    """Who held which message when, as the workers saw it.

    By the wall clock, as the database has it: a monotonic clock can run at another pace.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.holds: dict[str, list[list[float]]] = defaultdict(list)
        self.handled: list[str] = []
        self.overlaps: list[str] = []

    def taken(self, message: str, ends_not_before: float) -> None:
        """The answer to a claim has come; the claim lasts until ``ends_not_before`` at least."""
        now = time.time()
        with self.lock:
            if any(end > now for [end] in self.holds[message]):
                self.overlaps.append(message)
            self.holds[message].append([ends_not_before])

    def given_up(self, message: str) -> None:
        """Its holder is about to release or delete it."""
        with self.lock:
            self.holds[message][-1][0] = 0.0


def test_eight_workers_handle_every_message_and_never_two_hold_one(queue, post):
    """Some workers crash (their claims lapse), some release; others delete what they hold."""
    for _ in range(MESSAGES // 1000):
        post(1000, ttl=3600)
    ledger = Ledger()
    deadline = time.monotonic() + 120

    def work(seed: int) -> None:
        dice = random.Random(seed)
        while len(ledger.handled) < MESSAGES and time.monotonic() < deadline:
            asked_at = time.time()
            crashes = dice.random() < 0.05
            ttl = 1 if crashes else 60
            claim = model.store.claims.create(queue, ttl, 60, dice.randint(1, 20))
            if claim is None:
                # What crashed workers hold is all that is left.
                time.sleep(0.05)
                continue
            for message in claim.messages:
                ledger.taken(message.id, asked_at + ttl)
            if crashes:
                continue
            if dice.random() < 0.1:
                for message in claim.messages:
                    ledger.given_up(message.id)
                model.store.claims.release(queue, claim.id)
                continue
            for message in claim.messages:
                ledger.given_up(message.id)
                model.store.messages.delete(queue, message.id, claim.id)
                with ledger.lock:
                    ledger.handled.append(message.id)

    with ThreadPoolExecutor(WORKERS) as workers:
        list(workers.map(work, range(WORKERS)))

    assert ledger.overlaps == []
    assert len(ledger.handled) == len(set(ledger.handled)) == MESSAGES
    assert model.store.queues.stats(queue).free == 0
