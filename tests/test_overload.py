"""When a worker refuses requests: for too many that go on coming, and for nothing else.

Time is simulated, and so are the threads and the clients.
"""

import contextlib
import heapq
import socket
from collections import deque
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path

import pytest

from marconi_api.processes.overload import CALM, WINDOW, Overload, State
from marconi_api.processes.sock_diag import Backlog, open_sock_diag
from marconi_api.wire.overload import ALL_WORK, NEW_WORK

PROCESSES, THREADS = 2, 8
#: Requests that they answer in a second.
RATE = 1600
LONGEST = 2.0

#: What a client does when its request was answered: when it sends the next one, None for none.
Next = Callable[[float], float | None]


class Service:
    """Two processes whose threads take requests in the order in which they came."""

    def __init__(self, rate: float = RATE, longest: float = LONGEST) -> None:
        state = State()
        self.workers = [
            Overload(lambda: len(self.backlog), PROCESSES, THREADS // PROCESSES, longest, state)
            for _ in range(PROCESSES)
        ]
        #: When those came that wait.
        self.backlog: deque[tuple[float, Next]] = deque()
        #: For how long those waited that were taken, and when others were refused.
        self.waits: list[float] = []
        self.refusals: list[tuple[float, str]] = []
        self.rate = rate
        #: Whether no request brings new work.
        self.spares_all = False
        self._arrivals: list[tuple[float, int, Next]] = []
        self._number = count()
        self._now = 0.0
        # When each thread is free, and whose it is.
        self._free = [(0.0, number % PROCESSES) for number in range(THREADS)]
        self._last_answer = 0.0

    def send(self, times: Iterable[float], then: Next = lambda answered: None) -> None:
        """Let requests come."""
        for time in times:
            heapq.heappush(self._arrivals, (time, next(self._number), then))

    def run(self, until: float) -> None:
        """Answer what comes until then."""
        while self._arrivals or self.backlog:
            free, process = self._free[0]
            begin = max(free, self._now if self.backlog else self._arrivals[0][0])
            if begin > until:
                return
            self._now = begin
            while self._arrivals and self._arrivals[0][0] <= begin:
                time, _, then = heapq.heappop(self._arrivals)
                self.backlog.append((time, then))
            last_answer = max(at for at, its in self._free if its == process and at <= begin)
            end = self._take(self.workers[process], begin, last_answer)
            heapq.heapreplace(self._free, (end, process))

    def hang(self, until: float) -> None:
        """Have all threads busy until then."""
        self._free = [(until, number % PROCESSES) for number in range(THREADS)]

    def _take(self, worker: Overload, now: float, last_answer: float) -> float:
        """Answer the first that waits, or refuse it; returns when that was done."""
        came, then = self.backlog.popleft()
        refused = worker.refused_at(now, last_answer)
        if refused == NEW_WORK and self.spares_all:
            refused = None
        took = THREADS / self.rate
        if refused:
            self.refusals.append((now, refused))
            took /= 20
        else:
            self.waits.append(now - came)
        again = then(now + took)
        if again is not None:
            self.send([again], then)
        return now + took


def each(rate: float, begin: float, end: float) -> list[float]:
    """The times of so many requests a second."""
    return [begin + number / rate for number in range(int((end - begin) * rate))]


def at_once(answered: float) -> float:
    """A client that sends its next request when it has an answer."""
    return answered + 0.0005


def in_a_second(answered: float) -> float:
    return answered + 1


@pytest.fixture
def service() -> Service:
    return Service()


def test_what_can_be_answered_is_not_refused(service: Service) -> None:
    service.send(each(0.95 * RATE, 1, 10))
    service.run(10)

    assert not service.refusals


@pytest.mark.parametrize('factor', [2, 4])
def test_what_is_taken_of_more_than_can_be_answered_waits_for_a_moment(
    service: Service, factor: float
) -> None:
    service.send(each(factor * RATE, 1, 16))
    service.run(16)

    # Until it is noticed they wait for longer.
    waits = sorted(service.waits)
    assert waits[int(0.95 * len(waits))] < 24 / RATE
    assert waits[-1] < 2 * factor * WINDOW
    # Most of the time of the threads goes into what is taken.
    assert len(waits) > 0.6 * 15 * RATE
    assert {what for _, what in service.refusals} == {NEW_WORK}


def test_nothing_is_refused_any_more_once_the_overload_is_over(service: Service) -> None:
    service.send(each(2 * RATE, 1, 5))
    service.run(5)
    assert service.refusals

    service.send(each(0.9 * RATE, 5 + CALM + 0.5, 20))
    service.run(20)

    assert service.refusals[-1][0] < 5 + CALM + 0.5


@pytest.mark.parametrize('clients', [16, 100, 2000])
def test_a_crowd_that_sends_one_request_after_the_other_is_not_refused(
    service: Service, clients: int
) -> None:
    service.send([1.0] * clients, at_once)
    service.run(10)

    assert not service.refusals


def test_a_crowd_that_gathers_is_not_refused(service: Service) -> None:
    service.send(each(100, 1, 6), at_once)
    service.run(15)

    assert not service.refusals


@pytest.mark.parametrize('seconds', [0.001, 0.1, 0.2])
@pytest.mark.parametrize(('requests', 'rate'), [(500, 400), (1000, 1600)])
def test_a_burst_is_not_refused(requests: int, rate: float, seconds: float) -> None:
    service = Service(rate)
    service.send(each(100, 1, 2))
    service.send([2 + number / requests * seconds for number in range(requests)])
    service.run(20)

    assert not service.refusals


def test_a_burst_after_a_long_pause_is_not_refused(service: Service) -> None:
    service.send([1.0, *([60.0] * 1000)])
    service.run(70)

    assert not service.refusals


def test_a_backlog_that_grows_slowly_is_cut_once_it_is_late(service: Service) -> None:
    service.send(each(1.1 * RATE, 1, 25))
    service.run(25)

    assert 0.9 * LONGEST < max(service.waits) < 1.2 * LONGEST
    assert {what for _, what in service.refusals} == {NEW_WORK}


def test_a_backlog_that_stays_late_without_new_work_is_cut_all_the_same(service: Service) -> None:
    service.spares_all = True
    service.send(each(1.5 * RATE, 1, 10))
    service.run(10)

    assert {what for _, what in service.refusals} == {ALL_WORK}
    assert max(service.waits) < 1.8 * LONGEST


def test_those_who_waited_while_all_threads_hung_are_refused_at_once(service: Service) -> None:
    service.send(each(RATE / 2, 1, 2))
    service.run(2)
    service.hang(6)
    service.send(each(RATE / 4, 2, 6))
    service.run(6.5)

    assert len(service.refusals) > 1500
    assert service.refusals[0][0] == 6


def test_the_same_if_there_was_no_request_before(service: Service) -> None:
    service.send([1.0] * THREADS)
    service.run(1)
    service.hang(5)
    service.send(each(RATE / 4, 1.1, 5))
    service.run(5.5)

    assert service.refusals[0][0] == 5


def test_clients_that_come_again_when_they_are_told_to_are_all_served(service: Service) -> None:
    """A crowd that grew like an overload, and whose clients do as the refusals say."""
    service.send(each(3000, 1, 1.45), in_a_second)
    service.run(30)

    assert service.refusals
    assert service.refusals[-1][0] < 10


def test_nothing_is_refused_where_the_system_does_not_tell_how_many_wait() -> None:
    overload = Overload(lambda: None, 1, THREADS, LONGEST, State())

    assert [overload.refused_at(at / 100, at / 100) for at in range(1000)] == [None] * 1000


def asking() -> socket.socket:
    opened = open_sock_diag()
    if opened is None:
        pytest.skip('this system has no NETLINK_SOCK_DIAG')
    return opened


def test_the_system_tells_how_many_connections_wait(tmp_path: Path) -> None:
    with contextlib.ExitStack() as sockets:
        listening = sockets.enter_context(socket.socket(socket.AF_UNIX))
        listening.bind(str(tmp_path / 'socket'))
        listening.listen(10)
        backlog = Backlog(listening.fileno(), sockets.enter_context(asking()))
        before = backlog.length()
        for _ in range(3):
            client = sockets.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(str(tmp_path / 'socket'))
        waiting = backlog.length()
        sockets.enter_context(listening.accept()[0])

        assert (before, waiting, backlog.length()) == (0, 3, 2)


def test_of_a_socket_that_is_gone_the_system_tells_nothing() -> None:
    with asking() as kernel:
        with socket.socket(socket.AF_UNIX) as gone:
            backlog = Backlog(gone.fileno(), kernel)

        assert backlog.length() is None
