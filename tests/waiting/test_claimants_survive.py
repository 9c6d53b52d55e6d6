"""Workers and rooms that end while a post hands its message to a claim, and posts that hang."""

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest

from marconi_api.processes.embedded.cluster import running_url
from tests.running_service import Service, services, wait_until
from tests.waiting.waiters import Waiter, ask, bodies, claim, parked, post, room_of, unused

pytestmark = pytest.mark.slow


def is_any(database: str, query: str, *parameters: str) -> bool:
    """Whether a query finds something."""
    with (
        contextlib.closing(psycopg2.connect(database)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(query, parameters)
        return bool(cursor.fetchall())


def is_withheld(database: str, queue: str) -> bool:
    """Whether a claim holds a message of the queue."""
    return is_any(
        database,
        """SELECT FROM message_states JOIN queues USING (queue_id)
            WHERE name = %s AND claim_id IS NOT NULL AND held_until > now()""",
        queue,
    )


HANGS = """SELECT FROM pg_stat_activity
            WHERE wait_event_type = 'Lock' AND strpos(query, %s) > 0"""


class Held:
    """A post to a queue for which a claim waits: its statement waits for a lock, until it is let go."""

    def __init__(self, service: Service, database: str, wait: int = 20) -> None:
        self.service = service
        self._database = database
        self._hold(wait)
        # A post does not wait for a room that is slow for a moment, and then hands nothing over.
        while not is_any(database, HANGS, 'marconi_post_claimed'):
            self.let_go()
            self.poster.answer()
            self.waiter.answer()
            self._hold(wait)

    def _hold(self, wait: int) -> None:
        self.queue = unused('held')
        assert ask(self.service, 'PUT', f'/v2/queues/{self.queue}').status == 201
        self.waiter = claim(self.service, self.queue, wait=wait)
        self._connection = psycopg2.connect(self._database)
        with parked(self.service, self.waiter), self._connection.cursor() as cursor:
            cursor.execute('SELECT FROM queues WHERE name = %s FOR UPDATE', (self.queue,))
            path = f'/v2/queues/{self.queue}/messages'
            self.poster = Waiter(self.service, 'POST', path, {'messages': [{'body': 'a'}]})
            wait_until(lambda: is_any(self._database, HANGS, 'marconi_post'))

    def let_go(self) -> None:
        self._connection.close()


@pytest.fixture(scope='module')
def service() -> Iterator[Service]:
    """One whose processes tests may kill: it mends itself."""
    with services() as start:
        yield start().wait_until_ready()


@pytest.fixture
def its_database(service: Service) -> str:
    return (running_url(service.data_dir) or '').replace('+psycopg2', '')


def test_one_whose_time_is_over_is_answered_while_the_post_still_hangs(
    service: Service, its_database: str
) -> None:
    held = Held(service, its_database, wait=1)
    answered = held.waiter.answer()
    held.let_go()

    assert answered.status == 204
    assert held.poster.answer().status == 201
    # The claim that the post made for it is undone.
    wait_until(lambda: not is_withheld(its_database, held.queue))
    assert bodies(claim(service, held.queue, wait=0).answer()) == ['a']


def test_a_message_whose_client_went_during_the_post_is_for_others(
    service: Service, its_database: str
) -> None:
    held = Held(service, its_database)
    held.waiter.go()
    held.let_go()

    assert held.poster.answer().status == 201
    wait_until(lambda: not is_withheld(its_database, held.queue))
    assert bodies(claim(service, held.queue, wait=0).answer()) == ['a']


def test_a_waiter_outlives_the_worker_that_was_about_to_serve_it(
    service: Service, its_database: str
) -> None:
    held = Held(service, its_database)
    for worker in service.named('marconi-worker'):
        os.kill(worker, signal.SIGKILL)
    held.let_go()
    held.poster.go()
    wait_until(lambda: len(service.named('marconi-worker')) == 2)
    post(service, held.queue, 'b')

    assert bodies(held.waiter.answer()) == ['b']


def kill_amid_the_post(held: Held, room: int) -> None:
    os.kill(room, signal.SIGKILL)
    held.let_go()
    assert held.poster.answer().status == 201


def kill_after_the_post(held: Held, room: int) -> None:
    """The room was told that the claim is committed, and has not answered yet."""
    os.kill(room, signal.SIGSTOP)
    held.let_go()
    assert held.poster.answer().status == 201
    os.kill(room, signal.SIGKILL)


@pytest.mark.parametrize('kill', [kill_amid_the_post, kill_after_the_post])
def test_a_room_that_is_killed_withholds_no_message(
    service: Service, its_database: str, kill: Any
) -> None:
    held = Held(service, its_database)
    room = room_of(service)
    kill(held, room)
    wait_until(lambda: room_of(service) not in (0, room))

    wait_until(lambda: not is_withheld(its_database, held.queue))
    [message] = claim(service, held.queue, wait=0).answer().body['messages']
    assert message['body'] == 'a'
    held.waiter.go()


def test_a_room_that_is_stopped_for_a_while_serves_its_waiter(
    service: Service, its_database: str
) -> None:
    held = Held(service, its_database)
    os.kill(room_of(service), signal.SIGSTOP)
    held.let_go()
    assert held.poster.answer().status == 201
    os.kill(room_of(service), signal.SIGCONT)

    assert bodies(held.waiter.answer()) == ['a']
