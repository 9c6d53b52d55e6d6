"""Replies reach who asked, whatever is killed or restarted between the request and the reply."""

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from uuid import uuid4

import psycopg2
import pytest

from marconi_api.processes.embedded.cluster import running_url
from tests.processes import is_gone
from tests.running_service import Service, postmaster, services, wait_until
from tests.waiting.waiters import Answer, Gone, Waiter, ask, claim, parked, unused

pytestmark = pytest.mark.slow


@pytest.fixture
def service() -> Iterator[Service]:
    """A service of its own, as it is killed in part."""
    with services() as start:
        yield start().wait_until_ready()


def requesting(service: Service, queue: str, wait: int = 30) -> Waiter:
    return Waiter(service, 'POST', f'/v2/queues/{queue}/requests?wait={wait}', {'body': 'question'})


def claimed(service: Service, queue: str) -> str:
    """The path of the reply to the next message, with its claim."""
    [message] = claim(service, queue).answer().body['messages']
    href: str = message['href']
    return href.replace('?', '/reply?')


def test_a_worker_that_dies_between_its_claim_and_its_reply_loses_no_request(
    service: Service,
) -> None:
    queue = unused('rpc')
    waiter = requesting(service, queue)
    with parked(service, waiter):
        of_the_dead = claimed(service, queue)
        # Nobody waits for a minute here: the claim lapses now.
        url = (running_url(service.data_dir) or '').replace('+psycopg2', '')
        with contextlib.closing(psycopg2.connect(url)) as database, database.cursor() as cursor:
            cursor.execute("UPDATE message_states SET held_until = now() - interval '1 s'")
            cursor.execute("UPDATE claims SET expires_at = now() - interval '1 s'")
            database.commit()
        successor = claimed(service, queue)
        # It was not dead, but slow.
        assert ask(service, 'POST', of_the_dead, 'late').status == 403
        assert ask(service, 'POST', successor, 'in time').status == 204

    answer = waiter.answer()
    assert (answer.status, answer.body['reply']) == (200, 'in time')


@pytest.mark.parametrize('end', [signal.SIGKILL, signal.SIGINT], ids=['killed', 'stopped'])
def test_a_request_outlives_a_database_that_is_restarted_while_it_waits(
    service: Service, end: signal.Signals
) -> None:
    queue = unused('rpc')
    waiter = requesting(service, queue)
    with parked(service, waiter):
        path = claimed(service, queue)
        before = postmaster(service)
        os.kill(before, end)
        wait_until(lambda: is_gone(before))
        wait_until(lambda: postmaster(service) not in (0, before))
        wait_until(lambda: ask(service, 'GET', '/v2/ping').status == 204)
        assert ask(service, 'POST', path, 'answer').status == 204

    answer = waiter.answer()
    assert (answer.status, answer.body['reply']) == (200, 'answer')


def test_a_room_that_is_killed_loses_waits_but_no_reply(service: Service) -> None:
    queue = unused('rpc')
    waiter = requesting(service, queue)
    with parked(service, waiter):
        path = claimed(service, queue)
        for pid in service.named('marconi-waiting'):
            os.kill(pid, signal.SIGKILL)
        waiter.go()

    assert ask(service, 'POST', path, 'answer').status == 204
    reply = ask(service, 'GET', path.partition('?')[0])
    assert (reply.status, reply.body['reply']) == (200, 'answer')


def until_answered(
    service: Service, method: str, path: str, body: object, **headers: str
) -> Answer:
    """Send a request until there is an answer that is none of a failure."""
    while True:
        with contextlib.suppress(*Gone):
            # A kept connection learns of its worker's end only after a minute.
            answer = ask(service, method, path, body, Connection='close', **headers)
            if answer.status < 500 and answer.status != 409:
                return answer
        time.sleep(0.1)


ASKERS, WORKERS, KILLS = 6, 3, 5


def test_each_request_gets_its_own_reply_though_processes_are_killed(service: Service) -> None:
    """Who asks repeats a request under its key; a worker whose answer is lost claims anew."""
    queue = unused('rpc')
    replies: Counter[tuple[int, int]] = Counter()
    calls = dict.fromkeys(range(ASKERS), 0)
    has_killed, is_over = threading.Event(), threading.Event()

    def asks(number: int) -> None:
        while not has_killed.is_set():
            call = calls[number] = calls[number] + 1
            path, key = f'/v2/queues/{queue}/requests?wait=5', str(uuid4())
            answer = Answer(202, {}, None)
            while answer.status == 202:
                answer = until_answered(
                    service, 'POST', path, {'body': [number, call]}, Idempotency_Key=key
                )
            assert answer.status == 200, answer
            asked, said = answer.body['reply']
            assert asked == [number, call]
            replies[number, call] += said == 'yes'

    def works() -> None:
        path = f'/v2/queues/{queue}/claims?limit=1&wait=1'
        while not is_over.is_set():
            answer = until_answered(
                service, 'POST', path, {'ttl': 60}, Idempotency_Key=str(uuid4())
            )
            for message in answer.body['messages'] if answer.body else ():
                target = message['href'].replace('?', '/reply?')
                until_answered(service, 'POST', target, [message['body'], 'yes'])

    workers = [threading.Thread(target=works) for _ in range(WORKERS)]
    askers = [threading.Thread(target=asks, args=(number,)) for number in range(ASKERS)]
    for thread in (*workers, *askers):
        thread.start()
    for _ in range(KILLS):
        time.sleep(0.7)
        pids = service.named('marconi-worker')
        with contextlib.suppress(ProcessLookupError, IndexError):
            os.kill(random.choice(pids), signal.SIGKILL)
    has_killed.set()
    for thread in askers:
        thread.join()
    is_over.set()
    for thread in workers:
        thread.join()

    assert set(replies.values()) == {1}
    assert len(replies) == sum(calls.values()) > ASKERS
