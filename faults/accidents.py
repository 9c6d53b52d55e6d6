"""What goes wrong in a campaign, chosen by its seed."""

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import psycopg2

from faults.client import Client
from faults.crew import Crew
from faults.instances import Database, Instance
from faults.log import DONE, Log

# Seconds within which services must answer again after an accident.
_PATIENCE = 60.0


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
    seed: str, seconds: float, pace: float, fails_over: bool, only: Sequence[str] = ()
) -> list[Accident]:
    """The accidents of a run, of which the last quarter has only those that befall clients.

    :param pace: accidents a second
    :param fails_over: whether there is a standby that takes the place of a PostgreSQL that is killed
    :param only: what happens; else of all a share, by their weights
    """
    if only:
        return _plan(seed, seconds, pace, lambda at: dict.fromkeys(only, 1))
    all_kinds = {**OF_CLIENTS, **OF_SERVICES, **(OF_PAIRS if fails_over else OF_POSTGRES)}
    calm = seconds * 0.75
    return _plan(seed, seconds, pace, lambda at: OF_CLIENTS if at > calm else all_kinds)


def _plan(
    seed: str, seconds: float, pace: float, kinds_at: Callable[[float], dict[str, int]]
) -> list[Accident]:
    chance = random.Random(f'{seed} accidents')
    found, at = [], 0.0
    while (at := at + chance.expovariate(pace)) < seconds:
        kinds = kinds_at(at)
        [what] = chance.choices(list(kinds), weights=list(kinds.values()))
        found.append(Accident(at, what, chance.random()))
    return found


#: Each with its weight.
OF_CLIENTS = {'kill client': 25, 'pause client': 30}
OF_SERVICES = {
    'kill backend': 3,
    'end sessions': 8,
    'pause backend': 6,
    'pause post': 6,
    'kill worker or router': 12,
    'kill waiting room': 6,
    'kill janitor': 3,
    'kill delivery process': 6,
    'kill service': 2,
    'deafen waiting rooms': 4,
}


OF_POSTGRES = {'kill postmaster': 4, 'stop postmaster at once': 2}
OF_PAIRS = {'fail over': 6}


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
        self._happenings()[accident.what](random.Random(accident.choice))
        if stops:
            self.wait_until_healthy()
        self._log.end(call, DONE)

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

    def _happenings(self) -> dict[str, Callable[[random.Random], None]]:
        return {
            'kill client': self._kill_client,
            'pause client': self._pause_client,
            'kill postmaster': lambda _: _send(self._database.postmaster, signal.SIGKILL),
            'stop postmaster at once': lambda _: _send(self._database.postmaster, signal.SIGQUIT),
            'fail over': lambda _: self._database.fail_over(),
            'kill backend': self._kill_backend,
            'end sessions': lambda _: self._end_sessions('true'),
            'pause backend': self._pause_backend,
            'pause post': self._pause_post,
            'kill worker or router': self._kill_server,
            'kill waiting room': lambda chance: self._kill_part(chance, 'processes.waiting'),
            'kill janitor': lambda chance: self._kill_part(chance, 'expire --forever'),
            'kill delivery process': lambda chance: self._kill_part(chance, 'processes.delivery'),
            'kill service': self._kill_service,
            'deafen waiting rooms': lambda _: self._end_sessions(
                "application_name = 'marconi waiting'"
            ),
        }

    def _kill_client(self, chance: random.Random) -> None:
        _send(chance.choice(self._crew.pids('consume', 'pop', 'produce')), signal.SIGKILL)

    def _pause_client(self, chance: random.Random) -> None:
        pid = chance.choice(self._crew.pids('consume', 'pop', 'read', 'follow'))
        seconds = chance.choice((0.5, 2.5, 6))
        self._log.note('paused', client=self._crew.name_of(pid), seconds=seconds)
        self._pause(pid, seconds)

    def _kill_backend(self, chance: random.Random) -> None:
        if pid := self._stopped_backend():
            _send(pid, signal.SIGKILL)
            _send(pid, signal.SIGCONT)

    def _pause_backend(self, chance: random.Random) -> None:
        if pid := self._stopped_backend():
            self._paused.append((time.monotonic() + chance.choice((0.5, 2)), pid))

    def _pause_post(self, chance: random.Random) -> None:
        if pid := self._stopped_backend(_POSTS):
            self._paused.append((time.monotonic() + chance.choice((0.2, 1)), pid))

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

    def _end_sessions(self, condition: str) -> None:
        self._database.rows(
            'SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity'
            f" WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND {condition}"
        )

    def _kill_server(self, chance: random.Random) -> None:
        _send(chance.choice(chance.choice(self._instances).servers() or [0]), signal.SIGKILL)

    def _kill_part(self, chance: random.Random, word: str) -> None:
        _send(chance.choice(chance.choice(self._instances).part(word) or [0]), signal.SIGKILL)

    def _kill_service(self, chance: random.Random) -> None:
        # An embedded PostgreSQL lives on, and the next service takes it over.
        instance = chance.choice(self._instances)
        instance.kill()
        instance.start()

    def _pause(self, pid: int, seconds: float) -> None:
        _send(pid, signal.SIGSTOP)
        self._paused.append((time.monotonic() + seconds, pid))


def _send(pid: int, number: int) -> None:
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
