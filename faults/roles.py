"""What the processes of a campaign do, each for as long as it lives."""

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from faults import world
from faults.client import Client, Held
from faults.log import Log
from faults.numbers import first_number


class Hand(NamedTuple):
    """A process to come: its name, what it does, and to which queues."""

    name: str
    role: Callable[['Work'], None]
    queues: Sequence[str]
    version: str = 'v2'
    #: Seconds for which it lets its requests wait.
    wait: int = 0
    #: Seconds between two of its posts or claims.
    pause: float = 0
    #: Whether none of its answers gets lost.
    is_direct: bool = False
    #: How many messages it posts at once, of which one is chosen each time.
    sizes: Sequence[int] = (1, 1, 1, 2, 5, 20)


class Work:
    """What a process has at hand, and how long it goes on."""

    def __init__(
        self, hand: Hand, life: int, folder: Path, ports: Sequence[int], seed: str
    ) -> None:
        self.hand = hand
        self.chance = random.Random(f'{seed} {hand.name} {life}')
        #: Of a producer, whose names end in a letter each: no two lives have the same.
        self.number = (ord(hand.name[-1]) << _LIFE_BITS) + life
        log = Log(folder / f'{hand.name}.{life}.log')
        self.client = Client(log, ports, self.chance, world.read(folder))
        self._is_over = False
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _stop(self, *_: Any) -> None:
        self._is_over = True

    @property
    def goes_on(self) -> bool:
        """Whether the process was not told to stop."""
        return not self._is_over

    def rest(self, seconds: float) -> None:
        """Do nothing for a while."""
        until = time.monotonic() + seconds
        while self.goes_on and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.2))


_LIFE_BITS = 16

#: Messages that a claim gets at once, at most.
BULK = 100

#: Seconds for which messages of the queues called ``brief`` live.
BRIEF = 4
#: Seconds for which claims hold their messages.
TERMS = (2, 3, 5)
#: Seconds by which posts and releases are delayed.
DELAYS = (1, 2, 3)


def produce(work: Work) -> None:
    """Post one message or several, with a key or without."""
    post, chance = 0, work.chance
    while work.goes_on:
        post += 1
        queue = chance.choice(work.hand.queues)
        is_brief = queue.endswith('/brief')
        may_be_delayed = work.hand.version == 'v2' and not queue.endswith('/log')
        work.client.post(
            queue,
            first_number(work.number, post),
            chance.choice(work.hand.sizes),
            ttl=BRIEF if is_brief else 3600,
            delay=chance.choice(DELAYS) if may_be_delayed and chance.random() < 0.1 else 0,
            has_key=chance.random() < 0.5,
            version=work.hand.version,
        )
        work.rest(chance.uniform(0, 0.06) + work.hand.pause)


def consume(work: Work) -> None:
    """Claim messages, and do with them what workers do, good ones and bad ones."""
    chance = work.chance
    queues = work.hand.queues
    while work.goes_on:
        across = len(queues) > 1 and chance.random() < 0.5
        chosen = list(queues) if across else [chance.choice(queues)]
        ttl = chance.choice(TERMS)
        limit = chance.choice((1, 3, 10, 20))
        messages = work.client.claim(
            chosen, limit, ttl, wait=work.hand.wait, version=work.hand.version
        )
        if messages:
            chance.choices(*_HABITS[work.hand.version])[0](work, messages, ttl)
        elif not work.hand.wait:
            work.rest(chance.uniform(0, 0.1))
        work.rest(work.hand.pause)


def consume_bulk(work: Work) -> None:
    """Claim a hundred messages at once, and give the verdicts on them in one request, or none."""
    while work.goes_on:
        ttl = work.chance.choice(TERMS)
        if messages := work.client.claim(work.hand.queues, BULK, ttl):
            work.chance.choices(*_HABITS_OF_BULK)[0](work, messages, ttl)
        else:
            work.rest(work.chance.uniform(0, 0.1))


def straggle(work: Work) -> None:
    """Claim messages that nobody else claims, and come too late with the verdicts."""
    while work.goes_on:
        ttl = min(TERMS)
        if messages := work.client.claim(work.hand.queues, 5, ttl):
            _come_late(work, messages, ttl)
        else:
            work.rest(0.1)


