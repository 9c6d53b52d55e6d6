"""Three services on one database, which let clients in by tokens."""

import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from marconi_api.processes.embedded.cluster import running_url
from tests.running_service import Service, services
from tests.waiting.test_streams import following
from tests.waiting.waiters import ask, bodies, claim, parked, unused

pytestmark = pytest.mark.slow


class Three(NamedTuple):
    """The services, and a token for all of them."""

    services: list[Service]
    token: str

    def post(self, service: Service, queue: str, body: object) -> None:
        """Post a message to a service."""
        document = {'messages': [{'body': body}]}
        path = f'/v2/queues/{queue}/messages'
        assert ask(service, 'POST', path, document, X_Auth_Token=self.token).status == 201


@pytest.fixture(scope='module')
def three() -> Iterator[Three]:
    with services() as start, tempfile.NamedTemporaryFile('w', suffix='.py') as settings:
        os.chmod(settings.name, 0o644)
        settings.write("server = {'processes': 1, 'threads': 2}\n")
        settings.flush()
        usual = {'MARCONI_CONFIG': settings.name, 'MARCONI_ACCESS': 'token'}
        first = start(MARCONI_ACCESS='token').wait_until_ready()
        url = running_url(first.data_dir) or ''
        others = [start(MARCONI_DATABASE_URL=url, **usual) for _ in range(2)]
        for other in others:
            other.wait_until_ready()
        token = subprocess.run(
            [
                *(sys.executable, '-m', 'marconi_api.commands', 'token', 'create'),
                *('--project', 'acme', '--role', 'writer'),
            ],
            env=os.environ | {'MARCONI_DATABASE_URL': url},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()[0]
        yield Three([first, *others], token)
        for other in others:
            other.process.terminate()
            other.process.wait()


def test_a_post_to_any_of_them_wakes_a_waiter_at_any_other(three: Three) -> None:
    for waits_at, posted_to in itertools.permutations(three.services, 2):
        queue = unused('jobs')
        waiter = claim(waits_at, queue, X_Auth_Token=three.token)
        with parked(waits_at, waiter):
            three.post(posted_to, queue, 'a')
        assert bodies(waiter.answer()) == ['a']


def test_a_message_is_with_one_of_those_who_wait_at_all_of_them(three: Three) -> None:
    queue = unused('jobs')
    waiters = [
        claim(service, queue, wait=3, X_Auth_Token=three.token) for service in three.services
    ]
    for service, waiter in zip(three.services, waiters, strict=True):
        with parked(service, waiter):
            pass
    three.post(three.services[0], queue, 'a')

    assert sorted(bodies(waiter.answer()) for waiter in waiters) == [[], [], ['a']]


def test_a_stream_at_one_has_what_is_posted_to_all(three: Three) -> None:
    queue = unused('jobs')
    with following(three.services[1], queue, X_Auth_Token=three.token) as follower:
        for number, service in enumerate(three.services * 2):
            three.post(service, queue, number)
        assert follower.bodies(6) == list(range(6))
