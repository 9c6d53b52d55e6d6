"""A mark spares work and never hides a message."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import pytest

from marconi_api import model
from marconi_api.model import claims, posting
from marconi_api.model.attributes import NO_ATTRIBUTES
from marconi_api.model.postgres import dequeue, low_water_marks
from marconi_api.model.postgres.low_water_marks import (
    LONG_AGO,
    LowWaterMark,
    LowWaterMarks,
    Place,
    Seen,
)
from marconi_api.model.postgres.tables import POSITION_BITS
from tests.model.conftest import CLIENT, ids

QUEUE = 7


def at(seconds):
    return LONG_AGO + timedelta(days=1, seconds=seconds)


def seen(first_fresh=None, first_held=None, now=0, oldest_unfinished=100, transaction=None):
    place = None if first_held is None else Place(first_held, 0)
    return Seen(first_fresh, place, at(now), oldest_unfinished, transaction)


def test_an_unknown_queue_is_scanned_from_its_beginning():
    assert LowWaterMarks().start(QUEUE).mark == LowWaterMark(0, LONG_AGO)


def test_the_fresh_mark_stops_at_the_first_fresh_message():
    known = LowWaterMarks()

    known.learn(QUEUE, known.start(QUEUE), seen(first_fresh=42, oldest_unfinished=100))

    assert known.start(QUEUE).mark.fresh_id == 42


def test_the_fresh_mark_stops_at_the_oldest_unfinished_transaction():
    known = LowWaterMarks()

    known.learn(QUEUE, known.start(QUEUE), seen(first_fresh=None, oldest_unfinished=100))

    assert known.start(QUEUE).mark.fresh_id == 100 << POSITION_BITS


def test_the_held_mark_waits_until_all_older_transactions_are_over():
    known = LowWaterMarks()
    known.learn(QUEUE, known.start(QUEUE), seen(now=1, oldest_unfinished=100, transaction=105))

    known.learn(QUEUE, known.start(QUEUE), seen(now=2, oldest_unfinished=105))
    too_early = known.start(QUEUE).mark.held_until
    known.learn(QUEUE, known.start(QUEUE), seen(now=3, oldest_unfinished=106))

    assert too_early == LONG_AGO
    assert known.start(QUEUE).mark.held_until == at(1)


def test_the_held_mark_stops_at_the_first_returned_message():
    known = LowWaterMarks()
    known.learn(QUEUE, known.start(QUEUE), seen(now=5, oldest_unfinished=100, transaction=105))

    known.learn(QUEUE, known.start(QUEUE), seen(now=6, oldest_unfinished=106, first_held=at(4)))

    assert known.start(QUEUE).mark.held_until == at(4)


def test_a_report_that_comes_late_does_not_use_what_only_a_newer_snapshot_proved():
    known = LowWaterMarks()
    known.learn(QUEUE, known.start(QUEUE), seen(now=5, oldest_unfinished=100, transaction=105))
    early = known.start(QUEUE)
    known.learn(QUEUE, known.start(QUEUE), seen(now=6, oldest_unfinished=106, first_held=at(4)))

    known.learn(QUEUE, early, seen(now=5, oldest_unfinished=101, first_held=None))

    assert known.start(QUEUE).mark.held_until == at(4)


def test_a_mark_never_moves_back_by_what_is_learned():
    known = LowWaterMarks()
    known.learn(QUEUE, known.start(QUEUE), seen(first_fresh=42))

    known.learn(QUEUE, known.start(QUEUE), seen(first_fresh=41))

    assert known.start(QUEUE).mark.fresh_id == 42


def test_a_clock_that_was_set_back_drops_the_mark():
    known = LowWaterMarks()
    known.learn(QUEUE, known.start(QUEUE), seen(now=5, oldest_unfinished=100, transaction=105))
    known.learn(QUEUE, known.start(QUEUE), seen(now=6, oldest_unfinished=106))

    known.learn(QUEUE, known.start(QUEUE), seen(now=2, oldest_unfinished=107))

    assert known.start(QUEUE).mark.held_until == LONG_AGO


def test_a_clock_that_was_set_back_drops_what_was_not_yet_a_mark():
    known = LowWaterMarks()
    known.learn(QUEUE, known.start(QUEUE), seen(now=5, oldest_unfinished=100, transaction=105))

    known.learn(QUEUE, known.start(QUEUE), seen(now=2, oldest_unfinished=101))
    known.learn(QUEUE, known.start(QUEUE), seen(now=6, oldest_unfinished=106))

    assert known.start(QUEUE).mark.held_until == LONG_AGO


def test_a_clock_that_was_set_back_drops_the_marks_of_all_queues():
    known = LowWaterMarks()
    known.learn(QUEUE, known.start(QUEUE), seen(now=5, oldest_unfinished=100, transaction=105))
    known.learn(QUEUE, known.start(QUEUE), seen(now=6, oldest_unfinished=106))

    known.learn(8, known.start(8), seen(now=2, oldest_unfinished=107))

    assert known.start(QUEUE).mark == LowWaterMark()


def test_a_claim_asks_for_a_transaction_id_where_none_is_known_and_then_once_a_second(monkeypatch):
    known = LowWaterMarks()
    asked = [known.start(QUEUE, may_ask=True).asks]
    known.learn(QUEUE, known.start(QUEUE), seen(now=1, oldest_unfinished=100, transaction=105))
    known.learn(QUEUE, known.start(QUEUE), seen(now=2, oldest_unfinished=106))
    asked += [known.start(QUEUE, may_ask=True).asks for _ in range(2)]
    now = time.monotonic()
    monkeypatch.setattr(low_water_marks.time, 'monotonic', lambda: now + 1.1)
    asked += [known.start(QUEUE, may_ask=True).asks for _ in range(2)]

    assert asked == [True, True, False, True, False]


def test_a_claim_does_not_ask_while_an_id_waits_for_others_to_end(monkeypatch):
    known = LowWaterMarks()
    known.learn(QUEUE, known.start(QUEUE), seen(now=1, oldest_unfinished=100, transaction=105))
    now = time.monotonic()
    monkeypatch.setattr(low_water_marks.time, 'monotonic', lambda: now + 1.1)

    assert not known.start(QUEUE, may_ask=True).asks


def test_each_limit_on_claims_has_a_mark_of_its_own():
    known = LowWaterMarks()

    known.learn(QUEUE, known.start(QUEUE, 3), seen(first_fresh=42), 3)

    marks = [known.start(QUEUE, limit).mark.fresh_id for limit in (None, 2, 3)]
    assert marks == [0, 0, 42]


def test_a_report_that_comes_late_is_not_taken_for_a_clock_that_was_set_back():
    """Threads report in any order; dropped marks would cost most where they are needed."""
    known = LowWaterMarks()
    early = known.start(QUEUE)
    known.learn(QUEUE, known.start(QUEUE), seen(now=5, oldest_unfinished=100, transaction=105))
    known.learn(QUEUE, known.start(QUEUE), seen(now=6, oldest_unfinished=106))

    known.learn(QUEUE, early, seen(now=2, oldest_unfinished=99))

    assert known.start(QUEUE).mark.held_until == at(5)


def test_a_report_from_before_marks_were_dropped_is_not_learned():
    """It may be about the database that was there before a failover."""
    known = LowWaterMarks()
    early = known.start(QUEUE)
    known.forget()

    known.learn(QUEUE, early, seen(first_fresh=42))

    assert known.start(QUEUE).mark == LowWaterMark()


def test_each_minute_the_mark_steps_back_to_that_of_ten_minutes_ago(monkeypatch):
    known = LowWaterMarks()
    now = time.monotonic()
    for minute in range(1, 12):
        monkeypatch.setattr(low_water_marks.time, 'monotonic', lambda at=now + 61 * minute: at)
        known.learn(QUEUE, known.start(QUEUE), seen(first_fresh=minute))

    assert known.start(QUEUE).mark.fresh_id == 1


def test_the_least_used_queue_is_forgotten_first(monkeypatch):
    monkeypatch.setattr(low_water_marks, '_MOST_QUEUES', 2)
    known = LowWaterMarks()

    for queue in (1, 2, 1, 3):
        known.learn(queue, known.start(queue), seen(first_fresh=9))

    assert [known.start(queue).mark.fresh_id for queue in (1, 2, 3)] == [9, 0, 9]


def test_claims_move_the_marks_of_a_real_queue(queue, post, claim):
    post(40)
    for _ in range(2):
        claim(limit=20)

    later = post(1)

    assert model.store.low_water_marks.start(queue.id).mark.fresh_id > 0
    assert ids(claim()) == later


def test_a_new_connection_drops_all_marks(queue, post, claim):
    post(2)
    claim(limit=1)

    model.store.database.close()
    model.store.queues.exists(queue)

    assert model.store.low_water_marks.start(queue.id).mark == LowWaterMark()


def test_marks_lose_no_message_in_a_crowd(queue, session, monkeypatch):
    """Posts and releases that commit late or not at all, claims that lapse, a pinned snapshot.

    Every message that was posted is deleted once, though no mark is ever dropped.
    """
    monkeypatch.setattr(low_water_marks, '_STEP_BACK_EVERY', 3600.0)
    done = threading.Event()
    lock = threading.Lock()
    posted, deleted = set(), []

    def slow_statement(dice, statement, parameters, idle=0.0):
        """Run it in a transaction that began before, and commits late, or not at all."""
        with model.store.database.transaction() as run:
            time.sleep(dice.random() * idle)
            rows = run(statement, parameters)
            time.sleep(dice.random() / 50)
            if dice.random() < 0.2:
                run('ROLLBACK', {})
                run('BEGIN', {})
                return []
            return rows

    def keep_posting(seed):
        dice = random.Random(seed)
        while not done.is_set():
            rows = slow_statement(
                dice,
                posting.POST,
                {
                    **queue.parameters,
                    'base': model.store.database.base,
                    'client_id': CLIENT,
                    'traceparent': None,
                }
                | {'ttls': [3600] * 5, 'bodies': ['1'] * 5, 'delays': [0] * 5},
            )
            with lock:
                posted.update(row[0] + place for row in rows for place in range(5))

    def slow_claim(dice, ttl):
        """A claim that lapses at once, or may have lapsed before it is committed."""
        mark = model.store.low_water_marks.mark(queue.id)
        parameters = {**parameters_of_a_claim(queue), **mark.parameters, 'ttl': ttl}
        slow_statement(dice, claims._CREATE, parameters, idle=0.2)

    def keep_working(seed):
        dice = random.Random(seed)
        idle_since = time.monotonic()
        while not done.is_set() or time.monotonic() - idle_since < 3:
            fate = dice.random()
            if fate < 0.1:
                slow_claim(dice, ttl=dice.choice((0, 1)))
                continue
            ttl = dice.choice((0, 1)) if fate < 0.2 else 60
            claim = model.store.claims.create(queue, ttl, 60, 10)
            if claim is None:
                time.sleep(0.01)
                continue
            idle_since = time.monotonic()
            if fate < 0.2:
                continue
            if fate < 0.4:
                parameters = {**queue.parameters, 'claim_id': claim.id}
                slow_statement(dice, claims._RELEASE, parameters)
                model.store.claims.release(queue, claim.id)
                continue
            for message in claim.messages:
                model.store.messages.delete(queue, message.id, claim.id)
                with lock:
                    deleted.append(int(message.id, 16))

    pinned = session()
    pinned.execute('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY')
    pinned.execute('SELECT 1')
    with ThreadPoolExecutor(9) as pool:
        threads = [pool.submit(keep_posting, seed) for seed in range(3)]
        threads += [pool.submit(keep_working, seed) for seed in range(3, 9)]
        time.sleep(5)
        done.set()
        for thread in threads:
            thread.result()

    assert len(deleted) == len(set(deleted))
    assert set(deleted) == posted
    assert model.store.low_water_marks.start(queue.id).mark.held_until > LONG_AGO


def test_the_naive_mark_hides_what_commits_late(queue, post, claim, session, monkeypatch):
    """So that the tests above are known to be able to fail: the highest id taken, plus one."""

    def learn_naively(memory, seen):
        newest = model.store.database.rows('SELECT max(id) FROM message_states', {})[0][0]
        memory.mark = LowWaterMark(newest + 1)

    monkeypatch.setattr(low_water_marks._Memory, 'learn', learn_naively)
    late = session()
    late.execute(
        posting.POST,
        {
            **queue.parameters,
            'base': model.store.database.base,
            'client_id': CLIENT,
            'traceparent': None,
        }
        | {'ttls': [300], 'bodies': ['"late"'], 'delays': [0]},
    )
    post(1)
    claim()
    late.connection.commit()

    assert claim() is None


@pytest.fixture
def claim_of_one_that_began_long_ago(queue, post, claim, session):
    """Runs a claim in a transaction that began before all others ended, as the marks know."""

    def claim_late(statement, ttl):
        post(1)
        late = session()
        late.execute('SELECT now()')
        time.sleep(ttl)
        # Of two polls the first names a horizon, and the second sees that all before it ended.
        model.store.claims.release(queue, claim().id)
        polls = [model.store.messages.delete_many(queue, ids(claim())), claim(), claim()]
        assert polls == [1, None, None]
        assert model.store.low_water_marks.start(queue.id).mark.held_until > LONG_AGO
        posted = post(1)
        late.execute(statement, {**parameters_of_a_claim(queue), 'ttl': ttl})
        late.connection.commit()
        return posted

    return claim_late


@pytest.mark.parametrize('ttl', [0, 1])
def test_what_a_short_claim_lets_lapse_is_found_though_its_transaction_began_long_ago(
    queue, claim, claim_of_one_that_began_long_ago, age, ttl
):
    posted = claim_of_one_that_began_long_ago(claims._CREATE, ttl)
    time.sleep(ttl)

    assert ids(claim()) == posted


@pytest.mark.parametrize('ttl', [0, 1])
def test_a_naive_claim_which_ends_so_long_after_its_transaction_began_loses_its_message(
    queue, claim, claim_of_one_that_began_long_ago, ttl
):
    naive = claims._CREATE.replace('clock_timestamp()', 'now()')
    claim_of_one_that_began_long_ago(naive, ttl)
    time.sleep(ttl)

    assert claim() is None


def test_a_claim_reads_little_though_dead_rows_cannot_be_removed(queue, post, claim, session):
    """An old snapshot, a backup's for instance, keeps all index entries of what is deleted."""
    pinned = session()
    pinned.execute('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY')
    pinned.execute('SELECT 1')
    for _ in range(200):
        post(100)
        model.store.messages.delete_many(queue, ids(claim(limit=100)))
    post(20)

    with_mark = blocks_read_by_a_claim(queue, model.store.low_water_marks.start(queue.id).mark)
    without = blocks_read_by_a_claim(queue, LowWaterMark())

    assert with_mark * 5 < without