def _delete_each(work: Work, messages: list[Held], ttl: int) -> None:
    for message in messages:
        work.client.delete(message, work.hand.version)


def _delete_all(work: Work, messages: list[Held], ttl: int) -> None:
    work.client.judge([(message, 'delete', 0) for message in messages])


def _judge_all(work: Work, messages: list[Held], ttl: int) -> None:
    work.client.judge([(message, *verdict_on(work)) for message in messages])


def verdict_on(work: Work) -> tuple[str, int]:
    """A verdict of a worker, and its delay or its ttl."""
    [verdict] = work.chance.choices(('delete', 'release', 'later', 'touch'), weights=(80, 8, 6, 6))
    if verdict == 'later':
        return 'release', work.chance.choice(DELAYS)
    return verdict, work.chance.choice(TERMS) if verdict == 'touch' else 0


def _release_all(work: Work, messages: list[Held], ttl: int) -> None:
    for claim in sorted({message[3] for message in messages}):
        own = [message for message in messages if message[3] == claim]
        work.client.release(own, work.hand.version)


def renew_and_delete(work: Work, messages: list[Held], ttl: int) -> None:
    """Hold the messages of a claim for longer than its ttl."""
    own = [message for message in messages if message[3] == messages[0][3]]
    longest = max(TERMS)
    # Shortly before it would lapse; the verdicts come after that.
    work.rest(ttl - 0.6)
    work.client.renew(own, longest, work.hand.version)
    work.rest(1.2)
    _delete_each(work, own, ttl)


def leave(work: Work, messages: list[Held], ttl: int) -> None:
    """Leave the claim to lapse."""


def _come_late(work: Work, messages: list[Held], ttl: int) -> None:
    """Give verdicts once the claim has lapsed, or nearly."""
    work.rest(ttl + work.chance.choice((-0.05, 0.02, 0.3)))
    ways = [_delete_each, _release_all, *([_judge_all] if work.hand.version == 'v2' else [])]
    work.chance.choice(ways)(work, messages, ttl)


def be_killed(work: Work, messages: list[Held], ttl: int) -> None:
    """Be killed between the claim and the delete."""
    os.kill(os.getpid(), signal.SIGKILL)


_Habit = Callable[[Work, list[Held], int], None]
_OLD: dict[_Habit, int] = {
    _delete_each: 70,
    _release_all: 8,
    renew_and_delete: 8,
    leave: 6,
    _come_late: 6,
    be_killed: 2,
}
_HABITS: dict[str, tuple[list[_Habit], list[int]]] = {
    'v1': (list(_OLD), list(_OLD.values())),
    'v2': ([*_OLD, _judge_all], [*_OLD.values(), 60]),
}
_HABITS_OF_BULK: tuple[list[_Habit], list[int]] = (
    [_delete_all, _judge_all, _release_all, leave, be_killed],
    [84, 6, 4, 3, 3],
)


def pop(work: Work) -> None:
    """Pop messages."""
    while work.goes_on:
        queue = work.chance.choice(work.hand.queues)
        if not work.client.pop(queue, work.chance.choice((1, 5, 20)), work.hand.wait):
            work.rest(0 if work.hand.wait else 0.05)


def read(work: Work) -> None:
    """Follow the marker of a queue, with all messages in sight."""
    _read(work, sees_all=True)


def read_ready(work: Work) -> None:
    """The same with those that are ready."""
    _read(work, sees_all=False)


def _read(work: Work, sees_all: bool) -> None:
    [queue] = work.hand.queues
    marker: str = ''
    while work.goes_on:
        following = work.client.read(queue, marker, sees_all, work.hand.version)
        if following in (None, marker):
            work.rest(work.chance.uniform(0, 0.1))
        marker = following or marker


def follow(work: Work) -> None:
    """Follow a queue by streams, each for a while."""
    [queue] = work.hand.queues
    marker = ''
    while work.goes_on:
        marker = work.client.follow(queue, marker, work.chance.uniform(1, 4))
