"""The service that the clients visit."""

from collections.abc import Iterator

import pytest

from tests.running_service import Service, services


@pytest.fixture(scope='module')
def service() -> Iterator[Service]:
    """A real one, which all clients of a file visit in turn."""
    with services() as start:
        yield start(MARCONI_SIGNING_KEYS='a key').wait_until_ready()
