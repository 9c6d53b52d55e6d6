"""The waiting rooms of other services on the same database, and what they tell each other.

A room announces the slots of the map for which it has waiters. When messages become ready by workers of
another service, that service's room sends a notification if the slot was announced. The workers do not
send it, so a post never waits for PostgreSQL's lock on notifications.
An announcement holds for a minute and is repeated; a room that was killed is forgotten.

All this only saves time: the next sweep finds what a lost notification would have told.
"""

import contextlib
import logging
import os
import select
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from math import inf
from uuid import uuid4

from marconi_api.model.postgres.notifications import LONGEST, Error, Notifications

log = logging.getLogger(__name__)

# Seconds.
ANNOUNCE_EVERY = 20.0
FORGET_AFTER = 60.0
# A notification that is not heard within this time shows that notifications do not arrive at all.
HEAR_WITHIN = 1.0
# Wakes are gathered for so long, except for the first one.
GATHER = 0.01
_NOT_HEARD = (
    'notifications do not arrive, as behind a pooler: messages that come through another service '
    'wake waiting requests by the sweep alone (set waiting.notifications_url; docs/waiting.md)'
)
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
STOP_PATIENCE = 1.0


class Neighbours:
    """Talks with the other rooms in a thread of its own.

    :param connect: opens a session for notifications
    """

    def __init__(self, connect: Callable[[], Notifications]) -> None:
        self._connect = connect
        self._name = uuid4().hex[:12]
        #: Whether notifications arrive.
        self.hears = False
        self._lock = threading.Lock()
        #: Nobody was heard yet: then nobody needs to be told. Whoever comes asks, or announces.
        self._is_alone = True
        self._own: set[int] = set()
        self._news: list[str] = []
        self._wakes_to_tell: Counter[int] = Counter()
        self._heard_wakes: deque[tuple[int, int]] = deque()
        self._heard_changes: deque[tuple[int, bool]] = deque()
        self._leases: dict[int, dict[str, float]] = defaultdict(dict)
        self._is_stopping = False
        self._to_loop, self._from_thread = _pipe()
        self._to_thread, self._from_loop = _pipe()
        self._thread = threading.Thread(target=self._run, name='neighbours', daemon=True)

    def start(self) -> None:
        """Begin to talk."""
        self._thread.start()

    # ------------------------------------------------------------ for the loop

    def fileno(self) -> int:
        """Can be read when something was heard."""
        return self._to_loop

    def warm(self, slot: int) -> None:
        """Announce that somebody waits here for a queue of the slot."""
        with self._lock:
            self._own.add(slot)
            self._news.append(f'+{slot:x}')
        _poke(self._from_loop)

    def cool(self, slot: int) -> None:
        """Announce that nobody waits here any more for a queue of the slot."""
        with self._lock:
            self._own.discard(slot)
            self._news.append(f'-{slot:x}')
        _poke(self._from_loop)

    def tell(self, queue_id: int, count: int) -> None:
        """Tell the others that so many messages became ready."""
        with self._lock:
            self._wakes_to_tell[queue_id] += count
        _poke(self._from_loop)

    def wakes(self) -> Iterator[tuple[int, int]]:
        """What others told since this was last asked: queues, and how many messages."""
        _drain(self._to_loop)
        while self._heard_wakes:
            yield self._heard_wakes.popleft()

    def changes(self) -> Iterator[tuple[int, bool]]:
        """Slots for which somebody waits elsewhere from now on, or does not any more."""
        while self._heard_changes:
            yield self._heard_changes.popleft()

    def stop(self) -> None:
        """Tell the other rooms that this one ends, and end the thread."""
        self._is_stopping = True
        _poke(self._from_loop)
        if self._thread.is_alive():
            self._thread.join(STOP_PATIENCE)

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        pause = FIRST_PAUSE
        is_told = False
        while not self._is_stopping:
            try:
                with contextlib.closing(self._connect()) as session:
                    pause, is_told = FIRST_PAUSE, False
                    self._talk(session)
            except Error as error:
                if not is_told:
                    log.warning('no notifications between services: %s', str(error).strip())
                is_told = True
            self.hears = False
            if not self._is_stopping:
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _talk(self, session: Notifications) -> None:
        """Talk over a session until it breaks, or it is time to stop."""
        session.notify(f'? {self._name}')
        if not session.is_direct:
            log.warning(_NOT_HEARD)
        announce_at, tested_at, told_at = 0.0, inf, 0.0
        is_test_told = False
        while not self._is_stopping:
            now = time.monotonic()
            if now >= announce_at:
                announce_at = now + ANNOUNCE_EVERY
                self._announce(session)
                session.notify(f't {self._name}')
                tested_at = now
                self._forget_old(now)
            if self._wakes_to_tell and now >= told_at + GATHER:
                told_at = now
                self._tell_wakes(session)
            self._tell_news(session)
            wait_until = min(announce_at, tested_at + HEAR_WITHIN)
            if self._wakes_to_tell:
                wait_until = min(wait_until, told_at + GATHER)
            # What arrived with an answer is there already.
            payloads = session.heard()
            if not payloads:
                seconds = max(0.0, wait_until - time.monotonic())
                waiting = select.poll()
                waiting.register(session, select.POLLIN)
                waiting.register(self._to_thread, select.POLLIN)
                waiting.poll(seconds * 1000)
                payloads = session.heard()
            _drain(self._to_thread)
            for payload in payloads:
                if payload == f't {self._name}':
                    self.hears, tested_at = session.is_direct, inf
                else:
                    self._note(session, payload)
            if time.monotonic() >= tested_at + HEAR_WITHIN:
                tested_at = inf
                self.hears = False
                if not is_test_told:
                    is_test_told = True
                    log.warning(_NOT_HEARD)
        session.notify(f'. {self._name}')

    def _announce(self, session: Notifications) -> None:
        with self._lock:
            self._news.clear()
            own = sorted(self._own)
        for payload in _packed(f'+ {self._name}', (f'{slot:x}' for slot in own)):
            session.notify(payload)

    def _tell_news(self, session: Notifications) -> None:
        with self._lock:
            news, self._news = self._news, []
        if self._is_alone:
            return
        for sign in '+-':
            slots = [item[1:] for item in news if item[0] == sign]
            # What was announced and withdrawn since, or the other way round, is as it is now.
            slots = [slot for slot in slots if (int(slot, 16) in self._own) == (sign == '+')]
            for payload in _packed(f'{sign} {self._name}', slots):
                session.notify(payload)

    def _tell_wakes(self, session: Notifications) -> None:
        with self._lock:
            wakes, self._wakes_to_tell = self._wakes_to_tell, Counter()
        told = (f'{queue_id:x}:{count}' for queue_id, count in wakes.items())
        for payload in _packed(f'! {self._name}', told):
            session.notify(payload)

    def _note(self, session: Notifications, payload: str) -> None:
        kind, name, *items = payload.split(' ')
        if name == self._name:
            return
        if self._is_alone:
            self._is_alone = False
            self._announce(session)
        if kind == '!':
            for item in items:
                queue_id, _, count = item.partition(':')
                self._heard_wakes.append((int(queue_id, 16), int(count)))
        elif kind == '?':
            self._announce(session)
        elif kind == '+':
            until = time.monotonic() + FORGET_AFTER
            for item in items:
                slot = int(item, 16)
                if not self._leases[slot]:
                    self._heard_changes.append((slot, True))
                self._leases[slot][name] = until
        elif kind == '-':
            self._forget((int(item, 16) for item in items), lambda other, _: other == name)
        elif kind == '.':
            self._forget(list(self._leases), lambda other, _: other == name)
        _poke(self._from_thread)

    def _forget_old(self, now: float) -> None:
        self._forget(list(self._leases), lambda _, until: until <= now)
        _poke(self._from_thread)

    def _forget(self, slots: Iterable[int], is_over: Callable[[str, float], bool]) -> None:
        for slot in slots:
            leases = self._leases.get(slot)
            if leases is None:
                continue
            for name in [name for name, until in leases.items() if is_over(name, until)]:
                del leases[name]
            if not leases:
                del self._leases[slot]
                self._heard_changes.append((slot, False))


def _packed(start: str, items: Iterable[str]) -> Iterator[str]:
    """The items behind the start of a payload, in as many payloads as it takes."""
    payload = start
    for item in items:
        if len(payload) + 1 + len(item) > LONGEST:
            yield payload
            payload = start
        payload += f' {item}'
    if payload != start:
        yield payload


def _pipe() -> tuple[int, int]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    return reader, writer


def _poke(writer: int) -> None:
    # A full pipe wakes as well.
    with contextlib.suppress(BlockingIOError):
        os.write(writer, b'.')


def _drain(reader: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while len(os.read(reader, 4096)) == 4096:
            pass
