"""The waiting room: one loop that keeps requests, wakes them, and answers; and reads slow bodies."""

import contextlib
import logging
import mmap
import os
import select
import signal
import socket
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable, Container, Mapping, Sequence
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

from marconi_api.controllers.openstack.documents import error_reply
from marconi_api.controllers.root import DOORS
from marconi_api.errors import MarconiError
from marconi_api.limits import Limits
from marconi_api.model import QueueKey
from marconi_api.model.quotas import WAITERS, exceeded
from marconi_api.model.readiness import Look, Sight, View
from marconi_api.processes.answers import CLOSE, Answer, finished
from marconi_api.processes.bodies import Unfinished
from marconi_api.processes.observers import Observers
from marconi_api.processes.waiting.asking import Application, Reply, Threads, ask, begin
from marconi_api.processes.waiting.clients import Client, Clients
from marconi_api.processes.waiting.guests import Guest
from marconi_api.processes.waiting.hand_over import (
    JOURNAL,
    LONGEST,
    MAP,
    SOCKET,
    Parked,
    is_answer,
    parked_in,
    unfinished_in,
    wake_in,
)
from marconi_api.processes.waiting.journal import Journal
from marconi_api.processes.waiting.lending import Lending
from marconi_api.processes.waiting.lines import Lines, Try, Waiter
from marconi_api.processes.waiting.neighbours import Neighbours
from marconi_api.processes.waiting.slow_bodies import MOST_KEPT, PATIENCE, PAUSE, SlowBodies
from marconi_api.processes.waiting.streams import COMMENT, COMMENT_EVERY
from marconi_api.processes.waiting.sweeps import Sweeps
from marconi_api.processes.waiting.timers import Timers
from marconi_api.processes.waiting.wake_map import CLAIMANT, NOBODY, SOMEBODY, WakeMap, slot_of
from marconi_api.processes.waiting.writing import Writer
from marconi_api.wire.doors import door_of
from marconi_api.wire.failures import BodyTooSlow, TooManySlowBodies, TooManyWaiters
from marconi_api.wire.tracing import Told
from marconi_api.wire.waiting import POSTED

log = logging.getLogger(__name__)

# Seconds for which wakes of a queue are still told after its last waiter has left, as consumers mostly
# come again.
STAYS_WARM = 10.0
# All clients are looked at once in a second, a part at a time, but no more of them at once than
# this: a look takes 8 us, and none is due before a client is given something.
REAPS = 10
MOST_REAPED = 50
# Seconds that a stop waits for requests that are being tried, and for clients to read their answers.
STOP_PATIENCE = 3.0
# Seconds between two lines of the log that say that requests were refused.
TELL_EVERY = 60.0

# Threads that run requests again, and threads that run those whose bodies came late. So whoever sends
# heavy requests, and their bodies late, delays nobody's wake.
ASKING = 2
RUNNING = 2
# Messages of one worker that are read in one turn, and room for the descriptors that come with one.
_READ_AT_ONCE = 64
_RIGHTS = socket.CMSG_SPACE(2 * array('i').itemsize)


