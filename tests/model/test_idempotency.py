"""A request that is sent again under its key is not done again."""

import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from marconi_api import limits, model
from marconi_api.errors import IdempotencyKeyInUse, IdempotencyKeyReused, QueueNotFound
from marconi_api.model import QueueKey, RequestKey, posting
from marconi_api.model.janitor import Janitor
from tests.model.conftest import CLIENT, new_messages
from tests.running_service import wait_until

KEY = RequestKey.of('key', b'content')
OF_OTHER_CONTENT = RequestKey.of('key', b'other')


@pytest.fixture
def post_once(queue):
    """Posts three messages under a key; returns their ids."""

    def post(key=KEY, to=queue, **options):
        return model.store.messages.post(to, CLIENT, new_messages(3), key=key, **options)

    return post


@pytest.fixture
def stored(queue, sql):
    """How many messages there are."""
    return lambda: sql('SELECT count(*) FROM messages')[0][0]


def at_once(count, function):
    """What the function returns to each of so many threads that call it at the same moment."""
    barrier = threading.Barrier(count)

    def call(_):
        barrier.wait()
        try:
            return function()
        finally:
            model.store.database.close()

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(call, range(count)))


def test_a_post_that_is_sent_again_has_the_first_ids_and_is_stored_once(post_once, stored):
    first = post_once()

    assert len(set(first)) == 3
    assert post_once() == first
    assert stored() == 3


def test_a_post_by_the_attributes_of_its_queue_is_stored_once(post_once, stored):
    first = post_once(size=100)

    assert post_once(size=100) == first
    assert stored() == 3


def test_each_key_is_a_post_of_its_own(post_once, stored):
    assert post_once() != post_once(RequestKey.of('another', b'content'))
    assert stored() == 6


def test_each_queue_has_keys_of_its_own(post_once, stored):
    other = QueueKey.of('project', 'others')

    assert post_once() != post_once(to=other, create=True)
    assert stored() == 6


def test_a_key_of_another_content_is_refused_and_nothing_is_stored(post_once, stored):
    first = post_once()

    with pytest.raises(IdempotencyKeyReused):
        post_once(OF_OTHER_CONTENT)

    assert stored() == 3
    assert post_once() == first


def test_a_post_has_the_first_ids_also_when_its_messages_are_gone(post_once, queue, stored):
    first = post_once()
    model.store.messages.delete_many(queue, first)

    assert post_once() == first
    assert stored() == 0


def test_twenty_posts_at_once_are_stored_once_and_all_have_the_same_ids(post_once, stored):
    answers = at_once(20, post_once)

    assert len(set(map(tuple, answers))) == 1
    assert stored() == 3


def test_twenty_posts_at_once_to_a_queue_that_is_not_there_are_stored_once(post_once, stored):
    new = QueueKey.of('project', 'new')

    answers = at_once(20, lambda: post_once(to=new, create=True))

    assert len(set(map(tuple, answers))) == 1
    assert stored() == 3


def test_twenty_posts_at_once_without_the_key_are_stored_twenty_times(queue, stored):
    at_once(20, lambda: model.store.messages.post(queue, CLIENT, new_messages(3)))

    assert stored() == 60


def test_a_key_is_forgotten_when_its_time_is_over(post_once, age, stored):
    first = post_once()
    age(limits.in_force.idempotency_window - 5)
    assert post_once() == first

    age(6)

    assert post_once() != first
    assert stored() == 6


def test_a_key_that_was_forgotten_may_come_with_another_content(post_once, age):
    post_once()
    age(limits.in_force.idempotency_window + 1)

    again = post_once(OF_OTHER_CONTENT)

    assert post_once(OF_OTHER_CONTENT) == again
    with pytest.raises(IdempotencyKeyReused):
        post_once()


def test_a_purge_forgets_the_keys(post_once, queue):
    first = post_once()
    model.store.queues.purge(queue)

    again = post_once()

    assert again != first
    assert post_once() == again


def test_a_purge_of_what_is_free_forgets_the_keys(post_once, queue):
    first = post_once()
    model.store.messages.delete_unclaimed(queue)

    assert post_once() != first


def test_a_queue_that_is_made_anew_knows_no_keys_of_the_one_before(post_once, queue):
    first = post_once()
    model.store.queues.delete(queue)
    with pytest.raises(QueueNotFound):
        post_once()
    model.store.queues.create(queue)

    assert post_once() != first


@pytest.fixture
def unfinished(queue, session):
    """A session in which a post with the key has not ended."""
    other = session()
    other.execute(
        """
        INSERT INTO idempotency_keys (queue_id, operation, key, digest, first_id, expires_at)
        VALUES (%s, 0, %s, %s, 9223372036854775000, now() + interval '1 hour')""",
        (queue.id, *KEY),
    )
    return other


def waits(sql):
    """Wait until a statement waits for a lock."""
    wait_until(lambda: sql("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))


def test_a_post_waits_for_the_first_and_has_its_ids(post_once, unfinished, sql, stored):
    with ThreadPoolExecutor(1) as threads:
        second = threads.submit(at_once, 1, post_once)
        waits(sql)
        unfinished.connection.commit()
        [ids] = second.result()

    assert ids[0] == f'{9223372036854775000:016x}'
    assert stored() == 0


def test_a_post_becomes_the_first_if_the_first_fails(post_once, unfinished, sql, stored):
    with ThreadPoolExecutor(1) as threads:
        second = threads.submit(at_once, 1, post_once)
        waits(sql)
        unfinished.connection.rollback()
        [ids] = second.result()

    assert stored() == 3
    assert post_once() == ids


def test_a_post_waits_for_the_first_no_longer_than_a_statement_may_run(
    post_once, unfinished, stored
):
    model.store.database.rows("SET statement_timeout = '100ms'", {})

    with pytest.raises(IdempotencyKeyInUse):
        post_once()

    model.store.database.close()
    assert stored() == 0


def test_who_waits_for_messages_is_told_of_a_post_once(post_once, queue):
    heard = []
    model.store.became_ready.append(lambda about, count: heard.append((about, count)))
    try:
        post_once()
        post_once()
    finally:
        model.store.became_ready.pop()

    assert heard == [(queue, 3)]


def test_a_post_without_a_key_touches_no_table_of_keys():
    assert 'idempotency_keys' not in posting.POST
    assert 'idempotency_keys' not in posting.POST_AS_KNOWN


def test_the_janitor_removes_keys_whose_time_is_over_batch_by_batch(post_once, age, sql):
    for _ in range(20):
        post_once(RequestKey.of(str(uuid4()), b''))
    age(limits.in_force.idempotency_window + 1)
    kept = post_once()

    Janitor(model.store.database, interval=1, batch_size=7).run_once()

    assert sql('SELECT count(*) FROM idempotency_keys') == [(1,)]
    assert post_once() == kept


def test_the_janitor_removes_keys_of_queues_that_are_gone(post_once, queue, age, sql):
    post_once()
    model.store.queues.delete(queue)
    age(limits.in_force.idempotency_window + 1)

    Janitor(model.store.database, interval=1, batch_size=7).run_once()

    assert sql('SELECT count(*) FROM idempotency_keys') == [(0,)]
