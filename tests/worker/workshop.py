"""A service, some queues of its own, the workers on them, and what these recorded."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import IO, Any, NamedTuple

from marconi_api.processes.installation import CHECKOUT
from tests.running_service import DEADLINE, HEADERS, Service, wait_until

DOCS = CHECKOUT / 'docs'

#: Seconds that the claims of these workers last: the least, so that little time is lost.
TTL = 2


class Handling(NamedTuple):
    """What a worker did with a message, by its own record; times on the machine's one clock.

    ``end`` and ``outcome`` are None if it never got so far. Until ``held_until``, so the last
    answer said to the worker that it noted, the message was its claim's.
    """

    message: str
    claim: str
    worker: int
    start: float
    held_until: float
    end: float | None = None
    outcome: str | None = None


class Workshop:
    """The service, some queues of its own, and the workers on them."""

    def __init__(self, service: Service, directory: Path) -> None:
        self.service = service
        self.queues = [f'{name}-{uuid.uuid4().hex[:8]}' for name in ('urgent', 'normal')]
        self.record = directory / 'record'
        self.record.touch()
        self.address = f'http://127.0.0.1:{service.port}'
        for name in self.queues:
            self.request('PUT', f'/v2/queues/{name}')
        self._workers: list[subprocess.Popen[str]] = []

    def request(self, method: str, path: str, document: Any = None) -> Any:
        with contextlib.closing(self.service.connect()) as connection:
            body = None if document is None else json.dumps(document)
            connection.request(method, path, body, {**HEADERS, 'X-Project-Id': 'acme'})
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status < 300, text
            return json.loads(text) if text else None

    def post(self, *bodies: Any, queue: int = 0) -> list[str]:
        """The ids of new messages."""
        document = {'messages': [{'body': body} for body in bodies]}
        path = f'/v2/queues/{self.queues[queue]}/messages'
        resources = self.request('POST', path, document)['resources']
        return [resource.rpartition('/')[2] for resource in resources]

    def messages(self, state: str) -> list[Any]:
        """All that is known of the messages in a state."""
        query = f'queue={",".join(self.queues)}&limit=20&echo=true&state={state}'
        messages: list[Any] = self.request('GET', f'/v2/messages?{query}')['messages']
        return messages

    def start(self, heart: str = 'beats', stderr: int | None = None) -> subprocess.Popen[str]:
        """A worker that records what it does."""
        program = str(Path(__file__).with_name('recording.py'))
        arguments = self.address, str(TTL), heart, str(self.record), *self.queues
        return self.run(program, *arguments, stderr=stderr)

    def run(self, *arguments: str, stderr: int | None = None) -> subprocess.Popen[str]:
        """A program in Python that may import those of docs/."""
        return self.launch(sys.executable, *arguments, stderr=stderr)

    def launch(
        self, *command: str, stdout: int | IO[str] = subprocess.PIPE, stderr: int | None = None
    ) -> subprocess.Popen[str]:
        """A worker in any language."""
        worker = subprocess.Popen(
            command,
            cwd=self.record.parent,
            env=os.environ | {'PYTHONPATH': str(DOCS)},
            stdout=stdout,
            stderr=stderr,
            text=True,
        )
        self._workers.append(worker)
        return worker

    def handlings(self) -> list[Handling]:
        """What the workers recorded, by message and start."""
        found: dict[tuple[str, str], Handling] = {}
        for line in self.record.read_text().splitlines():
            note = json.loads(line)
            event, at = note.pop('event'), note.pop('at')
            # A claim has each of its messages handled once.
            key = note['message'], note['claim']
            if event == 'start':
                assert key not in found
                found[key] = Handling(**note, start=at)
            else:
                found[key] = found[key]._replace(
                    held_until=note['held_until'], end=at, outcome=event
                )
        return sorted(found.values(), key=lambda handling: (handling.message, handling.start))

    def total(self) -> int:
        """How many messages there are, in whatever state."""
        counts = [self.request('GET', f'/v2/queues/{name}/stats') for name in self.queues]
        return sum(count['messages']['total'] for count in counts)

    def wait_for(self, count: int, *outcomes: str | None) -> None:
        """Until so many handlings have come to one of the outcomes; to None: are begun."""
        wait_until(
            lambda: sum(handling.outcome in outcomes for handling in self.handlings()) >= count
        )

    def wait_until_empty(self) -> None:
        """Until there are no messages any more."""
        wait_until(lambda: self.total() == 0)

    def end(self) -> None:
        """Leave no worker behind."""
        for worker in self._workers:
            worker.kill()
            worker.communicate()


def stop(*workers: subprocess.Popen[str]) -> None:
    """End workers as an operator does."""
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
    assert {worker.wait(DEADLINE) for worker in workers} == {0}
