"""The embedded PostgreSQL is killed under load, again and again: the service comes back by itself.

MARCONI_KILL_DATABASE says how often, if the five times of every run are not enough.
"""

import contextlib
import http.client
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from statistics import median

import pytest

from tests.running_service import Service, postmaster, request, services, wait_until

pytestmark = pytest.mark.slow


KILLS = int(os.environ.get('MARCONI_KILL_DATABASE') or 5)
POSTERS = 4
# Seconds that a client waits after a 503.
PAUSE = 0.1
PATH = '/v1/queues/kept/messages'


@pytest.fixture
def service() -> Iterator[Service]:
    with services() as start:
        service = start().wait_until_ready()
        service.request('PUT', '/v1/queues/kept')
        yield service


class Posters:
    """Clients that post all the time, whatever the answer; they note what was answered 201."""

    def __init__(self, service: Service) -> None:
        self.acknowledged: list[str] = []
        #: Posts with another answer, or without one.
        self.failed = 0
        self._service = service
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._post) for _ in range(POSTERS)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> 'Posters':
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, number: int) -> None:
        """Wait until so many more posts are acknowledged."""
        wanted = len(self.acknowledged) + number
        wait_until(lambda: len(self.acknowledged) >= wanted)

    def _post(self) -> None:
        while not self._stop.is_set():
            broken = contextlib.suppress(OSError, http.client.HTTPException)
            with broken, contextlib.closing(self._service.connect()) as connection:
                self._post_over(connection)

    def _post_over(self, connection: http.client.HTTPConnection) -> None:
        body = json.dumps([{'ttl': 3600, 'body': 'x' * 1000}])
        while not self._stop.is_set():
            # Counted beforehand, as the answer may not come.
            self.failed += 1
            status, answer = request(connection, 'POST', PATH, body)
            if status == 201:
                self.failed -= 1
                self.acknowledged += json.loads(answer)['resources']
            else:
                self._stop.wait(PAUSE)


def stored(service: Service) -> set[str]:
    """The ids of all messages, as a reader with markers finds them."""
    found: set[str] = set()
    page = f'{PATH}?echo=true&limit=20'
    with contextlib.closing(service.connect()) as connection:
        while True:
            status, body = request(connection, 'GET', page)
            if status == 204:
                return found
            document = json.loads(body)
            found |= {message['href'] for message in document['messages']}
            page = document['links'][0]['href']


def test_kill_9_of_postgresql_loses_nothing_and_needs_no_hand(service: Service) -> None:
    victims: list[int] = []
    pauses: list[float] = []

    with Posters(service) as posters:
        for _ in range(KILLS):
            posters.wait_for(100)
            victims.append(postmaster(service))
            os.kill(victims[-1], signal.SIGKILL)
            killed_at = time.monotonic()
            wait_until(lambda: postmaster(service) not in (0, victims[-1]))
            posters.wait_for(1)
            pauses.append(time.monotonic() - killed_at)

    print(
        f'{len(posters.acknowledged)} posts acknowledged, {posters.failed} not, {KILLS} kills; '
        f'the next post was acknowledged after {min(pauses):.1f} to {max(pauses):.1f} s '
        f'(median {median(pauses):.1f})'
    )
    assert len(set(victims)) == KILLS
    assert set(posters.acknowledged) <= stored(service)
