"""The service that the clients visit."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.running_service import Service, services


@pytest.fixture(scope='module')
def service() -> Iterator[Service]:
    """A real one, which all clients of a file visit in turn."""
    with services() as start:
        yield start(MARCONI_SIGNING_KEYS='a key').wait_until_ready()


@pytest.fixture(scope='module')
def token_service() -> Iterator[Service]:
    """One that lets nobody in without a token."""
    with services() as start:
        yield start(MARCONI_ACCESS='token', MARCONI_SIGNING_KEYS='a key').wait_until_ready()


@pytest.fixture
def token(token_service: Service) -> str:
    """A token of an admin of the project acme, made as an operator makes one."""
    return made_token(token_service, '--project', 'acme', '--role', 'admin')


def made_token(service: Service, *options: str) -> str:
    """What `marconi token create` prints with these options."""
    done = subprocess.run(
        [sys.executable, '-m', 'marconi_api.commands', 'token', 'create', *options],
        env=os.environ | {'MARCONI_DATA_DIR': str(service.data_dir)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
