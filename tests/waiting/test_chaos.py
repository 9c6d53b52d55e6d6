"""The short form of chaos.py."""

import pytest

from tests.running_service import Service
from tests.waiting.chaos import Chaos

pytestmark = pytest.mark.slow


def test_nothing_is_lost_or_delivered_twice_whatever_happens(
    told: Service, other: Service, deaf: Service, database: str
) -> None:
    chaos = Chaos([other, deaf, told], database)

    chaos.run(posts=200, waiters=20, kills=2, pause=1)

    assert sorted(chaos.received) == list(range(200))
    assert set(chaos.received.values()) == {1}
