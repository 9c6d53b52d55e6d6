"""``marconi migrate``."""

import argparse
from dataclasses import asdict

from marconi_api.commands import terminal
from marconi_api.commands.arguments import add_json
from marconi_api.commands.store import open_store
from marconi_api.processes import schema
from marconi_api.processes.failures import ServiceError
from marconi_api.processes.installation import database_url
from marconi_api.processes.settings import read_settings

_NOT_CURRENT = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What follows its name."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument('--sql', action='store_true', help='print the SQL of what is to be done')
    what.add_argument('--yes', action='store_true', help='bring the schema up')
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Show whether the schema of the database is current, or bring it up with --yes.

    Without --yes nothing changes. Bring the schema up first, and then start the new Marconi: the
    release before goes on to work meanwhile. Each migration is one transaction, and waits five
    seconds at most for a lock. Run it straight on PostgreSQL, past a pooler.

    Exit code 1: the schema is not current (and is still not, or could not be brought up).

    For example: marconi migrate
    or: marconi migrate --sql > review.sql
    or: marconi migrate --yes
    """
    url = database_url(read_settings())
    if url is None:
        raise ServiceError('no PostgreSQL is running: set MARCONI_DATABASE_URL, or make serve')
    status = schema.status(url)
    if arguments.sql:
        if status.pending:
            terminal.show(schema.upgrading_sql(url).rstrip())
        else:
            terminal.tell('The schema is current: there is nothing to do.')
        return 0
    if arguments.yes and status.pending:
        schema.upgrade(url)
        _note(status)
        status = schema.status(url)
    if arguments.json:
        terminal.show_json(asdict(status))
    else:
        _print(status)
    return _NOT_CURRENT if status.pending else 0


def _note(before: schema.Status) -> None:
    # The table in which it is noted may be one of those that were just made.
    open_store().audit.note('migrate', was=before.present, now=before.newest)


def _print(status: schema.Status) -> None:
    if not status.pending:
        terminal.show(f'The schema is at revision {status.present}, the newest.')
        return
    is_at = f'is at revision {status.present}' if status.present else 'is not made yet'
    terminal.show(f'The schema {is_at}; revision {status.newest} is needed. To be done:')
    for step in status.pending:
        terminal.show(f'  {step.revision}  {step.what}')
    terminal.show('marconi migrate --yes does it; --sql shows the SQL.')
