"""The process that delivers, as the service runs it: killed, frozen, stopped, and without a database."""

import contextlib
import functools
import json
import os
import signal
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from marconi_api.model.deliveries import LEASE
from tests.delivery.test_delivery_chaos import Process, slow
from tests.running_service import CALLS_WEBHOOKS, HEADERS, Service, postmaster, services, wait_until
from tests.webhooks.receivers import Receiver, receiver

pytestmark = pytest.mark.slow


def taken(receiving: Receiver) -> Counter[str]:
    return Counter(call.headers['webhook-id'] for _, call in list(receiving.taken))


@pytest.fixture
def directories(tmp_path: Path) -> tuple[Path, Path]:
    found = tmp_path / 'a', tmp_path / 'b'
    for directory in found:
        directory.mkdir()
    return found


def test_an_owner_that_was_frozen_sends_nothing_after_its_lease(
    app: Any, postgres: Any, directories: Any, subscribe: Any, post: Any, sql: Any
) -> None:
    frozen = Process(directories[0], postgres.url)
    try:
        with receiver(slow) as receiving:
            subscribe(receiving.url)
            for _ in range(100):
                post(*'0123456789')
            wait_until(lambda: len(receiving.taken) > 50)
            frozen.process.send_signal(signal.SIGSTOP)
            time.sleep(LEASE + 1)
            before = taken(receiving)
            successor = Process(directories[1], postgres.url)
            try:
                wait_until(lambda: len(taken(receiving)) == 1000)
                wait_until(lambda: not sql('SELECT 1 FROM deliveries LIMIT 1'))
                after = taken(receiving)
                frozen.process.send_signal(signal.SIGCONT)
                time.sleep(3)
            finally:
                successor.stop()
            assert taken(receiving) == after
            # What was under way when it was frozen, and could not be noted, is sent once more.
            twice = [call_id for call_id, count in after.items() if count > 1]
            assert set(twice) <= set(before)
    finally:
        frozen.process.send_signal(signal.SIGCONT)
        frozen.stop()


def test_a_stop_waits_for_calls_and_gives_its_subscriptions_away(
    app: Any, postgres: Any, directories: Any, subscribe: Any, post: Any, sql: Any
) -> None:
    first = Process(directories[0], postgres.url)
    with receiver(slow) as receiving:
        subscribe(receiving.url)
        for _ in range(30):
            post(*'0123456789')
        wait_until(lambda: len(receiving.taken) > 50)
        first.stop()
        assert sql('SELECT count(*) FROM subscription_owners WHERE owned_until > now()') == [(0,)]
        [(left,)] = sql('SELECT count(*) FROM deliveries')
        assert left == 300 - len(receiving.taken)
        second = Process(directories[1], postgres.url)
        try:
            wait_until(lambda: len(receiving.taken) == 300)
        finally:
            second.stop()

    assert max(taken(receiving).values()) == 1


SETTINGS = """
eventing = {{'allowed_networks': ['127.0.0.0/8'], 'allowed_ports': [{}]}}
"""


def send(
    service: Service,
    method: str,
    path: str,
    document: Any = None,
    more: dict[str, str] | None = None,
) -> int:
    with contextlib.closing(service.connect()) as connection:
        headers = HEADERS | {'X-Project-Id': 'acme'} | (more or {})
        connection.request(method, f'/v2/queues/events{path}', json.dumps(document), headers)
        return connection.getresponse().status


def post_over_http(service: Service, count: int) -> None:
    """Posts ten messages ``count`` times; each is sent until it is answered 201, and stored once."""
    document = {'messages': [{'body': number} for number in range(10)]}
    for _ in range(count):
        key = {'Idempotency-Key': str(uuid.uuid4())}
        wait_until(functools.partial(is_posted, service, document, key))


def is_posted(service: Service, document: Any, key: dict[str, str]) -> bool:
    return send(service, 'POST', '/messages', document, key) == 201


def test_the_service_delivers_though_its_processes_and_its_database_are_killed(
    tmp_path: Path,
) -> None:
    with receiver() as receiving, services() as start:
        settings = tmp_path / 'settings.py'
        settings.write_text(SETTINGS.format(receiving.port))
        for directory in (tmp_path, *tmp_path.parents):
            if str(directory) != '/tmp' and directory.owner() == tmp_path.owner():
                directory.chmod(0o755)
        service = start(MARCONI_CONFIG=str(settings), **CALLS_WEBHOOKS).wait_until_ready()
        assert send(service, 'POST', '/subscriptions', {'subscriber': receiving.url}) == 201

        post_over_http(service, 1)
        wait_until(lambda: len(taken(receiving)) == 10)

        [courier] = service.named('marconi-deliver')
        os.kill(courier, signal.SIGKILL)
        post_over_http(service, 5)
        wait_until(lambda: len(taken(receiving)) == 60)

        os.kill(postmaster(service), signal.SIGKILL)
        post_over_http(service, 5)
        wait_until(lambda: len(taken(receiving)) == 110)
