"""What the tests of the wire have beside the application: a client, time, and a storage to break."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from pecan.configuration import conf_from_file
from webtest import TestApp, TestResponse

from marconi_api import model
from marconi_api.app import setup_app
from marconi_api.processes import installation, schema
from marconi_api.processes.embedded.cluster import EmbeddedPostgres
from tests.directories import open_directory

from .client import PROJECT, Api


@pytest.fixture
def api(app: TestApp) -> Api:
    """A client of the service, whose tables are empty."""
    return Api(app)


@pytest.fixture
def queue(api: Api) -> str:
    """The path of a new queue."""
    return api.make_queue()


@pytest.fixture(scope='module')
def other_postgres() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL that tests may stop; it keeps what was stored."""
    with open_directory() as directory:
        server = EmbeddedPostgres(directory / 'postgres', options=('fsync=off',), durable=False)
        server.start()
        try:
            schema.upgrade(server.url)
            yield server
        finally:
            server.stop()


@pytest.fixture
def mortal_api(wsgi_app: Any, other_postgres: EmbeddedPostgres) -> Iterator[Api]:
    """A client of a second service, whose storage is ``other_postgres``."""
    other_postgres.start()
    with _another_service(other_postgres.url) as api:
        with model.store.database.transaction() as run:
            run('DELETE FROM queues', {})
        yield api


@pytest.fixture
def api_without_storage(wsgi_app: Any) -> Iterator[Api]:
    """A client of a second service, which never had a storage."""
    with _another_service('postgresql+psycopg2://marconi@127.0.0.1:1/marconi') as api:
        yield api


class _Bearer(Api):
    """A client that shows a token."""

    def __init__(self, api: Api, token: str) -> None:
        self._wsgi_app = api._wsgi_app
        self._token = token

    def request(
        self, *arguments: Any, headers: Mapping[str, str | bytes] | None = None, **options: Any
    ) -> TestResponse:
        shown = {**(headers or {}), 'X-Auth-Token': self._token}
        return super().request(*arguments, headers=shown, **options)


@pytest.fixture
def api_for_other_queues(app: TestApp, database_url: str) -> Iterator[Api]:
    """A client of a second service, in token mode, whose token is for queues that no test has."""
    with _another_service(database_url, mode='token') as api:
        token = model.store.tokens.create(PROJECT, 'admin', queues='others-*')
        yield _Bearer(api, token.text)


@pytest.fixture
def api_with_tokens(app: TestApp, database_url: str) -> Iterator[Callable[..., Api]]:
    """Opens a second service, in token mode, whose section ``access`` says what is given."""
    with ExitStack() as opened:

        def open_one(**access: Any) -> Api:
            return opened.enter_context(_another_service(database_url, mode='token', **access))

        yield open_one


@contextmanager
def _another_service(database_url: str, **access: Any) -> Iterator[Api]:
    of_the_first = model.store
    config = conf_from_file(str(installation.OPERATOR_FILES / 'config.py'))
    config.database.url = database_url
    config.access.update(access)
    config.logging = {'version': 1, 'disable_existing_loggers': False}
    try:
        yield Api(TestApp(setup_app(config), lint=False))
    finally:
        model.store.database.close()
        model.store = of_the_first
