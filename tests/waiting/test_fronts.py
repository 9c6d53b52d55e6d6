"""Waiting over other addresses than 127.0.0.1, and through a proxy."""

import contextlib
import http.client
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from marconi_api.processes.embedded.cluster import running_url
from tests.directories import open_directory
from tests.nginx import nginx, with_nginx
from tests.running_service import DEADLINE, Service, services, wait_until
from tests.waiting.test_streams import Follower
from tests.waiting.waiters import bodies, claim, counters, parked, post, unused

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Front:
    """An address at which a service can be reached."""

    host: str
    port: int

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, self.port, timeout=DEADLINE)


def port_of(service: Service) -> int:
    """The port of a service that may listen at any address, once it is ready."""
    assert service.process.stdout is not None
    line = service.process.stdout.readline()
    found = re.search(r':(\d+)$', line.strip())
    assert found, line + service.end()[1]
    return int(found[1])


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.create_server(('::1', 0), family=socket.AF_INET6):
        return True
    return False


@pytest.fixture(scope='module')
def listening() -> Iterator[dict[str, tuple[Service, int]]]:
    """Services that listen at all addresses, by what they were told; and the port of each."""
    with services() as start:
        first = start(HOST='0.0.0.0', MARCONI_ACCESS='trusted')
        found = {'0.0.0.0': (first, port_of(first))}
        url = running_url(first.data_dir) or ''
        others = []
        if has_ipv6():
            others = [start(HOST='::', MARCONI_ACCESS='trusted', MARCONI_DATABASE_URL=url)]
            found['::'] = (others[0], port_of(others[0]))
        yield found
        for other in others:
            other.process.terminate()
            other.process.wait()


@pytest.mark.parametrize(
    ('listens_at', 'client_of'), [('0.0.0.0', '127.0.0.1'), ('0.0.0.0', '127.0.0.2'), ('::', '::1')]
)
def test_a_client_of_any_address_gets_its_message_or_nothing_if_it_went(
    listening: dict[str, tuple[Service, int]], listens_at: str, client_of: str
) -> None:
    if listens_at not in listening:
        pytest.skip('this machine has no IPv6')
    service, port = listening[listens_at]
    front, queue = Front(client_of, port), unused('jobs')
    wait_until(lambda: counters(service).waiting == 0)
    gone = claim(front, queue, wait=30)
    with parked(service, gone):
        stays = claim(front, queue, wait=30)
    wait_until(lambda: counters(service).waiting == 2)
    gone.go()

    post(front, queue, 'a')

    assert bodies(stays.answer()) == ['a']


@pytest.fixture(scope='module')
def proxy(told: Service) -> Iterator[Front]:
    """An nginx before a service, with the configuration of the page but for the password."""
    replaced = {
        '127.0.0.1:8888': f'127.0.0.1:{told.port}',
        'auth_basic           "Marconi"': 'auth_basic off',
        '$marconi_project;': 'acme;',
    }
    with open_directory() as directory, nginx(directory, replaced) as port:
        yield Front('127.0.0.1', port)


@with_nginx
def test_a_claim_waits_behind_a_proxy(told: Service, proxy: Front) -> None:
    queue = unused('jobs')
    waiter = claim(proxy, queue)

    with parked(told, waiter):
        post(proxy, queue, 'a')

    assert bodies(waiter.answer()) == ['a']


@with_nginx
def test_a_client_that_leaves_a_proxy_gets_nothing_claimed(told: Service, proxy: Front) -> None:
    queue = unused('jobs')
    wait_until(lambda: counters(told).waiting == 0)
    gone = claim(proxy, queue)
    with parked(told, gone):
        gone.go()
    wait_until(lambda: counters(told).waiting == 0)

    post(proxy, queue, 'a')

    assert bodies(claim(proxy, queue, wait=0).answer()) == ['a']


@with_nginx
def test_a_stream_is_not_held_back_by_a_proxy(told: Service, proxy: Front) -> None:
    queue = unused('jobs')
    wait_until(lambda: counters(told).waiting == 0)
    with contextlib.closing(Follower(proxy, queue)) as follower:
        wait_until(lambda: counters(told).waiting == 1)
        post(proxy, queue, 1)
        assert follower.bodies(1) == [1]