class Room:
    """Keeps requests until there is something for them, or their time is over.

    :param directory: holds the map, and gets the socket
    :param application: runs requests
    :param look: looks at queues: :meth:`Readiness.look`
    :param look_at_requests: looks at requests: :meth:`Replies.look`
    :param undo: undoes a claim: :meth:`Claims.undo`
    :param sweep_intervals: seconds between sweeps, with notifications and without
    :param observers: told of each request that is answered
    """

    def __init__(
        self,
        directory: Path,
        application: Application,
        look: Callable[[Sequence[int], Mapping[int, View], Container[int], float], list[Look]],
        look_at_requests: Callable[[Mapping[int, int], float], list[Sight]],
        undo: Callable[[QueueKey, str], int],
        neighbours: Neighbours,
        clients: Clients,
        limits: Limits,
        sweep_intervals: tuple[float, float],
        observers: Observers,
    ) -> None:
        self._observers = observers
        self._application = application
        self._neighbours = neighbours
        self._clients = clients
        self._limits = limits
        self._map = WakeMap(directory / MAP, writes=True)
        self._map.clear()
        self._lines = Lines(self._warm, self._left)
        self._guests: dict[int, Guest] = {}
        self._by_descriptor: dict[int, Guest] = {}
        self._by_project: Counter[str] = Counter()
        self._slots: Counter[int] = Counter()
        # Guests to whom posts may hand their messages, by the slots of their queues.
        self._claimants: Counter[int] = Counter()
        self._numbers = iter(range(1, 2**62))
        self._asking = Threads(ASKING)
        # Requests that are run for the last time, as their queue is gone.
        self._last_tries: deque[Guest] = deque()
        self._to_reap: list[Guest] = []
        self._told_at = -inf
        self._is_stopping = False
        self._timers = Timers()
        self._sweeps = Sweeps(
            self._lines,
            self._timers,
            look,
            look_at_requests,
            lambda: sweep_intervals[0] if neighbours.hears else min(sweep_intervals),
            self._end_queue,
        )
        # The counters go on from those of a room that was killed.
        _, self._refused, self._woken, self._gone, self._fallbacks = self._map.counters
        self._count()
        self._poll = select.epoll()
        self._writer = Writer(self._poll, self._on_written)
        self._slow_bodies = SlowBodies(self._on_whole, self._on_late)
        self._reads_soon = False
        self._running = Threads(RUNNING)
        # Bytes of the bodies of requests that are run, or wait for that.
        self._running_bytes = 0
        # Streams whose clients have not read what was sent.
        self._slow: set[int] = set()
        self._undo: dict[int, Callable[[], object]] = {}
        self._lending = Lending(
            self,
            self._lines,
            self._timers,
            partial(ask, application),
            undo,
            Journal(directory / JOURNAL),
        )
        self._threads = self._asking, self._running, self._lending.threads
        self._buffer = bytearray(LONGEST)
        self._workers: dict[int, socket.socket] = {}
        self._path = directory / SOCKET
        self._path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(self._path))
        self._listener.listen(128)
        self._listener.setblocking(False)
        self._signals, writer = os.pipe()
        for end in (self._signals, writer):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)

    # ------------------------------------------------------------ the loop

    def run(self) -> None:
        """Keep and answer requests until a signal asks to stop; then answer all of them."""
        self._lending.recover()
        handlers: dict[int, Callable[[], None]] = {
            self._listener.fileno(): self._accept,
            self._asking.fileno(): self._asking.collect,
            self._running.fileno(): self._running.collect,
            self._lending.threads.fileno(): self._lending.threads.collect,
            self._sweeps.fileno(): self._sweeps.collect,
            self._neighbours.fileno(): self._hear,
            self._signals: self._note_stop,
        }
        for descriptor in handlers:
            self._poll.register(descriptor, select.EPOLLIN)
        now = time.monotonic()
        self._timers.at(now, self._sweeps.sweep)
        self._timers.at(now, self._reap)
        while not self._is_stopping:
            seconds = max(0.0, self._timers.next_at - time.monotonic())
            for descriptor, events in self._poll.poll(None if seconds == inf else seconds):
                if descriptor in handlers:
                    handlers[descriptor]()
                elif descriptor in self._workers:
                    self._receive(descriptor)
                elif descriptor in self._writer:
                    self._write_on(descriptor)
                elif guest := self._by_descriptor.get(descriptor):
                    # Nobody reads the answer any more, whatever the events say.
                    self._note_gone(guest, events)
            self._timers.run(time.monotonic())
            self._sweeps.check_soon()
            self._begin_tries()
        self._stop()

    def _note_stop(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._signals, 4096)
        self._is_stopping = True

    def _stop(self) -> None:
        """Take no more, answer all that are here, and let what is being tried end."""
        self._path.unlink(missing_ok=True)
        self._map.clear()
        self._neighbours.stop()
        while True:
            try:
                self._listener.accept()
            except OSError:
                break
        self._listener.close()
        for descriptor, worker in list(self._workers.items()):
            # What was sent before is read; whoever sends now sees that there is no room.
            with contextlib.suppress(OSError):
                worker.shutdown(socket.SHUT_RD)
            while descriptor in self._workers:
                self._receive(descriptor)
        self._last_tries.clear()
        self._slow_bodies.give_up_all()
        for guest in list(self._guests.values()):
            if not guest.waiter.is_trying:
                self._answer_otherwise(guest)
        deadline = time.monotonic() + STOP_PATIENCE
        tried = {threads.fileno(): threads for threads in self._threads}
        while (
            any(threads.open for threads in self._threads) or self._writer
        ) and time.monotonic() < deadline:
            for descriptor, _ in self._poll.poll(0.1):
                if descriptor in tried:
                    tried[descriptor].collect()
                elif descriptor in self._writer:
                    self._writer.go_on(descriptor)
        for guest in list(self._guests.values()):
            self._answer_otherwise(guest)

    # ------------------------------------------------------------ who comes

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            connection.setblocking(False)
            self._workers[connection.fileno()] = connection
            self._poll.register(connection.fileno(), select.EPOLLIN)

    def _receive(self, descriptor: int) -> None:
        worker = self._workers[descriptor]
        for _ in range(_READ_AT_ONCE):
            try:
                size, ancillary, _, _ = worker.recvmsg_into([self._buffer], _RIGHTS)
            except BlockingIOError:
                return
            except OSError:
                size = 0
            if not size:
                self._poll.unregister(descriptor)
                del self._workers[descriptor]
                self._lending.end(descriptor)
                worker.close()
                return
            message = memoryview(self._buffer)[:size]
            if self._lending.heed(worker, message):
                continue
            if (wake := wake_in(message)) is not None:
                self._wake(*wake)
            elif descriptors := [number for _, _, data in ancillary for number in array('i', data)]:
                if is_answer(message):
                    self._deliver(*descriptors)
                elif unfinished := unfinished_in(message):
                    self._finish(unfinished, *descriptors)
                else:
                    self._park(parked_in(message), *descriptors)

    def _park(self, parked: Parked, descriptor: int) -> None:
        client = self._client_of(parked)
        until = parked.tried_at + parked.seconds
        guest = Guest(parked, descriptor, client, until)
        self._poll.register(descriptor, 0)
        if self._is_stopping:
            self._writer.send(descriptor, parked.otherwise.content)
        elif (refusal := self._refusal(parked)) is not None:
            self._refuse(guest, refusal)
        else:
            number = next(self._numbers)
            guest.waiter = Waiter(
                number, parked.queues, parked.takes, parked.tried_at, parked.is_untold, guest
            )
            self._guests[number] = guest
            self._by_descriptor[descriptor] = guest
            self._by_project[parked.project] += 1
            self._count()
            if parked.awaited is not None:
                self._sweeps.await_reply(parked.queues[0], parked.awaited)
            self._lines.arrive(guest.waiter)
            self._count_claimants(parked, 1)
            self._timers.at(until, self._end_time, number)
            if guest.stream:
                self._send(guest, guest.stream.head)
                self._lines.call(guest.waiter)
                self._comment(number)

    def _deliver(self, descriptor: int, file: int) -> None:
        """Send the rest of an answer that a worker began, whose client reads slowly."""
        content = memoryview(mmap.mmap(file, 0, access=mmap.ACCESS_READ))
        os.close(file)
        self._poll.register(descriptor, 0)
        self._writer.send(descriptor, content)

    def _client_of(self, parked: Parked) -> Client | None:
        address, port = (parked.environ.get(name, '') for name in ('REMOTE_ADDR', 'REMOTE_PORT'))
        return self._clients.find(address, port)

    def _refusal(self, parked: Parked) -> MarconiError | None:
        """Why the request may not wait; None if it may."""
        of_its_project = self._by_project[parked.project]
        if parked.most_waiters is not None and of_its_project >= parked.most_waiters:
            return exceeded(WAITERS, parked.most_waiters)
        if (
            len(self._guests) >= self._limits.max_waiters
            or of_its_project >= self._limits.max_waiters_per_project
        ):
            self._tell_that_it_is_full()
            return TooManyWaiters()
        return None

    def _refuse(self, guest: Guest, refusal: MarconiError) -> None:
        self._refused += 1
        self._count()
        if POSTED in guest.parked.environ:
            # The request has posted its message, so a refusal would make the client post it twice.
            answer = guest.parked.otherwise.without('Preference-Applied')
        else:
            answer = _answer_to(refusal, guest.parked.environ)
        self._observers.end_noted(guest.parked.environ, answer.status, guest.parked.tried_at, 0)
        self._writer.send(guest.descriptor, answer.content)

    def _tell_that_it_is_full(self) -> None:
        if time.monotonic() >= self._told_at + TELL_EVERY:
            self._told_at = time.monotonic()
            log.warning(
                '%d requests wait, as many as may (limits.max_waiters, '
                'limits.max_waiters_per_project): a further one was refused, %d in all',
                *(len(self._guests), self._refused + 1),
            )

    def _warm(self, queue_id: int) -> float:
        slot = slot_of(queue_id)
        self._slots[slot] += 1
        if self._slots[slot] == 1:
            self._map.set_here(slot, SOMEBODY)
            self._neighbours.warm(slot)
        return time.monotonic()

    def _left(self, queue_id: int) -> None:
        # A client that awaited a reply has got it, and does not ask for it again.
        warm = 0.0 if self._sweeps.is_message(queue_id) else STAYS_WARM
        self._timers.at(time.monotonic() + warm, self._cool, queue_id)

    def _cool(self, queue_id: int) -> None:
        if not self._lines.forget(queue_id):
            return
        self._sweeps.forget(queue_id)
        slot = slot_of(queue_id)
        self._slots[slot] -= 1
        if not self._slots[slot]:
            del self._slots[slot]
            self._map.set_here(slot, NOBODY)
            self._neighbours.cool(slot)

    # ------------------------------------------------------------ slow bodies

    def _finish(self, unfinished: Unfinished, descriptor: int, file: int | None = None) -> None:
        """Read the rest of a request's body; what came of a large one so far is in the file."""
        if file is not None:
            with os.fdopen(file, 'rb') as opened:
                opened.seek(0)
                unfinished = unfinished._replace(received=opened.read())
        if self._is_stopping:
            self._on_late(unfinished, descriptor, True)
            return
        self._slow_bodies.take(unfinished, descriptor)
        self._read_bodies_soon()

    def _read_bodies_soon(self) -> None:
        if self._slow_bodies and not self._reads_soon:
            self._reads_soon = True
            self._timers.at(time.monotonic() + PAUSE, self._read_bodies)

    def _read_bodies(self) -> None:
        self._reads_soon = False
        self._slow_bodies.read()
        self._read_bodies_soon()

    def _on_whole(self, unfinished: Unfinished, descriptor: int, body: bytes) -> None:
        if unfinished.answer:
            self._send_over(descriptor, unfinished.answer)
        elif self._running_bytes + len(body) > MOST_KEPT:
            self._on_late(unfinished, descriptor, True)
        else:
            self._running_bytes += len(body)
            self._running.do(
                partial(begin, self._application, unfinished, body, self._observers),
                partial(self._end_begun, descriptor, len(body)),
            )

    def _on_late(self, unfinished: Unfinished, descriptor: int, is_for_others: bool) -> None:
        failure = TooManySlowBodies() if is_for_others else BodyTooSlow(PATIENCE)
        answer = unfinished.answer or _answer_to(failure, unfinished.environ)
        self._send_over(descriptor, answer._replace(headers=[*answer.headers, CLOSE]))

    def _send_over(self, descriptor: int, answer: Answer) -> None:
        self._poll.register(descriptor, 0)
        self._writer.send(descriptor, answer.content)

    def _end_begun(
        self, descriptor: int, size: int, result: 'tuple[Reply, Parked | None] | Exception'
    ) -> None:
        """Answer a request that was run for the first time, or let it wait."""
        self._running_bytes -= size
        if isinstance(result, Exception):
            log.error('unexpected error', exc_info=result)
            os.close(descriptor)
            return
        reply, parked = result
        if parked:
            self._park(parked, descriptor)
            return
        if reply.looked and reply.looked.give_back:
            self._undo[descriptor] = reply.looked.give_back
        self._send_over(descriptor, reply.answer)

    # ------------------------------------------------------------ who goes

    def _end_time(self, number: int) -> None:
        guest = self._guests.get(number)
        if guest and not guest.waiter.is_trying:
            self._answer_otherwise(guest)
        elif guest:
            # One that is being tried is answered by what comes of that.
            self._lending.give_up(guest)

    def _answer_otherwise(self, guest: Guest) -> None:
        if not guest.waiter.is_trying:
            self._lines.leave(guest.waiter)
        self._answer(guest, guest.parked.otherwise)

    def _answer(
        self, guest: Guest, answer: Answer, found: int = 0, told: Sequence[Told] = ()
    ) -> None:
        self._dismiss(guest)
        # First: it is what the client waits for. The end of a stream says nothing.
        self._writer.send(guest.descriptor, b'' if guest.stream else answer.content)
        self._observers.end_noted(
            guest.parked.environ, answer.status, guest.parked.tried_at, found, told
        )

    def _dismiss(self, guest: Guest) -> None:
        del self._guests[guest.waiter.number]
        del self._by_descriptor[guest.descriptor]
        self._slow.discard(guest.waiter.number)
        self._count_claimants(guest.parked, -1)
        project = guest.parked.project
        self._by_project[project] -= 1
        if not self._by_project[project]:
            del self._by_project[project]
        self._count()

    def _count_claimants(self, parked: Parked, change: int) -> None:
        if parked.claim is not None:
            slot = slot_of(parked.queues[0])
            self._claimants[slot] += change
            self._map.set_here(slot, CLAIMANT if self._claimants[slot] else SOMEBODY)
            if not self._claimants[slot]:
                del self._claimants[slot]

    def _count(self) -> None:
        fallbacks = self._fallbacks + self._sweeps.fallbacks
        self._map.count(len(self._guests), self._refused, self._woken, self._gone, fallbacks)

    def _note_gone(self, guest: Guest, events: int) -> None:
        """Let a guest go whose client is gone, now or when its try has ended."""
        # The event may be of a connection that had this number just before.
        if events & (select.EPOLLHUP | select.EPOLLERR) and _is_broken(guest.descriptor):
            guest.is_gone = True
            if guest.waiter.is_trying:
                # Otherwise epoll would report it again and again.
                self._poll.modify(guest.descriptor, select.EPOLLONESHOT)
            else:
                self._lines.leave(guest.waiter)
                self.drop(guest)

    def drop(self, guest: Guest) -> None:
        """Close a connection whose client is gone; the router may still want an answer."""
        self._gone += 1
        self._answer(guest, guest.parked.otherwise)

    def is_there(self, guest: Guest) -> bool:
        """Whether its client is there."""
        if guest.is_gone:
            return False
        if guest.client is None:
            guest.client = self._client_of(guest.parked)
        return guest.client is None or self._clients.is_there(guest.client)

    def _reap(self) -> None:
        """Look at a part of the clients, and drop the guests of those that are gone."""
        if not self._to_reap:
            self._to_reap = list(self._guests.values())
            self._count()
        count = min(-(-len(self._guests) // REAPS) or 1, MOST_REAPED)
        part, self._to_reap = self._to_reap[:count], self._to_reap[count:]
        for guest in part:
            if guest.waiter.number not in self._guests or guest.waiter.is_trying:
                continue
            if not self.is_there(guest):
                self._lines.leave(guest.waiter)
                self.drop(guest)
        now = time.monotonic()
        self._writer.give_up(now)
        self._slow_bodies.give_up(now)
        self._timers.at(now + 1 / REAPS, self._reap)

    def _on_written(self, descriptor: int, is_sent: bool) -> None:
        if guest := self._by_descriptor.get(descriptor):
            # A stream that broke, or was not read.
            self._note_broken(guest)
        undo = self._undo.pop(descriptor, None)
        if undo and not is_sent:
            self._give_back(undo)

    def _give_back(self, undo: Callable[[], object]) -> None:
        # What cannot be given back now is ready when its claim lapses.
        self._asking.do(undo, lambda result: None)

    # ------------------------------------------------------------ streams

    def _send(self, guest: Guest, content: bytes) -> None:
        assert guest.stream
        guest.stream.sent_at = time.monotonic()
        self._writer.send(guest.descriptor, content, is_last=False)

    def _write_on(self, descriptor: int) -> None:
        self._writer.go_on(descriptor)
        guest = self._by_descriptor.get(descriptor)
        if guest and descriptor not in self._writer and guest.waiter.number in self._slow:
            self._slow.discard(guest.waiter.number)
            self._lines.call(guest.waiter)

    def _comment(self, number: int) -> None:
        """Have a stream say something now and then."""
        guest = self._guests.get(number)
        if guest is None or guest.stream is None:
            return
        due_at = guest.stream.sent_at + COMMENT_EVERY
        if time.monotonic() >= due_at:
            if guest.descriptor not in self._writer:
                self._send(guest, COMMENT)
            due_at = time.monotonic() + COMMENT_EVERY
        self._timers.at(due_at, self._comment, number)

    def _end_page(self, turn: Try, reply: 'Reply | Exception') -> None:
        """Send a page of a stream, and look for the next one."""
        guest: Guest = turn.waiter.parked
        assert guest.stream
        is_bad = isinstance(reply, Exception) or not reply.answer.status.startswith('200')
        is_away = isinstance(reply, Reply) and reply.is_unavailable
        stays = (
            not (is_bad and not is_away)
            and time.monotonic() < guest.until
            and guest.waiter.number in self._guests
            and self.is_there(guest)
        )
        self._lines.finish(turn, {}, is_full=False, stays=stays)
        if isinstance(reply, Exception):
            log.error('unexpected error', exc_info=reply)
        elif stays and not is_away:
            events, has_more = guest.stream.events(reply.answer)
            if events:
                self._send(guest, events)
            if has_more and guest.waiter.number in self._guests:
                self._lines.call(guest.waiter)
        if not stays and guest.waiter.number in self._guests:
            self._answer(guest, guest.parked.otherwise)

    def _note_broken(self, guest: Guest) -> None:
        """Forget a stream whose connection is closed."""
        self._dismiss(guest)
        parked = guest.parked
        self._observers.end_noted(parked.environ, parked.otherwise.status, parked.tried_at, 0)
        if not guest.waiter.is_trying:
            self._lines.leave(guest.waiter)

    # ------------------------------------------------------------ wakes

    def _wake(self, queue_id: int, count: int) -> None:
        """Handle the wake of a process of this service: messages of a queue became ready."""
        self._sweeps.wake(queue_id, count)
        if self._map.is_set_elsewhere(slot_of(queue_id)):
            self._neighbours.tell(queue_id, count)

    def _hear(self) -> None:
        for queue_id, count in self._neighbours.wakes():
            self._sweeps.wake(queue_id, count)
        for slot, is_warm in self._neighbours.changes():
            self._map.set_elsewhere(slot, is_warm)

    def _end_queue(self, queue_id: int) -> None:
        """Answer the requests that wait for a deleted queue, as those for a missing queue are."""
        for waiter in self._lines.waiters_of(queue_id):
            if not any(map(self._sweeps.exists, waiter.queues)):
                self._lines.leave(waiter)
                if waiter.parked.stream:
                    self._answer(waiter.parked, waiter.parked.parked.otherwise)
                    continue
                waiter.is_trying = True
                self._last_tries.append(waiter.parked)

    # ------------------------------------------------------------ tries

    def _begin_tries(self) -> None:
        while self._asking.is_any_free:
            if self._last_tries:
                guest = self._last_tries.popleft()
                self._asking.do(
                    partial(ask, self._application, guest.parked),
                    partial(self._end_last_try, guest),
                )
                continue
            turn = self._lines.next_try()
            if turn is None:
                return
            guest = turn.waiter.parked
            if guest.descriptor in self._writer and guest.stream:
                # A client that reads slowly: it is called once it has read.
                self._lines.finish(turn, {}, is_full=True, stays=True)
                self._slow.add(guest.waiter.number)
                continue
            if not self.is_there(guest):
                # The messages that it would have got are for the next waiter.
                self._lines.finish(turn, {}, is_full=True, stays=False)
                self.drop(guest)
                continue
            self._woken += 1
            if guest.stream:
                self._asking.do(
                    partial(guest.stream.ask, self._application), partial(self._end_page, turn)
                )
                continue
            self._asking.do(
                partial(ask, self._application, guest.parked), partial(self._end_try, turn)
            )

    def _end_try(self, turn: Try, reply: 'Reply | Exception') -> None:
        guest: Guest = turn.waiter.parked
        if isinstance(reply, Exception):
            log.error('unexpected error', exc_info=reply)
            self._lines.finish(turn, {}, is_full=False, stays=False)
            self._answer(guest, guest.parked.otherwise)
        elif reply.is_nothing or reply.is_unavailable:
            stays = time.monotonic() < guest.until and self.is_there(guest)
            self._lines.finish(turn, {}, is_full=False, stays=stays)
            if not stays:
                self._answer(guest, guest.parked.otherwise)
        elif reply.looked is None:
            # The request was refused. The messages are for the next waiter.
            self._lines.finish(turn, {}, is_full=True, stays=False)
            self._answer(guest, reply.answer)
        else:
            self._lines.finish(turn, reply.looked.found, reply.looked.is_full, stays=False)
            self.hand_out(guest, reply)

    # ------------------------------------------------------------ guests who are lent to posts

    def refuse(self, guest: Guest, reply: 'Reply | Exception | None') -> None:
        """Answer one that is out of its lines with what its request came to; None: with nothing found."""
        if isinstance(reply, Exception):
            log.error('unexpected error', exc_info=reply)
        self._answer(guest, reply.answer if isinstance(reply, Reply) else guest.parked.otherwise)

    def note_handed_over(self, queue: QueueKey) -> None:
        """A post has handed its message to one who is about to be answered."""
        self._woken += 1
        self._sweeps.note_handed_over(queue.id)
        if self._map.is_set_elsewhere(slot_of(queue.id)):
            self._neighbours.tell(queue.id, 1)

    def hand_out(self, guest: Guest, reply: Reply) -> None:
        """Answer one with what it got, or give that back if its client is gone."""
        undo = reply.looked and reply.looked.give_back
        if not self.is_there(guest):
            if undo:
                self._give_back(undo)
            self.drop(guest)
            return
        if undo:
            self._undo[guest.descriptor] = undo
        found = sum(reply.looked.found.values()) if reply.looked else 0
        self._answer(guest, reply.answer, found, reply.told)

    def _end_last_try(self, guest: Guest, reply: 'Reply | Exception') -> None:
        if isinstance(reply, Exception) or reply.is_unavailable:
            self._answer(guest, guest.parked.otherwise)
        else:
            self.hand_out(guest, reply)


def _answer_to(failure: MarconiError, environ: dict[str, Any]) -> Answer:
    door = door_of(environ, DOORS)
    reply = (door.error_reply if door else error_reply)(failure, environ)
    headers = finished(reply.status, list(reply.headerlist), environ, is_last=False)
    return Answer(reply.status, headers, b''.join(reply.app_iter))


def _is_broken(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, 0)
    return bool(poll.poll(0))
