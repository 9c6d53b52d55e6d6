"""Runs in which the database goes back to what it was, by a restore or a failover, again and again.

A run has as many epochs as that happens, and one more. Each has a folder with its logs, and is judged
like a run of its own: the messages that the database had in the beginning count as posted then. What an
epoch ends with is compared with what the database went back to: it has all that was there at that
time, and nothing else.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from benchmarks.children import free_port
from faults import campaign, cast, machine, world
from faults.accidents import OF_CLIENTS, OF_SERVICES, Accident, Accidents, plan
from faults.checker import Report, check
from faults.client import Client
from faults.crew import Crew
from faults.instances import Database, Instance
from faults.log import DONE, NEVER, Log
from faults.pair import Pair
from faults.world import World
from marconi_api.processes import schema
from marconi_api.processes.embedded.cluster import LOCK_NAME, NAME, EmbeddedPostgres, programs_of
from marconi_api.processes.embedded.programs import program_directories

# Lives of a client in an epoch, at most: those of two epochs have numbers of their own.
_LIVES = 1000
# Seconds for which requests may be under way after their clients have gone.
_UNDER_WAY = 2.0

#: Seconds since 1970, from when and up to when the state can be to which the database goes back.
Past = tuple[float, float]


class Dump(Database):
    """A PostgreSQL that goes back to a dump, as docs/operating.md says."""

    def __init__(self, folder: Path, instances: Sequence[Instance]) -> None:
        self._instances = instances
        self._folder = folder

    def start(self) -> None:
        """Start it, and the services."""
        folder = self._folder
        self._instances[0].start()
        super().__init__(folder)
        self._dump = folder / 'marconi.dump'
        self._programs = programs_of(folder / 'state')
        self._environment = os.environ | {
            'PGHOST': str(folder / 'state'),
            'PGUSER': NAME,
            'PGDATABASE': NAME,
            'PATH': f'{self._programs}:{os.environ["PATH"]}',
        }
        self._instances[1].start({'MARCONI_DATABASE_URL': self.url})

    def remember(self) -> Past:
        """Make a dump while the services run."""
        began = time.time()
        self._shell('pg_dump --format=custom --file="$DUMP"')
        return began, time.time()

    def break_down(self) -> None:
        """Nothing breaks."""

    def go_back(self, log: Log) -> None:
        """Restore the dump, while a service runs at a port that no client knows."""
        campaign.keep(self, (log, 'kept'))
        for instance in self._instances:
            instance.stop()
        port = {'PORT': str(free_port())}
        own = {'PORT': str(self._instances[0].port)}
        self._instances[0].start(port)
        self._restore()
        self._instances[0].stop()
        self._instances[0].start(own)
        self._instances[1].start()

    def stop(self) -> None:
        """Stop it."""
        for instance in self._instances[::-1]:
            instance.stop()

    def _restore(self) -> None:
        for _ in range(_RESTORES):
            # PostgreSQL ends it where it and the service wait for each other; then nothing has changed.
            with contextlib.suppress(subprocess.CalledProcessError):
                return self._shell(
                    'pg_restore --file=- "$DUMP" | psql --quiet --no-psqlrc --single-transaction'
                    ' --set=ON_ERROR_STOP=1 --output=/dev/null'
                    ' --command="DROP SCHEMA public CASCADE" --command="CREATE SCHEMA public" --file=-'
                )
        raise SystemExit('the dump cannot be restored: it says above why')

    def _shell(self, command: str) -> None:
        environment = self._environment | {'DUMP': str(self._dump)}
        subprocess.run(['bash', '-o', 'pipefail', '-c', command], env=environment, check=True)


# How often a restore is tried.
_RESTORES = 5


class PointInTime(Database):
    """A PostgreSQL that goes back to a moment, by a base backup and an archive of its log."""

    def __init__(self, folder: Path, instances: Sequence[Instance]) -> None:
        self._instances = instances
        self._backup, archive = folder / 'backup', folder / 'archive'
        archive.mkdir()
        archive.chmod(0o777)
        options = (
            *('max_connections=120', 'archive_mode=on', 'archive_timeout=60'),
            f'archive_command=cp %p {archive}/%f',
            f'restore_command=cp {archive}/%f %p',
        )
        self._server = EmbeddedPostgres(folder / 'one', options=options)
        self._state = self._server.state_dir

    def start(self) -> None:
        """Start it, and the services, and make a backup to begin with."""
        self._server.start()
        self.url = self._server.url
        schema.upgrade(self.url)
        for instance in self._instances:
            instance.start({'MARCONI_DATABASE_URL': self.url})
        self._make_backup()

    def remember(self) -> Past:
        """Choose this moment."""
        self._moment = time.time()
        return self._moment, self._moment

    def break_down(self) -> None:
        """Nothing breaks."""

    def go_back(self, log: Log) -> None:
        """Restore the backup, and have PostgreSQL repeat what was committed up to the moment."""
        campaign.keep(self, (log, 'kept'))
        for instance in self._instances:
            instance.stop()
        # The last part of its log goes to the archive, too.
        self.rows('SELECT pg_switch_wal()')
        self._server.stop()
        data = self._server.data
        shutil.rmtree(data)
        shutil.copytree(self._backup, data, symlinks=True)
        at = datetime.fromtimestamp(self._moment, UTC)
        with (data / 'postgresql.auto.conf').open('a') as settings:
            settings.write(
                f"recovery_target_time = '{at:%Y-%m-%d %H:%M:%S.%f+00}'\n"
                "recovery_target_action = 'promote'\n"
            )
        (data / 'recovery.signal').touch()
        give_to_owner_of(self._backup, data)
        self._server.start()
        deadline = time.monotonic() + _RECOVERY
        while self.rows('SELECT 1 WHERE NOT pg_is_in_recovery()') == []:
            if time.monotonic() > deadline:
                raise SystemExit(f'the recovery does not end: see {self._server.log}')
            time.sleep(0.1)
        self.rows('ALTER SYSTEM RESET recovery_target_time')
        self._make_backup()
        for instance in self._instances:
            instance.start()

    def stop(self) -> None:
        """Stop it."""
        for instance in self._instances:
            instance.stop()
        self._server.stop()

    def _make_backup(self) -> None:
        shutil.rmtree(self._backup, ignore_errors=True)
        program = programs_of(self._server.state_dir) / 'pg_basebackup'
        options = ['-h', str(self._server.state_dir), '-U', NAME, '-D', str(self._backup)]
        subprocess.run([str(program), *options, '-c', 'fast', '--no-sync'], check=True, cwd='/')
        give_to_owner_of(self._server.data, self._backup)


_RECOVERY = 60.0


class ClockSetBack(Database):
    """A PostgreSQL that keeps all it has, and is killed and started again with a clock that was set back."""

    def __init__(self, folder: Path, instances: Sequence[Instance]) -> None:
        self._instances = instances
        self._skew = folder / 'skew'
        self._hours = 0
        self._skew.write_text('0')
        # PostgreSQL's user reads these.
        self._server = EmbeddedPostgres(
            folder / 'one', self._programs(folder), ('max_connections=120',)
        )
        self._state = self._server.state_dir

    def start(self) -> None:
        """Start it, and the services."""
        self._server.start()
        self.url = self._server.url
        schema.upgrade(self.url)
        for instance in self._instances:
            instance.start({'MARCONI_DATABASE_URL': self.url})

    def remember(self) -> Past:
        """All that is there stays."""
        return time.time(), NEVER

    def break_down(self) -> None:
        """Lose the server while clients work."""
        os.kill(self.postmaster, signal.SIGKILL)

    def go_back(self, log: Log) -> None:
        """Start the server with a clock that is an hour behind the former one."""
        self._hours += 1
        self._skew.write_text(str(-3600 * self._hours))
        self._server.start()
        campaign.keep(self, (log, 'kept'))
        [(seconds,)] = self.rows("SELECT date_part('epoch', now())::bigint")
        if abs(seconds + 3600 * self._hours - time.time()) > _LONGEST_START:
            raise SystemExit('the clock of PostgreSQL was not set back')

    def stop(self) -> None:
        """Stop it."""
        for instance in self._instances:
            instance.stop()
        self._server.stop()

    def _programs(self, folder: Path) -> Path:
        """A directory with PostgreSQL's programs, whose server has the clock of the file."""
        real = next(program_directories(None))
        programs = folder / 'programs'
        programs.mkdir()
        library = machine.with_clock(0, folder)['LD_PRELOAD']
        for program in ('initdb', 'pg_basebackup'):
            (programs / program).symlink_to(real / program)
        server = programs / 'postgres'
        server.write_text(
            f'#!/bin/sh\nFAULTS_SKEW=$(cat {self._skew}) LD_PRELOAD={library}'
            f' exec {real / "postgres"} "$@"\n'
        )
        server.chmod(0o755)
        return programs


