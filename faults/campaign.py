"""A run: services, clients, accidents, and in the end all that the database has."""

import contextlib
import os
import random
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec

from faults import proxy, receiver, roles, world
from faults.accidents import OF_CLIENTS, OF_DISKS, Accident, Accidents, plan
from faults.cast import CONSUMERS, HANDS, PRODUCERS, QUEUES
from faults.client import Client
from faults.crew import Crew, forked
from faults.groups import place_in
from faults.instances import Database, Instance
from faults.log import Log
from faults.machine import small_disk, with_clock
from faults.numbers import number_in, number_of_copy
from faults.pair import Pair
from faults.world import World
from tests.pooler import pgbouncer

# How often a claim that drains a queue may fail.
_TRIES = 10

# MiB of a disk that is full for a while: PostgreSQL keeps up to a gigabyte of its log.
_SMALL = 1500

# Seconds for which the claims that drain the queues hold what they get.
_DRAINING = 600
_QUIET = max(roles.TERMS) + max(roles.DELAYS)

# Seconds between two questions whether it is enough.
_ASKING = 3.0

# Seconds within which webhooks have got all, once there are no accidents.
_DELIVERING = 60.0
# The same of redrives.
_REDRIVING = 60.0
#: What is refused is sent again soon, and often.
_OPTIONS: dict[str, object] = {
    '_timeout': 2,
    '_retry_policy': {
        'retries_with_no_delay': 1,
        'minimum_delay': 1,
        'minimum_delay_retries': 200,
        'maximum_delay': 11,
    },
}


class Terms(msgspec.Struct):
    """What a run is made of: it can be played again with the same."""

    seed: str
    #: For which clients work, and accidents happen.
    seconds: float
    #: Accidents a second.
    pace: float = 1.0
    #: Whether PostgreSQL has a standby, which takes its place when it is killed.
    has_standby: bool = False
    #: Whether the second service reaches PostgreSQL through a PgBouncer.
    has_pooler: bool = False
    #: Seconds by which the clock of the second service is ahead.
    skew: int = 0
    #: Whether PostgreSQL has a disk of its own, which is full for a while now and then.
    has_small_disk: bool = False
    #: What happens, and how often beside the others; if nothing is named, all does.
    weights: Mapping[str, float] | None = None
    #: The defect that services have; '' for none.
    defect: str = ''


_TERMS = 'terms.json'
# The directories of PostgreSQL.
_STATES = 'state', 'one', 'other'


def terms_of(folder: Path) -> Terms:
    """Those of a run of which the folder remains."""
    return msgspec.json.decode((folder / _TERMS).read_bytes(), type=Terms)


def new_folder() -> Path:
    """A folder for a run, into which the PostgreSQL of another user can go."""
    folder = Path(tempfile.mkdtemp(prefix='marconi-faults-'))
    os.chmod(folder, 0o755)
    return folder


def run(terms: Terms, folder: Path, is_enough: Callable[[], bool] = lambda: False) -> bool:
    """Let it happen, and leave the logs in the folder; whether it came to its end.

    :param is_enough: asked every few seconds; once it is true, the run is broken off
    """
    (folder / _TERMS).write_bytes(msgspec.json.encode(terms))
    world.write(World(QUEUES), folder)
    with services(terms, folder) as (instances, database):
        ports = [it.port for it in instances]
        log_of_end = Log(folder / 'drain.log')
        client = Client(log_of_end, ports, random.Random(terms.seed), World(QUEUES))
        make_queues(client)
        with _receivers(client, folder, terms.seed), proxies(instances, terms.seed) as proxied:
            # Half of all requests go through a proxy that loses answers.
            crew = Crew(HANDS, folder, ports, proxied, terms.seed)
            log = Log(folder / 'accidents.log')
            accidents = Accidents(instances, database, crew, client, log)
            if _let_happen(terms, crew, accidents, is_enough):
                return False
            wait_for_redrives(database)
            drain(client)
            _wait_for_deliveries(database)
        keep(database, (Log(folder / 'database.log'), 'kept'))
        ask_for_statistics(client)
    for state in _STATES:
        shutil.rmtree(folder / state, ignore_errors=True)
    return True


def ask_for_statistics(client: Client) -> None:
    """Note how many messages the service says that each queue has."""
    for queue in QUEUES:
        for version in ('v1', 'v2'):
            client.statistics(queue.key, version)


