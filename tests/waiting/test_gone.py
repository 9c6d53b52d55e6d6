"""Clients that go away while they wait, and rooms and services that end."""

import contextlib
import os
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.running_service import Service, Start, postmaster, services, wait_until
from tests.waiting.waiters import (
    Gone,
    Waiter,
    ask,
    bodies,
    claim,
    counters,
    parked,
    post,
    room_of,
    unused,
)


def close(waiter: Waiter) -> None:
    waiter.go()


def reset(waiter: Waiter) -> None:
    """Break the connection off, as a client does that is killed amid an answer."""
    linger = struct.pack('ii', 1, 0)
    waiter.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    waiter.connection.sock.close()


def half_close(waiter: Waiter) -> None:
    waiter.connection.sock.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize('connection', ['keep-alive', 'close'])
@pytest.mark.parametrize('leave', [close, reset, half_close])
def test_a_client_that_went_gets_nothing_claimed(
    told: Service, leave: Callable[[Waiter], None], connection: str
) -> None:
    queue = unused('jobs')
    gone = claim(told, queue, Connection=connection)
    with parked(told, gone):
        leave(gone)
    post(told, queue, 'a')

    # Not held: the next one gets it at once.
    assert bodies(claim(told, queue, wait=0).answer()) == ['a']
    gone.go()


def test_the_next_in_line_gets_what_one_that_went_would_have_got(told: Service) -> None:
    queue = unused('jobs')
    gone = claim(told, queue)
    with parked(told, gone):
        stays = claim(told, queue)
    wait_until(lambda: counters(told).waiting == 2)
    reset(gone)
    post(told, queue, 'a')

    assert bodies(stays.answer()) == ['a']


def test_those_who_went_are_forgotten_within_a_moment(told: Service) -> None:
    before = counters(told)
    waiters = [claim(told, unused('jobs')) for _ in range(20)]
    with parked(told, *waiters):
        for waiter in waiters:
            close(waiter)

    wait_until(lambda: counters(told).waiting == before.waiting)
    assert counters(told).gone >= before.gone + 20


@pytest.fixture
def start() -> Iterator[Start]:
    with services() as start:
        yield start


@pytest.fixture(scope='module')
def service() -> Iterator[Service]:
    """One whose processes and database tests may kill: it mends itself."""
    with services() as start:
        yield start().wait_until_ready()


def test_a_stop_answers_all_who_wait(start: Start) -> None:
    service = start().wait_until_ready()
    queue = unused('jobs')
    waiters = [claim(service, queue, wait=30) for _ in range(50)]
    waiters += [Waiter(service, 'GET', f'/v2/queues/{queue}/messages?wait=30') for _ in range(5)]
    requests = f'/v2/queues/{unused("rpc")}/requests?wait=30'
    asker = Waiter(service, 'POST', requests, {'body': 'question'})
    wait_until(lambda: counters(service).waiting == 56)

    service.process.send_signal(signal.SIGTERM)

    assert {waiter.answer().status for waiter in waiters[:50]} == {204}
    assert [waiter.answer().body['messages'] for waiter in waiters[50:]] == [[]] * 5
    assert asker.answer().status == 202
    service.end()


def test_a_room_that_is_killed_is_replaced_and_loses_no_message(service: Service) -> None:
    queue = unused('jobs')
    lost = claim(service, queue)
    with parked(service, lost):
        killed = room_of(service)
        os.kill(killed, signal.SIGKILL)
        # Until all its threads have ended it may take a request with it.
        wait_until(lambda: not Path(f'/proc/{killed}').exists())

    # Whoever should wait meanwhile is told that it did not.
    answer = claim(service, queue).answer()
    assert (answer.status, answer.headers.get('Preference-Applied')) == (204, None)

    wait_until(lambda: room_of(service) not in (0, killed))
    with contextlib.suppress(FileNotFoundError):
        wait_until(lambda: claim(service, queue, wait=1).answer().headers != answer.headers)
    waiter = claim(service, queue)
    with parked(service, waiter):
        post(service, queue, 'a')
    assert bodies(waiter.answer()) == ['a']
    lost.go()


def test_a_worker_that_is_killed_leaves_waiters_untouched(service: Service) -> None:
    queue = unused('jobs')
    waiter = claim(service, queue)
    with parked(service, waiter):
        for pid in service.named('marconi-worker'):
            os.kill(pid, signal.SIGKILL)

    posted = False
    while not posted:
        with contextlib.suppress(*Gone):
            post(service, queue, 'a')
            posted = True
    assert bodies(waiter.answer()) == ['a']


def test_too_many_who_wait_are_refused(
    start: Start, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = tmp_path_factory.mktemp('settings') / 'few.py'
    settings.write_text("limits = {'max_waiters': 3, 'max_waiters_per_project': 2}\n")
    service = start(MARCONI_CONFIG=str(settings)).wait_until_ready()
    waiters = [claim(service, 'jobs') for _ in range(2)]

    with parked(service, *waiters):
        refused = claim(service, 'jobs').answer()
        elsewhere = claim(service, 'jobs', X_Project_Id='other')
        wait_until(lambda: counters(service).waiting == 3)

    assert (refused.status, refused.headers['Retry-After']) == (503, '1')
    assert refused.body['title'] == 'Service temporarily unavailable'
    assert counters(service).refused == 1
    for waiter in (*waiters, elsewhere):
        waiter.go()


def test_a_project_lets_as_many_requests_wait_as_its_quota_says(
    start: Start, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = tmp_path_factory.mktemp('settings') / 'quota.py'
    settings.write_text("quota = {'waiters': 1}\n")
    service = start(MARCONI_CONFIG=str(settings)).wait_until_ready()
    waiter = claim(service, 'jobs', X_Project_Id='acme')

    with parked(service, waiter):
        refused = claim(service, 'jobs', X_Project_Id='acme').answer()
        elsewhere = claim(service, 'jobs', X_Project_Id='other')
        wait_until(lambda: counters(service).waiting == 2)
        # It is posted before it would wait: to refuse it would be to have it posted again.
        path = '/v2/queues/rpc/requests?wait=10'
        asked = ask(service, 'POST', path, {'body': 1}, X_Project_Id='acme')
        reply = f'{asked.headers["Location"]}?wait=10'
        looked = ask(service, 'GET', reply, X_Project_Id='acme')

    assert (refused.status, refused.body['title']) == (403, 'Quota exceeded')
    assert (looked.status, looked.body['title']) == (403, 'Quota exceeded')
    assert (asked.status, asked.headers.get('Preference-Applied')) == (202, None)
    assert (
        refused.body['description'] == 'The project may have 1 requests that wait: quota.waiters.'
    )
    waiter.go()
    elsewhere.go()


def test_waiters_are_answered_in_time_while_the_database_is_down(service: Service) -> None:
    queue = unused('jobs')
    waiters = [claim(service, queue, wait=6) for _ in range(20)]
    with parked(service, *waiters):
        os.kill(postmaster(service), signal.SIGSTOP)
        try:
            statuses = {waiter.answer().status for waiter in waiters}
        finally:
            os.kill(postmaster(service), signal.SIGCONT)

    assert statuses == {204}
    wait_until(lambda: ask(service, 'PUT', f'/v2/queues/{queue}').status in (201, 204))
    waiter = claim(service, queue)
    with parked(service, waiter):
        post(service, queue, 'a')
    assert bodies(waiter.answer()) == ['a']
