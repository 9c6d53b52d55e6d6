"""Every way in which a message can become ready ends a wait, however the room learns of it.

``told``: the worker that did it tells the room. ``other``: another service did it, whose room
notifies ours. ``deaf``: nothing tells, and the room finds it by its sweep. Sweeps are as good as
off in the first two cases.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import psycopg2
import pytest

from tests.running_service import Service
from tests.waiting.waiters import ask, bodies, claim, parked, post, unused


class Way(NamedTuple):
    """How a message becomes ready: what is done before somebody waits, and then."""

    prepare: Callable[[Service, str], Any]
    do: Callable[[Service, str, Any], object]


def claimed(service: Service, queue: str) -> dict[str, str]:
    """A message that is claimed: its id, and that of its claim."""
    post(service, queue, 'a')
    [message] = claim(service, queue, wait=0).answer().body['messages']
    return {'id': message['id'], 'claim': message['href'].partition('claim_id=')[2]}


def parked_message(service: Service, queue: str) -> str:
    """The path of a message that is parked."""
    [path] = post(service, queue, 'a')
    assert ask(service, 'POST', f'{path}/park', {'reason': 'test'}).status == 204
    return path


def done(service: Service, method: str, path: str, body: Any = None) -> None:
    answer = ask(service, method, path, body)
    assert answer.status in (200, 201, 202, 204), answer


def release_by_verdict(service: Service, queue: str, held: dict[str, str]) -> None:
    path = f'/v2/queues/{queue}/claims/{held["claim"]}/verdicts'
    done(service, 'POST', path, {'verdicts': [{'id': held['id'], 'verdict': 'release'}]})


def dead_letter(service: Service, queue: str) -> str:
    """Have a queue whose dead letters go to ``queue``; it has one, which nobody claimed since."""
    source = unused('source')
    metadata = {'_max_claim_count': 1, '_dead_letter_queue': queue}
    done(service, 'PUT', f'/v2/queues/{queue}')
    done(service, 'PUT', f'/v2/queues/{source}', metadata)
    held = claimed(service, source)
    done(service, 'DELETE', f'/v2/queues/{source}/claims/{held["claim"]}')
    return source


WAYS = {
    'a post': Way(
        lambda service, queue: None,
        lambda service, queue, _: post(service, queue, 'a'),
    ),
    'a post in version 1': Way(
        lambda service, queue: done(service, 'PUT', f'/v1/queues/{queue}'),
        lambda service, queue, _: done(
            service, 'POST', f'/v1/queues/{queue}/messages', [{'ttl': 60, 'body': 'a'}]
        ),
    ),
    'the end of a claim by its holder': Way(
        claimed,
        lambda service, queue, held: done(
            service, 'DELETE', f'/v2/queues/{queue}/claims/{held["claim"]}'
        ),
    ),
    'a verdict': Way(claimed, release_by_verdict),
    'the release of a message': Way(
        claimed,
        lambda service, queue, held: done(
            service,
            'POST',
            f'/v2/queues/{queue}/messages/{held["id"]}/release?claim_id={held["claim"]}',
            {},
        ),
    ),
    'a kick': Way(parked_message, lambda service, _, path: done(service, 'POST', f'{path}/kick')),
    'a kick of all': Way(
        parked_message,
        lambda service, queue, _: done(service, 'POST', f'/v2/queues/{queue}/kick'),
    ),
    'a dead letter that is moved': Way(
        dead_letter,
        lambda service, _, source: claim(service, source, wait=0).answer(),
    ),
}


@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize('site', ['told', 'other', 'deaf'])
def test_a_waiter_is_woken_by(sites: dict[str, Service], site: str, way: str) -> None:
    queue = unused('jobs')
    acting = sites['other'] if site == 'other' else sites['told']
    waiting = sites['deaf'] if site == 'deaf' else sites['told']
    prepared = WAYS[way].prepare(acting, queue)
    waiter = claim(waiting, queue)

    with parked(waiting, waiter):
        WAYS[way].do(acting, queue, prepared)

    assert bodies(waiter.answer()) == ['a']


def test_a_waiter_is_woken_by_a_redrive(deaf: Service, database: str) -> None:
    """A command tells nobody: the sweep finds what it moved."""
    source, queue = unused('dead'), unused('jobs')
    post(deaf, source, 'a')
    done(deaf, 'PUT', f'/v2/queues/{queue}')
    waiter = claim(deaf, queue)

    with parked(deaf, waiter):
        subprocess.run(
            [
                *(sys.executable, '-m', 'marconi_api.commands', 'redrive', source),
                *('--to', queue, '--project', 'acme', '--yes'),
            ],
            env=os.environ | {'MARCONI_DATABASE_URL': database},
            check=True,
            capture_output=True,
        )

    assert bodies(waiter.answer()) == ['a']


@pytest.fixture
def only_janitor_of_told(sites: dict[str, Service]) -> Iterator[None]:
    """No other service carries redrives out: the deaf one's room notifies nobody of what it moved."""
    others = [pid for site in ('other', 'deaf') for pid in sites[site].named('marconi-janitor')]
    for pid in others:
        os.kill(pid, signal.SIGSTOP)
    yield
    for pid in others:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.usefixtures('only_janitor_of_told')