_LONGEST_START = 60.0


class LaggingStandby(Pair):
    """A PostgreSQL that is lost, while its asynchronous standby has not all of its messages."""

    def __init__(self, folder: Path, instances: Sequence[Instance]) -> None:
        super().__init__(folder, is_synchronous=False)
        self._instances = instances

    def start(self) -> None:
        """Start both servers, and the services."""
        super().start()
        for instance in self._instances:
            instance.start({'MARCONI_DATABASE_URL': self.url})

    def remember(self) -> Past:
        """Have the standby lag from now on."""
        return self.cut_off(), time.time()

    def break_down(self) -> None:
        """Lose the server while clients work."""
        self.kill()

    def go_back(self, log: Log) -> None:
        """Have the standby take the place of the server; what that had is read, too."""
        time.sleep(_UNDER_WAY)
        self.promote()
        with _started_elsewhere(self.other) as former:
            campaign.keep(former, (log, 'kept'))
        self.follow()

    def stop(self) -> None:
        """Stop it."""
        for instance in self._instances:
            instance.stop()
        super().stop()


class _Former(Database):
    def __init__(self, server: EmbeddedPostgres) -> None:
        self.url = server.url


@contextlib.contextmanager
def _started_elsewhere(lost: EmbeddedPostgres) -> Iterator[Database]:
    """A server that was lost, where no service finds it; its data are gone after that."""
    state = lost.state_dir.with_name('former')
    state.mkdir(mode=0o700)
    (state / LOCK_NAME).touch(mode=0o600)
    lost.data.rename(state / 'data')
    former = EmbeddedPostgres(state)
    try:
        former.start()
        yield _Former(former)
    finally:
        former.stop()
        shutil.rmtree(state)


