"""The PostgreSQL that the service uses: one that the settings name, or the embedded one."""

import logging
from pathlib import Path
from typing import Any

from marconi_api.processes import schema
from marconi_api.processes.children import Restarts
from marconi_api.processes.delivery import THREADS
from marconi_api.processes.embedded.cluster import EmbeddedPostgres, default_state_dir
from marconi_api.processes.embedded.server_user import ServerUser
from marconi_api.processes.failures import EmbeddedPostgresError
from marconi_api.processes.installation import normalise_url
from marconi_api.processes.signals import StopRequest

log = logging.getLogger(__name__)

# Connections to an embedded PostgreSQL beside those of the workers and of the processes that deliver:
# the janitor (three), the waiting room (ten), alembic, pecan shell, psql, the three that PostgreSQL
# keeps for its superuser, and a second service like this one, which takes twenty-four.
SPARE_CONNECTIONS = 53


class NamedPostgres:
    """The PostgreSQL that the settings name; the service does not start or stop it."""

    def __init__(self, settings: Any) -> None:
        self.url = normalise_url(settings.database.url)
        self._user_name = settings.server.user

    @property
    def place(self) -> str:
        """Where the data lie, as it may be printed."""
        return schema.shown(self.url)

    @property
    def user(self) -> ServerUser | None:
        """The user as whom Marconi runs, if the settings name one."""
        return ServerUser.named(self._user_name) if self._user_name else None

    def start(self, stop: StopRequest) -> None:
        """Make sure that it can be used."""
        schema.check(self.url)

    def look_after(self) -> None:
        """Do nothing: others look after this PostgreSQL."""

    def stop(self) -> None:
        """Leave it running."""


class KeptPostgres:
    """The embedded PostgreSQL, which is started again whenever it ends unasked."""

    def __init__(self, settings: Any) -> None:
        """Become the owner of the data, before anything is done to a server that runs on them."""
        workers = settings.server.processes * settings.server.threads
        couriers = settings.eventing.processes * THREADS
        self._server = EmbeddedPostgres(
            state_dir_of(settings),
            programs_dir=settings.database.programs_dir,
            options=[f'max_connections={workers + couriers + SPARE_CONNECTIONS}'],
            user=settings.server.user,
        )
        self._server.own()
        self._restarts = Restarts()
        self._is_down = False
        self._was_down = False

    @property
    def url(self) -> str:
        """The database's URL; the server must be running."""
        return self._server.url

    @property
    def place(self) -> str:
        """Where the data lie, as it may be printed."""
        return str(self._server.state_dir)

    @property
    def user(self) -> ServerUser:
        """As whom it runs."""
        return self._server.user

    def start(self, stop: StopRequest) -> None:
        """Start the server, and bring the schema up to date.

        A server that a killed service left running is taken over.
        """
        self._server.start(give_up=stop.is_set)
        if not stop.is_set():
            schema.upgrade(self.url)

    def look_after(self) -> None:
        """Start the server again if it has ended: soon at first, then after pauses that grow.

        A full disk may end it at every start, until there is space again.
        """
        self._server.shorten_log()
        try:
            if not self._is_down:
                self._note_readiness()
            elif self._restarts.is_due():
                self._server.start_again()
                self._is_down = False
        except EmbeddedPostgresError as error:
            if not self._is_down and self._server.took_connections():
                # It had come back, if only between two looks.
                self._restarts.note_success()
            self._is_down = self._was_down = True
            log.error('%s; it is started again in %g s', error, self._restarts.note_end())

    def stop(self) -> None:
        """Stop the server, also one that a killed service left running."""
        self._server.stop()
        self._server.disown()

    def _note_readiness(self) -> None:
        if self._server.is_ready() and self._was_down:
            self._was_down = False
            self._restarts.note_success()
            log.info('PostgreSQL takes connections again')


def database_of(settings: Any) -> NamedPostgres | KeptPostgres:
    """The PostgreSQL that the settings name, else the embedded one."""
    return NamedPostgres(settings) if settings.database.url else KeptPostgres(settings)


def state_dir_of(settings: Any) -> Path:
    """Where the embedded PostgreSQL has its data."""
    return Path(settings.database.data_dir or default_state_dir())
