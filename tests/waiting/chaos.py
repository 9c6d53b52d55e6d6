"""Waiters that come and go, rooms that are killed, notifications that are lost: all is delivered.

``python -m tests.waiting.chaos`` runs it as it was agreed on: 10,000 posts, 200 waiters, 20 kills.
A short form of it is a test.
"""

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2

from marconi_api.processes.embedded.cluster import running_url
from tests.running_service import Service, services
from tests.waiting.waiters import Gone, Waiter, ask, room_of, unused

#: Seconds between the looks of a room, and what a busy machine adds to that.
SWEEP, SLACK = 1.0, 1.0
#: Seconds after a kill in which nothing is said of how late a message is: the next room starts.
RECOVERY = 10.0
#: The chance that a waiter's client is killed while it waits.
KILLED = 0.2
QUEUES = 20
POSTERS = 4


@dataclass
class Chaos:
    """What happens to messages, each of which is a number, between services on one database."""

    services: list[Service]
    database: str
    queues: list[str] = field(default_factory=lambda: [unused('chaos') for _ in range(QUEUES)])
    posted: dict[int, float] = field(default_factory=dict)
    received: Counter[int] = field(default_factory=Counter)
    #: When messages were taken, and for how many seconds both they and their taker had waited
    #: then; of those that no one else was given before.
    taken: list[tuple[float, float]] = field(default_factory=list)
    kills: list[float] = field(default_factory=list)
    is_over: bool = False

    def run(self, posts: int, waiters: int, kills: int, pause: float) -> None:
        """Let all of it happen, and deliver what is left.

        :param pause: seconds between two kills
        """
        numbers = iter(range(posts))
        waiting = [threading.Thread(target=self._wait_on) for _ in range(waiters)]
        posting = [threading.Thread(target=self._post_on, args=(numbers,)) for _ in range(POSTERS)]
        for thread in waiting:
            thread.start()
        self._until(lambda: all(map(room_of, self.services)))
        for thread in posting:
            thread.start()
        for number in range(kills):
            time.sleep(pause)
            self._kill(self.services[number % len(self.services)])
            self._deafen()
        for thread in posting:
            thread.join()
        self._until(lambda: len(self.received) == posts, seconds=5)
        self.is_over = True
        for thread in waiting:
            thread.join()
        self._deliver_rest()

    def late(self) -> list[float]:
        """Seconds that messages waited for longer than a sweep, while no room was away."""
        return [
            seconds
            for at, seconds in self.taken
            if seconds > SWEEP + SLACK
            and not any(-seconds <= at - killed <= seconds + RECOVERY for killed in self.kills)
        ]

    # ------------------------------------------------------------ clients

    def _post_on(self, numbers: Iterator[int]) -> None:
        for number in numbers:
            self._post(number)
            self.posted[number] = time.monotonic()
            time.sleep(random.uniform(0, 0.04))

    def _post(self, number: int) -> None:
        path = f'/v2/queues/{random.choice(self.queues)}/messages'
        service, body = random.choice(self.services), {'messages': [{'body': number}]}
        # Without a room few late bodies are waited for; the others are refused, and sent again.
        while (answer := ask(service, 'POST', path, body)).status == 503:
            time.sleep(float(answer.headers['Retry-After']))
        assert answer.status == 201, answer

    def _wait_on(self) -> None:
        while not self.is_over:
            service, queue = random.choice(self.services), random.choice(self.queues)
            body = {'queues': [{'name': queue}], 'limit': random.choice((1, 1, 3))}
            began = time.monotonic()
            with contextlib.suppress(*Gone, OSError):
                waiter = Waiter(service, 'POST', '/v2/claims?wait=3', body, Connection='close')
                waiter.connection.sock.settimeout(10)
                if random.random() < KILLED:
                    time.sleep(random.uniform(0, 0.5))
                    waiter.go()
                    continue
                answer = waiter.answer()
                if answer.status == 201:
                    self._take(service, answer.body['messages'], began)
                elif 'Preference-Applied' not in answer.headers:
                    # The room is away.
                    time.sleep(0.1)

    def _take(self, service: Service, messages: list[dict[str, Any]], began: float) -> None:
        now = time.monotonic()
        for message in messages:
            number = message['body']
            self.received[number] += 1
            if message['claim_count'] == 1:
                ready_at = max(began, self.posted.get(number, now))
                self.taken.append((now, now - ready_at))
            assert ask(service, 'DELETE', message['href']).status == 204

    # ------------------------------------------------------------ accidents

    def _kill(self, service: Service) -> None:
        # The one that was killed before may not have a successor yet.
        self._until(lambda: room_of(service) != 0)
        if room := room_of(service):
            with contextlib.suppress(ProcessLookupError):
                os.kill(room, signal.SIGKILL)
            self.kills.append(time.monotonic())

    def _deafen(self) -> None:
        """Cut the sessions over which rooms hear of messages: what is told meanwhile is lost."""
        self._run(
            'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s',
            'marconi waiting',
        )

    def _deliver_rest(self) -> None:
        """Let the claims lapse whose clients were killed, and take what they held."""
        self._run(
            "UPDATE message_states SET held_until = now() + interval '1 second'"
            ' WHERE claim_id IS NOT NULL'
        )
        # In the past they would lie where processes know that nothing is left.
        time.sleep(1.5)
        service = self.services[0]
        for queue in self.queues:
            while True:
                answer = ask(service, 'POST', f'/v2/queues/{queue}/claims?limit=20')
                if answer.status == 204:
                    break
                for message in answer.body['messages']:
                    self.received[message['body']] += 1
                    assert ask(service, 'DELETE', message['href']).status == 204

    def _run(self, statement: str, *parameters: str) -> None:
        with contextlib.closing(psycopg2.connect(self.database)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement, parameters)

    @staticmethod
    def _until(holds: Callable[[], bool], seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while not holds() and time.monotonic() < end:
            time.sleep(0.05)


def main(arguments: list[str]) -> int:
    """Run it; 1 if a message was lost, came twice or was late."""
    parser = argparse.ArgumentParser(prog='python -m tests.waiting.chaos', description=__doc__)
    parser.add_argument('--posts', type=int, default=10_000)
    parser.add_argument('--waiters', type=int, default=200)
    parser.add_argument('--kills', type=int, default=20)
    # The embedded PostgreSQL has connections for the first, and few for others.
    parser.add_argument('--services', type=int, default=2, help='on one database')
    given = parser.parse_args(arguments)
    with services() as start, tempfile.TemporaryDirectory() as directory:
        # As many connections as there are for all of them.
        many, few = Path(directory, 'many.py'), Path(directory, 'few.py')
        os.chmod(directory, 0o755)
        many.write_text("server = {'threads': 24}\n")
        few.write_text("server = {'processes': 1, 'threads': 4}\neventing = {'processes': 0}\n")
        first = start(MARCONI_CONFIG=str(many)).wait_until_ready()
        url = running_url(first.data_dir) or ''
        others = [
            start(MARCONI_DATABASE_URL=url, MARCONI_CONFIG=str(few))
            for _ in range(given.services - 1)
        ]
        for other in others:
            other.wait_until_ready()
        chaos = Chaos([first, *others], url.replace('+psycopg2', ''))
        began = time.monotonic()
        chaos.run(given.posts, given.waiters, given.kills, pause=3)
        seconds = time.monotonic() - began
        for other in others:
            other.end(signal.SIGTERM)
    counts = chaos.received
    lost = given.posts - len(counts)
    twice = sum(count > 1 for count in counts.values())
    late = chaos.late()
    taken = sorted(seconds for _, seconds in chaos.taken)
    print(f'{given.posts} posts in {seconds:.0f} s, {len(chaos.kills)} rooms killed')
    print(f'lost {lost}, twice {twice}, late by more than a sweep {len(late)} {sorted(late)[-3:]}')
    print(f'{len(taken)} taken by waiters: median {1000 * taken[len(taken) // 2]:.1f} ms')
    return 1 if lost or twice or late else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