def parameters_of_a_claim(queue):
    """Of one that knows no mark."""
    return {
        **queue.parameters,
        **LowWaterMark().parameters,
        **{'base': model.store.database.base, 'digest': NO_ATTRIBUTES.digest, 'asks': False},
        **{'claim_id': str(uuid4()), 'ttl': 60, 'grace': 60, 'limit': 5},
    }


def blocks_read_by_a_claim(queue, mark):
    [[[plan]]] = model.store.database.rows(
        f'EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {claims._CREATE}',
        {**parameters_of_a_claim(queue), **mark.parameters},
    )
    return plan['Plan']['Shared Hit Blocks'] + plan['Plan']['Shared Read Blocks']


def test_polls_of_a_drained_queue_read_little_though_dead_rows_cannot_be_removed(
    queue, post, claim, session
):
    """All that was released came back after the last claim that got an id without asking."""
    pinned = session()
    pinned.execute('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY')
    pinned.execute('SELECT 1')
    posted = post(4000)
    model.store.claims.release(queue, claim(limit=4000).id)
    model.store.messages.delete_many(queue, posted)

    for _ in range(3):
        assert claim() is None

    with_mark = blocks_read_by_a_claim(queue, model.store.low_water_marks.start(queue.id).mark)
    without = blocks_read_by_a_claim(queue, LowWaterMark())
    assert with_mark * 5 < without


