"""Behind PgBouncer LISTEN is accepted and nothing is heard: the room notices, and sweeps."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from marconi_api.processes.embedded.cluster import running_url
from tests import pooler
from tests.running_service import Service, services, wait_until
from tests.waiting.waiters import Waiter, bodies, claim, parked, post, unused

pytestmark = [
    pytest.mark.skipif(pooler.PROGRAM is None, reason='there is no PgBouncer'),
    pytest.mark.slow,
]


@pytest.fixture(scope='module')
def pair() -> Iterator[tuple[Service, Service]]:
    """A service with a database, and one that reaches it through PgBouncer."""
    with (
        services() as start,
        tempfile.TemporaryDirectory(prefix='marconi-pooler-', dir='/tmp') as directory,
    ):
        direct = start().wait_until_ready()
        url = running_url(direct.data_dir) or ''
        with pooler.pgbouncer(url, Path(directory)) as pooled_url:
            pooled = start(MARCONI_DATABASE_URL=pooled_url).wait_until_ready()
            yield direct, pooled
            pooled.process.terminate()
            pooled.process.wait()


def test_a_service_behind_a_pooler_says_that_it_hears_nothing(
    pair: tuple[Service, Service],
) -> None:
    _, pooled = pair

    wait_until(lambda: 'notifications do not arrive' in pooled.err.read_text())


def test_its_waiters_are_woken_by_posts_to_itself_and_to_others(
    pair: tuple[Service, Service],
) -> None:
    direct, pooled = pair
    for posting in (pooled, direct):
        queue = unused('jobs')
        waiters = [
            claim(pooled, queue),
            Waiter(pooled, 'GET', f'/v2/queues/{queue}/messages?echo=true&wait=10'),
        ]
        with parked(pooled, *waiters):
            post(posting, queue, 'to claim', 'to see')
        assert [len(bodies(waiter.answer())) for waiter in waiters] in ([1, 1], [1, 2])


def test_it_wakes_the_waiters_of_others(pair: tuple[Service, Service]) -> None:
    direct, pooled = pair
    queue = unused('jobs')
    waiter = claim(direct, queue)
    with parked(direct, waiter):
        post(pooled, queue, 'a')

    assert bodies(waiter.answer()) == ['a']
