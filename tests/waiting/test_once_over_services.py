"""A request that is sent to several services, one of which is killed amid, is done once."""

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator

import psycopg2
import pytest

from marconi_api.processes.embedded.cluster import running_url
from tests.running_service import Service, services
from tests.waiting.waiters import Gone, Waiter, unused

pytestmark = pytest.mark.slow


CLIENTS = 100


@pytest.fixture
def pair() -> Iterator[tuple[Service, Service, str]]:
    """Two services on one database, and its URL for psycopg2."""
    with services() as start:
        stays = start().wait_until_ready()
        url = running_url(stays.data_dir) or ''
        killed = start(MARCONI_DATABASE_URL=url).wait_until_ready()
        yield stays, killed, url.replace('+psycopg2', '')


def kill(service: Service) -> None:
    for pid in service.processes():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_a_hundred_posts_with_one_key_are_stored_once_though_a_service_is_killed(
    pair: tuple[Service, Service, str],
) -> None:
    stays, killed, database = pair
    path = f'/v2/queues/{unused("jobs")}/messages'
    document = {'messages': [{'body': number} for number in range(3)]}
    barrier = threading.Barrier(CLIENTS + 1)
    answers: list[str] = []

    def send(number: int) -> None:
        barrier.wait()
        for service in [killed, stays, stays] if number % 2 else [stays, stays]:
            with contextlib.suppress(*Gone, OSError):
                answer = Waiter(service, 'POST', path, document, Idempotency_Key='key').answer()
                if answer.status == 201:
                    answers.append(json.dumps(answer.body))
                    return

    clients = [threading.Thread(target=send, args=(number,)) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    barrier.wait()
    time.sleep(0.03)
    kill(killed)
    for client in clients:
        client.join()

    assert len(answers) == CLIENTS
    assert len(set(answers)) == 1
    with (
        contextlib.closing(psycopg2.connect(database)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute('SELECT count(*) FROM messages')
        assert cursor.fetchone() == (3,)
