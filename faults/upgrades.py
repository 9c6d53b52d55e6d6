"""A run in which the schema is brought up under load, down again and up, and then the services are replaced.

Services of the release before serve clients meanwhile, as docs/operating.md promises: the schema comes first and
the code second. To go back is the reverse: first the code, then the schema. So the schema is brought down while only
services of the release before run. One of this release does not work on a schema that is older than its own.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import alembic.command
import msgspec
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.exc import DBAPIError

from faults import campaign, cast, roles, world
from faults.accidents import OF_CLIENTS, OF_SERVICES, Accidents, plan
from faults.client import Client
from faults.crew import Crew
from faults.instances import Database, Instance
from faults.log import DONE, Log
from faults.machine import Impossible
from faults.world import World
from marconi_api.processes import schema
from marconi_api.processes.embedded.cluster import EmbeddedPostgres
from marconi_api.processes.installation import CHECKOUT
from tests.release_before import NoHistory, unpack

#: What an administrator does, one after the other, and the name of each in logs.
UP, DOWN, REPLACE = 'bring the schema up', 'bring the schema down', 'replace a service'

# How often an administrator tries to change the schema: PostgreSQL may refuse it to end a deadlock.
_TRIES = 10


class Terms(msgspec.Struct):
    """What such a run is made of."""

    seed: str
    #: How often the schema is brought up; before each time but the first it is brought down.
    times: int
    #: For which clients work before each change, and after the last one.
    seconds: float
    #: Accidents a second.
    pace: float = 1.0


class _Own(Database):
    """A PostgreSQL that no service starts, with services of the release before."""

    def __init__(self, folder: Path, instances: list[Instance]) -> None:
        self._instances = instances
        self._server = EmbeddedPostgres(folder / 'one', options=('max_connections=120',))
        self._state = self._server.state_dir

    def start(self, code: Path) -> None:
        self._server.start()
        self.url = self._server.url
        self._config = schema._alembic_config(self.url)
        newest = ScriptDirectory.from_config(self._config).get_revision('head')
        self._before = str(newest.down_revision)
        alembic.command.upgrade(self._config, self._before)
        for instance in self._instances:
            instance.run_code_of(code)
            instance.start({'MARCONI_DATABASE_URL': self.url})

    def bring_up(self) -> int:
        return self._change(lambda config: alembic.command.upgrade(config, 'head'))

    def bring_down(self) -> int:
        return self._change(lambda config: alembic.command.downgrade(config, self._before))

    def _change(self, change: Callable[[Config], None]) -> int:
        """Change the schema; how often that was tried."""
        for attempt in range(1, _TRIES + 1):
            try:
                change(self._config)
            except DBAPIError as error:
                print(f'the schema could not be changed: {error.orig}', flush=True)
            else:
                return attempt
        raise SystemExit(f'the schema could not be changed, {_TRIES} times in a row')

    def stop(self) -> None:
        for instance in self._instances:
            instance.stop()
        self._server.stop()


def run(terms: Terms, folder: Path) -> None:
    """Let it happen, and leave the logs in the folder.

    :raises Impossible: if the code of the release before is not here
    """
    queues = [msgspec.structs.replace(queue, has_webhook=False) for queue in cast.QUEUES]
    world.write(World(queues), folder)
    code = folder / 'before'
    code.mkdir()
    try:
        unpack(code)
    except NoHistory as why:
        raise Impossible(str(why)) from None
    with _services(folder, code) as (instances, database):
        ports = [instance.port for instance in instances]
        log = Log(folder / 'accidents.log')
        client = Client(Log(folder / 'drain.log'), ports, random.Random(terms.seed), World(queues))
        campaign.make_queues(client)
        # What only this release can do is left out.
        hands = [hand for hand in cast.HANDS if hand.role.__module__ == roles.__name__]
        with campaign.proxies(instances, terms.seed) as proxied:
            crew = Crew(hands, folder, ports, proxied, terms.seed)
            accidents = Accidents(instances, database, crew, client, log)
            crew.start()
            try:
                for number, (what, change) in enumerate(_changes(terms, database, instances)):
                    _work(terms, number, crew, accidents)
                    call = log.begin('accident', what=what, stops_service=True)
                    befallen = change()
                    accidents.wait_until_healthy()
                    log.end(call, DONE, befallen=befallen)
                _work(terms, -1, crew, accidents)
            finally:
                accidents.go_on(are_all=True)
                crew.stop()
        campaign.drain(client)
        campaign.keep(database, (Log(folder / 'database.log'), 'kept'))
        campaign.ask_for_statistics(client)


def _work(terms: Terms, number: int, crew: Crew, accidents: Accidents) -> None:
    to_come = plan(
        f'{terms.seed}.{number}', terms.seconds, terms.pace, False, {**OF_CLIENTS, **OF_SERVICES}
    )
    campaign.pass_time(terms.seconds, to_come, crew, accidents)
    accidents.go_on(are_all=True)


def _changes(
    terms: Terms, database: _Own, instances: list[Instance]
) -> Iterator[tuple[str, Callable[[], int]]]:
    yield UP, database.bring_up
    for _ in range(terms.times - 1):
        yield DOWN, database.bring_down
        yield UP, database.bring_up
    for instance in instances:
        yield REPLACE, partial(_replace, instance)


def _replace(instance: Instance) -> int:
    instance.stop()
    instance.run_code_of(CHECKOUT)
    instance.start()
    return 1


@contextmanager
def _services(folder: Path, code: Path) -> Iterator[tuple[list[Instance], _Own]]:
    instances = [Instance('first', folder, 2), Instance('second', folder, 1)]
    database = _Own(folder, instances)
    try:
        database.start(code)
        yield instances, database
    finally:
        database.stop()
