"""Posts hand their messages to claims that wait: one transaction, where there were two.

``told``, ``other`` and ``deaf`` are as in ``conftest.py``: at ``told`` no sweep helps.
"""

import contextlib
import os
import signal
from typing import Any

import psycopg2
import pytest

from tests.running_service import Service, wait_until
from tests.waiting.waiters import (
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


def is_from_one_transaction(database: str, path: str) -> bool:
    """Whether a message was claimed by the transaction that stored it: no row was changed since."""
    with (
        contextlib.closing(psycopg2.connect(database)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(
            """SELECT state.xmin = message.xmin AND state.claim_id IS NOT NULL
                 FROM message_states AS state JOIN messages AS message USING (queue_id, id)
                WHERE id = %s""",
            (int(path.rpartition('/')[2], 16),),
        )
        [(is_one,)] = cursor.fetchall()
    return bool(is_one)


def version_1(service: Service, queue: str) -> Waiter:
    return Waiter(
        *(service, 'POST', f'/v1/queues/{queue}/claims?limit=1', {'ttl': 100, 'grace': 60}),
        Prefer='wait=30',
    )


def version_1_1(service: Service, queue: str) -> Waiter:
    return Waiter(service, 'POST', f'/v1.1/queues/{queue}/claims?limit=1', Prefer='wait=30')


def across_one(service: Service, queue: str) -> Waiter:
    return Waiter(service, 'POST', '/v2/claims?wait=30', {'queues': [{'name': queue}]})


@pytest.mark.parametrize('waits', [version_1, version_1_1, claim, across_one])
def test_a_waiting_claim_gets_the_message_in_the_transaction_that_stores_it(
    told: Service, database: str, waits: Any
) -> None:
    queue = unused('jobs')
    assert ask(told, 'PUT', f'/v2/queues/{queue}').status == 201

    def is_handed_over() -> bool:
        waiter = waits(told, queue)
        with parked(told, waiter):
            [path] = post(told, queue, {'a': 'ü'})
        answer = waiter.answer()
        assert answer.status == 201
        messages = answer.body if isinstance(answer.body, list) else answer.body['messages']
        assert [message['body'] for message in messages] == [{'a': 'ü'}]
        return is_from_one_transaction(database, path)

    # A post does not wait for a room that is slow for a moment.
    wait_until(is_handed_over)


def test_the_claim_is_like_any_other(told: Service) -> None:
    queue = unused('jobs')
    waiter = Waiter(
        *(told, 'POST', f'/v2/queues/{queue}/claims?limit=5&wait=30', {'ttl': 400, 'grace': 100})
    )
    with parked(told, waiter):
        post(told, queue, 'a', ttl=60)
    answer = waiter.answer()

    location = answer.headers['Location']
    held = ask(told, 'GET', location).body
    assert held['ttl'] == 400
    # It would have expired before the claim ends.
    assert [message['ttl'] for message in held['messages']] == [500]
    assert ask(told, 'PATCH', location, {'ttl': 300, 'grace': 60}).status == 204
    [message] = answer.body['messages']
    assert ask(told, 'DELETE', message['href']).status == 204
    assert ask(told, 'GET', location).status == 404


def test_several_posts_serve_as_many_waiters_each_with_one(told: Service) -> None:
    queue = unused('jobs')
    waiters = [claim(told, queue) for _ in range(20)]
    with parked(told, *waiters):
        posts = [
            Waiter(
                *(told, 'POST', f'/v2/queues/{queue}/messages'), {'messages': [{'body': number}]}
            )
            for number in range(20)
        ]
        assert {sent.answer().status for sent in posts} == {201}

    assert sorted(body for waiter in waiters for body in bodies(waiter.answer())) == [*range(20)]


def pop(service: Service, queue: str) -> Waiter:
    return Waiter(service, 'DELETE', f'/v2/queues/{queue}/messages?pop=1&wait=30')


def with_a_key(service: Service, queue: str) -> Waiter:
    return claim(service, queue, Idempotency_Key='once')


def across_two(service: Service, queue: str) -> Waiter:
    queues = [{'name': queue}, {'name': unused('another')}]
    return Waiter(service, 'POST', '/v2/claims?wait=30', {'queues': queues})


@pytest.mark.parametrize('waits', [pop, with_a_key, across_two])
def test_other_requests_that_wait_look_by_themselves(told: Service, waits: Any) -> None:
    queue = unused('jobs')
    assert ask(told, 'PUT', f'/v2/queues/{queue}').status == 201
    waiter = waits(told, queue)
    with parked(told, waiter):
        post(told, queue, 'a')

    assert bodies(waiter.answer()) == ['a']


def test_a_message_of_which_the_room_has_not_heard_comes_first(
    told: Service, deaf: Service
) -> None:
    queue = unused('jobs')
    waiter = claim(told, queue)
    with parked(told, waiter):
        post(deaf, queue, 'older')
        post(told, queue, 'newer')

    assert bodies(waiter.answer()) == ['older']
    assert bodies(claim(told, queue, wait=0).answer()) == ['newer']


@pytest.mark.parametrize('at', ['told', 'other'])
def test_a_list_with_claimed_messages_shows_it_at_once(sites: dict[str, Service], at: str) -> None:
    queue = unused('jobs')
    told = sites['told']
    path = f'/v2/queues/{queue}/messages?include_claimed=true&echo=true&wait=30'
    waiter = claim(told, queue)
    with parked(told, waiter):
        before = counters(sites[at]).waiting
        looks = Waiter(sites[at], 'GET', path)
    wait_until(lambda: counters(sites[at]).waiting == before + 1)
    post(told, queue, 'a')

    assert bodies(looks.answer()) == ['a']
    assert bodies(waiter.answer()) == ['a']


def test_a_post_is_answered_soon_while_the_room_is_frozen(told: Service) -> None:
    queue = unused('jobs')
    waiter = claim(told, queue)
    with parked(told, waiter):
        os.kill(room_of(told), signal.SIGSTOP)
    try:
        post(told, queue, 'a')
        # It is stored as any other, for all others.
        assert bodies(claim(told, queue, wait=0).answer()) == ['a']
    finally:
        os.kill(room_of(told), signal.SIGCONT)
    post(told, queue, 'b')

    assert bodies(waiter.answer()) == ['b']
