"""The process that delivers, in a thread of a test, on the database of the tests."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from marconi_api import model
from marconi_api.controllers.openstack.signed_urls import Signer
from marconi_api.model import NewMessage, QueueKey
from marconi_api.processes.delivery.bell import Bell, Ear, path_of
from marconi_api.processes.delivery.confirmations import confirmation
from marconi_api.processes.delivery.office import Office
from marconi_api.webhooks.calling import Caller
from marconi_api.webhooks.rules import Rules
from tests.running_service import wait_until

QUEUE = QueueKey.of('acme', 'events')
CLIENT = str(uuid4())

#: Every port of this machine, where the receivers of the tests listen.
RULES = Rules.from_config({'allowed_networks': ['127.0.0.0/8'], 'allowed_ports': range(1, 65536)})
SIGNER = Signer(['a key'])


@contextlib.contextmanager
def an_office(directory: Path, owner: str | None = None) -> Iterator[Office]:
    """One that runs, until the end of the block."""
    started: list[tuple[Office, asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def run() -> None:
        stop = asyncio.Event()
        ear = Ear(path_of(directory, 0))
        office = Office(
            model.store,
            Caller(RULES),
            RULES,
            owner or str(uuid4()),
            ear,
            lambda owned, kind: confirmation(SIGNER, owned, kind),
        )
        started.append((office, asyncio.get_running_loop(), stop))
        await office.run(stop)
        ear.close()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    wait_until(lambda: started)
    [(office, loop, stop)] = started
    try:
        yield office
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


@pytest.fixture
def office(app: Any, tmp_path: Path) -> Iterator[Office]:
    with an_office(tmp_path) as office:
        yield office


@pytest.fixture
def subscribe(app: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Makes a subscription of a URL, and returns its id."""
    from marconi_api.webhooks import rules

    monkeypatch.setattr(rules, 'in_force', RULES)
    model.store.queues.create(QUEUE)

    def make(url: str, options: str = '{}', ttl: int = 3600) -> str:
        return model.store.subscriptions.create(QUEUE, url, ttl, options).id

    return make


@pytest.fixture
def post(ring: Any) -> Callable[..., list[str]]:
    """Posts messages with these bodies, and returns their ids."""

    def post(*bodies: str, ttl: int = 600) -> list[str]:
        messages = [NewMessage(body, ttl, 0) for body in bodies]
        ids = model.store.messages.post(QUEUE, CLIENT, messages)
        ring()
        return ids

    return post


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Tells the office that there is something to do."""
    with contextlib.closing(Bell(tmp_path, 1)) as bell:
        yield lambda: bell.ring(QUEUE, 0)
