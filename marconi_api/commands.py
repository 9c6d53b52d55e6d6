"""What an operator types: ``marconi serve``, ``marconi expire``, ``marconi paths``.

Each command is one function; what it promises is its docstring, which ``--help`` shows.
"""

import argparse
import contextlib
import importlib.metadata
import inspect
import logging.config
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from marconi_api import embedded, model, schema, service
from marconi_api.children import name_process
from marconi_api.embedded import EmbeddedPostgresError
from marconi_api.errors import StorageUnavailable
from marconi_api.installation import ALEMBIC_INI, config_file, database_url
from marconi_api.schema import SchemaError
from marconi_api.service import ServiceError
from marconi_api.settings import SettingsError, read_settings

# As a shell says it of a command.
_ENDED_BY_CTRL_C = 128 + signal.SIGINT


def serve(arguments: argparse.Namespace) -> None:
    """Serve the API until it is stopped by Ctrl-C or SIGTERM.

    Without MARCONI_DATABASE_URL a PostgreSQL is started for it, and stopped with it.
    """
    service.serve(read_settings())


def expire(arguments: argparse.Namespace) -> None:
    """Remove what has expired: one round, or round after round with --forever.

    ``marconi serve`` does this by itself; it may run any number of times at once.
    """
    settings = read_settings()
    settings.database.url = database_url(settings)
    if settings.database.url is None:
        raise ServiceError('no PostgreSQL is running: set MARCONI_DATABASE_URL')
    schema.check(settings.database.url)
    logging.config.dictConfig(settings.logging.to_dict())
    model.init_model(settings)
    if arguments.forever:
        name_process('marconi-janitor')
        model.expiry.run_forever()
    else:
        model.expiry.run_once()


def paths(arguments: argparse.Namespace) -> None:
    """Print where the settings and alembic's files are, and what the embedded PostgreSQL has.

    data is its data directory, in which its socket is, too; programs is the directory of the
    programs that fit it, such as pg_dump.

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
    return Path(read_settings().database.data_dir or embedded.default_state_dir()).resolve()


_PATHS: dict[str, Callable[[], Path]] = {
    'config': config_file,
    'alembic': lambda: ALEMBIC_INI,
    'data': _data_dir,
    'programs': lambda: embedded.programs_of(_data_dir()),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 1 if there is something that its user must mend."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.command(arguments)
    except (EmbeddedPostgresError, SchemaError, ServiceError, SettingsError) as error:
        print(f'marconi: {error}', file=sys.stderr)
        return 1
    except StorageUnavailable:
        # The log has the database's own words.
        print('marconi: the database could not be used: see the log above', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return _ENDED_BY_CTRL_C
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='marconi', description='Marconi, a message queue service over HTTP.'
    )
    parser.add_argument(
        '--version',
        action='version',
        version=f'%(prog)s {importlib.metadata.version("marconi-api")}',
    )
    commands = parser.add_subparsers(required=True, metavar='COMMAND')

    def add(command: Any) -> argparse.ArgumentParser:
        promise = inspect.getdoc(command) or ''
        added = commands.add_parser(
            command.__name__,
            help=promise.splitlines()[0],
            description=promise,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(command=command)
        return added

    add(serve)
    add(expire).add_argument('--forever', action='store_true', help='go on until stopped')
    add(paths).add_argument('which', nargs='?', choices=tuple(_PATHS))
    return parser


if __name__ == '__main__':
    sys.exit(main())
