"""A client waits for a reply: who gives it, and how the waiting room learns that there is one.

``told``, ``other`` and ``deaf`` are as in ``test_sources.py``: a worker tells, another service does,
or nothing does, and the room finds it by its sweep.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from marconi_api.processes.installation import CHECKOUT
from tests.running_service import Service, wait_until
from tests.tours import blocks
from tests.waiting.waiters import Answer, Waiter, ask, claim, counters, parked, unused

Sql = Callable[..., None]


def asking(service: Service, queue: str, **members: Any) -> str:
    """The path of a new message that asks for a reply."""
    message = {'body': 'question', 'reply': True, **members}
    answer = ask(service, 'POST', f'/v2/queues/{queue}/messages', {'messages': [message]})
    assert answer.status == 201, answer
    path: str = answer.body['resources'][0]
    return path


def awaiting(service: Service, path: str, wait: int = 20) -> Waiter:
    return Waiter(service, 'GET', f'{path}/reply?wait={wait}')


def requesting(service: Service, queue: str, body: Any = 'question', wait: int = 20) -> Waiter:
    path = f'/v2/queues/{queue}/requests?wait={wait}'
    return Waiter(service, 'POST', path, {'body': body})


def claimed(service: Service, queue: str) -> tuple[str, str]:
    """A message that a worker holds: its path, and the id of the claim."""
    [message] = claim(service, queue).answer().body['messages']
    path, _, holder = message['href'].partition('?claim_id=')
    return path, holder


def give(service: Service, queue: str, answer: Any = 'answer') -> None:
    """Do a worker's work."""
    path, holder = claimed(service, queue)
    assert ask(service, 'POST', f'{path}/reply?claim_id={holder}', answer).status == 204


@pytest.fixture
def sql(database: str) -> Iterator[Sql]:
    """Runs SQL beside the services."""
    connection = psycopg2.connect(database)
    connection.autocommit = True

    def run(statement: str, *parameters: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)

    yield run
    connection.close()


def places(sites: dict[str, Service], site: str) -> tuple[Service, Service]:
    """Where is acted, and where is waited."""
    acting = sites['other'] if site == 'other' else sites['told']
    return acting, sites['deaf'] if site == 'deaf' else sites['told']


SITES = pytest.mark.parametrize('site', ['told', 'other', 'deaf'])


# ---------------------------------------------------------------- a reply


@SITES
def test_who_looks_for_a_reply_gets_it_when_it_is_given(
    sites: dict[str, Service], site: str
) -> None:
    acting, waiting = places(sites, site)
    queue = unused('rpc')
    waiter = awaiting(waiting, asking(acting, queue))

    with parked(waiting, waiter):
        give(acting, queue, {'a': 1})

    answer = waiter.answer()
    assert (answer.status, answer.body['reply']) == (200, {'a': 1})
    assert answer.headers['Preference-Applied'] == 'wait=20'


@SITES
def test_a_request_gets_its_reply(sites: dict[str, Service], site: str) -> None:
    acting, waiting = places(sites, site)
    queue = unused('rpc')
    waiter = requesting(waiting, queue)

    with parked(waiting, waiter):
        give(acting, queue, [None])

    answer = waiter.answer()
    assert answer.status == 200
    assert set(answer.body) == {'id', 'reply'}
    assert answer.body['reply'] == [None]
    assert answer.headers['Preference-Applied'] == 'wait=20'


def give_by_verdict(service: Service, queue: str) -> None:
    path, holder = claimed(service, queue)
    verdict = {'id': path.rpartition('/')[2], 'verdict': 'delete', 'reply': 'answer'}
    path = f'/v2/queues/{queue}/claims/{holder}/verdicts'
    assert ask(service, 'POST', path, {'verdicts': [verdict]}).status == 200


def give_across(service: Service, queue: str) -> None:
    path, holder = claimed(service, queue)
    verdict = {'queue': queue, 'claim_id': holder, 'id': path.rpartition('/')[2]}
    body = {'verdicts': [{**verdict, 'verdict': 'delete', 'reply': 'answer'}]}
    assert ask(service, 'POST', '/v2/verdicts', body).status == 200


@pytest.mark.parametrize('way', [give_by_verdict, give_across])
def test_a_verdict_with_a_reply_wakes_who_asked(
    told: Service, way: Callable[[Service, str], None]
) -> None:
    queue = unused('rpc')
    waiter = requesting(told, queue)

    with parked(told, waiter):
        way(told, queue)

    assert waiter.answer().body['reply'] == 'answer'


