"""A run of the fault campaign that is stopped at its start leaves no process behind."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from marconi_api.processes.installation import CHECKOUT
from tests.directories import open_directory
from tests.running_service import wait_until

pytestmark = pytest.mark.slow


def test_a_run_that_is_stopped_while_a_service_starts_leaves_none() -> None:
    with open_directory() as directory:
        with subprocess.Popen(
            [sys.executable, '-m', 'faults', 'return', 'restore a dump'],
            cwd=CHECKOUT,
            env={'PATH': os.environ['PATH'], 'TMPDIR': str(directory)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as run:
            wait_until(lambda: working_in(directory))
            run.send_signal(signal.SIGTERM)
            _, said = run.communicate(timeout=60)

        assert b'told to stop' in said
        assert working_in(directory) == []


def working_in(directory: Path) -> list[str]:
    """The commands of processes that have files of a run for their settings or their data."""
    found = []
    for process in Path('/proc').glob('[0-9]*'):
        with contextlib.suppress(OSError):
            told = (process / 'cmdline').read_bytes() + (process / 'environ').read_bytes()
            if f'{directory}/marconi-faults-'.encode() in told:
                found.append((process / 'cmdline').read_bytes().replace(b'\0', b' ').decode())
    return found