@pytest.fixture
def clock_set_back(queue):
    """The clock was an hour ahead until now, and a claim saw it then."""
    [(ahead, unfinished)] = model.store.database.rows(
        "SELECT now() + interval '1 hour', pg_snapshot_xmin(pg_current_snapshot())::text::bigint",
        {},
    )
    for number in range(2):
        known = Seen(None, None, ahead, unfinished + number, unfinished)
        model.store.low_water_marks.learn(
            queue.id, model.store.low_water_marks.start(queue.id), known
        )
    assert model.store.low_water_marks.start(queue.id).mark.held_until == ahead


def test_a_list_shows_what_was_released_since_the_clock_was_set_back(
    queue, post, claim, clock_set_back
):
    posted = post(1)
    release_elsewhere(queue)

    assert ids(model.store.messages.page(queue, None, 10)) == posted


def test_a_claim_finds_what_was_released_since_the_clock_was_set_back(
    queue, post, claim, clock_set_back
):
    posted = post(1)
    release_elsewhere(queue)

    assert ids(claim()) == posted


def release_elsewhere(queue):
    """What another process does, whose marks are its own: claim and release."""
    database = model.store.database
    attributes = model.KnownAttributes(database)
    claims = model.Claims(database, LowWaterMarks(), attributes, model.ReadyListeners())
    claims.release(queue, claims.create(queue, 60, 60, 10).id)


