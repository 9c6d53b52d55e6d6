"""Requests that wait, sent to a running service over real sockets."""

import contextlib
import http.client
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from uuid import uuid4

from marconi_api.processes.waiting.hand_over import DIRECTORY, MAP
from marconi_api.processes.waiting.wake_map import WakeMap
from tests.processes import shown
from tests.running_service import HEADERS, Service, wait_until

PROJECT = {'X-Project-Id': 'acme'}


class Reached(Protocol):
    """A service, or what stands before it."""

    def connect(self) -> http.client.HTTPConnection:
        """A connection to it."""


class Answer(NamedTuple):
    """An answer to a request."""

    status: int
    headers: dict[str, str]
    body: Any


class Waiter:
    """A request that is on its way, on a connection of its own."""

    def __init__(self, service: Reached, method: str, path: str, body: Any = None, **headers: str):
        self.connection = service.connect()
        content = None if body is None else json.dumps(body)
        sent = {**HEADERS, 'Client-ID': str(uuid4()), **PROJECT}
        sent |= {name.replace('_', '-'): value for name, value in headers.items()}
        try:
            self.connection.request(method, path, content, sent)
        except OSError:
            self.connection.close()
            raise

    def answer(self) -> Answer:
        """Its answer, once it is there."""
        # The response keeps the socket open, too.
        with (
            contextlib.closing(self.connection),
            contextlib.closing(self.connection.getresponse()) as response,
        ):
            content = response.read()
        return Answer(response.status, dict(response.getheaders()), json.loads(content or 'null'))

    def go(self) -> None:
        """Close its connection, without an answer."""
        self.connection.close()


def ask(service: Reached, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    """The answer to a request."""
    return Waiter(service, method, path, body, **headers).answer()


def post(service: Reached, queue: str, *bodies: Any, **members: Any) -> list[str]:
    """Post messages to a queue; their paths."""
    messages = [{'body': body, **members} for body in bodies]
    answer = ask(service, 'POST', f'/v2/queues/{queue}/messages', {'messages': messages})
    assert answer.status == 201, answer
    paths: list[str] = answer.body['resources']
    return paths


def claim(service: Reached, queue: str, wait: int = 30, **headers: str) -> Waiter:
    """A claim of one message that waits."""
    return Waiter(service, 'POST', f'/v2/queues/{queue}/claims?limit=1&wait={wait}', **headers)


def bodies(answer: Answer) -> list[Any]:
    """The bodies of the messages in an answer."""
    return [message['body'] for message in answer.body['messages']] if answer.body else []


class Counters(NamedTuple):
    """What a waiting room counts."""

    waiting: int
    refused: int
    woken: int
    gone: int
    fallbacks: int


def room_of(service: Service) -> int:
    """The process id of a service's waiting room; 0 while there is none."""
    return next(iter(service.named('marconi-waiting')), 0)


def counters(service: Service) -> Counters:
    """What the waiting room of a service has counted; nothing while there is none."""
    found = re.search(rf'(?:^|\0){DIRECTORY}=([^\0]+)', shown(room_of(service), 'environ'))
    return Counters(*WakeMap(Path(found[1], MAP)).counters) if found else Counters(0, 0, 0, 0, 0)


@contextlib.contextmanager
def parked(service: Service, *waiters: Waiter) -> Iterator[None]:
    """What is done within is done while all of the waiters wait."""
    wait_until(lambda: counters(service).waiting >= len(waiters))
    yield


def unused(name: str) -> str:
    """The name of a queue that no other test uses."""
    return f'{name}-{uuid4().hex[:8]}'


#: What a client meets whose service goes away.
Gone = (ConnectionError, http.client.HTTPException, TimeoutError)
