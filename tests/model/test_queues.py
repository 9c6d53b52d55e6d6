"""What a queue promises, below the wire."""

import importlib
import json
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from marconi_api import model
from marconi_api.errors import (
    ClaimNotFound,
    InvalidRequest,
    MarconiError,
    QueueCollision,
    QueueNotFound,
)
from marconi_api.model import QueueFilter, QueueKey
from tests.model.conftest import CLIENT, ids, new_messages

POSTING = importlib.import_module('marconi_api.model.posting')
QUEUES = importlib.import_module('marconi_api.model.queues')


def parameters_of_a_post(queue):
    return {
        **queue.parameters,
        'base': model.store.database.base,
        'client_id': CLIENT,
        'traceparent': None,
        'ttls': [60],
        'bodies': ['1'],
        'delays': [0],
        **{'ttl': 60, 'body': '1'},
    }


def test_a_queue_is_made_once(app):
    queue = QueueKey.of('project', 'new')

    assert model.store.queues.create(queue)
    assert not model.store.queues.create(queue)


def test_of_many_who_make_a_queue_at_once_one_has_made_it(app):
    queue = QueueKey.of('project', 'new')

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: model.store.queues.create(queue), range(8)))

    assert sorted(made) == [False] * 7 + [True]


def test_making_a_queue_again_keeps_its_metadata(queue):
    model.store.queues.set_metadata(queue, '{"a": 1}')

    model.store.queues.create(queue)

    assert model.store.queues.metadata(queue) == '{"a": 1}'


def test_the_same_name_in_another_project_is_another_queue(queue, post):
    elsewhere = QueueKey.of('elsewhere', queue.name)
    model.store.queues.create(elsewhere)

    post(1)

    assert model.store.queues.stats(elsewhere).free == 0


def test_a_name_whose_hash_is_taken_is_refused_and_shares_nothing(queue, post):
    post(1)
    twin = QueueKey(queue.id, 'other project', 'other name')

    with pytest.raises(QueueCollision):
        model.store.queues.create(twin)

    assert not model.store.queues.exists(twin)
    assert model.store.messages.page(twin, None, 10) == []
    with pytest.raises(QueueNotFound):
        model.store.messages.post(twin, CLIENT, new_messages(ttl=60))
    model.store.queues.delete(twin)
    assert model.store.queues.exists(queue)


def test_a_deleted_queue_shows_nothing_of_what_was_in_it(queue, post, claim):
    [message, *_] = post(3)
    held = claim(limit=1)

    model.store.queues.delete(queue)

    assert model.store.messages.page(queue, None, 10, states={'ready', 'claimed'}) == []
    assert model.store.messages.get_many(queue, [message]) == []
    assert model.store.claims.create(queue, 60, 60, 10) is None
    with pytest.raises(QueueNotFound):
        model.store.queues.stats(queue)
    with pytest.raises(ClaimNotFound):
        model.store.claims.get(queue, held.id)


def test_a_queue_made_anew_shows_nothing_of_the_one_before(queue, post, claim):
    [message, *_] = post(3)
    held = claim(limit=1)

    model.store.queues.delete(queue)
    model.store.queues.create(queue)

    assert model.store.queues.stats(queue).free == 0
    assert model.store.queues.stats(queue).claimed == 0
    assert model.store.queues.metadata(queue) == '{}'
    assert model.store.messages.page(queue, None, 10, states={'ready', 'claimed'}) == []
    assert model.store.messages.get_many(queue, [message]) == []
    assert model.store.claims.create(queue, 60, 60, 10) is None
    with pytest.raises(ClaimNotFound):
        model.store.claims.get(queue, held.id)
    model.store.messages.delete(queue, message)


def test_a_queue_made_anew_takes_new_messages(queue, post, claim):
    post(3)
    model.store.queues.delete(queue)
    model.store.queues.create(queue)

    posted = post(2)

    assert ids(claim()) == posted


@pytest.mark.parametrize('statement', ['POST', 'POST_ONE'])
def test_deleting_waits_for_a_post_that_is_under_way(queue, session, statement):
    """So that no message can slip into the queue that is made next."""
    slow = session()
    slow.execute(getattr(POSTING, statement), parameters_of_a_post(queue))
    deleted = threading.Event()

    def delete():
        model.store.queues.delete(queue)
        deleted.set()

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(delete)
        assert not deleted.wait(0.3)
        slow.connection.commit()
        waiting.result()
    model.store.queues.create(queue)

    assert model.store.messages.page(queue, None, 10) == []


