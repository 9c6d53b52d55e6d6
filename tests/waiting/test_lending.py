"""What the waiting room lends to posts, over real sockets; the room itself is a list of what it was told."""

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from math import inf
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from marconi_api.model import Claim, ClaimedMessage, QueueKey
from marconi_api.model.claimants import Claimant
from marconi_api.processes.answers import Answer
from marconi_api.processes.waiting import borrowing
from marconi_api.processes.waiting.asking import Reply
from marconi_api.processes.waiting.borrowing import RoomsClaimants
from marconi_api.processes.waiting.guests import Guest
from marconi_api.processes.waiting.hand_over import JOURNAL, LONGEST, MAP, SOCKET, Parked
from marconi_api.processes.waiting.journal import Journal
from marconi_api.processes.waiting.lending import SERVING, Lending
from marconi_api.processes.waiting.lines import Lines, Waiter
from marconi_api.processes.waiting.timers import Timers
from marconi_api.processes.waiting.wake_map import CLAIMANT, NOBODY, SOMEBODY, WakeMap, slot_of
from marconi_api.wire.waiting import AskedClaim, Looked

QUEUE = QueueKey.of('acme', 'jobs')
ASKED = AskedClaim('jobs', 60, 30)
CLAIM = Claim('', 60, 0, [ClaimedMessage(id='0' * 16, ttl=60, age=0, body='"x"')])


class Room:
    """Lends the waiters of one queue; ``happened`` is what became of them."""

    def __init__(self, directory: Path) -> None:
        WakeMap.make(directory / MAP)
        Journal.make(directory / JOURNAL)
        self.map = WakeMap(directory / MAP, writes=True)
        self.map.set_here(slot_of(QUEUE.id), CLAIMANT)
        self.journal = Journal(directory / JOURNAL)
        self.happened: list[Any] = []
        #: The claims that were made; those that were undone.
        self.made: set[str] = set()
        self.undone: list[str] = []
        self.lines = Lines(lambda queue_id: 0.0, lambda queue_id: None)
        self.timers = Timers()
        self.gone: set[int] = set()
        #: What requests come to, whatever their claims are.
        self.comes_to: Answer | Exception | None = None
        self.lending = Lending(self, self.lines, self.timers, self.run, self.undo, self.journal)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(str(directory / SOCKET))
        self.listener.listen(8)
        self.connections: list[socket.socket] = []

    # What the room does, and what it asks of the model.

    def is_there(self, guest: Guest) -> bool:
        return guest.waiter.number not in self.gone

    def drop(self, guest: Guest) -> None:
        self.happened.append(f'dropped {guest.waiter.number}')

    def refuse(self, guest: Guest, reply: Reply | Exception | None) -> None:
        came_to = reply.answer.status if isinstance(reply, Reply) else reply
        self.happened.append(f'refused {guest.waiter.number}: {came_to}')

    def hand_out(self, guest: Guest, reply: Reply) -> None:
        assert reply.looked
        self.happened.append(f'got {guest.waiter.number}: {len(reply.looked.found)}')

    def note_handed_over(self, queue: QueueKey) -> None:
        assert queue == QUEUE

    def run(self, parked: Parked, given: Callable[[], Claim | None]) -> Reply:
        if isinstance(self.comes_to, Exception):
            raise self.comes_to
        if self.comes_to:
            return Reply(self.comes_to, None)
        claim = given()
        found = {QUEUE.id: len(claim.messages)} if claim else {}
        looked = Looked((QUEUE.id,), found, True, True, False, 'acme', b'', None, None, None, None)
        return Reply(parked.otherwise, looked)

    def undo(self, queue: QueueKey, claim: str) -> int:
        self.undone.append(claim)
        return int(claim in self.made)

    # What tests do.

    def arrive(self, number: int, claim: AskedClaim | None = ASKED, until: float = inf) -> Guest:
        otherwise = Answer('204 No Content', [], b'')
        parked = Parked(
            environ={},
            body=b'',
            otherwise=otherwise,
            queues=(QUEUE.id,),
            takes=True,
            is_untold=False,
            project='acme',
            most_waiters=None,
            seconds=30,
            tried_at=0.0,
            stream=None,
            awaited=None,
            claim=claim,
        )
        guest = Guest(parked, 0, None, until)
        guest.waiter = Waiter(number, (QUEUE.id,), True, 1.0, parked=guest)
        self.lines.arrive(guest.waiter)
        return guest

    def read(self) -> None:
        """Do what was asked for over the last connection; or note that it ended."""
        connection = self.connections[-1]
        message = connection.recv(LONGEST)
        if message:
            assert self.lending.heed(connection, memoryview(message))
        else:
            self.lending.end(connection.fileno())

    def accept(self) -> None:
        connection, _ = self.listener.accept()
        connection.settimeout(5)
        self.connections.append(connection)

    def work(self) -> None:
        """Let all that threads do come to its end."""
        while self.lending.threads.open:
            select.select([self.lending.threads], [], [], 5)
            self.lending.threads.collect()

    def in_the_journal(self) -> list[str]:
        return [claim for _, _, claim in self.journal]


