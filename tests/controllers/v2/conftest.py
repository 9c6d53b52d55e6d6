"""A client of version 2; a test of what version 1.1 does alike is parametrized by ``version``."""

import pytest
from webtest import TestApp

from ..client import LaterApi


@pytest.fixture
def version() -> str:
    return '/v2'


@pytest.fixture
def api(app: TestApp, version: str) -> LaterApi:
    """A client of the version, in a project of its own; the tables are empty."""
    return LaterApi(app, version)