@contextlib.contextmanager
def services(terms: Terms, folder: Path) -> Iterator[tuple[list[Instance], Database]]:
    """Two services on one PostgreSQL, as long as this lasts."""
    instances = [
        Instance('first', folder, 2, terms.defect),
        Instance('second', folder, 1, terms.defect),
    ]
    with contextlib.ExitStack() as started:
        if terms.has_standby:
            pair = Pair(folder)
            started.callback(pair.stop)
            pair.start()
            database: Database = pair
        else:
            disk = None
            if terms.has_small_disk:
                disk = started.enter_context(small_disk(folder / 'state', _SMALL))
            started.callback(Database.stop_at, folder)
            started.callback(instances[0].stop)
            instances[0].start()
            database = Database(folder, disk)
        settings: dict[str, str] = {'MARCONI_DATABASE_URL': database.url}
        if terms.has_pooler:
            directory = folder / 'pooler'
            directory.mkdir()
            settings = {
                'MARCONI_DATABASE_URL': started.enter_context(pgbouncer(database.url, directory)),
                'MARCONI_NOTIFICATIONS_URL': database.url,
            }
        for instance in instances[not terms.has_standby :]:
            started.callback(instance.stop)
            is_skewed = terms.skew and instance.name == 'second'
            instance.start({**settings, **(with_clock(terms.skew, folder) if is_skewed else {})})
        started.callback(_keep_logs_of_postgresql, folder)
        yield instances, database


def _keep_logs_of_postgresql(folder: Path) -> None:
    for state in _STATES:
        with contextlib.suppress(FileNotFoundError):
            shutil.copy(folder / state / 'log', folder / f'postgresql-{state}.err')


def make_queues(client: Client) -> None:
    """Make all queues of a campaign."""
    for queue in QUEUES:
        metadata: dict[str, object] = {}
        if queue.most_claims:
            metadata['_max_claim_count'] = queue.most_claims
        if queue.dead_letters:
            metadata['_dead_letter_queue'] = queue.dead_letters
        if queue.is_fifo:
            metadata |= {'_fifo': True, '_content_based_deduplication': True}
        if client.make_queue(queue.key, metadata) not in (201, 204):
            raise SystemExit(f'{queue.key} could not be made')
    for source in QUEUES:
        for copy in World(QUEUES).copies_of(source.key):
            if client.subscribe(source.key, f'queue:{copy.name}', {}) != 201:
                raise SystemExit(f'{copy.key} could not be subscribed')


def pass_time(
    seconds: float,
    to_come: list[Accident],
    crew: Crew,
    accidents: Accidents,
    is_enough: Callable[[], bool] = lambda: False,
) -> bool:
    """Let accidents happen to a crew that works; whether it was enough before the time was over."""
    began = asked = time.monotonic()
    while (now := time.monotonic() - began) < seconds:
        accidents.go_on()
        if to_come and now >= to_come[0].at:
            accidents.happen(to_come.pop(0))
        crew.start_again()
        if time.monotonic() - asked > _ASKING:
            if is_enough():
                return True
            asked = time.monotonic()
        time.sleep(0.02)
    return False


@contextlib.contextmanager
def _receivers(client: Client, folder: Path, seed: str) -> Iterator[None]:
    """Webhooks of the queues that have one, as long as this lasts."""
    with contextlib.ExitStack() as running:
        for queue in QUEUES:
            if queue.has_webhook:
                listener = running.enter_context(socket.create_server(('127.0.0.1', 0)))
                url = f'http://127.0.0.1:{listener.getsockname()[1]}/'
                if client.subscribe(queue.key, url, _OPTIONS) != 201:
                    raise SystemExit(f'{queue.key} could not be subscribed')
                log = Log(folder / f'receiver-of-{queue.name}.log')
                work = partial(receiver.run, listener, queue.key, log, random.Random(seed))
                running.enter_context(_process(work))
        yield


@contextlib.contextmanager
def _process(work: Callable[[], None]) -> Iterator[None]:
    pid = forked(work)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@contextlib.contextmanager
def proxies(instances: Sequence[Instance], seed: str) -> Iterator[list[int]]:
    """The ports of proxies in front of services, as long as this lasts."""
    ports = []
    with contextlib.ExitStack() as running:
        for instance in instances:
            listener = running.enter_context(socket.create_server(('127.0.0.1', 0)))
            chance = random.Random(f'{seed} proxy of {instance.name}')
            running.enter_context(_process(partial(proxy.run, listener, instance.port, chance)))
            ports.append(listener.getsockname()[1])
        yield ports