def test_a_preference_for_a_wait_is_honoured(told: Service) -> None:
    queue = unused('rpc')
    path = f'/v2/queues/{queue}/requests'
    asked = Waiter(told, 'POST', path, {'body': 'question'}, Prefer='wait=20')
    with parked(told, asked):
        looking = Waiter(told, 'GET', f'{asking(told, queue)}/reply', Prefer='wait=20')

    with parked(told, asked, looking):
        give(told, queue)
        give(told, queue)

    assert [waiter.answer().status for waiter in (asked, looking)] == [200, 200]


def test_a_reply_that_is_there_is_answered_at_once(told: Service) -> None:
    queue = unused('rpc')
    path = asking(told, queue)
    give(told, queue)
    before = counters(told)

    assert awaiting(told, path).answer().status == 200
    assert counters(told) == before


def test_when_the_time_is_over_the_answer_says_where_the_message_is(told: Service) -> None:
    queue = unused('rpc')

    answer = requesting(told, queue, wait=1).answer()

    assert (answer.status, answer.body['state']) == (202, 'waiting')
    path = answer.headers['Location']
    assert path == f'/v2/queues/{queue}/messages/{answer.body["id"]}/reply'
    assert ask(told, 'GET', f'{path}?wait=1').body == {'state': 'waiting'}
    give(told, queue)
    assert ask(told, 'GET', f'{path}?wait=1').body['reply'] == 'answer'


def test_twenty_who_wait_for_one_reply_all_get_it(told: Service) -> None:
    queue = unused('rpc')
    path = asking(told, queue)
    waiters = [awaiting(told, path) for _ in range(20)]

    with parked(told, *waiters):
        give(told, queue)

    assert [waiter.answer().body['reply'] for waiter in waiters] == ['answer'] * 20


def test_each_of_twenty_requests_gets_its_own_reply(told: Service) -> None:
    queue = unused('rpc')
    waiters = [requesting(told, queue, number) for number in range(20)]

    with parked(told, *waiters):
        for _ in waiters:
            [message] = claim(told, queue).answer().body['messages']
            path, _, holder = message['href'].partition('?claim_id=')
            ask(told, 'POST', f'{path}/reply?claim_id={holder}', message['body'] * 2)

    assert [waiter.answer().body['reply'] for waiter in waiters] == [2 * n for n in range(20)]


def test_a_request_of_the_longest_kind_waits_and_gets_a_reply_as_long(told: Service) -> None:
    queue, long = unused('rpc'), 'x' * 250_000
    waiter = requesting(told, queue, long)

    with parked(told, waiter):
        give(told, queue, long)

    assert waiter.answer().body['reply'] == long


def test_a_request_is_posted_once_however_often_its_waiter_looks(told: Service) -> None:
    queue = unused('rpc')
    waiter = requesting(told, queue)

    with parked(told, waiter):
        # A claim that is released wakes nobody who asks; a page shows one message all the same.
        path, holder = claimed(told, queue)
        ask(told, 'DELETE', f'/v2/queues/{queue}/claims/{holder}')
        page = ask(told, 'GET', f'/v2/queues/{queue}/messages?echo=true').body['messages']
        assert [message['href'] for message in page] == [path]
        give(told, queue)

    assert waiter.answer().status == 200
    assert ask(told, 'GET', f'/v2/queues/{queue}/stats').body['messages']['total'] == 0


def test_a_request_with_a_key_that_waits_can_be_sent_again_meanwhile(told: Service) -> None:
    queue, key = unused('rpc'), {'Idempotency_Key': 'key'}
    path, body = f'/v2/queues/{queue}/requests?wait=20', {'body': 'question'}
    waiters = [Waiter(told, 'POST', path, body, **key) for _ in range(3)]

    with parked(told, *waiters):
        give(told, queue)

    answers = [waiter.answer() for waiter in waiters]
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body['id'] for answer in answers}) == 1
    assert ask(told, 'POST', path, body, **key).body == answers[0].body


def test_the_worker_of_a_dead_letter_queue_wakes_who_asked(told: Service) -> None:
    queue, dead = unused('rpc'), unused('dead')
    ask(told, 'PUT', f'/v2/queues/{dead}')
    metadata = {'_max_claim_count': 1, '_dead_letter_queue': dead}
    assert ask(told, 'PUT', f'/v2/queues/{queue}', metadata).status == 201
    waiter = requesting(told, queue)

    with parked(told, waiter):
        _, holder = claimed(told, queue)
        ask(told, 'DELETE', f'/v2/queues/{queue}/claims/{holder}')
        assert claim(told, queue, wait=0).answer().status == 204
        give(told, dead, 'at last')

    assert waiter.answer().body['reply'] == 'at last'


