"""Where tests let a PostgreSQL of their own store its data."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

IN_MEMORY = '/dev/shm'
# Bytes; a run of the tests never has a tenth of it there.
ENOUGH = 4 * 2**30


@contextlib.contextmanager
def open_directory() -> Iterator[Path]:
    """A new directory that the user of an embedded PostgreSQL can enter, as pytest's own it cannot.

    It is in memory where there is room, as a PostgreSQL that lives for a second spends most of it
    on its fsync. A test that needs a disk makes its own.
    """
    with tempfile.TemporaryDirectory(prefix='marconi-test-', dir=_in_memory()) as path:
        os.chmod(path, 0o755)
        yield Path(path)


def _in_memory() -> str | None:
    """A file system in memory from which programs can be run, too; None where there is none."""
    if not os.access(IN_MEMORY, os.W_OK) or os.statvfs(IN_MEMORY).f_flag & os.ST_NOEXEC:
        return None
    return IN_MEMORY if shutil.disk_usage(IN_MEMORY).free > ENOUGH else None
