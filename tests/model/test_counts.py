"""Counts of many messages: one at a time, and used again if they took long.

A lock on the table makes a count slow.
"""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from marconi_api import model
from marconi_api.errors import CountUnderWay, StorageUnavailable
from marconi_api.model import QueueKey, Stats, counts
from marconi_api.model.queues import Queues

OTHER = QueueKey.of('project', 'other')


@pytest.fixture(autouse=True)
def nothing_remembered(app, monkeypatch):
    """Repositories that have counted nothing yet."""
    monkeypatch.setattr(model, 'queues', Queues(model.store.database))


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """Threads of requests."""
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
def counting(sql: Any, threads: ThreadPoolExecutor) -> Any:
    """Starts a count, which cannot end before the block does: ``with counting(queue) as future``."""

    @contextmanager
    def start(queue: QueueKey) -> Iterator[Future[Stats]]:
        sql('BEGIN')
        sql('LOCK TABLE message_states')
        try:
            future = threads.submit(model.store.queues.stats, queue)
            while not sql('SELECT 1 FROM pg_locks WHERE NOT granted'):
                time.sleep(0.01)
            yield future
        finally:
            sql('COMMIT')

    return start


def count_slowly(counting, queue):
    with counting(queue) as future:
        time.sleep(1.5 * counts.QUICK)
    return future.result()


def test_a_quick_count_is_exact_each_time(queue, post):
    post(1)
    assert model.store.queues.stats(queue).free == 1

    post(1)

    assert model.store.queues.stats(queue).free == 2


def test_a_slow_count_is_used_again(queue, post, counting):
    post(1)
    slow = count_slowly(counting, queue)

    post(1)

    assert model.store.queues.stats(queue) is slow


def test_a_slow_count_is_used_again_for_a_short_time_only(queue, post, counting, monkeypatch):
    monkeypatch.setattr(counts, 'TIMES_AS_LONG', 0)
    post(1)
    count_slowly(counting, queue)

    post(1)

    assert model.store.queues.stats(queue).free == 2


def test_the_count_of_a_queue_is_not_used_for_another(queue, post, counting):
    model.store.queues.create(OTHER)
    post(1)
    count_slowly(counting, queue)

    assert model.store.queues.stats(OTHER).free == 0


def test_the_count_of_a_queue_is_not_used_for_one_that_is_made_anew(queue, post, counting):
    post(1)
    count_slowly(counting, queue)

    model.store.queues.delete(queue)
    model.store.queues.create(queue)

    assert model.store.queues.stats(queue).free == 0


def test_requests_for_one_queue_share_a_count(queue, threads, counting, monkeypatch):
    monkeypatch.setattr(counts, 'LONGEST_WAIT', 30)
    with counting(queue) as first:
        others = [threads.submit(model.store.queues.stats, queue) for _ in range(3)]
        time.sleep(1.5 * counts.QUICK)

    assert all(other.result() is first.result() for other in others)


def test_a_request_does_not_wait_long_for_the_count_of_another_queue(queue, counting):
    model.store.queues.create(OTHER)

    with counting(queue), pytest.raises(CountUnderWay):
        model.store.queues.stats(OTHER)


def test_the_next_count_has_its_turn_after_one_that_failed(queue, sql):
    sql('ALTER TABLE message_states RENAME TO out_of_reach')
    try:
        with pytest.raises(StorageUnavailable):
            model.store.queues.stats(queue)
    finally:
        sql('ALTER TABLE out_of_reach RENAME TO message_states')

    assert model.store.queues.stats(queue).free == 0


def test_the_messages_of_all_queues_are_not_counted_beside_a_queue(queue, counting):
    with counting(queue), pytest.raises(CountUnderWay):
        model.store.queues.volume()


@pytest.mark.parametrize('version', ['v1', 'v1.1', 'v2'])
def test_a_client_is_told_that_another_count_is_under_way(app, queue, counting, version):
    model.store.queues.create(OTHER)
    client = {'Client-ID': '3381af92-2b9e-11e3-b191-71861300734c', 'X-Project-Id': 'project'}

    with counting(queue):
        response = app.get(f'/{version}/queues/other/stats', headers=client, status=503)

    assert response.json['description'] == 'Another queue is being counted: try again.'
    assert response.headers['Retry-After'] == '1'