def test_deleting_does_not_wait_for_posts_that_come_after_it(queue, session):
    """In a crowd there is always a post under way; a delete must not wait for them all."""
    slow = session()
    slow.execute(POSTING.POST, parameters_of_a_post(queue))

    with ThreadPoolExecutor(1) as pool:
        deleting = pool.submit(model.store.queues.delete, queue)
        for _ in range(1000):
            if not model.store.queues.exists(queue):
                break
        with pytest.raises(QueueNotFound):
            model.store.messages.post(queue, CLIENT, new_messages(ttl=60))
        slow.connection.commit()
        deleting.result()

    assert model.store.queues.create(queue)


@pytest.mark.parametrize('mender', ['delete', 'create', 'janitor'])
def test_a_deletion_that_was_broken_off_is_completed(queue, post, sql, mender):
    post(1)
    model.store.database.rows(QUEUES._RETIRE, queue.parameters)
    assert not model.store.queues.exists(queue)
    assert model.store.queues.page('project', '', 10) == []
    assert model.store.admin.projects() == []

    if mender == 'delete':
        model.store.queues.delete(queue)
    elif mender == 'create':
        assert model.store.queues.create(queue)
        assert model.store.queues.stats(queue).free == 0
        return
    else:
        model.store.janitor.run_once()

    assert sql('SELECT count(*) FROM queues') == [(0,)]


def test_a_maker_that_is_older_than_a_post_still_starts_with_an_empty_queue(queue, post, session):
    """Its transaction began first, yet the post came and went before its row was written."""
    maker = session()
    maker.execute('SELECT pg_current_xact_id()')
    post(1)
    model.store.queues.delete(queue)
    maker.execute(QUEUES._INSERT, {**queue.parameters, 'metadata': '{}', 'grouping': 0})
    maker.execute(QUEUES._SET_FLOOR, {**queue.parameters, 'base': model.store.database.base})
    maker.connection.commit()

    assert model.store.queues.stats(queue).free == 0


def test_a_queue_deleted_and_made_anew_in_a_crowd_never_shows_an_old_message(queue, sql):
    """Nobody meets a message that was there before the queue was last made."""
    done = threading.Event()
    generation = 0
    posted_by_then, met, errors = {}, [], []

    def keep_posting(seed):
        while not done.is_set():
            try:
                posted = model.store.messages.post(queue, CLIENT, new_messages(5, ttl=60))
            except QueueNotFound:
                time.sleep(0.001)
            else:
                posted_by_then.update(dict.fromkeys(posted, generation))

    def keep_claiming(seed):
        dice = random.Random(seed)
        while not done.is_set():
            made_since = generation
            claim = model.store.claims.create(queue, 60, 60, 10)
            for message in claim.messages if claim else ():
                met.append((message.id, made_since))
                if dice.random() < 0.5:
                    try:
                        model.store.messages.delete(queue, message.id, claim.id)
                    except MarconiError as error:
                        errors.append(error)

    with ThreadPoolExecutor(6) as pool:
        threads = [pool.submit(keep_posting, seed) for seed in range(3)]
        threads += [pool.submit(keep_claiming, seed) for seed in range(3)]
        deadline = time.monotonic() + 4
        while time.monotonic() < deadline:
            time.sleep(0.02)
            model.store.queues.delete(queue)
            model.store.queues.create(queue)
            generation += 1
        done.set()
        for thread in threads:
            thread.result()

    assert generation > 20
    assert len(met) > 100
    # The queue of one generation more may have been made before it was counted.
    assert [1 for message, since in met if posted_by_then[message] + 1 < since] == []
    assert errors == []

    model.store.queues.delete(queue)
    model.store.janitor.run_once()
    assert sql('SELECT count(*) FROM message_states') == [(0,)]
    assert sql('SELECT count(*) FROM messages') == [(0,)]
    assert sql('SELECT count(*) FROM claims') == [(0,)]


def test_listing_is_by_name_and_stays_within_the_project(app):
    for project, name in (('p', 'b'), ('p', 'B'), ('p', 'a'), ('', 'c'), ('other', 'd')):
        model.store.queues.create(QueueKey.of(project, name))

    assert [queue.name for queue in model.store.queues.page('p', '', 10)] == ['B', 'a', 'b']
    assert [queue.name for queue in model.store.queues.page('p', 'B', 1)] == ['a']
    assert [queue.name for queue in model.store.queues.page('', '', 10)] == ['c']


def test_stats_count_what_is_alive_and_tell_the_ends_of_the_line(queue, post, claim, age):
    post(1, ttl=60)
    age(61)
    posted = post(3)
    claim(limit=2)
    age(10)

    stats = model.store.queues.stats(queue)

    assert (stats.free, stats.claimed) == (1, 2)
    assert (stats.oldest.id, stats.newest.id) == (posted[0], posted[-1])
    assert stats.oldest.age in (10, 11)