PAST = "now() - interval '1 hour' + g * interval '1 ms'"
GONE = "now() - interval '1 second'"


@pytest.mark.parametrize('held_until', ['NULL', PAST], ids=['fresh', 'returned'])
def test_a_claim_finds_what_is_alive_behind_thousands_that_have_expired(
    queue, fill, claim, held_until
):
    fill(12_000, held_until, expires_at=GONE)
    [alive] = fill(1, held_until="now() - interval '1 minute'")

    assert ids(claim()) == [alive]


@pytest.mark.parametrize('held_until', ['NULL', PAST], ids=['fresh', 'returned'])
def test_so_it_does_while_the_marks_have_to_wait_for_an_unfinished_transaction(
    queue, fill, claim, held_until, session
):
    session().execute('SELECT pg_current_xact_id()')
    fill(12_000, held_until, expires_at=GONE)
    [alive] = fill(1, held_until="now() - interval '1 minute'")

    assert ids(claim()) == [alive]


def test_a_look_that_started_above_the_mark_does_not_move_it(queue, fill, claim, session):
    """What the looks before it passed over may hold what their snapshots did not see."""
    unfinished = session()
    unfinished.execute('SELECT pg_current_xact_id()')
    fill(12_000, PAST, expires_at=GONE)

    assert claim() is None
    mark = model.store.low_water_marks.start(queue.id).mark
    unfinished.connection.rollback()

    assert mark.held_until == LONG_AGO
    assert claim() is None
    assert claim() is None
    assert model.store.low_water_marks.start(queue.id).mark.held_until > LONG_AGO


def test_marks_pass_over_thousands_that_returned_at_one_instant(queue, fill, claim):
    fill(12_000, "now() - interval '1 hour'", expires_at=GONE)
    [alive] = fill(1, held_until="now() - interval '1 minute'")

    assert ids(claim()) == [alive]


def test_a_claim_gives_up_after_a_while_and_the_next_goes_on(queue, fill, claim, monkeypatch):
    monkeypatch.setattr(dequeue, '_PATIENCE', 0)
    fill(12_000, PAST, expires_at=GONE)
    [alive] = fill(1, held_until="now() - interval '1 minute'")

    claims = [claim() for _ in range(5)]

    assert claims[0] is None
    assert [ids(found) for found in claims if found] == [[alive]]
