"""What an operator types: ``marconi serve``, ``marconi expire``, ``marconi paths``.

Each command is one function; what it promises is its docstring, which ``--help`` shows.
"""

import argparse
import inspect
import logging.config
import sys
from collections.abc import Sequence
from typing import Any

from pecan.configuration import conf_from_file

from marconi_api import model, service
from marconi_api.embedded import EmbeddedPostgresError
from marconi_api.installation import ALEMBIC_INI, config_file, database_url
from marconi_api.schema import SchemaError
from marconi_api.service import ServiceError


def serve(arguments: argparse.Namespace) -> None:
    """Serve the API until it is stopped by Ctrl-C or SIGTERM.

    Without MARCONI_DATABASE_URL a PostgreSQL is started for it, and stopped with it.
    """
    service.serve(_settings())


def expire(arguments: argparse.Namespace) -> None:
    """Remove what has expired: one round, or round after round with --forever.

    ``marconi serve`` does this by itself; it may run any number of times at once.
    """
    settings = _settings()
    settings.database.url = database_url(settings)
    if settings.database.url is None:
        raise ServiceError('no PostgreSQL is running: set MARCONI_DATABASE_URL')
    logging.config.dictConfig(settings.logging.to_dict())
    model.init_model(settings)
    if arguments.forever:
        model.expiry.run_forever()
    else:
        model.expiry.run_once()


def paths(arguments: argparse.Namespace) -> None:
    """Print where the settings and alembic's files are.

    For example: pecan shell "$(marconi paths config)"
    or: alembic -c "$(marconi paths alembic)" upgrade head
    """
    found = {'config': config_file(), 'alembic': ALEMBIC_INI}
    if arguments.which:
        print(found[arguments.which])
        return
    for name, path in found.items():
        print(f'{name}: {path}')


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 1 if there is something that its user must mend."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.command(arguments)
    except (EmbeddedPostgresError, SchemaError, ServiceError) as error:
        print(f'marconi: {error}', file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='marconi', description='Marconi, a message queue service over HTTP.'
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
    add(paths).add_argument('which', nargs='?', choices=('config', 'alembic'))
    return parser


def _settings() -> Any:
    """The settings in force, as Pecan reads them."""
    path = config_file()
    try:
        return conf_from_file(str(path))
    except Exception as error:
        # It is a Python file, which can fail in any way.
        reason = ' '.join(str(error).split())
        raise ServiceError(
            f'cannot read the settings in {path}: {type(error).__name__}: {reason}'
        ) from None


if __name__ == '__main__':
    sys.exit(main())
