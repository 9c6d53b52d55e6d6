"""What an operator types: ``marconi serve``, ``marconi token`` and the like.

Each command is one file. Its function ``run`` does it, and what it promises is the docstring of
that, which ``--help`` shows.
"""

import argparse
import importlib.metadata
import inspect
import signal
import sys
from collections.abc import Sequence
from types import ModuleType

from marconi_api.commands import expire, paths, serve, token
from marconi_api.errors import StorageUnavailable
from marconi_api.processes.failures import EmbeddedPostgresError, ServiceError
from marconi_api.processes.schema import SchemaError
from marconi_api.processes.settings import SettingsError

_COMMANDS: tuple[ModuleType, ...] = (serve, expire, paths, token)

# As a shell says it of a command.
_ENDED_BY_CTRL_C = 128 + signal.SIGINT


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 1 if there is something that its user must mend."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
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
    choices = parser.add_subparsers(required=True, metavar='COMMAND')
    for command in _COMMANDS:
        promise = inspect.getdoc(command.run) or ''
        added = choices.add_parser(
            command.__name__.rpartition('.')[2],
            help=promise.splitlines()[0],
            description=promise,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(run=command.run)
        if hasattr(command, 'add_arguments'):
            command.add_arguments(added)
    return parser