def test_a_waiter_is_woken_by_the_process_that_carries_a_redrive_out(told: Service) -> None:
    source, queue = unused('dead'), unused('jobs')
    post(told, source, 'a', 'b')
    done(told, 'PUT', f'/v2/queues/{queue}')
    first = claim(told, queue)

    with parked(told, first):
        done(told, 'POST', f'/v2/queues/{source}/redrive', {'to': queue, 'rate': 1})
    assert bodies(first.answer()) == ['a']

    # A second later the next one is moved, after the request.
    assert bodies(claim(told, queue).answer()) == ['b']


@pytest.fixture
def sql(database: str) -> Iterator[Callable[..., None]]:
    """Runs SQL beside the services."""
    connection = psycopg2.connect(database)
    connection.autocommit = True

    def run(statement: str, *parameters: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)

    yield run
    connection.close()


def move_back(sql: Callable[..., None], path: str, seconds: float) -> None:
    """Have a message return so many seconds earlier."""
    sql(
        'UPDATE message_states SET held_until = held_until - %s * interval %s WHERE id = %s',
        *(seconds, '1 second', int(path, 16)),
    )


def test_a_waiter_is_woken_by_the_end_of_a_delay(deaf: Service) -> None:
    queue = unused('jobs')
    waiter = claim(deaf, queue)

    with parked(deaf, waiter):
        post(deaf, queue, 'a', delay=2)

    assert bodies(waiter.answer()) == ['a']


def test_a_waiter_is_woken_by_the_end_of_a_delay_that_began_before(told: Service) -> None:
    queue = unused('jobs')
    post(told, queue, 'a', delay=2)
    waiter = claim(told, queue)

    assert bodies(waiter.answer()) == ['a']


def test_a_waiter_is_woken_by_each_of_several_ends_of_delays(told: Service) -> None:
    queue = unused('jobs')
    for delay in (1, 2, 3):
        post(told, queue, delay, delay=delay)

    assert [bodies(claim(told, queue).answer()) for _ in range(3)] == [[1], [2], [3]]


def test_a_waiter_is_woken_by_the_lapse_of_a_claim(deaf: Service, sql: Callable[..., None]) -> None:
    queue = unused('jobs')
    held = claimed(deaf, queue)
    waiter = claim(deaf, queue)

    with parked(deaf, waiter):
        # A minute is over in two seconds.
        move_back(sql, held['id'], 298)

    assert bodies(waiter.answer()) == ['a']


def test_a_listener_is_woken_by_what_an_older_transaction_held_back(
    told: Service, database: str
) -> None:
    """A post can be listed once all transactions have ended that began before it."""
    queue = unused('jobs')
    path = f'/v2/queues/{queue}/messages?echo=true&wait=20'
    from tests.waiting.waiters import Waiter

    waiter = Waiter(told, 'GET', path)
    with parked(told, waiter):
        older = psycopg2.connect(database)
        with older.cursor() as cursor:
            cursor.execute('SELECT pg_current_xact_id()')
        post(told, queue, 'a')
        assert json.loads('[]') == ask(told, 'GET', path.partition('&wait')[0]).body['messages']
        older.commit()
        older.close()

    assert bodies(waiter.answer()) == ['a']