@pytest.fixture
def room(tmp_path: Any) -> Iterator[Room]:
    found = Room(tmp_path)
    yield found
    for descriptor in list(found.lending._loans):
        found.lending.end(descriptor)
    for open_socket in (found.listener, *found.connections):
        open_socket.close()


@pytest.fixture
def worker(room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RoomsClaimants]:
    """A worker that is as patient as a busy machine asks for."""
    monkeypatch.setattr(borrowing, 'PATIENCE', 5.0)
    found = RoomsClaimants(
        tmp_path, lambda queue, claim: room.undone.append(f'by the worker: {claim}')
    )
    yield found
    found.disconnect()


def borrow(room: Room, worker: RoomsClaimants) -> Claimant | None:
    """What a worker borrows of a room that answers."""

    def answer() -> None:
        if not room.connections:
            room.accept()
        room.read()

    answering = threading.Thread(target=answer)
    answering.start()
    found = worker.borrow(QUEUE, 1)
    answering.join()
    return found


def borrowed(room: Room, worker: RoomsClaimants) -> Claimant:
    found = borrow(room, worker)
    assert found
    return found


def post(room: Room, worker: RoomsClaimants) -> str:
    """Borrow, make the claim, show it and serve it; returns the claim's id."""
    claimant = borrowed(room, worker)
    claimant.show(CLAIM)
    room.read()
    room.made.add(claimant.terms.claim)
    claimant.serve()
    room.read()
    return claimant.terms.claim


def test_a_post_borrows_the_one_who_came_first(room: Room, worker: RoomsClaimants) -> None:
    room.arrive(1)
    room.arrive(2)

    post(room, worker)
    post(room, worker)
    room.work()

    assert sorted(room.happened) == ['got 1: 1', 'got 2: 1']


def test_a_post_learns_what_the_claim_is_to_be(room: Room, worker: RoomsClaimants) -> None:
    room.arrive(1)
    terms = borrowed(room, worker).terms

    assert (terms.ttl, terms.grace) == (60, 30)
    assert room.in_the_journal() == [terms.claim]


def test_a_worker_that_asks_anew_has_lost_what_it_borrowed(
    room: Room, worker: RoomsClaimants
) -> None:
    room.arrive(1)
    terms = borrowed(room, worker).terms
    assert borrow(room, worker) is None
    room.work()

    assert room.undone == [terms.claim]


def test_a_waiter_is_answered_once_its_claim_is_committed(
    room: Room, worker: RoomsClaimants
) -> None:
    room.arrive(1)
    claimant = borrowed(room, worker)
    claimant.show(CLAIM)
    room.read()
    room.work()

    assert room.happened == []
    assert room.in_the_journal() == [claimant.terms.claim]
    claimant.serve()
    room.read()
    assert room.happened == ['got 1: 1']
    assert room.in_the_journal() == []
    assert room.undone == []


def test_one_for_whom_there_is_nothing_waits_on(room: Room, worker: RoomsClaimants) -> None:
    room.arrive(1)
    borrowed(room, worker).keep_waiting(is_more=False)
    room.read()
    post(room, worker)
    room.work()

    assert room.happened == ['got 1: 1']
    assert room.undone == []