def test_a_queue_is_made_with_its_metadata(app):
    queue = QueueKey.of('project', 'new')

    model.store.queues.create(queue, '{"a": 1}')

    assert model.store.queues.metadata(queue) == '{"a": 1}'


def test_metadata_that_many_change_at_once_loses_no_change(queue):
    def add_one(metadata):
        return json.dumps({'changes': json.loads(metadata).get('changes', 0) + 1})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: model.store.queues.change_metadata(queue, add_one), range(40)))

    assert json.loads(model.store.queues.metadata(queue)) == {'changes': 40}


def test_a_change_that_fails_leaves_the_metadata(queue):
    def fail(metadata):
        raise InvalidRequest('no')

    with pytest.raises(InvalidRequest):
        model.store.queues.change_metadata(queue, fail)

    assert model.store.queues.metadata(queue) == '{}'


def make_many(sql, count, metadata='{}'):
    """Queues of the project 'many', by names of six digits."""
    sql(
        """
        INSERT INTO queues
        SELECT g, 'many', lpad(g::text, 6, '0'), %s, now(), 0 FROM generate_series(1, %s) AS g""",
        metadata,
        count,
    )


@pytest.mark.parametrize('limit', [1, 20])
def test_a_search_looks_at_so_many_queues_and_says_where_it_goes_on(app, sql, monkeypatch, limit):
    """One that finds nothing made a statement for each queue, and held up all tenants."""
    make_many(sql, 10_100)
    model.store.queues.create(QueueKey.of('many', 'last'), '{"foo": 1}')
    statements = []
    rows = model.store.database.rows
    monkeypatch.setattr(
        model.store.database,
        'rows',
        lambda *args, **kw: statements.append(args) or rows(*args, **kw),
    )
    wanted = QueueFilter(metadata={'foo': '1'})

    found, goes_on_after = model.store.queues.search('many', '', limit, wanted)
    assert (found, goes_on_after) == ([], '010000')
    assert len(statements) == 10

    found, goes_on_after = model.store.queues.search('many', goes_on_after, limit, wanted)
    assert [queue.name for queue in found] == ['last']
    assert goes_on_after == ('last' if limit == 1 else None)


def test_a_search_stops_at_metadata_that_is_long(app, sql):
    """It is read from the disk, and by the process."""
    make_many(sql, 400, json.dumps({'a': 'b' * 60_000}))

    found, goes_on_after = model.store.queues.search(
        'many', '', 20, QueueFilter(metadata={'a': 'c'})
    )
    assert (found, goes_on_after) == ([], '000030')


@pytest.mark.parametrize('name', ['2', '02', '000'])
def test_a_search_misses_nothing_from_page_to_page(app, sql, name):
    make_many(sql, 2300, '{"foo": 1}')
    wanted = QueueFilter(name, {'foo': '1'})
    met, marker = [], ''

    while marker is not None:
        found, marker = model.store.queues.search('many', marker, 30, wanted)
        met += [queue.name for queue in found]

    assert met == [f'{g:06}' for g in range(1, 2301) if name in f'{g:06}']


@pytest.mark.parametrize(
    ('metadata', 'member', 'value', 'is_found'),
    [
        (r'{"\u0066oo": 1}', 'foo', '1', True),
        (r'{"foo": "\u0062ar"}', 'foo', 'bar', True),
        (r'{"foo": "\u0000"}', 'foo', '\0', True),
        (r'{"foo": 1, "other": "\u0000"}', 'foo', '1', True),
        (r'{"a\"b": 1}', 'a"b', '1', True),
        (r'{"a\\b": "c\/d"}', 'a\\b', 'c/d', True),
        ('{"foo": 30.0}', 'foo', '30', True),
        ('{"foo": 3e1}', 'foo', '30', True),
        ('{"foo": 1e400}', 'foo', '1', False),
        ('{"foo": 30}', 'foo', '31', False),
        ('{"foo": "30"}', 'foo', '30', False),
        ('{"foo": true}', 'foo', '1', False),
        ('{"foo": "a", "foo": "b"}', 'foo', 'b', True),
        ('{"foo": "a", "foo": "b"}', 'foo', 'a', False),
        ('{"deep": {"foo": "b"}}', 'foo', 'b', False),
        ('{"bar": "foo"}', 'foo', 'foo', False),
        ('{"ü": "ü"}', 'ü', 'ü', True),
        (r'{"ü": "\u00fc"}', 'ü', 'ü', True),
        ('{}', 'foo\0', '\0', False),
        ('{}', '\udcff', '\udcff', False),
    ],
)
def test_a_search_finds_metadata_however_it_is_written(app, metadata, member, value, is_found):
    model.store.queues.create(QueueKey.of('p', 'q'), metadata)

    found, _ = model.store.queues.search('p', '', 10, QueueFilter(metadata={member: value}))

    assert bool(found) == is_found
