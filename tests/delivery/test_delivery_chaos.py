"""Webhooks that fail, hang and vanish, and a process that delivers which is killed again and again.

``MARCONI_CHAOS_POSTS=10000 MARCONI_CHAOS_KILLS=50`` is the whole of it; ``-s`` shows the figures.
"""

import contextlib
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from marconi_api import model
from marconi_api.model import NewMessage
from marconi_api.model.deliveries import LEASE
from marconi_api.processes.delivery.bell import OWNER, PLACE
from marconi_api.processes.waiting.hand_over import DIRECTORY
from tests.delivery.conftest import CLIENT, QUEUE
from tests.webhooks.receivers import Receiver, accepts, hangs, receiver, status

pytestmark = pytest.mark.slow

POSTS = int(os.environ.get('MARCONI_CHAOS_POSTS') or 1000)
KILLS = int(os.environ.get('MARCONI_CHAOS_KILLS') or 8)
#: Seconds between two kills: from, and up to.
LIVES = 0.5, 3.0

SETTINGS = """
eventing = {'allowed_networks': ['127.0.0.0/8'], 'allowed_ports': list(range(1024, 65536))}
"""


class Process:
    """The process that delivers, started anew by :meth:`kill`."""

    def __init__(self, directory: Path, url: str) -> None:
        settings = directory / 'settings.py'
        settings.write_text(SETTINGS)
        self._environment = os.environ | {
            'MARCONI_DATABASE_URL': url,
            'MARCONI_CONFIG': str(settings),
            DIRECTORY: str(directory),
            PLACE: '0',
            OWNER: str(uuid4()),
        }
        self.kills: list[float] = []
        self._start()

    def _start(self) -> None:
        command = [sys.executable, '-m', 'marconi_api.processes.delivery']
        self.process = subprocess.Popen(command, env=self._environment, stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.kills.append(time.time())
        self._start()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


class Failing:
    """Answers 500 until it is over."""

    is_over = False

    def __call__(self, connection: socket.socket) -> bool:
        (accepts if self.is_over else status(500))(connection)
        return self.is_over


def slow(connection: socket.socket) -> None:
    time.sleep(0.02)
    accepts(connection)


@pytest.fixture
def process(app: Any, postgres: Any, tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path, postgres.url)
    yield process
    process.stop()


def post_all() -> None:
    """Post so many messages, each with its number as the body, a few at a time."""
    numbers = iter(range(POSTS))
    while bodies := [str(number) for number in itertools.islice(numbers, random.randint(1, 10))]:
        model.store.messages.post(QUEUE, CLIENT, [NewMessage(body, 3600, 0) for body in bodies])
    model.store.database.close()


class Taken(NamedTuple):
    """When a message was sent, in whole seconds, and when it had arrived."""

    arrived: float
    sent: int
    call_id: str


def taken_by(*receivings: Receiver) -> dict[int, list[Taken]]:
    """What became of each message, by its number."""
    found = defaultdict(list)
    for receiving in receivings:
        for arrived, call in receiving.taken:
            headers = call.headers
            taken = Taken(arrived, int(headers['webhook-timestamp']), headers['webhook-id'])
            found[json.loads(call.body)['body']].append(taken)
    return found


@pytest.fixture
def failures(sql: Any) -> Iterator[Callable[[], set[str]]]:
    """The ids of deliveries of which an attempt failed without an answer, also of those that are over."""
    sql("""
        CREATE TABLE seen (call_id text);
        CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO seen VALUES (lpad(to_hex(new.subscription_id), 16, '0') || '-' ||
                                     lpad(to_hex(new.message_id), 16, '0'));
            RETURN new;
        END $$;
        CREATE TRIGGER see BEFORE INSERT ON delivery_attempts
            FOR EACH ROW WHEN (new.status IS NULL) EXECUTE FUNCTION see()""")
    yield lambda: {call_id for (call_id,) in sql('SELECT call_id FROM seen')}
    sql('DROP TRIGGER see ON delivery_attempts; DROP FUNCTION see; DROP TABLE seen')


def test_nothing_is_lost_and_nothing_is_sent_twice_without_need(
    process: Process, subscribe: Any, failures: Any
) -> None:
    began = time.monotonic()
    failing = Failing()
    with (
        receiver() as good,
        receiver(slow) as sluggish,
        receiver(failing) as recovering,
        receiver(hangs) as hanging,
        contextlib.ExitStack() as vanishing,
    ):
        before = vanishing.enter_context(receiver())
        for webhook in (good, sluggish, recovering, before):
            subscribe(webhook.url)
        subscribe(hanging.url, '{"_timeout": 1}')

        posting = threading.Thread(target=post_all)
        posting.start()
        for number in range(KILLS):
            if number == KILLS // 4:
                vanishing.close()
            if number == KILLS * 3 // 4:
                failing.is_over = True
            time.sleep(random.uniform(*LIVES))
            process.kill()
        posting.join()
        with receiver(port=before.port) as after:
            webhooks = {
                'good': (good,),
                'slow': (sluggish,),
                'recovered': (recovering,),
                'back': (before, after),
            }
            deadline = time.monotonic() + 120 + POSTS / 50
            while missing := {
                name: POSTS - len(taken_by(*one))
                for name, one in webhooks.items()
                if len(taken_by(*one)) < POSTS
            }:
                assert time.monotonic() < deadline, missing
                time.sleep(0.5)
            # Who would send something once more does so by then.
            time.sleep(LEASE)

    twice, unanswered = 0, failures()
    for name, one in webhooks.items():
        for message, calls in taken_by(*one).items():
            for first, second in itertools.pairwise(sorted(calls)):
                twice += 1
                was_killed = any(first.sent <= kill < second.arrived for kill in process.kills)
                assert was_killed or first.call_id in unanswered, (name, message, first, second)
    print(
        f'\n{POSTS} posts, {KILLS} kills: {4 * POSTS} deliveries in '
        f'{time.monotonic() - began:.0f} s, {twice} of them twice, as an answer was lost; '
        f'{hanging.connections} calls of the webhook that hangs'
    )
