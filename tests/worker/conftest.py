"""A service whose claims may be short, and a workshop for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from marconi_api.processes.installation import config_file
from tests.running_service import Service, services
from tests.worker.workshop import TTL, Workshop


@pytest.fixture(scope='session')
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = tmp_path_factory.mktemp('settings') / 'config.py'
    settings.write_text(f"{config_file().read_text()}\nlimits['min_claim_ttl'] = {TTL}\n")
    with services() as start:
        yield start(MARCONI_CONFIG=str(settings)).wait_until_ready()


@pytest.fixture
def workshop(service: Service, tmp_path: Path) -> Iterator[Workshop]:
    workshop = Workshop(service, tmp_path)
    yield workshop
    workshop.end()
