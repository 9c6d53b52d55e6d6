"""What several services count of a queue, in processes of which some are killed, is exact."""

import contextlib
import os
import signal
import time
from typing import Any

import psycopg2
import pytest

from marconi_api.processes.embedded.cluster import running_url
from tests.running_service import Service, services
from tests.test_redrives_survive import ask

pytestmark = pytest.mark.slow

#: Seconds until a minute is over and written down, at most.
PATIENCE = 90


def sums(url: str) -> Any:
    """Messages that came, left and were handed out, of all minutes that are written down."""
    with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(
            'SELECT coalesce(sum(came), 0), coalesce(sum(gone), 0), coalesce(sum('
            ' (SELECT sum(count) FROM unnest(handed_out) AS count)), 0) FROM queue_minutes'
        )
        return cursor.fetchone()


def use(service: Service, rounds: int) -> None:
    """Post four messages, claim two and delete one, over and over: each over another connection."""
    for _ in range(rounds):
        ask(service, 'POST', '/v2/queues/jobs/messages', {'messages': [{'body': 1}] * 4})
        claim = ask(service, 'POST', '/v2/queues/jobs/claims?limit=2', {'ttl': 300})
        ask(service, 'DELETE', claim['messages'][0]['href'])


def test_what_workers_of_two_services_did_is_written_down_though_some_are_killed() -> None:
    with services() as start:
        first = start().wait_until_ready()
        url = running_url(first.data_dir) or ''
        second = start(MARCONI_DATABASE_URL=url).wait_until_ready()
        for service in (first, second):
            use(service, 10)
            os.kill(service.named('marconi-worker')[0], signal.SIGKILL)
            use(service, 10)

        deadline = time.monotonic() + PATIENCE
        expected = (160, 40, 80)
        while (found := sums(url.replace('+psycopg2', ''))) != expected:
            assert time.monotonic() < deadline, found
            time.sleep(1)
        # Before the database that both use.
        second.process.terminate()
        second.process.wait()
