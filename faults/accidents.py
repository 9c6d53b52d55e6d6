"""What goes wrong in a campaign, chosen by its seed."""

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import psycopg2

from faults.cast import CONSUMERS, PRODUCERS, READERS
from faults.client import Client
from faults.crew import Crew
from faults.instances import Database, Instance
from faults.log import DONE, Log

# Seconds within which services must answer again after an accident.
_PATIENCE = 60.0
# Seconds at the end in which services have no accidents, so that it is seen whether requests wait too long.
_CALM = 30.0
#: Clients that are killed, or paused, at the same time, at most.
CROWD = 4

# Looks for a session amid a transaction; each takes less than a millisecond.
_LOOKS = 300
_WRITERS = """
    SELECT pid FROM pg_stat_activity
     WHERE application_name = 'marconi' AND backend_xid IS NOT NULL AND {}"""
_POSTS = "query LIKE 'EXECUTE marconi_post%'"


class Accident(NamedTuple):
    """What is to happen, and how many seconds after the start; ``choice``, below 1, says to whom."""

    at: float
    what: str
    choice: float


def plan(
    seed: str,
    seconds: float,
    pace: float,
    fails_over: bool,
    weights: Mapping[str, float] | None = None,
) -> list[Accident]:
    """The accidents of a run, which end with a while that has only those that befall clients.

    :param pace: accidents a second
    :param fails_over: whether there is a standby that takes the place of a PostgreSQL that is killed
    :param weights: what happens, and how often beside the others
    """
    if weights is None:
        weights = {**OF_CLIENTS, **OF_SERVICES, **(OF_PAIRS if fails_over else OF_POSTGRES)}
    of_clients = {what: weight for what, weight in weights.items() if what in OF_CLIENTS}
    # What is to happen alone happens all the time.
    calm = seconds - min(seconds / 4, _CALM) if of_clients else seconds
    return _plan(seed, seconds, pace, lambda at: of_clients if at > calm else weights)


def _plan(
    seed: str, seconds: float, pace: float, kinds_at: Callable[[float], Mapping[str, float]]
) -> list[Accident]:
    chance = random.Random(f'{seed} accidents')
    found, at = [], 0.0
    while (at := at + chance.expovariate(pace)) < seconds:
        kinds = kinds_at(at)
        [what] = chance.choices(list(kinds), weights=list(kinds.values()))
        found.append(Accident(at, what, chance.random()))
    return found


#: Each with its weight.
OF_CLIENTS = {
    'kill producer': 10,
    'kill consumers': 15,
    'pause consumers': 20,
    'pause reader': 10,
}
OF_SERVICES = {
    'kill backend': 3,
    'end sessions': 8,
    'pause backend': 6,
    'pause post': 6,
    'kill worker': 9,
    'kill router': 3,
    'kill waiting room': 6,
    'kill janitor': 3,
    'kill delivery process': 6,
    'kill service': 2,
    'deafen waiting rooms': 4,
}


OF_POSTGRES = {'kill postmaster': 4, 'stop postmaster at once': 2}
OF_PAIRS = {'fail over': 6}
OF_DISKS = {'fill the disk': 8}


