"""When a delivery that failed is tried again: Zaqar's ``_retry_policy``, to the second.

A policy has four phases: retries at once; retries each after ``minimum_delay``; retries whose delay
grows from ``minimum_delay`` to ``maximum_delay`` as ``retry_backoff_function`` says; and retries
each after ``maximum_delay``. Delays are seconds since the attempt before. docs/eventing.md shows
the delays of each function.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import log10
from random import uniform
from typing import Any

import msgspec

RETRIES = 3
MINIMUM_DELAY, MAXIMUM_DELAY = 5, 30
# Seconds by which linear delays grow; the other functions make as many retries as these.
_STEP = 3

# Without a policy it is tried further: each hour, as long as a day is not over.
_HOUR = 3600
_HOURLY = 23
_JITTER = 0.1


@dataclass(frozen=True)
class RetrySchedule:
    """The delays before each retry, in seconds.

    :param longest: to which a subscriber may put off a retry, by Retry-After
    :param jitter: the part of a delay by which it may be shorter or longer
    """

    delays: tuple[int, ...]
    longest: int
    jitter: float = 0.0

    def delay_after(self, attempts: int, retry_after: float | None = None) -> float | None:
        """Seconds to the next attempt after so many; None if there is to be none.

        :param retry_after: what the subscriber asked for
        """
        if attempts > len(self.delays):
            return None
        delay = self.delays[attempts - 1] * uniform(1 - self.jitter, 1 + self.jitter)
        return max(delay, min(retry_after or 0.0, self.longest))


def schedule_of(options: Mapping[str, Any], metadata: Mapping[str, Any]) -> RetrySchedule:
    """The schedule of a subscription with these options, to a queue with this metadata.

    The subscription's policy goes before the queue's, unless one of them says
    ``ignore_subscription_override``.
    """
    own, of_queue = (_policy(source) for source in (options, metadata))
    name = 'ignore_subscription_override'
    chosen = of_queue if own.get(name) or of_queue.get(name) else own or of_queue
    given = {key: value for key, value in chosen.items() if key != name}
    return _schedule(msgspec.json.encode(given, order='sorted')) if given else DEFAULT


def _policy(source: Mapping[str, Any]) -> Mapping[str, Any]:
    policy = source.get('_retry_policy')
    return policy if isinstance(policy, dict) else {}


@lru_cache(1024)
def _schedule(policy: bytes) -> RetrySchedule:
    given = msgspec.json.decode(policy)
    least = given.get('minimum_delay', MINIMUM_DELAY)
    most = given.get('maximum_delay', MAXIMUM_DELAY)
    growing = _GROWING[given.get('retry_backoff_function', 'linear')]
    delays = (
        *[0] * given.get('retries_with_no_delay', RETRIES),
        *[least] * given.get('minimum_delay_retries', RETRIES),
        *growing(least, most),
        *[most] * given.get('maximum_delay_retries', RETRIES),
    )
    return RetrySchedule(delays, most)


def _linear(least: int, most: int) -> list[int]:
    return list(range(least, most, _STEP))


def _arithmetic(least: int, most: int) -> list[int]:
    count = _count(least, most)
    step = 2 * (most - least) / (count * (count - 1))
    return [int(least + place * (place + 1) * step / 2) for place in range(count)]


def _geometric(least: int, most: int) -> list[int]:
    # (Zaqar fails on a minimum of 0, which has no ratio to anything.)
    count, first = _count(least, most), max(least, 1)
    # As Zaqar computes it: by other roundings the last delay would be a second longer.
    ratio = 10 ** (log10(most / first) / (count - 1))
    return [int(first * ratio**place) for place in range(count)]


def _count(least: int, most: int) -> int:
    return (most - least) // _STEP


# Zaqar's exponential and geometric functions come to the same.
_GROWING = {
    'linear': _linear,
    'arithmetic': _arithmetic,
    'geometric': _geometric,
    'exponential': _geometric,
}

#: Where nobody has a policy.
DEFAULT = RetrySchedule((*_schedule(b'{}').delays, *[_HOUR] * _HOURLY), _HOUR, _JITTER)
