"""The waiting room reads many slow bodies at once, and keeps a bounded number of bytes of them."""

import socket
import time
from collections.abc import Iterator

import pytest

from marconi_api.processes.answers import Answer
from marconi_api.processes.bodies import Unfinished
from marconi_api.processes.waiting import slow_bodies
from marconi_api.processes.waiting.slow_bodies import SlowBodies


class Reading:
    """A :class:`SlowBodies` with its clients, and what it told."""

    def __init__(self, most_kept: int) -> None:
        self.whole: list[tuple[str, bytes]] = []
        self.late: list[tuple[str, bool]] = []
        self.clients: dict[str, socket.socket] = {}
        self.bodies = SlowBodies(
            lambda unfinished, _, body: self.whole.append((unfinished.environ['name'], body)),
            lambda unfinished, _, is_for_others: self.late.append(
                (unfinished.environ['name'], is_for_others)
            ),
            most_kept,
        )

    def come(self, name: str, received: bytes, missing: int, answer: Answer | None = None) -> None:
        self.clients[name], connection = socket.socketpair()
        unfinished = Unfinished({'name': name}, received, missing, 0.0, answer)
        self.bodies.take(unfinished, connection.detach())

    def send(self, name: str, part: bytes) -> None:
        self.clients[name].sendall(part)
        self.bodies.read()


@pytest.fixture
def reading(request: pytest.FixtureRequest) -> Iterator[Reading]:
    reading = Reading(getattr(request, 'param', 10**6))
    yield reading
    for client in reading.clients.values():
        client.close()


def test_a_body_is_put_together_of_what_was_received_before_and_what_comes(
    reading: Reading,
) -> None:
    reading.come('a', b'12', 3)
    reading.come('b', b'', 2)
    reading.send('a', b'3')
    reading.send('b', b'xy')
    assert reading.whole == [('b', b'xy')]

    reading.send('a', b'45')

    assert reading.whole == [('b', b'xy'), ('a', b'12345')]
    assert not len(reading.bodies)


def test_no_more_than_the_body_is_read_of_a_connection(reading: Reading) -> None:
    reading.come('a', b'', 2)
    reading.send('a', b'xyGET /')

    assert reading.whole == [('a', b'xy')]


def test_of_a_client_that_went_nothing_is_told(reading: Reading) -> None:
    reading.come('a', b'', 2)
    reading.clients['a'].close()
    reading.bodies.read()

    assert (reading.whole, reading.late, len(reading.bodies)) == ([], [], 0)


def test_a_body_of_which_nothing_comes_is_given_up_and_one_that_drips_is_not(
    reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(time, 'monotonic', lambda: now)
    reading.come('silent', b'', 2)
    reading.come('drips', b'', 2)
    now = slow_bodies.PATIENCE - 1
    reading.send('drips', b'x')

    reading.bodies.give_up(slow_bodies.PATIENCE)

    assert reading.late == [('silent', False)]


@pytest.mark.parametrize('reading', [50_000], indirect=True)
def test_if_too_much_would_be_kept_the_first_is_given_up(reading: Reading) -> None:
    for name in 'abc':
        reading.come(name, b'x' * 10_000, 10_000)
    assert reading.late == []

    reading.send('b', b'x' * 9_999)

    assert reading.late == [('a', True)]
    reading.send('b', b'x')
    assert [name for name, _ in reading.whole] == ['b']


@pytest.mark.parametrize('reading', [50_000], indirect=True)
def test_nothing_is_kept_of_a_body_that_is_refused(reading: Reading) -> None:
    reading.come('a', b'', 200_000, Answer('400 Bad Request', [], b''))
    for _ in range(4):
        reading.send('a', b'x' * 50_000)

    assert reading.whole == [('a', b'')]
    assert reading.late == []


def test_a_stop_gives_up_all(reading: Reading) -> None:
    reading.come('a', b'', 2)
    reading.come('b', b'', 2)

    reading.bodies.give_up_all()

    assert reading.late == [('a', True), ('b', True)]
