"""A client of version 1.1: what it does like version 2 is tested in ``../v2``."""

import pytest
from webtest import TestApp

from ..client import LaterApi


@pytest.fixture
def api(app: TestApp) -> LaterApi:
    """A client of version 1.1, in a project of its own; the tables are empty."""
    return LaterApi(app, '/v1.1')
