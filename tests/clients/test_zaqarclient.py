"""Real clients, unchanged, against the real service."""

import os
import subprocess
from pathlib import Path

import pytest

from marconi_api.installation import CHECKOUT
from tests.running_service import services

HERE = Path(__file__).parent

# `make test` makes it: the client needs an older setuptools, so it has its own environment.
ZAQARCLIENT_3 = Path(
    os.environ.get('MARCONI_TEST_ZAQARCLIENT') or CHECKOUT / '.venv/zaqarclient-3/bin/python'
)


def test_python_zaqarclient_3_makes_its_tour_of_version_1() -> None:
    if not ZAQARCLIENT_3.exists():
        pytest.fail(f'{ZAQARCLIENT_3} is missing: run make test once, which installs the client')
    with services() as start:
        service = start().wait_until_ready()

        tour = subprocess.run(
            [ZAQARCLIENT_3, HERE / 'zaqarclient_v1.py', f'http://127.0.0.1:{service.port}'],
            capture_output=True,
            text=True,
        )

    assert (tour.returncode, tour.stdout) == (0, 'ok, 29 requests\n'), tour.stderr
