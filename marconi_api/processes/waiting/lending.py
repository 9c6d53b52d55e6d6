"""What the waiting room lends to posts: waiters, whose claims the posts make themselves.

A thread runs the waiter's request up to the point at which it needs its claim, while the post runs its
statement. It gets the claim before the commit, and writes the answer. That is sent once the worker says that
the claim is committed. If the waiter's time is over first, it is answered without, and the claim is undone.
"""

import contextlib
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import Protocol
from uuid import uuid4

from marconi_api.model import Claim, QueueKey
from marconi_api.model.claimants import Terms
from marconi_api.processes.waiting import loan_packets
from marconi_api.processes.waiting.asking import Reply, Threads
from marconi_api.processes.waiting.guests import Guest
from marconi_api.processes.waiting.hand_over import Parked
from marconi_api.processes.waiting.journal import Journal
from marconi_api.processes.waiting.lines import Lines
from marconi_api.processes.waiting.timers import Timers

#: Threads that run the requests; so many posts hand their messages over at once.
SERVING = 4

# Seconds between attempts to undo a claim of which nobody knows whether it was made: PostgreSQL may go on
# with the statement, or the commit, of a worker that is gone.
_PAUSES = (1, 2, 4, 8, 16, 32)


class Desk(Protocol):
    """What the room does with its guests."""

    def is_there(self, guest: Guest) -> bool:
        """Whether its client is there."""

    def drop(self, guest: Guest) -> None:
        """Let one go whose client is not, and which is out of its lines."""

    def refuse(self, guest: Guest, reply: Reply | Exception | None) -> None:
        """Answer one that is out of its lines with what its request came to; None: with nothing found."""

    def hand_out(self, guest: Guest, reply: Reply) -> None:
        """Answer one with what it got, or give that back if its client is gone."""

    def note_handed_over(self, queue: QueueKey) -> None:
        """A post has handed its message to one who is about to be answered."""


@dataclass(slots=True, eq=False)
class Loan:
    """A waiter that a post has borrowed, and the claim that the post may make for it."""

    #: None: its time was over meanwhile.
    guest: Guest | None
    queue: QueueKey
    terms: Terms
    #: Where the claim stands in the journal.
    place: int
    #: Gets the claim once it is made, or None if it is not.
    claim: 'SimpleQueue[Claim | None]' = field(default_factory=SimpleQueue)
    #: Whether the claim is committed.
    is_served: bool = False
    #: What the request came to; None while it runs.
    reply: Reply | Exception | None = None


