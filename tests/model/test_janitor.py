"""The janitor removes what is dead, all of it, and nothing else."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from marconi_api import model
from marconi_api.model import QueueKey
from marconi_api.model import janitor as janitor_module
from marconi_api.model.janitor import Janitor
from marconi_api.model.postgres.database import Database
from marconi_api.model.quiet_stretches import QuietStretches
from tests.model.conftest import CLIENT
from tests.running_service import wait_until


@pytest.fixture(autouse=True)
def nobodys_turn(app, sql):
    """No janitor of another test has just done its round."""
    sql('UPDATE janitor SET round_at = NULL')


@pytest.fixture
def janitor():
    """A janitor whose batches are smaller than what there is to do."""
    return Janitor(model.store.database, interval=0.01, batch_size=7)


def rows_left(sql):
    [(states,)] = sql('SELECT count(*) FROM message_states')
    [(bodies,)] = sql('SELECT count(*) FROM messages')
    assert states == bodies
    return states


def test_expired_messages_are_removed(queue, post, age, janitor, sql):
    post(50, ttl=60)
    age(61)

    assert janitor.run_once() == 50
    assert rows_left(sql) == 0


def test_what_lives_is_kept(queue, post, claim, age, janitor, sql):
    post(20, ttl=60)
    post(20, ttl=3600)
    claim(limit=5, ttl=100)
    age(61)

    janitor.run_once()

    assert rows_left(sql) == 25


def test_all_that_was_in_a_deleted_queue_is_removed(queue, post, claim, janitor, sql):
    post(30)
    claim(limit=10)
    model.store.queues.delete(queue)

    janitor.run_once()

    assert rows_left(sql) == 0


def test_all_that_was_in_an_earlier_queue_of_the_name_is_removed(queue, post, janitor, sql):
    post(30)
    model.store.queues.delete(queue)
    model.store.queues.create(queue)
    post(3)

    janitor.run_once()

    assert rows_left(sql) == 3


def test_many_queues_are_walked_in_one_round(post, age, janitor, sql):
    for number in range(20):
        queue = QueueKey.of('project', f'queue-{number}')
        model.store.queues.create(queue)
        post(2, ttl=60, to=queue)
        post(1, ttl=3600, to=queue)
    age(61)

    assert janitor.run_once() == 40
    assert rows_left(sql) == 20


def test_a_claim_is_removed_when_its_time_is_over(post, claim, age, janitor, sql):
    post(20)
    for _ in range(20):
        claim(limit=1, ttl=60)
    age(61)

    janitor.run_once()

    assert sql('SELECT count(*) FROM claims') == [(0,)]


def test_a_claim_is_removed_when_it_holds_nothing_more(queue, post, claim, janitor, sql):
    post(2)
    model.store.messages.delete_many(queue, [claim(limit=1).messages[0].id])
    holding = claim(limit=1)

    janitor.run_once()

    assert sql('SELECT id::text FROM claims') == [(holding.id,)]


def test_it_does_not_wait_for_a_row_that_is_locked(post, age, janitor, session, sql):
    post(10, ttl=60)
    age(61)
    locker = session()
    locker.execute('SELECT FROM message_states ORDER BY id LIMIT 1 FOR UPDATE')

    assert janitor.run_once() == 9


def test_several_at_once_remove_everything_once(post, age, janitor, sql):
    post(400, ttl=60)
    age(61)

    with ThreadPoolExecutor(4) as pool:
        removed = list(pool.map(lambda _: janitor.run_once(), range(4)))

    assert sum(removed) == 400
    assert rows_left(sql) == 0


def test_it_goes_on_until_it_is_stopped(post, age, janitor, sql):
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(janitor.run_forever, stop)
        post(10, ttl=60)
        age(61)
        try:
            wait_until(lambda: sql('SELECT count(*) FROM message_states') == [(0,)])
        finally:
            stop.set()
        running.result()

    assert rows_left(sql) == 0


def test_a_batch_that_fails_leaves_the_others_removed(queue, post, age, janitor, sql, caplog):
    post(30, ttl=60)
    age(61)
    first = sql('SELECT min(id) FROM message_states')[0][0]
    sql(f"""
        CREATE FUNCTION refuse_one() RETURNS trigger LANGUAGE plpgsql
            AS $$BEGIN RAISE 'no'; END$$;
        CREATE TRIGGER refuse BEFORE DELETE ON message_states FOR EACH ROW
            WHEN (OLD.id = {first}) EXECUTE FUNCTION refuse_one()""")
    try:
        removed = janitor.run_once()
    finally:
        sql('DROP FUNCTION refuse_one() CASCADE')

    assert removed == 30 - 7
    assert 'could not remove' in caplog.text


def test_it_survives_a_storage_that_is_out_of_reach(janitor, monkeypatch, caplog):
    stop = threading.Event()
    rows = model.store.database.rows
    calls = []

    def fail_once(*args, **kw):
        calls.append(args)
        if len(calls) == 1:
            raise model.StorageUnavailable
        stop.set()
        return rows(*args, **kw)

    monkeypatch.setattr(model.store.database, 'rows', fail_once)
    janitor.run_forever(stop)

    assert len(calls) > 1
    assert 'could not look' in caplog.text


@pytest.fixture
def looks(monkeypatch):
    """The looks at messages that are made."""
    made = []
    rows = model.store.database.rows

    def note(statement, *args, **kw):
        if statement is janitor_module._LOOK_AT_MESSAGES:
            made.append(args)
        return rows(statement, *args, **kw)

    monkeypatch.setattr(model.store.database, 'rows', note)
    return made


def test_a_round_passes_over_what_lived_in_the_round_before(post, janitor, looks):
    """It read all messages each time: 0.7 s a million."""
    post(700)
    janitor._run_round()
    assert len(looks) >= 100
    looks.clear()

    post(3)
    janitor._run_round()

    assert len(looks) <= 3


def test_what_is_posted_behind_it_is_removed(post, age, janitor, sql):
    post(700)
    janitor._run_round()
    last = sql('SELECT max(id) FROM message_states')[0][0]
    post(20)
    sql('UPDATE message_states SET expires_at = now() WHERE id > %s', last)

    assert janitor._run_round() == 20


@pytest.mark.parametrize('how', ['purge', 'delete', 'make anew'])
def test_a_floor_that_rises_over_it_is_noticed(queue, post, janitor, sql, how):
    post(700)
    janitor._run_round()

    if how == 'purge':
        model.store.queues.purge(queue)
    else:
        model.store.queues.delete(queue)
    if how == 'make anew':
        model.store.queues.create(queue)

    assert janitor._run_round() == 700


def test_a_round_by_hand_looks_at_all(post, age, janitor):
    post(700)
    janitor._run_round()
    age(301)

    assert janitor.run_once() == 700


def test_a_quiet_stretch_ends_with_its_time():
    quiet = QuietStretches()
    quiet.remember(1, 0, after=10, last=20, seconds=60)
    quiet.remember(1, 0, after=20, last=30, seconds=60)
    quiet.remember(1, 0, after=30, last=40, seconds=0)

    assert quiet.end_of(1, 10) == quiet.end_of(1, 25) == 30
    assert quiet.end_of(1, 9) == 9
    assert quiet.end_of(1, 30) == 30
    assert quiet.end_of(2, 10) == 10


def test_a_new_look_replaces_what_was_known_of_the_place():
    quiet = QuietStretches()
    quiet.remember(1, 0, after=10, last=20, seconds=60)
    quiet.remember(1, 0, after=15, last=25, seconds=60)

    assert quiet.end_of(1, 10) == 10
    assert quiet.end_of(1, 15) == 25


def test_of_several_janitors_one_does_the_rounds(app, sql):
    first, second = (Janitor(model.store.database, 30, 1000) for _ in range(2))

    assert [janitor._is_our_turn() for janitor in (first, second, first)] == [True, False, True]

    sql("UPDATE janitor SET round_at = round_at - interval '91 seconds'")
    assert [janitor._is_our_turn() for janitor in (second, first)] == [True, False]


def test_it_goes_on_behind_what_takes_too_long(app, postgres, session, sql):
    """Under an old snapshot a look passes over all that was deleted since."""
    slow, behind = sorted((QueueKey.of('p', name) for name in ('a', 'b')), key=lambda key: key.id)
    for queue in (slow, behind):
        model.store.queues.create(queue)
    fill = """
        INSERT INTO message_states (queue_id, id, expires_at, client_id, ttl)
        SELECT %s, floor + g, now() + %s * interval '1 s', %s, 60
          FROM queues, generate_series(1, %s) AS g WHERE queue_id = %s"""
    sql(fill, slow.id, 3600, CLIENT, 500_000, slow.id)
    pinning = session()
    pinning.execute('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT FROM queues')
    sql('DELETE FROM message_states')
    sql(fill, behind.id, 0, CLIENT, 100, behind.id)
    janitor = Janitor(Database(postgres.url, 2, 0.04), 30, 1000)

    for _ in range(20):
        janitor.run_once()
        if sql('SELECT count(*) FROM message_states') == [(0,)]:
            break

    assert sql('SELECT count(*) FROM message_states') == [(0,)]
