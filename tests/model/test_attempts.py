"""A claim on a FIFO queue that is made again under its attempt's id."""

from typing import Any

import pytest

from marconi_api import model
from marconi_api.model import Claim, NewMessage, QueueKey, Verdict
from tests.model.conftest import CLIENT
from tests.model.test_idempotency import at_once


@pytest.fixture
def queue(app: Any) -> QueueKey:
    """A FIFO queue with two groups of three messages."""
    key = QueueKey.of('project', 'jobs.fifo')
    model.store.queues.create(key, '{"_fifo": true}')
    messages = [
        NewMessage('1', 6000, 0, group=f'group-{number % 2}', deduplication_id=str(number))
        for number in range(6)
    ]
    model.store.messages.post_each(key, CLIENT, messages)
    return key


def claim(queue: QueueKey, attempt: str = 'x', ttl: int = 60) -> Claim | None:
    return model.store.claims.create(queue, ttl, 60, 2, attempt=attempt)


def ids(claim: Claim | None) -> tuple[str, list[str]]:
    assert claim
    return claim.id, [message.id for message in claim.messages]


def test_it_is_the_same_claim_and_holds_the_messages_anew(queue: QueueKey, age: Any) -> None:
    first = claim(queue)
    age(50)

    again = claim(queue)

    assert ids(again) == ids(first)
    assert again
    assert [message.claim_count for message in again.messages] == [1, 1]
    age(50)
    assert len(model.store.claims.get(queue, again.id).messages) == 2


def test_another_attempt_is_another_claim(queue: QueueKey) -> None:
    assert ids(claim(queue))[0] != ids(claim(queue, 'y'))[0]


def test_after_five_minutes_it_is_another_claim(queue: QueueKey, age: Any) -> None:
    first = claim(queue, ttl=1000)
    age(301)

    assert ids(claim(queue))[0] != ids(first)[0]


@pytest.mark.parametrize('change', ['delete', 'release', 'touch', 'lapse'])
def test_it_is_another_claim_if_a_message_was_changed(
    queue: QueueKey, age: Any, change: str
) -> None:
    first = claim(queue)
    assert first
    if change == 'lapse':
        age(61)
    else:
        verdict = Verdict(first.messages[0].id, change, 30)
        model.store.verdicts.give(queue, first.id, [verdict])

    assert ids(claim(queue))[0] != first.id


def test_of_many_at_once_all_get_the_same_claim(queue: QueueKey) -> None:
    assert len({ids(one)[0] for one in at_once(10, lambda: claim(queue))}) == 1


def test_an_attempt_that_found_nothing_may_find_something_the_next_time(queue: QueueKey) -> None:
    model.store.messages.pop(queue, 10)
    assert claim(queue) is None

    model.store.messages.post_each(
        queue, CLIENT, [NewMessage('1', 600, 0, group='a', deduplication_id='new')]
    )

    assert claim(queue)


def test_in_another_queue_it_does_not_matter(app: Any) -> None:
    key = QueueKey.of('project', 'plain')
    model.store.queues.create(key)
    model.store.messages.post(key, CLIENT, [NewMessage('1', 600, 0)] * 4)

    assert ids(claim(key))[0] != ids(claim(key))[0]