class Accidents:
    """Lets them happen, and notes them."""

    def __init__(
        self,
        instances: Sequence[Instance],
        database: Database,
        crew: Crew,
        client: Client,
        log: Log,
    ) -> None:
        self._instances = instances
        self._database = database
        self._crew = crew
        self._client = client
        self._log = log
        self._paused: list[tuple[float, int]] = []

    def happen(self, accident: Accident) -> None:
        """Let one happen. One that stops the service lasts until that answers again."""
        stops = accident.what not in OF_CLIENTS
        call = self._log.begin('accident', what=accident.what, stops_service=stops)
        befallen = self._happenings()[accident.what](random.Random(accident.choice))
        if stops and befallen:
            self.wait_until_healthy()
        self._log.end(call, DONE, befallen=befallen)

    def go_on(self, are_all: bool = False) -> None:
        """Let those go on that were paused, and whose time is over."""
        for due, pid in list(self._paused):
            if are_all or time.monotonic() >= due:
                _send(pid, signal.SIGCONT)
                self._paused.remove((due, pid))

    def wait_until_healthy(self) -> None:
        """Return when each service has answered."""
        deadline = time.monotonic() + _PATIENCE
        for instance in self._instances:
            while not self._client.is_healthy(instance.port):
                self.go_on()
                if time.monotonic() > deadline:
                    raise SystemExit(f'{instance.name} does not answer any more: see its .err')
                time.sleep(0.05)

    def _happenings(self) -> dict[str, Callable[[random.Random], int]]:
        """By their names; each says how many processes it befell."""
        return {
            'kill producer': self._kill_producer,
            'kill consumers': self._kill_consumers,
            'pause consumers': self._pause_consumers,
            'pause reader': self._pause_reader,
            'kill postmaster': lambda _: _send(self._database.postmaster, signal.SIGKILL),
            'stop postmaster at once': lambda _: _send(self._database.postmaster, signal.SIGQUIT),
            'fill the disk': self._fill_disk,
            'fail over': lambda _: self._database.fail_over(),
            'kill backend': self._kill_backend,
            'end sessions': lambda _: self._end_sessions('true'),
            'pause backend': self._pause_backend,
            'pause post': self._pause_post,
            'kill worker': lambda chance: _kill_one(chance, self._instance(chance).workers()),
            'kill router': lambda chance: _kill_one(chance, self._instance(chance).routers()),
            'kill waiting room': lambda chance: self._kill_part(chance, 'processes.waiting'),
            'kill janitor': lambda chance: self._kill_part(chance, 'expire --forever'),
            'kill delivery process': lambda chance: self._kill_part(chance, 'processes.delivery'),
            'kill service': self._kill_service,
            'deafen waiting rooms': lambda _: self._end_sessions(
                "application_name = 'marconi waiting'"
            ),
        }

    def _fill_disk(self, chance: random.Random) -> int:
        disk = self._database.disk
        assert disk is not None
        disk.fill()
        until = time.monotonic() + chance.choice((1, 4))
        while time.monotonic() < until:
            self.go_on()
            self._crew.start_again()
            time.sleep(0.02)
        disk.free()
        return 1

    def _kill_producer(self, chance: random.Random) -> int:
        return _kill_one(chance, self._crew.pids(*PRODUCERS))

    def _kill_consumers(self, chance: random.Random) -> int:
        return sum(_send(pid, signal.SIGKILL) for pid in self._crowd(chance))

    def _pause_consumers(self, chance: random.Random) -> int:
        """Pause some beyond the end of their claims, or nearly."""
        paused = {pid for _, pid in self._paused}
        crowd = [pid for pid in self._crowd(chance) if pid not in paused]
        return sum(self._pause_client(pid, chance.choice((0.5, 2.5, 6))) for pid in crowd)

    def _crowd(self, chance: random.Random) -> list[int]:
        return chance.sample(self._crew.pids(*CONSUMERS), chance.randint(1, CROWD))

    def _pause_reader(self, chance: random.Random) -> int:
        pid = chance.choice(self._crew.pids(*READERS))
        return self._pause_client(pid, chance.choice((0.5, 2.5, 6)))

    def _pause_client(self, pid: int, seconds: float) -> int:
        self._log.note('paused', client=self._crew.name_of(pid), seconds=seconds)
        self._paused.append((time.monotonic() + seconds, pid))
        return _send(pid, signal.SIGSTOP)

    def _kill_backend(self, chance: random.Random) -> int:
        return _send(self._stopped_backend(), signal.SIGKILL)

    def _pause_backend(self, chance: random.Random) -> int:
        return self._leave_stopped(self._stopped_backend(), chance.choice((0.5, 2)))

    def _pause_post(self, chance: random.Random) -> int:
        return self._leave_stopped(self._stopped_backend(_POSTS), chance.choice((0.2, 1)))

    def _leave_stopped(self, pid: int, seconds: float) -> int:
        if pid:
            self._paused.append((time.monotonic() + seconds, pid))
        return int(pid > 0)

    def _stopped_backend(self, condition: str = 'true') -> int:
        """A session that is stopped amid a transaction that writes; 0 if none is found soon."""
        writers = _WRITERS.format(condition)
        with (
            contextlib.suppress(psycopg2.Error),
            contextlib.closing(self._database.connect()) as it,
        ):
            cursor = it.cursor()
            for _ in range(_LOOKS):
                cursor.execute(writers)
                for (pid,) in cursor.fetchall():
                    _send(pid, signal.SIGSTOP)
                    cursor.execute(writers)
                    if (pid,) in cursor.fetchall():
                        return int(pid)
                    _send(pid, signal.SIGCONT)
        return 0

    def _end_sessions(self, condition: str) -> int:
        ended = self._database.rows(
            'SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity'
            f" WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND {condition}"
        )
        return ended[0][0] if ended else 0

    def _kill_part(self, chance: random.Random, word: str) -> int:
        return _kill_one(chance, self._instance(chance).part(word))

    def _kill_service(self, chance: random.Random) -> int:
        # An embedded PostgreSQL lives on, and the next service takes it over.
        instance = self._instance(chance)
        instance.kill()
        instance.start_again()
        return 1

    def _instance(self, chance: random.Random) -> Instance:
        return chance.choice(self._instances)


def _kill_one(chance: random.Random, pids: Sequence[int]) -> int:
    return _send(chance.choice(pids), signal.SIGKILL) if pids else 0


def _send(pid: int, number: int) -> int:
    """Send a signal; 1 if there was such a process."""
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            return 1
    return 0
