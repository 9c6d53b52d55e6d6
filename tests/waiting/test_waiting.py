"""A request waits for messages: how long, what for, and what it gets."""

import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from marconi_api.processes.installation import CHECKOUT
from tests.running_service import Service, wait_until
from tests.waiting.waiters import (
    Waiter,
    ask,
    bodies,
    claim,
    counters,
    parked,
    post,
    unused,
)

TERMS = {'ttl': 60, 'grace': 60}


def in_order(service: Service, queue: str, count: int) -> list[Waiter]:
    """Claims that wait, each of which was there before the next one was sent."""
    # Clients of another test that went are noticed within a second.
    wait_until(lambda: counters(service).waiting == 0)
    waiters: list[Waiter] = []
    while len(waiters) < count:
        waiters.append(claim(service, queue))
        wait_until(lambda: counters(service).waiting == len(waiters))
    return waiters


def test_a_claim_gets_a_message_that_is_posted_while_it_waits(told: Service) -> None:
    queue = unused('jobs')
    waiter = claim(told, queue)

    with parked(told, waiter):
        post(told, queue, 'a')

    answer = waiter.answer()
    assert (answer.status, bodies(answer)) == (201, ['a'])
    assert answer.headers['Preference-Applied'] == 'wait=30'


def test_a_claim_gets_at_once_what_is_there(told: Service) -> None:
    queue = unused('jobs')
    post(told, queue, 'a')
    before = counters(told)

    assert bodies(claim(told, queue).answer()) == ['a']
    assert counters(told) == before


def test_a_claim_gets_all_that_is_there_up_to_its_limit(told: Service) -> None:
    queue = unused('jobs')
    waiter = Waiter(told, 'POST', f'/v2/queues/{queue}/claims?limit=3&wait=20')

    with parked(told, waiter):
        post(told, queue, 1, 2, 3, 4)

    assert bodies(waiter.answer()) == [1, 2, 3]


def test_when_the_time_is_over_the_answer_is_that_of_a_request_that_does_not_wait(
    told: Service,
) -> None:
    queue = unused('jobs')
    page = f'/v2/queues/{queue}/messages?echo=true&marker=1'

    assert claim(told, queue, wait=1).answer().status == 204
    assert ask(told, 'GET', f'{page}&wait=1').body == ask(told, 'GET', page).body
    across = {'queues': [{'name': queue}]}
    answer = ask(told, 'POST', '/v2/claims?wait=1', across)
    assert (answer.status, answer.body['missing']) == (200, [queue])
    assert ask(told, 'DELETE', f'/v2/queues/{queue}/messages?pop=1&wait=1').body == {'messages': []}


def test_without_a_wait_nothing_is_told_of_one(told: Service) -> None:
    answer = ask(told, 'POST', f'/v2/queues/{unused("jobs")}/claims')

    assert answer.status == 204
    assert 'Preference-Applied' not in answer.headers


@pytest.mark.parametrize('wait', ['31', '-1', 'soon', '1.5'])
def test_a_wait_in_the_query_is_a_number_within_the_limit(told: Service, wait: str) -> None:
    for method, path, body in (
        ('POST', '/v2/queues/jobs/claims?', None),
        ('POST', '/v2/claims?', {'queues': [{'name': 'jobs'}]}),
        ('DELETE', '/v2/queues/jobs/messages?pop=1&', None),
        ('GET', '/v2/queues/jobs/messages?', None),
        ('GET', '/v2/messages?queue=jobs&', None),
    ):
        assert ask(told, method, f'{path}wait={wait}', body).status == 400, path


@pytest.mark.parametrize('prefer', ['wait=abc', 'wait=-1', 'respond-async', 'x;wait=9', ''])
def test_a_preference_that_says_nothing_of_a_wait_is_passed_over(
    told: Service, prefer: str
) -> None:
    answer = ask(told, 'POST', '/v2/queues/jobs/claims', Prefer=prefer)

    assert answer.status == 204
    assert 'Preference-Applied' not in answer.headers


def test_a_preference_for_more_than_the_limit_is_lowered(told: Service) -> None:
    queue = unused('jobs')
    waiter = Waiter(told, 'POST', f'/v2/queues/{queue}/claims', Prefer='respond-async, Wait="3600"')

    with parked(told, waiter):
        post(told, queue, 'a')

    assert waiter.answer().headers['Preference-Applied'] == 'wait=30'


def test_the_query_rules_over_the_preference(told: Service) -> None:
    answer = ask(told, 'POST', f'/v2/queues/{unused("jobs")}/claims?wait=0', Prefer='wait=30')

    assert answer.headers['Preference-Applied'] == 'wait=0'


