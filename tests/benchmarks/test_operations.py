"""What the benchmarks ask of the service is still what it answers, and its SQL what they repeat."""

from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks import framework, pgbench
from benchmarks.end_to_end import workloads
from benchmarks.filling import fill
from benchmarks.in_process import Listener, call
from benchmarks.operations import Queue
from marconi_api import model

VERSIONS = ('v1', 'v2')


@pytest.fixture
def listener(postgres: Any, app: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    """A second application, of which we hear what it sends to PostgreSQL."""
    monkeypatch.setattr(model, 'store', model.store)
    yield Listener(postgres.url)
    model.store.database.close()


def fill_queue(app: Any, sql: Any, version: str) -> Queue:
    """A queue in which thirty messages wait."""
    queue = Queue(version, 'bench')
    call(app.app, queue.make())
    fill(sql.connection, queue.name, 30, {'a': 1})
    return queue


@pytest.mark.parametrize('version', VERSIONS)
def test_a_filled_queue_looks_like_a_posted_one(app: Any, sql: Any, version: str) -> None:
    queue = fill_queue(app, sql, version)

    status, reply = call(app.app, queue.claim(10))

    assert (status, reply.count('"body":{"a": 1}')) == (201, 10)


@pytest.mark.parametrize('version', VERSIONS)
def test_the_framework_answers_without_its_store(app: Any, version: str) -> None:
    for request in framework.our_requests(app.app, version).values():
        assert framework.Calls(app.app, request).without_store().rate(seconds=0.001) > 0


@pytest.mark.parametrize(
    ('version', 'work', 'left'),
    [
        ('v1', 'post 1', 30 + 3),
        ('v2', 'post 1', 30 + 3),
        ('v1', 'post 10', 30 + 30),
        ('v2', 'post 10', 30 + 30),
        ('v1', 'list 10', 30),
        ('v2', 'list 10', 30),
        ('v1', 'claim 10, delete 10', 30 - 20),
        ('v2', 'claim 10, delete 10', 30 - 20),
        ('v1', 'post 10, claim 10, delete 10', 30 + 30 - 20),
        ('v2', 'post 10, claim 10, delete 10', 30 + 30 - 20),
        ('v2', 'pop 10', 30 - 30),
    ],
)
def test_pgbench_does_again_what_the_service_did_twice(
    app: Any, sql: Any, listener: Listener, postgres: Any, version: str, work: str, left: int
) -> None:
    queue = fill_queue(app, sql, version)

    script = pgbench.script_of(listener, workloads(queue)[work])
    pgbench.run_once(postgres.url, script, listener.options)

    assert sql('SELECT count(*) FROM messages') == [(left,)]
