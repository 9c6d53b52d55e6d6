"""Whose turn it is: lines without sockets, clocks and threads."""

from collections.abc import Sequence

import pytest

from marconi_api.processes.waiting.lines import MOST_TRIES, Lines, Try, Waiter

A, B = 1, 2


class Desk:
    """Lines, with waiters who are known by their numbers; all came at time 1."""

    def __init__(self) -> None:
        self.left: list[int] = []
        self.lines = Lines(on_warm=lambda queue_id: 0.0, on_left=self.left.append)
        self.waiters: dict[int, Waiter] = {}

    def arrive(
        self, *numbers: int, queues: Sequence[int] = (A,), takes: bool = True, tried_at: float = 1.0
    ) -> None:
        for number in numbers:
            self.waiters[number] = Waiter(number, queues, takes, tried_at)
            self.lines.arrive(self.waiters[number])

    def turns(self) -> list[Try]:
        """All turns that there are now."""
        found = []
        while turn := self.lines.next_try():
            found.append(turn)
        return found

    def serve(self, messages: int) -> list[int]:
        """Let each try take a message, while there are some; the numbers of those who tried."""
        tried = []
        while turn := self.lines.next_try():
            tried.append(turn.waiter.number)
            found = {A: 1} if messages else {}
            messages -= len(found)
            self.lines.finish(turn, found, is_full=bool(found), stays=not found)
        return tried


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_nobody_tries_before_there_is_a_wake(desk: Desk) -> None:
    desk.arrive(1, 2)

    assert desk.turns() == []


def test_a_message_wakes_the_one_who_came_first(desk: Desk) -> None:
    desk.arrive(1, 2, 3)

    desk.lines.wake(A, 1, now=2.0)
    assert desk.serve(1) == [1]


def test_several_messages_wake_as_many(desk: Desk) -> None:
    desk.arrive(1, 2, 3, 4)

    desk.lines.wake(A, 3, now=2.0)
    assert desk.serve(3) == [1, 2, 3]


def test_who_takes_several_leaves_less_for_the_next(desk: Desk) -> None:
    desk.arrive(1, 2)
    desk.lines.wake(A, 10, now=2.0)

    turn = desk.lines.next_try()
    assert turn
    desk.lines.finish(turn, {A: 10}, is_full=True, stays=False)

    assert desk.turns() == []


def test_at_most_two_try_at_once(desk: Desk) -> None:
    desk.arrive(1, 2, 3, 4)
    desk.lines.wake(A, 4, now=2.0)

    assert len(desk.turns()) == MOST_TRIES


def test_who_finds_nothing_is_the_first_again(desk: Desk) -> None:
    desk.arrive(1, 2)
    desk.lines.wake(A, 1, now=2.0)
    assert desk.serve(0) == [1]

    desk.lines.wake(A, 1, now=3.0)
    assert desk.serve(1) == [1]


def test_who_finds_nothing_ends_the_credit_that_was_there_when_it_began(desk: Desk) -> None:
    desk.arrive(1, 2, 3)
    desk.lines.wake(A, 5, now=2.0)

    assert desk.serve(0) == [1]


def test_what_comes_while_one_tries_is_kept_for_the_next(desk: Desk) -> None:
    desk.arrive(1, 2)
    desk.lines.wake(A, 1, now=2.0)
    turn = desk.lines.next_try()
    assert turn
    desk.lines.wake(A, 1, now=3.0)
    desk.lines.finish(turn, {}, is_full=False, stays=True)

    assert desk.serve(1) == [1]


def test_a_wake_of_unknown_size_goes_on_while_each_gets_all_that_it_asked_for(desk: Desk) -> None:
    desk.arrive(1, 2, 3, 4, 5)

    desk.lines.wake(A, None, now=2.0)
    assert desk.serve(3) == [1, 2, 3, 4]


def test_one_who_went_leaves_its_message_to_the_next(desk: Desk) -> None:
    desk.arrive(1, 2)
    desk.lines.wake(A, 1, now=2.0)
    turn = desk.lines.next_try()
    assert turn
    desk.lines.finish(turn, {}, is_full=True, stays=False)

    assert desk.serve(1) == [2]


def test_one_who_looked_before_the_last_wake_tries_at_once(desk: Desk) -> None:
    desk.arrive(1)
    desk.lines.wake(A, 1, now=5.0)
    assert desk.serve(1) == [1]
    desk.arrive(2, tried_at=4.0)
    desk.arrive(3, tried_at=6.0)

    assert desk.serve(1) == [2]


def test_what_came_before_a_queue_was_warm_is_to_be_checked() -> None:
    lines = Lines(on_warm=lambda queue_id: 2.0, on_left=lambda queue_id: None)

    lines.arrive(Waiter(1, (A,), True, tried_at=1.0))
    assert lines.unchecked == {A}


def test_a_sweep_wakes_only_where_nothing_is_under_way(desk: Desk) -> None:
    desk.arrive(1, 2, 3)
    desk.lines.wake(A, 1, now=2.0)
    turn = desk.lines.next_try()
    assert turn
    desk.lines.find_ready(A, now=3.0)

    assert desk.lines.next_try() is None
    desk.lines.finish(turn, {A: 1}, is_full=True, stays=False)
    desk.lines.find_ready(A, now=4.0)
    assert desk.serve(1) == [2, 3]