def test_one_for_whom_there_is_something_else_tries(room: Room, worker: RoomsClaimants) -> None:
    room.arrive(1)
    borrowed(room, worker).keep_waiting(is_more=True)
    room.read()

    turn = room.lines.next_try()
    assert turn
    assert turn.waiter.number == 1
    assert room.in_the_journal() == []


def seconds_later(room: Room, seconds: float) -> None:
    room.timers.run(time.monotonic() + seconds)
    room.work()


def test_the_claim_of_a_loan_that_breaks_off_is_undone_until_it_is_found(
    room: Room, worker: RoomsClaimants
) -> None:
    """PostgreSQL may go on with the commit of a worker that was killed."""
    room.arrive(1)
    claimant = borrowed(room, worker)
    claimant.show(CLAIM)
    room.read()
    claimant.lose()
    room.read()
    room.work()
    seconds_later(room, 2)

    assert room.undone == [claimant.terms.claim] * 2
    assert room.in_the_journal() == [claimant.terms.claim]
    room.made.add(claimant.terms.claim)
    seconds_later(room, 3)
    assert room.undone == [claimant.terms.claim] * 3
    assert room.in_the_journal() == []
    # The waiter has come back to its place.
    assert room.lines.next_try()


def test_a_claim_that_was_never_made_is_forgotten_after_a_while(
    room: Room, worker: RoomsClaimants
) -> None:
    room.arrive(1)
    borrowed(room, worker).lose()
    room.read()
    room.work()
    for _ in range(6):
        seconds_later(room, 40)

    assert len(room.undone) == 7
    assert room.in_the_journal() == []


def test_a_claim_that_cannot_be_served_is_undone_by_the_worker(
    room: Room, worker: RoomsClaimants
) -> None:
    room.arrive(1)
    claimant = borrowed(room, worker)
    room.connections[-1].close()
    claimant.serve()
    room.lending.end(next(iter(room.lending._loans)))

    assert room.undone[0] == f'by the worker: {claimant.terms.claim}'


@pytest.mark.parametrize(
    ('comes_to', 'happens'),
    [
        (Answer('401 Unauthorized', [], b''), ['refused 1: 401 Unauthorized']),
        (Answer('503 Service Unavailable', [], b''), []),
        (RuntimeError('a fault'), ['refused 1: a fault']),
    ],
)
def test_the_claim_of_a_request_that_is_refused_is_undone(
    room: Room, worker: RoomsClaimants, comes_to: Any, happens: list[str]
) -> None:
    room.arrive(1)
    room.comes_to = comes_to
    claim = post(room, worker)
    room.work()

    assert room.happened == happens
    assert room.undone == [claim]


def test_one_whose_time_is_over_is_answered_and_its_claim_undone(
    room: Room, worker: RoomsClaimants
) -> None:
    guest = room.arrive(1)
    claimant = borrowed(room, worker)
    assert room.lending.give_up(guest)
    room.work()

    assert room.happened == ['refused 1: None']
    room.made.add(claimant.terms.claim)
    claimant.serve()
    room.read()
    room.work()
    assert room.undone == [claimant.terms.claim]
    assert room.happened == ['refused 1: None']


def test_one_whose_time_is_over_just_before_the_commit_is_answered_once(
    room: Room, worker: RoomsClaimants
) -> None:
    guest = room.arrive(1)
    claimant = borrowed(room, worker)
    claimant.show(CLAIM)
    room.read()
    room.lending.give_up(guest)
    claimant.serve()
    room.read()
    room.work()

    assert room.happened == ['refused 1: None']
    assert room.undone[0] == claimant.terms.claim


def test_one_who_is_about_to_get_its_claim_is_not_given_up(
    room: Room, worker: RoomsClaimants
) -> None:
    guest = room.arrive(1)
    post(room, worker)

    assert not room.lending.give_up(guest)
    room.work()
    assert room.happened == ['got 1: 1']


def test_one_whose_time_was_over_meanwhile_does_not_wait_on(
    room: Room, worker: RoomsClaimants
) -> None:
    room.arrive(1, until=0)
    borrowed(room, worker).keep_waiting(is_more=False)
    room.read()

    assert room.happened == ['refused 1: None']


