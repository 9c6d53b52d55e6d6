"""When what failed is tried again: the delays of Zaqar's policies."""

from typing import Any

import pytest

from marconi_api.model.retry_schedule import DEFAULT, RetrySchedule, schedule_of

LINEAR = (5, 8, 11, 14, 17, 20, 23, 26, 29)


def of_policy(**policy: Any) -> RetrySchedule:
    return schedule_of({'_retry_policy': policy}, {})


def test_the_delays_without_a_policy_are_zaqar_s_and_then_an_hour_for_a_day() -> None:
    assert DEFAULT.delays == (0, 0, 0, 5, 5, 5, *LINEAR, 30, 30, 30, *[3600] * 23)
    assert sum(DEFAULT.delays) < 86400
    assert schedule_of({}, {}) is DEFAULT


def test_a_policy_ends_where_zaqar_s_does() -> None:
    assert of_policy(minimum_delay=5).delays == (0, 0, 0, 5, 5, 5, *LINEAR, 30, 30, 30)


def test_each_phase_is_as_long_as_the_policy_says() -> None:
    schedule = of_policy(
        retries_with_no_delay=1,
        minimum_delay_retries=2,
        minimum_delay=10,
        maximum_delay=20,
        maximum_delay_retries=1,
    )

    assert schedule.delays == (0, 10, 10, 10, 13, 16, 19, 20)


@pytest.mark.parametrize(
    ('function', 'delays'),
    [
        ('linear', LINEAR),
        ('arithmetic', (5, 5, 7, 10, 13, 18, 23, 30)),
        ('geometric', (5, 6, 8, 10, 13, 17, 23, 30)),
        ('exponential', (5, 6, 8, 10, 13, 17, 23, 30)),
    ],
)
def test_the_delays_grow_as_in_zaqar(function: str, delays: tuple[int, ...]) -> None:
    assert of_policy(retry_backoff_function=function).delays[6:-3] == delays


@pytest.mark.parametrize('function', ['linear', 'arithmetic', 'geometric', 'exponential'])
@pytest.mark.parametrize(('least', 'most'), [(0, 10), (0, 86400), (1, 11), (86390, 86400)])
def test_every_policy_that_is_accepted_has_delays(function: str, least: int, most: int) -> None:
    policy = {'minimum_delay': least, 'maximum_delay': most, 'retry_backoff_function': function}
    growing = of_policy(**policy).delays[6:-3]

    assert len(growing) >= 3
    assert list(growing) == sorted(growing)
    assert least <= growing[0] + 1
    assert growing[-1] <= most


@pytest.mark.parametrize(
    ('own', 'of_queue', 'first'),
    [
        ({'minimum_delay': 6}, {'minimum_delay': 7}, 6),
        ({}, {'minimum_delay': 7}, 7),
        ({'minimum_delay': 6}, {'minimum_delay': 7, 'ignore_subscription_override': True}, 7),
        ({'minimum_delay': 6, 'ignore_subscription_override': True}, {'minimum_delay': 7}, 7),
        ({'minimum_delay': 6}, {'ignore_subscription_override': True}, 5),
        ({'minimum_delay': 6}, {}, 6),
    ],
)
def test_the_subscription_s_policy_goes_first_unless_one_says_otherwise(
    own: Any, of_queue: Any, first: int
) -> None:
    schedule = schedule_of({'_retry_policy': own}, {'_retry_policy': of_queue})

    assert schedule.delays[3] == first


def test_attempts_are_used_up() -> None:
    schedule = of_policy(minimum_delay=5)

    assert [schedule.delay_after(attempts) for attempts in (1, 4, 18, 19)] == [0, 5, 30, None]


def test_a_subscriber_may_put_a_retry_off_up_to_the_longest_delay() -> None:
    schedule = of_policy(minimum_delay=5)

    assert schedule.delay_after(4, retry_after=20) == 20
    assert schedule.delay_after(4, retry_after=1000) == 30
    assert schedule.delay_after(4, retry_after=1) == 5
    assert schedule.delay_after(19, retry_after=1) is None


def test_without_a_policy_delays_vary_by_a_tenth() -> None:
    delays = {DEFAULT.delay_after(20) for _ in range(100)}

    assert len(delays) > 90
    assert all(delay is not None and 3240 <= delay <= 3960 for delay in delays)
    assert {of_policy(minimum_delay=7).delay_after(4) for _ in range(10)} == {7}
