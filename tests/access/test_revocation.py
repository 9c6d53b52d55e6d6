"""A token is revoked while all processes of a service remember it."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.running_service import HEADERS, Service, services

CACHE_SECONDS = 1

#: Many more than there are processes, so that each of them gets some.
REQUESTS = 40


@pytest.fixture
def service() -> Iterator[Service]:
    """A service in token mode, with two processes."""
    with services() as start, tempfile.NamedTemporaryFile('w', suffix='.py') as settings:
        settings.write(
            f"access = {{'mode': 'token', 'cache_seconds': {CACHE_SECONDS}, "
            "'failures_before_delay': 0}\nserver = {'processes': 2}\n"
        )
        settings.flush()
        yield start(MARCONI_CONFIG=settings.name).wait_until_ready()


def statuses(service: Service, token: str) -> set[int]:
    """What requests get that are sent at once, each on a connection of its own."""

    def ask(_: int) -> int:
        with contextlib.closing(service.connect()) as connection:
            connection.request('GET', '/v2', headers={**HEADERS, 'X-Auth-Token': token})
            return connection.getresponse().status

    with ThreadPoolExecutor(max_workers=8) as threads:
        return set(threads.map(ask, range(REQUESTS)))


def marconi_token(service: Service, *arguments: str) -> str:
    """Run ``marconi token`` on a service's database; what it prints."""
    return subprocess.run(
        [sys.executable, '-m', 'marconi_api.commands', 'token', *arguments],
        env=os.environ | {'MARCONI_DATA_DIR': str(service.data_dir)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def test_each_process_refuses_a_revoked_token_once_it_remembers_it_no_more(
    service: Service,
) -> None:
    token = marconi_token(service, 'create', '--project', 'acme', '--role', 'reader')
    assert statuses(service, token) == {200}

    marconi_token(service, 'revoke', token)
    time.sleep(CACHE_SECONDS)

    assert statuses(service, token) == {401}
