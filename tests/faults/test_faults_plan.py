"""What happens in a campaign is chosen by its seed."""

from faults.accidents import OF_CLIENTS, OF_PAIRS, OF_POSTGRES, plan
from faults.numbers import body_of, first_number, number_in, post_of


def test_a_seed_gives_the_same_accidents_again() -> None:
    assert plan('one', 60, 1, False) == plan('one', 60, 1, False)
    assert plan('one', 60, 1, False) != plan('other', 60, 1, False)


def test_in_the_end_only_clients_have_accidents() -> None:
    accidents = plan('seed', 1000, 1, False)

    assert {it.what for it in accidents if it.at > 970} == set(OF_CLIENTS)
    assert {it.what for it in accidents} > set(OF_CLIENTS) | set(OF_POSTGRES)


def test_a_postgresql_with_a_standby_fails_over() -> None:
    kinds = {it.what for it in plan('seed', 1000, 1, True)}

    assert set(OF_PAIRS) <= kinds
    assert not kinds & set(OF_POSTGRES)


def test_only_what_is_named_happens() -> None:
    assert {it.what for it in plan('seed', 60, 1, False, {'end sessions': 1})} == {'end sessions'}


def test_a_body_that_was_changed_has_no_number() -> None:
    number = first_number(3, 97)

    assert number_in(body_of(number)) == number
    assert number_in(body_of(number) | {'number': number + 1}) is None
    assert number_in([]) is None


def test_the_messages_of_a_post_have_it_in_common() -> None:
    number = first_number(3, 97)

    assert post_of(number + 255) == post_of(number) != post_of(number + 256)