class Lending:
    """The loans of a room: one at most for each connection.

    :param run: runs a request, which asks the function that comes with it for its claim
    :param undo: undoes a claim, and returns how many messages it held: :meth:`Claims.undo`
    :param journal: holds the claims that may have been made in a room that was killed
    """

    def __init__(
        self,
        desk: Desk,
        lines: Lines,
        timers: Timers,
        run: Callable[[Parked, Callable[[], Claim | None]], Reply],
        undo: Callable[[QueueKey, str], int],
        journal: Journal,
    ) -> None:
        self._desk = desk
        self._lines = lines
        self._timers = timers
        self._run = run
        self._undo = undo
        self._journal = journal
        self._loans: dict[int, Loan] = {}
        self.threads = Threads(SERVING)

    def recover(self) -> None:
        """Undo the claims that a room was about to hand out when it was killed."""
        for place, queue, claim in list(self._journal):
            self._try_to_undo(queue, claim, place, 0)

    def heed(self, connection: socket.socket, message: memoryview) -> bool:
        """Do what a worker asks for over its connection; False if the message is about something else."""
        if (queue_id := loan_packets.asked_in(message)) is not None:
            self._lend(connection, queue_id)
        elif (claim := loan_packets.shown_in(message)) is not None:
            if loan := self._loans.get(connection.fileno()):
                loan.claim.put(claim)
        elif message == loan_packets.SERVED:
            if loan := self._loans.pop(connection.fileno(), None):
                self._serve(loan)
        elif (is_more := loan_packets.kept_waiting_in(message)) is not None:
            if loan := self._loans.pop(connection.fileno(), None):
                self._journal.strike(loan.place)
                self._take_back(loan, is_more)
        else:
            return False
        return True

    def end(self, descriptor: int) -> None:
        """A connection has ended: its waiter waits on, and the claim, if it was made, is undone."""
        if loan := self._loans.pop(descriptor, None):
            self._take_back(loan, is_more=True)
            self._undo_claim(loan)

    def give_up(self, guest: Guest) -> bool:
        """Have a lent guest answered whose time is over; False if it is about to get its claim."""
        loan = next((loan for loan in self._loans.values() if loan.guest is guest), None)
        if loan is None:
            return False
        loan.guest = None
        loan.claim.put(None)
        self._lines.take_back(guest.waiter, stays=False)
        self._desk.refuse(guest, None)
        return True

    # ------------------------------------------------------------ what becomes of a loan

    def _lend(self, connection: socket.socket, queue_id: int) -> None:
        # A worker that asks anew has forgotten what it borrowed before.
        self.end(connection.fileno())
        loan = None
        if self.threads.is_any_free and not self._journal.is_full:
            loan = self._loan(queue_id)
        # If the worker has gone, the end of its connection is read next.
        with contextlib.suppress(OSError):
            connection.send(loan_packets.lend(loan.terms) if loan else loan_packets.NOBODY)
        if loan and loan.guest:
            self._loans[connection.fileno()] = loan
            self.threads.do(
                partial(self._run, loan.guest.parked, loan.claim.get),
                partial(self._note_reply, loan),
            )

    def _loan(self, queue_id: int) -> Loan | None:
        while waiter := self._lines.first_to_lend(queue_id):
            guest: Guest = waiter.parked
            asked = guest.parked.claim
            if asked is None:
                return None
            self._lines.lend(waiter)
            if self._desk.is_there(guest):
                queue = QueueKey.of(guest.parked.project, asked.queue)
                terms = Terms(str(uuid4()), asked.ttl, asked.grace)
                return Loan(guest, queue, terms, self._journal.note(queue, terms.claim))
            self._lines.take_back(waiter, stays=False)
            self._desk.drop(guest)
        return None

    def _note_reply(self, loan: Loan, reply: 'Reply | Exception') -> None:
        loan.reply = reply
        if loan.is_served and loan.guest:
            self._finish(loan, loan.guest, reply)

    def _serve(self, loan: Loan) -> None:
        loan.is_served = True
        # For a worker that showed nothing. A claim that was shown is before it.
        loan.claim.put(None)
        if loan.guest is None:
            self._undo_claim(loan)
        elif loan.reply is not None:
            self._finish(loan, loan.guest, loan.reply)

    def _finish(self, loan: Loan, guest: Guest, reply: Reply | Exception) -> None:
        """Answer a guest: the claim is committed, and the request has run."""
        if isinstance(reply, Reply) and reply.looked and reply.looked.found:
            # Before the answer is sent: else a room that is killed in between would undo a claim that
            # its client has.
            self._journal.strike(loan.place)
            self._desk.note_handed_over(loan.queue)
            self._desk.hand_out(guest, reply)
            self._lines.take_back(guest.waiter, stays=False)
            return
        # The request was refused, or there is no storage.
        self._undo_claim(loan)
        if isinstance(reply, Reply) and reply.is_unavailable:
            self._wait_on(guest, is_more=True)
        else:
            self._lines.take_back(guest.waiter, stays=False)
            self._desk.refuse(guest, reply)

    def _take_back(self, loan: Loan, is_more: bool) -> None:
        loan.claim.put(None)
        if loan.guest:
            self._wait_on(loan.guest, is_more)

    def _wait_on(self, guest: Guest, is_more: bool) -> None:
        stays = time.monotonic() < guest.until and self._desk.is_there(guest)
        self._lines.take_back(guest.waiter, stays, is_more)
        if not stays:
            self._desk.refuse(guest, None)

    # ------------------------------------------------------------ claims that nobody gets

    def _undo_claim(self, loan: Loan) -> None:
        self._try_to_undo(loan.queue, loan.terms.claim, loan.place, 0)

    def _try_to_undo(self, queue: QueueKey, claim: str, place: int, tries: int) -> None:
        self.threads.do(
            partial(self._undo, queue, claim),
            partial(self._note_undone, queue, claim, place, tries),
        )

    def _note_undone(
        self, queue: QueueKey, claim: str, place: int, tries: int, count: 'int | Exception'
    ) -> None:
        is_undone = isinstance(count, int) and count > 0
        if is_undone or tries == len(_PAUSES):
            self._journal.strike(place)
        else:
            at = time.monotonic() + _PAUSES[tries]
            self._timers.at(at, self._try_to_undo, queue, claim, place, tries + 1)