def _let_happen(
    terms: Terms, crew: Crew, accidents: Accidents, is_enough: Callable[[], bool]
) -> bool:
    """Let clients work and accidents happen; whether it was enough before the time was over."""
    weights = terms.weights
    if weights is None and terms.has_small_disk:
        weights = {**OF_CLIENTS, **OF_DISKS}
    to_come = plan(terms.seed, terms.seconds, terms.pace, terms.has_standby, weights)
    crew.start()
    try:
        if pass_time(terms.seconds, to_come, crew, accidents, is_enough):
            return True
        accidents.go_on(are_all=True)
        accidents.wait_until_healthy()
        crew.stop(*PRODUCERS)
        crew.stop(*CONSUMERS)
        # Readers come to the end of their queues.
        time.sleep(1)
        return False
    finally:
        accidents.go_on(are_all=True)
        crew.stop()


def drain(client: Client) -> None:
    """Claim all that can be claimed, once all claims and delays of clients are over."""
    time.sleep(_QUIET)
    for queue in QUEUES:
        empty, failed = 0, 0
        # One empty answer may mean that dead letters were put away.
        while queue.is_drained and empty < 2:
            found = client.claim([queue.key], roles.BULK, _DRAINING)
            if found and queue.is_fifo:
                # What stands behind them is given out after that.
                client.judge([(message, 'delete', 0) for message in found])
            empty = empty + 1 if found == [] else 0
            failed = failed + 1 if found is None else 0
            if failed > _TRIES:
                raise SystemExit(f'{queue.key} cannot be claimed from, {failed} times in a row')


def wait_for_redrives(database: Database) -> None:
    """Return when dead letters are not moved any more."""
    deadline = time.monotonic() + _REDRIVING
    while database.rows('SELECT 1 FROM redrives WHERE ended_at IS NULL LIMIT 1'):
        if time.monotonic() > deadline:
            raise SystemExit('a redrive does not end')
        time.sleep(0.2)


def _wait_for_deliveries(database: Database) -> None:
    """Return when webhooks have got all, or when they should have."""
    deadline = time.monotonic() + _DELIVERING
    while database.rows('SELECT 1 FROM deliveries LIMIT 1') and time.monotonic() < deadline:
        time.sleep(0.2)


_KEPT = """
SELECT project, name, state.id, body,
       CASE WHEN expires_at <= now() THEN 'expired'
            WHEN held_until IS NULL OR held_until <= now() THEN 'ready'
            WHEN held_until = 'infinity' THEN 'parked'
            WHEN claim_id IS NOT NULL THEN 'claimed'
            ELSE 'delayed' END,
       date_part('epoch', nullif(held_until, 'infinity') - now()),
       date_part('epoch', nullif(expires_at, 'infinity') - now()), claim_count, group_key, sequence
  FROM message_states AS state
       JOIN queues USING (queue_id)
       JOIN messages AS message ON message.queue_id = state.queue_id AND message.id = state.id
 WHERE coalesce(moved_in, state.id) >= floor
"""


_COPIES = {queue.key: queue.copy for queue in QUEUES}


def keep(database: Database, *logs: tuple[Log, str]) -> None:
    """Note all messages that the database has, in each log by calls of the kind beside it."""
    with contextlib.closing(database.connect()) as connection:
        connection.autocommit = False
        # The database's clock may be wrong in this campaign.
        at = time.time()
        with connection.cursor('kept') as cursor:
            cursor.execute(_KEPT)
            for project, name, id, body, state, held_for, lives_for, count, *place in cursor:
                key = f'{project}/{name}'
                number = number_in(msgspec.json.decode(body))
                copy = _COPIES.get(key, 0)
                message = {
                    'queue': key,
                    'id': f'{id:016x}',
                    'number': 0 if number is None else number_of_copy(number, copy),
                    'state': state,
                    'held_until': 0 if held_for is None else at + held_for,
                    'expires_at': 0 if lives_for is None else at + lives_for,
                    'count': count,
                    'place': place_in(*(str(part or '') for part in place)),
                }
                for log, kind in logs:
                    log.note(kind, **message)
