"""The producer of docs/producer.py keeps what docs/producer.md promises."""

import http.client
import io
import os
import runpy
import shutil
import sys
import threading
import urllib.error
from collections.abc import Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from marconi_api.processes import schema
from marconi_api.processes.embedded.cluster import EmbeddedPostgres
from tests.directories import open_directory
from tests.running_service import DEADLINE, Service, services, wait_until
from tests.tours import take_tour
from tests.worker.test_worker import balance
from tests.worker.workshop import DOCS, Workshop, stop

_program = runpy.run_path(str(DOCS / 'producer.py'))
Producer, pause_after = _program['Producer'], _program['pause_after']


class Between(ThreadingHTTPServer):
    """A proxy before a service. It may lose answers, and notes the statuses of all of them."""

    def __init__(self, port: int, to_lose: int = 0) -> None:
        self.port_behind, self.to_lose = port, to_lose
        self.statuses: list[int] = []
        super().__init__(('127.0.0.1', 0), Passing)
        self.address = f'http://127.0.0.1:{self.server_port}'
        threading.Thread(target=self.serve_forever, args=[0.02], daemon=True).start()


class Passing(BaseHTTPRequestHandler):
    """Passes a request on."""

    server: Between

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers['Content-Length']))
        behind = http.client.HTTPConnection('127.0.0.1', self.server.port_behind, timeout=DEADLINE)
        behind.request('POST', self.path, body, dict(self.headers))
        answer = behind.getresponse()
        content = answer.read()
        behind.close()
        self.server.statuses.append(answer.status)
        if len(self.server.statuses) <= self.server.to_lose:
            return
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *values: object) -> None:
        """Write nothing."""


@pytest.fixture
def losing_one(service: Service) -> Iterator[Between]:
    """Loses the first answer."""
    between = Between(service.port, to_lose=1)
    yield between
    between.shutdown()
    between.server_close()


def test_the_document_shows_the_very_program() -> None:
    program = (DOCS / 'producer.py').read_text()

    assert f'```python\n{program}```\n' in (DOCS / 'producer.md').read_text()


def test_the_tour_shows_what_happens(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(DOCS / 'producer.py', tmp_path)
    monkeypatch.setenv('PATH', f'{Path(sys.executable).parent}:{os.environ["PATH"]}')

    assert take_tour((DOCS / 'producer.md').read_text(), service, tmp_path) == 2


def test_a_post_whose_answer_is_lost_is_sent_again_and_stored_once(
    workshop: Workshop, losing_one: Between
) -> None:
    [path] = Producer(losing_one.address, 'acme').post(workshop.queues[0], [{'amount': 5}])

    assert losing_one.statuses == [201, 201]
    [message] = workshop.messages('ready')
    assert path.endswith(message['id'])


def test_a_job_that_was_posted_twice_is_done_once(workshop: Workshop) -> None:
    job = {'owner': 'ann', 'amount': 5}
    for _ in range(2):
        Producer(workshop.address, 'acme').post(workshop.queues[0], [job])
    assert len(workshop.messages('ready')) == 2

    worker = workshop.run(str(DOCS / 'accounts.py'), workshop.address, 'acme', *workshop.queues)
    workshop.wait_until_empty()
    stop(worker)

    assert balance(workshop) == 5


def test_a_job_keeps_an_id_that_it_has(workshop: Workshop) -> None:
    Producer(workshop.address, 'acme').post(workshop.queues[0], [{'id': 'order-4711'}])

    assert [message['body'] for message in workshop.messages('ready')] == [{'id': 'order-4711'}]


def test_a_request_that_is_wrong_is_not_sent_again(workshop: Workshop) -> None:
    between = Between(workshop.service.port)

    with pytest.raises(urllib.error.HTTPError) as refused:
        Producer(between.address, 'acme').post(workshop.queues[0], [{}], ttl=5)

    assert between.statuses == [400]
    assert 'ttl' in refused.value.__notes__[0]
    assert workshop.messages('ready') == []
    between.shutdown()
    between.server_close()


@pytest.fixture
def own_postgres() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL that a test may stop."""
    with open_directory() as path:
        postgres = EmbeddedPostgres(path / 'postgres', options=['fsync=off'], durable=False)
        postgres.start()
        schema.upgrade(postgres.url)
        yield postgres
        postgres.stop()


def test_what_is_posted_while_the_database_is_down_is_stored_once_it_is_up(
    own_postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    with services() as start:
        service = start(MARCONI_DATABASE_URL=own_postgres.url).wait_until_ready()
        between = Between(service.port)
        workshop = Workshop(service, tmp_path)
        own_postgres.stop()
        posting = threading.Thread(
            target=Producer(between.address, 'acme').post, args=[workshop.queues[0], [{'id': 1}]]
        )
        posting.start()
        wait_until(lambda: 503 in between.statuses)

        own_postgres.start()
        posting.join(DEADLINE)

        assert between.statuses[-1] == 201
        assert [message['body'] for message in workshop.messages('ready')] == [{'id': 1}]
        between.shutdown()
        between.server_close()


@pytest.mark.parametrize(
    ('status', 'retry_after', 'pause'),
    [
        (503, '7', 7),
        (503, None, 1),
        (503, 'Fri, 31 Dec 1999 23:59:59 GMT', 1),
        (502, None, 1),
        (429, '3', 3),
        (404, '3', None),
    ],
)
def test_it_waits_as_long_as_the_answer_says(
    status: int, retry_after: str | None, pause: int | None
) -> None:
    headers = Message()
    if retry_after:
        headers['Retry-After'] = retry_after
    answer = urllib.error.HTTPError('/', status, 'reason', headers, io.BytesIO())

    assert pause_after(answer) == pause


def test_it_tries_again_when_there_was_no_answer() -> None:
    assert pause_after(http.client.RemoteDisconnected('no answer')) == 1