def test_who_waits_for_several_queues_is_out_of_all_lines_at_once(desk: Desk) -> None:
    desk.arrive(1, queues=(A, B))
    desk.arrive(2, queues=(B,))
    desk.lines.wake(A, 1, now=2.0)
    turn = desk.lines.next_try()
    assert turn

    desk.lines.wake(B, 1, now=2.0)
    assert [other.waiter.number for other in desk.turns()] == [2]
    desk.lines.finish(turn, {A: 1}, is_full=True, stays=False)
    assert desk.left == [A]


def test_a_wake_is_for_all_who_only_look(desk: Desk) -> None:
    desk.arrive(1, 2, 3, takes=False)
    desk.lines.wake(A, 1, now=2.0)

    assert desk.serve(0) == [1, 2, 3]


def test_one_who_looks_looks_again_if_there_was_a_wake_meanwhile(desk: Desk) -> None:
    desk.arrive(1, takes=False)
    desk.lines.wake(A, 1, now=2.0)
    turn = desk.lines.next_try()
    assert turn
    desk.lines.wake(A, 1, now=3.0)
    desk.lines.finish(turn, {}, is_full=False, stays=True)

    assert [turn.waiter.number for turn in desk.turns()] == [1]


def test_a_queue_with_many_who_look_leaves_turns_to_others(desk: Desk) -> None:
    desk.arrive(*range(10, 20), takes=False)
    desk.arrive(1, queues=(B,))
    desk.lines.wake(A, 1, now=2.0)
    desk.lines.wake(B, 1, now=2.0)

    first, second = desk.lines.next_try(), desk.lines.next_try()
    assert first
    assert second
    assert {first.line.queue_id, second.line.queue_id} == {A, B}


def test_a_queue_is_forgotten_once_nobody_waits_for_it(desk: Desk) -> None:
    desk.arrive(1)

    assert not desk.lines.forget(A)
    desk.lines.leave(desk.waiters[1])
    assert desk.left == [A]
    assert desk.lines.forget(A)
    assert not desk.lines.wake(A, 1, now=2.0)


def test_one_who_comes_alone_and_has_just_looked_leaves_no_credit_of_before(desk: Desk) -> None:
    """A message came while nobody waited, and whoever comes now has taken it by a look of its own."""
    desk.arrive(1)
    desk.lines.leave(desk.waiters[1])
    desk.lines.wake(A, 1, now=2.0)
    desk.arrive(2, tried_at=3.0)

    assert desk.turns() == []
    assert desk.lines.first_to_lend(A) is desk.waiters[2]


def lend(desk: Desk) -> Waiter:
    waiter = desk.lines.first_to_lend(A)
    assert waiter
    desk.lines.lend(waiter)
    return waiter


def test_the_one_who_came_first_is_lent_first(desk: Desk) -> None:
    desk.arrive(1, 2)

    assert [lend(desk).number, lend(desk).number] == [1, 2]
    assert desk.lines.first_to_lend(A) is None


def test_nobody_is_lent_of_a_queue_for_which_nobody_waits(desk: Desk) -> None:
    desk.arrive(1, queues=(B,))

    assert desk.lines.first_to_lend(A) is None


def test_nobody_is_lent_where_somebody_only_looks(desk: Desk) -> None:
    desk.arrive(1)
    desk.arrive(2, takes=False)

    assert desk.lines.first_to_lend(A) is None


def test_as_many_are_lent_as_are_not_needed_for_what_is_ready(desk: Desk) -> None:
    desk.arrive(1, 2)
    desk.lines.wake(A, 1, now=2.0)
    lend(desk)

    assert desk.lines.first_to_lend(A) is None
    assert desk.serve(1) == [2]


def test_one_who_is_lent_does_not_try_meanwhile(desk: Desk) -> None:
    desk.arrive(1)
    lend(desk)
    desk.lines.wake(A, 1, now=2.0)

    assert desk.turns() == []


def test_one_who_is_taken_back_tries_what_became_ready_meanwhile(desk: Desk) -> None:
    desk.arrive(1)
    waiter = lend(desk)
    desk.lines.wake(A, 1, now=2.0)
    desk.lines.take_back(waiter, stays=True)

    assert desk.serve(1) == [1]


def test_one_who_is_taken_back_has_its_former_place(desk: Desk) -> None:
    desk.arrive(1, 2)
    desk.lines.take_back(lend(desk), stays=True)
    desk.lines.wake(A, 2, now=2.0)

    assert desk.serve(2) == [1, 2]


def test_one_who_is_taken_back_tries_if_there_is_more(desk: Desk) -> None:
    """Of the older message nobody has told, so the number of those behind it is not known."""
    desk.arrive(1, 2)
    desk.lines.take_back(lend(desk), stays=True, is_more=True)

    assert desk.serve(2) == [1, 2]


def test_one_who_was_served_leaves(desk: Desk) -> None:
    desk.arrive(1)
    desk.lines.take_back(lend(desk), stays=False)

    assert desk.left == [A]
    desk.lines.wake(A, 1, now=2.0)
    assert desk.turns() == []


def test_a_queue_whose_only_waiter_is_lent_is_not_forgotten(desk: Desk) -> None:
    desk.arrive(1)
    lend(desk)

    assert not desk.lines.forget(A)