def test_the_next_room_undoes_the_claims_of_one_that_was_killed(
    room: Room, worker: RoomsClaimants, tmp_path: Path
) -> None:
    room.arrive(1)
    claimant = borrowed(room, worker)
    room.made.add(claimant.terms.claim)
    journal = Journal(tmp_path / JOURNAL)
    lending = Lending(room, room.lines, room.timers, room.run, room.undo, journal)
    lending.recover()
    while lending.threads.open:
        select.select([lending.threads], [], [], 5)
        lending.threads.collect()

    assert room.undone == [claimant.terms.claim]
    assert list(journal) == []


def test_a_client_that_went_is_dropped_and_the_next_is_lent(
    room: Room, worker: RoomsClaimants
) -> None:
    room.arrive(1)
    room.arrive(2)
    room.gone.add(1)
    post(room, worker)
    room.work()

    assert room.happened == ['dropped 1', 'got 2: 1']


def none_waits(room: Room) -> None:
    """Nobody is there."""


def first_takes_otherwise(room: Room) -> None:
    """A pop, or a claim on several queues, came first."""
    room.arrive(1, claim=None)
    room.arrive(2)


def all_threads_are_busy(room: Room) -> None:
    room.arrive(1)
    for _ in range(SERVING):
        room.lending.threads.do(partial(time.sleep, 0.2), lambda result: None)


def the_journal_is_full(room: Room) -> None:
    room.arrive(1)
    while not room.journal.is_full:
        room.journal.note(QUEUE, 'a claim')


@pytest.mark.parametrize(
    'happens', [none_waits, first_takes_otherwise, all_threads_are_busy, the_journal_is_full]
)
def test_nobody_is_lent(
    room: Room, worker: RoomsClaimants, happens: Callable[[Room], None]
) -> None:
    happens(room)

    assert borrow(room, worker) is None


def test_a_room_that_does_not_answer_is_left_alone_for_a_while(
    room: Room, worker: RoomsClaimants, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(borrowing, 'PATIENCE', 0.001)
    monkeypatch.setattr(borrowing, 'RESTS', 60.0)
    room.arrive(1)

    assert worker.borrow(QUEUE, 1) is None
    room.accept()
    # What it lends too late is taken back, as the connection has ended.
    room.read()
    room.read()
    assert room.lines.next_try()
    assert worker.borrow(QUEUE, 1) is None
    assert not is_asked(room)


def test_a_worker_connects_again_to_a_room_that_was_started_anew(
    room: Room, worker: RoomsClaimants
) -> None:
    room.arrive(1)
    post(room, worker)
    room.work()
    room.connections.pop().close()
    room.arrive(2)
    post(room, worker)
    room.work()

    assert room.happened == ['got 1: 1', 'got 2: 1']


def is_asked(room: Room) -> bool:
    """Whether a worker has connected, and waits to be accepted."""
    return bool(select.select([room.listener], [], [], 0)[0])


def test_a_long_body_is_not_handed_over(room: Room, worker: RoomsClaimants) -> None:
    room.arrive(1)

    assert worker.borrow(QUEUE, LONGEST) is None
    assert not is_asked(room)


@pytest.mark.parametrize('who', [NOBODY, SOMEBODY])
def test_nothing_is_asked_where_no_claim_waits(
    room: Room, worker: RoomsClaimants, who: int
) -> None:
    room.map.set_here(slot_of(QUEUE.id), who)

    assert worker.borrow(QUEUE, 1) is None
    assert not is_asked(room)


def test_the_journal_keeps_the_longest_names(tmp_path: Path) -> None:
    Journal.make(tmp_path / JOURNAL)
    queue = QueueKey.of('\U0001f41f' * 256, '\U0001f41f' * 256)
    claim = str(uuid4())
    Journal(tmp_path / JOURNAL).note(queue, claim)

    [(place, *noted)] = Journal(tmp_path / JOURNAL)
    assert noted == [queue, claim]
    again = Journal(tmp_path / JOURNAL)
    again.strike(place)
    assert list(Journal(tmp_path / JOURNAL)) == []