def test_a_client_that_goes_away_is_forgotten_and_the_reply_is_kept(told: Service) -> None:
    wait_until(lambda: counters(told).waiting == 0)
    queue = unused('rpc')
    path = asking(told, queue)
    waiter = awaiting(told, path)
    with parked(told, waiter):
        waiter.go()
        wait_until(lambda: counters(told).waiting == 0)

    give(told, queue)

    assert awaiting(told, path).answer().body['reply'] == 'answer'


# ---------------------------------------------------------------- no reply


def delete_claimed(service: Service, queue: str, path: str) -> Answer:
    _, holder = claimed(service, queue)
    return ask(service, 'DELETE', f'{path}?claim_id={holder}')


def delete_by_verdict(service: Service, queue: str, path: str) -> Answer:
    _, holder = claimed(service, queue)
    body = {'verdicts': [{'id': path.rpartition('/')[2], 'verdict': 'delete'}]}
    return ask(service, 'POST', f'/v2/queues/{queue}/claims/{holder}/verdicts', body)


def delete_unclaimed(service: Service, queue: str, path: str) -> Answer:
    return ask(service, 'DELETE', path)


def delete_by_ids(service: Service, queue: str, path: str) -> Answer:
    start, _, message = path.rpartition('/')
    return ask(service, 'DELETE', f'{start}?ids={message}')


def pop(service: Service, queue: str, path: str) -> Answer:
    return ask(service, 'DELETE', f'/v2/queues/{queue}/messages?pop=1')


def purge(service: Service, queue: str, path: str) -> Answer:
    return ask(service, 'POST', f'/v2/queues/{queue}/purge')


def delete_queue(service: Service, queue: str, path: str) -> Answer:
    return ask(service, 'DELETE', f'/v2/queues/{queue}')


TOLD = (delete_claimed, delete_by_verdict, delete_unclaimed, delete_by_ids, pop)
End = Callable[[Service, str, str], Answer]


def check_end(acting: Service, waiting: Service, end: End, reason: str) -> None:
    """Who looks and who asked learn that there will be no reply, and why."""
    queue = unused('rpc')
    path = asking(acting, queue)
    waiter = awaiting(waiting, path)

    with parked(waiting, waiter):
        assert end(acting, queue, path).status in (200, 204)

    answer = waiter.answer()
    assert (answer.status, answer.body['reason']) == (410, reason)


@SITES
@pytest.mark.parametrize('end', TOLD)
def test_a_deletion_without_a_reply_ends_a_wait(
    sites: dict[str, Service], site: str, end: End
) -> None:
    check_end(*places(sites, site), end, 'deleted')


@pytest.mark.parametrize('end', [purge, delete_queue])
def test_a_purge_ends_a_wait_by_a_sweep(deaf: Service, end: End) -> None:
    check_end(deaf, deaf, end, 'purged')


def test_the_end_of_a_message_ends_the_request_that_posted_it(told: Service) -> None:
    queue = unused('rpc')
    waiter = requesting(told, queue)

    with parked(told, waiter):
        pop(told, queue, '')

    answer = waiter.answer()
    assert (answer.status, answer.body['reason']) == (410, 'deleted')


def test_a_message_that_expires_ends_a_wait_when_it_does(told: Service, sql: Sql) -> None:
    path = asking(told, unused('rpc'))
    message = int(path.rpartition('/')[2], 16)
    sql("UPDATE message_states SET expires_at = now() + interval '2 s' WHERE id = %s", message)
    began = time.monotonic()

    answer = awaiting(told, path).answer()

    assert (answer.status, answer.body['reason']) == (410, 'expired')
    # Far from the next sweep, and from the end of the wait.
    assert time.monotonic() - began < 15


def test_who_looks_for_what_was_never_asked_does_not_wait(told: Service) -> None:
    path = f'/v2/queues/{unused("rpc")}/messages/7fffffffffffffff'

    assert awaiting(told, path).answer().status == 404


# ---------------------------------------------------------------- the programs of the document

SECTION = (CHECKOUT / 'docs' / 'eventing.md').read_text().partition('## Request and reply\n')[2]


def test_the_programs_of_the_document_ask_and_answer(told: Service, tmp_path: Path) -> None:
    ask_, answer = blocks('python', SECTION)
    (tmp_path / 'ask.py').write_text(ask_)
    (tmp_path / 'answer.py').write_text(answer)
    url = f'http://127.0.0.1:{told.port}'
    worker = subprocess.Popen([sys.executable, 'answer.py', url], cwd=tmp_path)
    try:
        asked = [
            subprocess.run(
                [sys.executable, 'ask.py', url, *map(str, numbers)],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for numbers in ((1, 2), (3, 4, 5))
        ]
    finally:
        worker.terminate()
        worker.wait()

    assert asked == ['3\n', '12\n']
