"""Two services behind a proxy are restarted one after the other, and no client notices."""

import base64
import contextlib
import http.client
import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from marconi_api.processes.embedded.cluster import EmbeddedPostgres
from tests.directories import open_directory
from tests.nginx import nginx, with_nginx
from tests.running_service import Service, services

pytestmark = pytest.mark.slow


CLIENTS = 4
HEADERS = {
    'Client-ID': '3381af92-2b9e-11e3-b191-71861300734c',
    'Content-Type': 'application/json',
    'Authorization': f'Basic {base64.b64encode(b"alice:secret").decode()}',
}


class Clients:
    """Post and claim, each on a connection of its own, until they are stopped."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._is_over = threading.Event()
        #: How often each answer came.
        self.answers: Counter[str] = Counter()
        self.posted: list[str] = []
        self.taken: list[str] = []
        self._threads = [threading.Thread(target=self._work) for _ in range(CLIENTS)]

    def __enter__(self) -> 'Clients':
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        connection = http.client.HTTPConnection('127.0.0.1', self._port, timeout=60)
        with contextlib.closing(connection):
            # Breaths, so that the services that are started get the processor, too.
            while not self._is_over.wait(0.05):
                message = {'messages': [{'body': 'x'}]}
                status, answer = self._ask(connection, 'POST', '/messages', message)
                if status == 201:
                    self.posted += [path.rpartition('/')[2] for path in answer['resources']]
                status, answer = self._ask(connection, 'POST', '/claims?limit=1', {})
                for held in answer['messages'] if status == 201 else ():
                    path = held['href'].removeprefix('/v2/queues/jobs')
                    if self._ask(connection, 'DELETE', path, None)[0] == 204:
                        self.taken.append(held['id'])

    def _ask(
        self, connection: http.client.HTTPConnection, method: str, path: str, document: object
    ) -> tuple[int, dict[str, Any]]:
        body = None if document is None else json.dumps(document)
        try:
            connection.request(method, f'/v2/queues/jobs{path}', body, HEADERS)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            self.answers[f'{method} {error!r}'] += 1
            return 0, {}
        self.answers[str(response.status)] += 1
        return response.status, json.loads(content) if content else {}


def free_port() -> int:
    with socket.create_server(('127.0.0.1', 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def directory() -> Iterator[Path]:
    with open_directory() as path:
        yield path


@with_nginx
def test_no_request_fails_while_one_service_after_the_other_is_restarted(
    postgres: EmbeddedPostgres, app: object, directory: Path
) -> None:
    ports = [free_port(), free_port()]
    line = 'server 127.0.0.1:8888 max_fails=0;'
    upstream = '\n'.join(line.replace('8888', str(port)) for port in ports)
    with services() as start:

        def started(port: int) -> Service:
            return start(MARCONI_DATABASE_URL=postgres.url, PORT=str(port)).wait_until_ready()

        running = [started(port) for port in ports]
        with nginx(directory, {line: upstream}) as port, Clients(port) as clients:
            for place in (0, 1):
                before = sum(clients.answers.values())
                running[place].end(15)
                running[place] = started(ports[place])
                assert sum(clients.answers.values()) > before

    assert clients.answers.keys() <= {'201', '204'}
    assert len(set(clients.taken)) == len(clients.taken)
    assert set(clients.taken) <= set(clients.posted)
