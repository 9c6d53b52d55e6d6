"""The facts of the machine, without which a figure says little."""

import os
import platform
import re
import statistics
import tempfile
import time
from importlib import metadata
from pathlib import Path

from benchmarks.processes import output
from marconi_api.processes.embedded.programs import program_directories


def facts() -> dict[str, str]:
    """What the figures depend on, by name."""
    return {
        'CPU': _cpu_model(),
        'cores': str(len(os.sched_getaffinity(0))),
        'RAM': f'{os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30:.0f} GiB',
        'flush to the disk': f'{_flush_milliseconds():.2f} ms',
        'kernel': platform.release(),
        'Python': platform.python_version(),
        'PostgreSQL': _postgres_version(),
        'uwsgi': metadata.version('pyuwsgi'),
        'Pecan': metadata.version('pecan'),
        'WSME': metadata.version('WSME'),
        'Marconi': metadata.version('marconi-api'),
    }


class Stolen:
    """The CPU time that the host gave to other machines, since this was made."""

    def __init__(self) -> None:
        self._before = _cpu_times()

    def __str__(self) -> str:
        """As a share of all CPU time."""
        passed = [now - then for now, then in zip(_cpu_times(), self._before, strict=True)]
        return f'{passed[_STEAL] / max(1, sum(passed)):.1%}' if passed else 'unknown'


def _cpu_times() -> list[int]:
    # Linux only; without user times of guests, which are counted twice.
    try:
        return [int(time) for time in Path('/proc/stat').read_text().split()[1:9]]
    except OSError:
        return []


_STEAL = 7


def _cpu_model() -> str:
    try:
        found = re.search(r'^model name\s*: (.+)$', Path('/proc/cpuinfo').read_text(), re.M)
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def _flush_milliseconds() -> float:
    """What a commit waits for: a page written and flushed, where the data of services lies."""
    times = []
    with tempfile.TemporaryFile() as file:
        for _ in range(100):
            file.write(bytes(8192))
            file.flush()
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000


def _postgres_version() -> str:
    for directory in program_directories(None):
        if version := output(str(directory / 'postgres'), '--version'):
            return version.split()[2]
    return 'unknown'
