"""Reads what was typed, runs that command, and says how it went.

Exit codes: 0 done; 1 failed, or nothing was found; 2 wrong use; 130 ended by Ctrl-C. What
goes wrong is told in one line.
"""

import argparse
import importlib.metadata
import inspect
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from marconi_api.commands import terminal
from marconi_api.commands.failures import CommandFailed
from marconi_api.errors import (
    InvalidQueueName,
    InvalidRequest,
    MarconiError,
    StorageUnavailable,
)
from marconi_api.processes.failures import EmbeddedPostgresError, ServiceError
from marconi_api.processes.schema import SchemaError
from marconi_api.processes.settings import SettingsError

#: In the order of ``marconi --help``; each is a module of this package.
_COMMANDS = (
    'serve',
    'queues',
    'show',
    'peek',
    'post',
    'claim',
    'release',
    'redrive',
    'purge',
    'bench',
    'migrate',
    'doctor',
    'token',
    'quota',
    'subscriptions',
    'webhooks',
    'audit',
    'expire',
    'paths',
    'completion',
)

_FAILED = 1
_WRONG_USE = 2


def run(argv: Sequence[str] | None) -> int:
    """Run one command, and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        # The terminal's encoding may not have all that a message can hold.
        if stream is not None:
            stream.reconfigure(errors='backslashreplace')  # type: ignore[union-attr]
    try:
        return _run(argv)
    finally:
        _flush()


def _run(argv: Sequence[str] | None) -> int:
    try:
        typed = _readable(sys.argv[1:] if argv is None else argv)
        # To import one command takes less than half of the time that all of them take.
        named = next((argument for argument in typed if argument in _COMMANDS), None)
        arguments = parser_of([named] if named else _COMMANDS).parse_args(typed)
        return arguments.run(arguments) or 0
    except SystemExit as end:
        # Of --help and --version, and of what argparse refuses.
        return int(end.code or 0)
    except CommandFailed as error:
        return _failed(str(error), error.exit_code)
    except (EmbeddedPostgresError, SchemaError, ServiceError, SettingsError) as error:
        return _failed(str(error))
    except (InvalidQueueName, InvalidRequest) as error:
        return _failed(str(error), _WRONG_USE)
    except StorageUnavailable as error:
        return _failed(f'the database could not be used: {_reason(error)}')
    except MarconiError as error:
        return _failed(str(error))
    except Exception as error:
        if os.environ.get('MARCONI_TRACEBACK'):
            traceback.print_exc()
        return _failed(
            f'{type(error).__name__}: {error} (a fault of Marconi; '
            'MARCONI_TRACEBACK=1 shows where it is)'
        )


def _failed(reason: str, exit_code: int = _FAILED) -> int:
    terminal.tell(f'marconi: {" ".join(map(str.strip, reason.splitlines()))}')
    return exit_code


def _reason(error: StorageUnavailable) -> str:
    """What the database said, or where that is said."""
    if logging.root.isEnabledFor(logging.WARNING) or error.__cause__ is None:
        return 'see the log above'
    return str(error.__cause__).partition('\n')[0]


def _flush() -> None:
    # Python would complain at its end of what nobody reads.
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        terminal.stop_showing()


def _readable(argv: Sequence[str]) -> Sequence[str]:
    for argument in argv:
        # Python lets bytes that are no text pass as characters of their own.
        if any('\ud800' <= character <= '\udfff' for character in argument):
            raise InvalidRequest(f'{argument!r} is not text in the encoding of this terminal')
    return argv


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with what was typed."""

    def error(self, message: str) -> NoReturn:
        terminal.tell(f'{self.prog}: {message} (see {self.prog} --help)')
        raise SystemExit(_WRONG_USE)


def parser_of(commands: Sequence[str] = _COMMANDS) -> argparse.ArgumentParser:
    """The parser of these commands."""
    parser = _Parser(
        prog='marconi',
        description='Marconi, a message queue service over HTTP.',
        epilog='marconi COMMAND --help tells more of a command, with an example.',
        allow_abbrev=False,
    )
    parser.add_argument(
        '--version',
        action='version',
        version=f'%(prog)s {importlib.metadata.version("marconi-api")}',
    )
    choices = parser.add_subparsers(required=True, metavar='COMMAND')
    for name in commands:
        command = import_module(f'marconi_api.commands.{name}')
        promise = inspect.getdoc(command.run) or ''
        added = choices.add_parser(
            name,
            help=promise.splitlines()[0],
            description=promise,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        added.set_defaults(run=command.run)
        if hasattr(command, 'add_arguments'):
            command.add_arguments(added)
    return parser