@pytest.mark.parametrize('version', ['v1', 'v1.1', 'v2'])
def test_each_version_waits_by_a_preference(told: Service, version: str) -> None:
    queue = unused('jobs')
    assert ask(told, 'PUT', f'/{version}/queues/{queue}').status in (201, 204)
    prefer = {'Prefer': 'wait=20'}
    waiters = [
        Waiter(told, 'POST', f'/{version}/queues/{queue}/claims?limit=1', TERMS, **prefer),
        Waiter(told, 'GET', f'/{version}/queues/{queue}/messages', **prefer),
    ]

    with parked(told, *waiters):
        post(told, queue, 'to claim', 'to see')

    assert [waiter.answer().status for waiter in waiters] == [201, 200]


def test_a_parameter_of_version_2_means_nothing_in_the_others(told: Service) -> None:
    for version in ('v1', 'v1.1'):
        path = f'/{version}/queues/{unused("jobs")}/claims?wait=soon'
        assert ask(told, 'POST', path, TERMS).status == 204


def test_a_body_that_is_too_long_to_be_kept_does_not_wait(told: Service) -> None:
    queue = unused('jobs')
    long = {**TERMS, 'more': 'x' * 65536}

    assert ask(told, 'POST', f'/v2/queues/{queue}/claims?wait=9', long).status == 400
    answer = ask(told, 'POST', f'/v2/queues/{queue}/claims', long, Prefer='wait=9')
    assert (answer.status, answer.headers.get('Preference-Applied')) == (204, None)


def test_a_body_of_the_longest_kind_waits(told: Service) -> None:
    queue = unused('jobs')
    long = {**TERMS, 'more': '\u00e9' * 10000}
    waiter = Waiter(told, 'POST', f'/v2/queues/{queue}/claims?wait=20', long)

    with parked(told, waiter):
        post(told, queue, 'a')

    assert bodies(waiter.answer()) == ['a']


def test_a_pop_waits(told: Service) -> None:
    queue = unused('jobs')
    waiter = Waiter(told, 'DELETE', f'/v2/queues/{queue}/messages?pop=2&wait=20')

    with parked(told, waiter):
        post(told, queue, 'a')

    assert bodies(waiter.answer()) == ['a']
    assert ask(told, 'GET', f'/v2/queues/{queue}/messages?echo=true').body['messages'] == []


def test_a_page_waits_for_what_comes_after_its_marker(told: Service) -> None:
    queue = unused('jobs')
    [path] = post(told, queue, 'a')
    marker = path.rpartition('/')[2]
    waiter = Waiter(told, 'GET', f'/v2/queues/{queue}/messages?marker={marker}&wait=20')

    with parked(told, waiter):
        post(told, queue, 'b')

    assert bodies(waiter.answer()) == ['b']


def test_a_page_does_not_show_what_its_client_posted(told: Service) -> None:
    queue, own = unused('jobs'), {'Client_ID': '11111111-2222-3333-4444-555555555555'}
    waiter = Waiter(told, 'GET', f'/v2/queues/{queue}/messages?wait=20', **own)

    with parked(told, waiter):
        document = {'messages': [{'body': 'own'}]}
        ask(told, 'POST', f'/v2/queues/{queue}/messages', document, **own)
        post(told, queue, 'theirs')

    assert bodies(waiter.answer()) == ['theirs']


def test_all_who_look_see_a_message(told: Service) -> None:
    queue = unused('jobs')
    waiters = [Waiter(told, 'GET', f'/v2/queues/{queue}/messages?wait=20') for _ in range(20)]

    with parked(told, *waiters):
        post(told, queue, 'a')

    assert [bodies(waiter.answer()) for waiter in waiters] == [['a']] * 20


def test_a_page_waits_for_messages_in_another_state(deaf: Service) -> None:
    queue = unused('jobs')
    waiter = Waiter(deaf, 'GET', f'/v2/queues/{queue}/messages?state=claimed&echo=true&wait=20')

    with parked(deaf, waiter):
        post(deaf, queue, 'a')
        claim(deaf, queue).answer()

    assert bodies(waiter.answer()) == ['a']


def test_a_claim_across_queues_waits_for_any_of_them(told: Service) -> None:
    queues = [unused('jobs') for _ in range(3)]
    terms = {'queues': [{'name': queue} for queue in queues]}

    for queue in queues:
        waiter = Waiter(told, 'POST', '/v2/claims?wait=20', terms)
        with parked(told, waiter):
            post(told, queue, queue)
        answer = waiter.answer()
        assert (answer.status, bodies(answer)) == (201, [queue])


def test_a_page_of_several_queues_waits_for_any_of_them(told: Service) -> None:
    queues = [unused('jobs') for _ in range(3)]
    waiter = Waiter(told, 'GET', f'/v2/messages?queue={",".join(queues)}&wait=20')

    with parked(told, waiter):
        post(told, queues[1], 'a')

    assert bodies(waiter.answer()) == ['a']


