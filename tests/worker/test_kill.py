"""Eight workers, killed at random and replaced: nothing is lost, nothing handled by two at once.

MARCONI_KILL_SECONDS says for how long, if the seconds of every run are not enough.
"""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby

import pytest

from tests.worker.workshop import TTL, Handling, Workshop, stop

pytestmark = pytest.mark.slow


SECONDS = float(os.environ.get('MARCONI_KILL_SECONDS') or 3)
WORKERS = 8


# Each handling is granted the time in which its claim, as far as its worker was ever told, was
# live: `held_until` is the moment before the worker asked for the claim, or for its latest
# renewal that was granted and noted, plus the ttl that it asked for. The service counts the
# ttl from a later moment, and a claim that has lapsed cannot be renewed; so from its start until
# then the message was this claim's without a gap. A killed worker's handling ends with the
# worker, who can have no effect any more, but its claim lives on, and nobody may begin before
# it is over. Only a worker that gave the message back itself ends that time earlier: with its
# note of the end, which it makes before the verdict. The claims' own rows play no part,
# as they would agree with themselves; and all processes read one monotonic clock, which
# is the machine's.
def is_protected_until(handling: Handling) -> float:
    if handling.outcome == 'later':
        assert handling.end is not None
        return min(handling.end, handling.held_until)
    return handling.held_until


def overlaps(handlings: Iterable[Handling]) -> Iterator[tuple[Handling, Handling]]:
    """Two handlings of a message, the second begun while the claim of the first was live."""
    for _, group in groupby(handlings, key=lambda handling: handling.message):
        earlier: list[Handling] = []
        for handling in group:
            for other in earlier:
                if handling.start < is_protected_until(other):
                    yield other, handling
            earlier.append(handling)


def job(number: int) -> dict[str, object]:
    """Most are quick, some take longer than their claim, some fail at first."""
    if number % 100 == 50:
        return {'seconds': TTL * 1.1}
    if number % 20 == 10:
        return {'outcome': 'later'}
    return {'seconds': random.uniform(0, 0.1)}


def test_kill_9_loses_nothing_and_lets_no_two_handle_a_message(workshop: Workshop) -> None:
    workers = [workshop.start() for _ in range(WORKERS)]
    killed: list[int] = []
    posted: list[str] = []
    end = time.monotonic() + SECONDS

    while time.monotonic() < end:
        numbers = range(len(posted), len(posted) + 20)
        posted += workshop.post(*map(job, numbers), queue=random.randrange(2))
        time.sleep(random.uniform(0.1, 0.5))
        victim = workers.pop(random.randrange(WORKERS))
        victim.send_signal(signal.SIGKILL)
        killed.append(victim.wait())
        workers.append(workshop.start())
    workshop.wait_until_empty()
    stop(*workers)

    handlings = workshop.handlings()
    finished = Counter(handling.message for handling in handlings if handling.outcome == 'done')
    again = len(handlings) - len({handling.message for handling in handlings})
    later = sum(handling.outcome == 'later' for handling in handlings)
    begun = sum(handling.outcome is None for handling in handlings)
    print(
        f'{len(posted)} messages, {len(killed)} kills, {len(handlings)} handlings, of which '
        f'{again} of a message seen before ({later} asked for); {begun} broken off; '
        f'{finished.total() - len(finished)} finished twice'
    )
    assert finished.keys() == set(posted)
    assert list(overlaps(handlings)) == []
    assert set(killed) == {-signal.SIGKILL}


def test_without_heartbeats_two_handle_a_message_at_once(workshop: Workshop) -> None:
    workshop.post({'seconds': TTL * 2})
    workers = [workshop.start('still'), workshop.start('still')]

    workshop.wait_for(2, 'done')

    assert list(overlaps(workshop.handlings()))
    assert all(worker.poll() is None for worker in workers)
