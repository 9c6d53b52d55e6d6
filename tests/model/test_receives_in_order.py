"""Receives of SQS clients from a FIFO queue."""

from collections.abc import Callable
from typing import Any

import pytest

from marconi_api import model
from marconi_api.model import NewMessage, QueueKey, Receipt, Received
from tests.model.conftest import CLIENT

QUEUE = QueueKey.of('project', 'jobs.fifo')

Age = Callable[[int], None]


@pytest.fixture(autouse=True)
def queue(app: Any) -> None:
    """A FIFO queue with three messages of one group."""
    model.store.queues.create(QUEUE, '{"_fifo": true}')
    messages = [
        NewMessage(f'"{id}"', 600, 0, group='a', deduplication_id=id)
        for id in ('foo', 'bar', 'baz')
    ]
    model.store.messages.post_each(QUEUE, CLIENT, messages)


def receive(
    limit: int = 10, attempt: str | None = None, visibility: int | None = 60
) -> list[Received]:
    received = model.store.receives.receive(QUEUE, visibility, limit, attempt)
    assert received
    return received[1]


def bodies(messages: list[Received]) -> list[str]:
    return [message.body.strip('"') for message in messages]


def receipts(messages: list[Received]) -> list[Receipt]:
    return [message.receipt for message in messages]


def test_messages_tell_their_group_and_what_else_they_have() -> None:
    [first, second, _] = receive()

    assert (first.group, first.deduplication_id) == ('a', 'foo')
    assert first.sequence
    assert second.sequence
    assert first.sequence < second.sequence


def test_of_messages_that_are_shown_again_the_first_come_alone() -> None:
    foo, bar, _ = receipts(receive())
    assert model.store.receives.hide(QUEUE, [foo], [0]) == ['done']

    [again] = receive()
    assert bodies([again]) == ['foo']
    assert model.store.receives.hide(QUEUE, [bar], [0]) == ['done']
    assert receive() == []
    assert model.store.receives.delete(QUEUE, [again.receipt]) == ['done']
    assert bodies(receive()) == ['bar']


def test_a_late_delete_is_refused(age: Age) -> None:
    [late] = receipts(receive(1))
    age(61)

    assert model.store.receives.delete(QUEUE, [late]) == ['expired']
    assert bodies(receive()) == ['foo', 'bar', 'baz']


def test_a_delete_by_a_receipt_that_was_extended_in_time_works(age: Age) -> None:
    [receipt] = receipts(receive(1))
    age(50)
    model.store.receives.hide(QUEUE, [receipt], [60])
    age(50)

    assert model.store.receives.delete(QUEUE, [receipt]) == ['done']


def test_the_same_attempt_has_the_same_receipts_and_holds_the_messages_anew(age: Age) -> None:
    first = receive(2, 'x')
    age(50)

    again = receive(2, 'x')

    assert receipts(again) == receipts(first)
    assert [message.count for message in again] == [1, 1]
    age(50)
    assert receive() == []
    age(11)
    assert bodies(receive()) == ['foo', 'bar', 'baz']


def test_an_attempt_for_the_time_that_the_queue_says_holds_for_that_again(age: Age) -> None:
    first = receive(1, 'x', None)
    age(20)
    assert receipts(receive(1, 'x', None)) == receipts(first)
    age(20)

    assert receive() == []


def test_an_attempt_of_which_a_message_was_deleted_is_a_new_receive() -> None:
    first = receive(2, 'x')
    model.store.receives.delete(QUEUE, [first[0].receipt])

    assert receive(2, 'x') == []


def test_an_attempt_that_got_nothing_may_get_something_the_next_time() -> None:
    [held] = receipts(receive(1))
    assert receive(1, 'x') == []
    model.store.receives.hide(QUEUE, [held], [0])

    assert bodies(receive(1, 'x')) == ['foo']


def test_a_message_that_expires_while_it_is_held_lets_the_next_one_come(age: Age) -> None:
    receive(1, visibility=10_000)
    age(599)
    assert receive() == []
    id = '1'
    messages = [NewMessage('"new"', 600, 0, group='a', deduplication_id=id)]
    model.store.messages.post_each(QUEUE, CLIENT, messages)
    age(2)

    assert bodies(receive()) == ['new']


@pytest.mark.parametrize('how', ['delete', 'verdict', 'receipt'])
def test_who_waits_is_told_that_the_next_message_can_come(how: str) -> None:
    told = []

    def listen(queue: QueueKey, count: int) -> None:
        told.append(queue)

    [held] = receipts(receive(1))
    model.store.became_ready.append(listen)
    try:
        if how == 'receipt':
            model.store.receives.delete(QUEUE, [held])
        else:
            claim = model.store.claims.create(QUEUE, 60, 60, 1)
            assert claim is None
            message = f'{held.message:016x}'
            if how == 'delete':
                model.store.messages.delete(QUEUE, message, held.claim)
            else:
                verdict = model.Verdict(message, 'delete')
                model.store.verdicts.give(QUEUE, held.claim, [verdict])
    finally:
        model.store.became_ready.remove(listen)

    assert told == [QUEUE]