def test_one_message_wakes_one_waiter(told: Service) -> None:
    queue = unused('jobs')
    waiters = in_order(told, queue, 5)
    before = counters(told).woken

    for number in range(3):
        post(told, queue, number)
        waiters[number].answer()

    assert counters(told).woken - before == 3
    for waiter in waiters[3:]:
        waiter.go()


def test_ten_messages_wake_as_many_as_they_serve(told: Service) -> None:
    queue = unused('jobs')
    waiters = [claim(told, queue) for _ in range(10)]

    with parked(told, *waiters):
        post(told, queue, *range(10))

    assert sorted(bodies(waiter.answer())[0] for waiter in waiters) == list(range(10))


def test_the_one_who_came_first_is_served_first(told: Service) -> None:
    queue = unused('jobs')

    for number, waiter in enumerate(in_order(told, queue, 6)):
        post(told, queue, number)
        assert bodies(waiter.answer()) == [number]


def test_the_end_of_its_queue_ends_a_wait(deaf: Service) -> None:
    queue = unused('jobs')
    assert ask(deaf, 'PUT', f'/v2/queues/{queue}').status == 201
    began = time.monotonic()
    waiters = [
        claim(deaf, queue, wait=30),
        Waiter(deaf, 'GET', f'/v2/queues/{queue}/messages?wait=30'),
    ]

    with parked(deaf, *waiters):
        # A sweep has seen that it is there.
        time.sleep(1.5)
        ask(deaf, 'DELETE', f'/v2/queues/{queue}')

    assert [waiter.answer().status for waiter in waiters] == [204, 200]
    assert time.monotonic() - began < 30


def test_a_request_can_wait_for_a_queue_that_is_made_later(told: Service) -> None:
    queue = unused('jobs')
    waiter = claim(told, queue)

    with parked(told, waiter):
        assert ask(told, 'PUT', f'/v2/queues/{queue}').status == 201
        post(told, queue, 'a')

    assert bodies(waiter.answer()) == ['a']


def test_a_kept_connection_waits_again_and_again(told: Service) -> None:
    queue = unused('jobs')
    waiter = claim(told, queue)
    for number in range(3):
        with parked(told, waiter):
            post(told, queue, number)
        response = waiter.connection.getresponse()
        assert f'"body":{number}' in response.read().decode()
        waiter.connection.request(
            'POST',
            f'/v2/queues/{queue}/claims?limit=1&wait=20',
            headers={'Client-ID': '11111111-2222-3333-4444-555555555555', 'X-Project-Id': 'acme'},
        )
    waiter.go()


def test_a_claim_with_a_key_that_waited_can_be_sent_again(told: Service) -> None:
    queue = unused('jobs')
    waiter = claim(told, queue, Idempotency_Key='key')

    with parked(told, waiter):
        post(told, queue, 'a', 'b')
    first = waiter.answer()

    again = claim(told, queue, wait=5, Idempotency_Key='key').answer()
    assert again.headers['Location'] == first.headers['Location']
    assert bodies(again) == bodies(first) == ['a']


@pytest.mark.skipif(shutil.which('curl') is None, reason='the document shows it with curl')
def test_the_commands_of_the_document_wait_and_follow(other: Service, tmp_path: Path) -> None:
    document = (CHECKOUT / 'docs' / 'waiting.md').read_text()
    waits, follows = re.findall(r'^    (curl .*)$', document, re.MULTILINE)
    (tmp_path / 'headers').write_text(
        'Client-ID: 3381af92-2b9e-11e3-b191-71861300734c\nX-Project-Id: acme\n'
    )
    queue = unused('jobs')

    def typed(command: str) -> 'subprocess.Popen[str]':
        here = command.replace('127.0.0.1:8888', f'127.0.0.1:{other.port}')
        here = here.replace('/jobs/', f'/{queue}/').replace('curl ', 'exec curl -sS --max-time 50 ')
        return subprocess.Popen(
            ['bash', '-c', here], cwd=tmp_path, stdout=subprocess.PIPE, text=True
        )

    wait_until(lambda: counters(other).waiting == 0)
    with typed(waits) as waiter:
        wait_until(lambda: counters(other).waiting == 1)
        post(other, queue, 'a')
        claimed = json.loads(waiter.communicate(timeout=60)[0])
    with typed(follows) as follower:
        assert follower.stdout
        lines = iter(follower.stdout.readline, '')
        # From here on it shows what is posted.
        assert any(line.startswith('id: ') for line in lines)
        post(other, queue, 'b')
        event = next(line for line in lines if line.startswith('data: '))
        follower.terminate()

    assert [message['body'] for message in claimed['messages']] == ['a']
    assert json.loads(event.removeprefix('data: '))['body'] == 'b'
