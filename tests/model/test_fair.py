"""Fair queues: a group that holds much lets the others go first."""

from collections import Counter
from typing import Any

import pytest

from marconi_api import model
from marconi_api.model import NewMessage, QueueKey
from tests.model.conftest import CLIENT

QUEUE = QueueKey.of('project', 'jobs')


@pytest.fixture(autouse=True)
def queue(app: Any) -> None:
    """An empty queue."""
    model.store.queues.create(QUEUE)


def post(group: str | None, count: int = 1) -> None:
    messages = [NewMessage('1', 300, 0, group=group)] * count
    model.store.messages.post(QUEUE, CLIENT, messages)


def claim(limit: int = 10) -> list[str | None]:
    """The groups of the messages of a new claim."""
    model.store.claims._noisy.forget()
    claim = model.store.claims.create(QUEUE, 60, 60, limit)
    return [message.group for message in claim.messages] if claim else []


def test_others_go_before_a_noisy_group() -> None:
    post('noisy', 100)
    claim(40)
    post('quiet', 5)

    assert claim(10) == ['noisy'] * 5 + ['quiet'] * 5
    assert claim(10) == ['noisy'] * 10


@pytest.mark.parametrize(('held', 'others'), [(29, 0), (40, 500)])
def test_a_group_is_not_noisy_that_holds_little_or_a_small_part(held: int, others: int) -> None:
    for number in range(others // 20):
        post(f'other-{number}', 20)
    post('large', held)
    while claim(1000):
        pass
    post('large', 10)
    post('quiet', 5)

    assert claim(10) == ['large'] * 10


def test_a_message_without_a_group_is_never_noisy() -> None:
    post('a')
    post(None, 100)
    claim(50)
    post('quiet', 5)

    assert claim(10) == [None] * 10


def test_others_are_found_behind_a_long_line(sql: Any) -> None:
    post('noisy', 12_000)
    claim(40)
    post('quiet', 5)

    assert Counter(claim(10)) == {'noisy': 5, 'quiet': 5}


def test_quiet_groups_take_turns() -> None:
    post('noisy', 100)
    claim(40)
    for group in 'abc':
        post(group, 4)

    assert [Counter(claim(2)).keys() for _ in range(3)] == [{'a'}, {'b'}, {'c'}]


def test_what_quiet_groups_do_not_take_goes_to_the_noisy_one() -> None:
    post('noisy', 100)
    claim(40)

    assert claim(10) == ['noisy'] * 10


def test_groups_that_were_noisy_are_so_no_more_once_their_claims_are_over(age: Any) -> None:
    post('noisy', 100)
    claim(40)
    age(61)
    post('quiet', 5)

    assert claim(10) == ['noisy'] * 10


def test_a_dead_letter_of_a_quiet_group_is_put_away() -> None:
    model.store.queues.change_metadata(QUEUE, lambda _: '{"_max_claim_count": 1}')
    post('quiet')
    assert claim() == ['quiet']
    [held] = model.store.messages.peek(QUEUE, None, 10, states={'claimed'})
    assert held.claim
    model.store.claims.release(QUEUE, held.claim)
    post('noisy', 100)
    claim(40)

    assert claim(10) == ['noisy'] * 10
    [parked] = model.store.messages.peek(QUEUE, None, 10, states={'parked'})
    assert parked.group == 'quiet'


def test_no_message_is_given_out_twice() -> None:
    post('noisy', 100)
    claim(40)
    for group in 'abcdef':
        post(group, 10)

    taken = sum((Counter(claim(7)) for _ in range(30)), Counter())

    assert taken == {'noisy': 60} | dict.fromkeys('abcdef', 10)


def test_a_process_that_knows_of_no_groups_yet_learns_of_them() -> None:
    known = model.store.claims._attributes
    before = known.read(QUEUE)
    assert before
    post('a', 2)
    known._known[QUEUE.id] = before

    assert claim() == ['a', 'a']
