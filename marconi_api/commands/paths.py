"""``marconi paths``."""

import argparse
import contextlib
from collections.abc import Callable
from pathlib import Path

from marconi_api.processes.embedded.cluster import default_state_dir, programs_of
from marconi_api.processes.failures import EmbeddedPostgresError
from marconi_api.processes.installation import ALEMBIC_INI, config_file
from marconi_api.processes.settings import read_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What follows its name."""
    parser.add_argument('which', nargs='?', choices=tuple(_PATHS))


def run(arguments: argparse.Namespace) -> None:
    """Print the paths of the settings, of alembic's files and of the embedded PostgreSQL.

    config is the file of settings; alembic is alembic's configuration; data is the data directory
    of the embedded PostgreSQL, in which its socket is, too; programs is the directory of its
    programs, such as pg_dump.

    For example: pecan shell "$(marconi paths config)"
    or: alembic -c "$(marconi paths alembic)" upgrade head
    """
    if arguments.which:
        print(_PATHS[arguments.which]())
        return
    for name, find in _PATHS.items():
        # There are no programs before it has run once.
        with contextlib.suppress(EmbeddedPostgresError):
            print(f'{name}: {find()}')


def _data_dir() -> Path:
    return Path(read_settings().database.data_dir or default_state_dir()).resolve()


_PATHS: dict[str, Callable[[], Path]] = {
    'config': config_file,
    'alembic': lambda: ALEMBIC_INI,
    'data': _data_dir,
    'programs': lambda: programs_of(_data_dir()),
}
