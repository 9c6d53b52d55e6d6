"""A service in token mode, on the database of the one in trusted mode."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pecan.configuration import conf_from_file
from webtest import TestApp

from marconi_api import model
from marconi_api.app import setup_app
from marconi_api.processes import installation
from tests.controllers.client import Api

#: A service with these settings of access.
Serve = Callable[..., Api]


def in_token_mode(url: str, **access: Any) -> Api:
    """A client of a service in token mode, which from now on has the store of this process."""
    config = conf_from_file(str(installation.OPERATOR_FILES / 'config.py'))
    config.database.url = url
    config.logging = {'version': 1, 'disable_existing_loggers': False}
    config.access.mode = 'token'
    config.sqs.secret_keys = 'a key'
    for name, value in access.items():
        config.access[name] = value
    return Api(TestApp(setup_app(config), lint=False))


@pytest.fixture
def serve(app: TestApp, database_url: str) -> Iterator[Serve]:
    """Opens a service whose section ``access`` says what is given; its tables are empty."""
    of_the_first = model.store

    def open_one(url: str = database_url, **access: Any) -> Api:
        return in_token_mode(url, **access)

    try:
        yield open_one
    finally:
        if model.store is not of_the_first:
            model.store.database.close()
            model.store = of_the_first


@pytest.fixture
def api(serve: Serve) -> Api:
    """A client of a service in token mode, which sends no token unless it is told to."""
    return serve()


@contextmanager
def counted() -> Iterator[list[str]]:
    """The statements that this process sends meanwhile."""
    database = model.store.database
    sent: list[str] = []
    native = database.rows

    def rows(statement: str, *given: Any, **options: Any) -> Any:
        sent.append(statement)
        return native(statement, *given, **options)

    database.rows = rows  # type: ignore[method-assign]
    try:
        yield sent
    finally:
        del database.rows


def bearing(token: str) -> dict[str, str]:
    """The header that sends a token."""
    return {'Authorization': f'Bearer {token}'}
