"""Three services on one database, whose waiting rooms learn of messages in different ways."""

import contextlib
import os
from collections.abc import Iterator

import pytest

from marconi_api.processes.embedded.cluster import running_url
from tests.running_service import Service, services

#: So seldom that no test waits for it: what wakes its waiters is a notification.
NO_SWEEP = """
waiting = {'sweep_interval': 600, 'sweep_interval_without_notifications': 600}
# As many connections as there are for all three.
server = {'threads': 12}
"""


@pytest.fixture(scope='session')
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Service]]:
    """``told`` has a database; ``other`` shares it; ``deaf``, too, and hears no notification."""
    directory = tmp_path_factory.mktemp('settings')
    # Also for the user as whom a service of root answers.
    for path in (directory, *directory.parents[:2]):
        with contextlib.suppress(PermissionError):
            os.chmod(path, 0o755)
    no_sweep = directory / 'no_sweep.py'
    no_sweep.write_text(NO_SWEEP)
    with services() as start:
        told = start(MARCONI_CONFIG=str(no_sweep)).wait_until_ready()
        url = running_url(told.data_dir) or ''
        small = directory / 'small.py'
        small.write_text("server = {'processes': 1, 'threads': 2}\n")
        other = start(MARCONI_DATABASE_URL=url, MARCONI_CONFIG=str(small))
        deaf = start(
            MARCONI_DATABASE_URL=url,
            MARCONI_CONFIG=str(small),
            MARCONI_NOTIFICATIONS_URL='postgresql://127.0.0.1:1/nowhere',
        )
        yield {
            'told': told,
            'other': other.wait_until_ready(),
            'deaf': deaf.wait_until_ready(),
        }
        # Their database is the first one's.
        for service in (other, deaf):
            service.process.terminate()
            service.process.wait()


@pytest.fixture(scope='session')
def told(sites: dict[str, Service]) -> Service:
    """A service whose waiters are woken by notifications, and practically not by sweeps."""
    return sites['told']


@pytest.fixture
def other(sites: dict[str, Service]) -> Service:
    """Another service on the same database."""
    return sites['other']


@pytest.fixture
def deaf(sites: dict[str, Service]) -> Service:
    """A service whose waiters are woken by what is done elsewhere by sweeps alone."""
    return sites['deaf']


@pytest.fixture
def database(told: Service) -> str:
    """The URL of their database, for psycopg2."""
    return (running_url(told.data_dir) or '').replace('+psycopg2', '')
