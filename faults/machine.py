"""Machines that are not as they should be: their clock is wrong, or their disk is full."""

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path


class Impossible(Exception):
    """This machine cannot be made so; the text says why."""


def with_clock(seconds: int, folder: Path) -> Mapping[str, str]:
    """The environment of a program whose clock is ahead by so many seconds; a library is made in ``folder``.

    :raises Impossible: if there is no compiler
    """
    library = folder / 'skew.so'
    source = Path(__file__).with_name('skew.c')
    if not library.exists():
        try:
            subprocess.run(['cc', '-shared', '-fPIC', '-O2', '-o', library, source], check=True)
        except FileNotFoundError:
            raise Impossible('there is no compiler, cc') from None
    return {'LD_PRELOAD': str(library), 'FAULTS_SKEW': str(seconds)}


class Disk:
    """A file system of its own in a directory, of which all space can be taken."""

    def __init__(self, directory: Path) -> None:
        self._filler = directory / 'filler'

    def fill(self) -> None:
        """Take all space that is left."""
        with contextlib.suppress(OSError), self._filler.open('wb', buffering=0) as filler:
            while True:
                filler.write(bytes(2**16))

    def free(self) -> None:
        """Give it back."""
        self._filler.unlink(missing_ok=True)


@contextlib.contextmanager
def small_disk(directory: Path, mebibytes: int) -> Iterator[Disk]:
    """A disk that is mounted at the directory, as long as this lasts.

    :raises Impossible: if this process may not mount one
    """
    directory.mkdir(exist_ok=True)
    size = f'size={mebibytes}m'
    done = subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', size, 'tmpfs', str(directory)],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise Impossible(f'no disk can be mounted: {done.stderr.strip()}')
    os.chmod(directory, 0o700)
    try:
        yield Disk(directory)
    finally:
        subprocess.run(['umount', '--lazy', str(directory)], check=True)
