"""How a worker borrows, from the waiting room, a claim that waits for a message.

A thread has a connection of its own for that. What it has borrowed belongs to the connection: if that
ends, as the process was killed or the room was too slow, the waiter waits on, and the room undoes the
claim that may have been made.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from marconi_api.errors import MarconiError
from marconi_api.model import Claim, QueueKey
from marconi_api.model.claimants import Claimant, Claimants, Terms
from marconi_api.processes.waiting import loan_packets
from marconi_api.processes.waiting.hand_over import LONGEST, MAP, SOCKET
from marconi_api.processes.waiting.wake_map import WakeMap

#: Seconds for which a post waits for the room's answer, and for which a process borrows nothing after
#: the room was slower, or away.
PATIENCE = 0.02
RESTS = 0.5

# Characters of the longest body that is handed over: a message between processes has an end.
_LONGEST_BODY = LONGEST // 8


class RoomsClaimants(Claimants):
    """The claims that wait in the room of the service.

    :param directory: the room's
    :param undo: undoes a claim that could not be handed over: :meth:`Claims.undo`
    """

    def __init__(self, directory: Path, undo: Callable[[QueueKey, str], object]) -> None:
        self._map = WakeMap(directory / MAP)
        self._path = str(directory / SOCKET)
        self._undo = undo
        self._thread = _Thread()
        self._rests_until = 0.0

    def borrow(self, queue: QueueKey, length: int) -> Claimant | None:
        """The claimant that has waited longest; None also if the room does not answer soon."""
        if (
            not self._map.has_claimant(queue.id)
            or length > _LONGEST_BODY
            or time.monotonic() < self._rests_until
        ):
            return None
        answer = self._ask(queue)
        if terms := loan_packets.lent_in(answer):
            return _Borrowed(self, queue, terms)
        if answer != loan_packets.NOBODY:
            # What it would lend later is not wanted any more.
            self.disconnect()
            self._rests_until = time.monotonic() + RESTS
        return None

    def tell(self, content: bytes) -> bool:
        """Tell the room what became of what this thread has borrowed; False if it cannot be told."""
        if self._thread.connection is None:
            return False
        with contextlib.suppress(OSError):
            self._thread.connection.send(content)
            return True
        self.disconnect()
        return False

    def undo(self, queue: QueueKey, claim: str) -> None:
        """Undo a claim that could not be handed over. If that fails, the room does it."""
        with contextlib.suppress(MarconiError):
            self._undo(queue, claim)

    def disconnect(self) -> None:
        """End this thread's connection, and so what it has borrowed."""
        if self._thread.connection is not None:
            self._thread.connection.close()
            self._thread.connection = None

    def _ask(self, queue: QueueKey) -> bytes:
        """The room's answer; empty if there is none."""
        with contextlib.suppress(OSError):
            try:
                self._connected().send(loan_packets.ask(queue.id))
            except OSError:
                # The room was started anew.
                self.disconnect()
                self._connected().send(loan_packets.ask(queue.id))
            return self._connected().recv(loan_packets.LONGEST_ANSWER)
        return b''

    def _connected(self) -> socket.socket:
        if self._thread.connection is None:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._thread.connection = connection
            connection.settimeout(PATIENCE)
            connection.connect(self._path)
        return self._thread.connection


class _Thread(threading.local):
    connection: socket.socket | None = None


class _Borrowed(NamedTuple):
    """A claimant that waits in the room."""

    room: RoomsClaimants
    queue: QueueKey
    terms: Terms

    def show(self, claim: Claim) -> None:
        self.room.tell(loan_packets.show(claim))

    def serve(self) -> None:
        if not self.room.tell(loan_packets.SERVED):
            self.room.undo(self.queue, self.terms.claim)

    def keep_waiting(self, is_more: bool) -> None:
        self.room.tell(loan_packets.keep_waiting(is_more))

    def lose(self) -> None:
        self.room.disconnect()