def give_to_owner_of(example: Path, directory: Path) -> None:
    """Let files belong to whom others belong."""
    owner = example.stat()
    for path in (directory, *directory.rglob('*')):
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


Returning = Dump | PointInTime | ClockSetBack | LaggingStandby

#: By the name that the accident has in logs.
KINDS: dict[str, Callable[[Path, Sequence[Instance]], Returning]] = {
    'restore a dump': Dump,
    'restore to a point in time': PointInTime,
    'set the clock back': ClockSetBack,
    'fail over to a lagging standby': LaggingStandby,
}


class Terms(msgspec.Struct):
    """What such a run is made of."""

    kind: str
    seed: str
    #: How often the database goes back.
    times: int
    #: For which clients work in an epoch.
    seconds: float
    #: Accidents a second.
    pace: float = 1.0


def run(terms: Terms, folder: Path) -> None:
    """Let it happen, and leave the logs in a folder for each epoch."""
    waits = KINDS[terms.kind] is ClockSetBack
    folders = [folder / f'epoch-{number:02}' for number in range(terms.times + 1)]
    for number, of_epoch in enumerate(folders):
        of_epoch.mkdir()
        # Only in the end is there time to claim all that can be claimed.
        is_last = number == terms.times
        # Once the clock was set back, groups wait until it is what it was (docs/reliability.md).
        is_drained = {
            queue.key: queue.is_drained and is_last and not (waits and queue.is_fifo)
            for queue in cast.QUEUES
        }
        queues = [
            msgspec.structs.replace(queue, has_webhook=False, is_drained=is_drained[queue.key])
            for queue in cast.QUEUES
        ]
        world.write(World(queues), of_epoch)
    with _database(terms.kind, folder) as (instances, database):
        ports = [instance.port for instance in instances]
        clients = [
            Client(Log(of_epoch / 'drain.log'), ports, random.Random(terms.seed), World(queues))
            for of_epoch in folders
        ]
        campaign.make_queues(clients[0])
        with campaign.proxies(instances, terms.seed) as proxied:
            for number, of_epoch in enumerate(folders):
                seed = f'{terms.seed}.{number}'
                crew = Crew(cast.HANDS, of_epoch, ports, proxied, seed, first_life=number * _LIVES)
                log = Log(of_epoch / 'accidents.log')
                accidents = Accidents(instances, database, crew, clients[number], log)
                is_last = number == terms.times
                following = None if is_last else folders[number + 1]
                _pass_epoch(terms, seed, crew, accidents, database, log, following)
        campaign.drain(clients[-1])
        campaign.keep(database, (Log(folders[-1] / 'database.log'), 'kept'))
        campaign.ask_for_statistics(clients[-1])


@contextlib.contextmanager
def _database(kind: str, folder: Path) -> Iterator[tuple[list[Instance], Returning]]:
    instances = [Instance('first', folder, 2), Instance('second', folder, 1)]
    database = KINDS[kind](folder, instances)
    try:
        database.start()
        yield instances, database
    finally:
        database.stop()


def _pass_epoch(
    terms: Terms,
    seed: str,
    crew: Crew,
    accidents: Accidents,
    database: Returning,
    log: Log,
    following: Path | None,
) -> None:
    """Let clients work, and the database go back to what it was amid that, unless this is the last."""
    half = terms.seconds / 2
    accidents.wait_until_healthy()
    crew.start()
    past = 0.0, 0.0
    try:
        campaign.pass_time(half, _accidents(f'{seed} first', half, terms.pace), crew, accidents)
        accidents.go_on(are_all=True)
        if following:
            past = database.remember()
        campaign.pass_time(half, _accidents(f'{seed} second', half, terms.pace), crew, accidents)
        accidents.go_on(are_all=True)
        if following:
            database.break_down()
    finally:
        accidents.go_on(are_all=True)
        crew.stop()
    if following:
        call = log.begin('accident', what=terms.kind, stops_service=True)
        log.note('past', since=past[0], until=past[1])
        database.go_back(log)
        accidents.wait_until_healthy()
        restored = Log(following / 'restored.log')
        campaign.keep(database, (log, 'remained'), (restored, 'restored'))
        log.end(call, DONE, befallen=1)


def _accidents(seed: str, seconds: float, pace: float) -> list[Accident]:
    return plan(seed, seconds, pace, False, {**OF_CLIENTS, **OF_SERVICES})


def check_epochs(folder: Path) -> list[Report]:
    """Judge the epochs of a run, each of which must give out higher ids than those before it."""
    reports: list[Report] = []
    for of_epoch in sorted(folder.glob('epoch-*')):
        last_id = max((report.last_id for report in reports), default='')
        reports.append(check(of_epoch, former_id=last_id))
    return reports
