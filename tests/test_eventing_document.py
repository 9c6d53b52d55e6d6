"""The commands of docs/eventing.md do what they show, line by line."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from marconi_api.processes.installation import CHECKOUT
from tests.running_service import CALLS_WEBHOOKS, Service, services
from tests.tours import take_tour

DOCUMENT = (CHECKOUT / 'docs' / 'eventing.md').read_text()


@pytest.fixture(scope='module')
def service() -> Iterator[Service]:
    """A service on an empty database."""
    with services() as start:
        yield start(**CALLS_WEBHOOKS).wait_until_ready()


@pytest.mark.skipif(shutil.which('curl') is None, reason='the tour is made with curl')
def test_the_tour_shows_what_happens(service: Service, tmp_path: Path) -> None:
    assert take_tour(DOCUMENT, service, tmp_path) == 7
