"""``marconi quota``."""

import argparse

from marconi_api.commands import terminal
from marconi_api.commands.arguments import add_json
from marconi_api.commands.failures import WrongUse
from marconi_api.commands.store import open_store
from marconi_api.model.quotas import SETTINGS

_DEFAULT = 'default'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What follows its name."""
    choices = parser.add_subparsers(required=True, metavar='show|set', dest='verb')
    shown = choices.add_parser('show', help='show what a project may have and do')
    shown.add_argument('--project', required=True, help='the project')
    add_json(shown)
    put = choices.add_parser('set', help='let a project differ from the settings')
    put.add_argument('--project', required=True, help='the project')
    put.add_argument('setting', choices=SETTINGS, help='what to limit')
    put.add_argument('value', help='a number; none for no limit; default for that of the settings')
    add_json(put)


def run(arguments: argparse.Namespace) -> None:
    """Show or set the limits of one project, where they differ from the settings.

    For example: marconi quota set --project acme quota.messages 100000

    A service goes by it half a minute later, if it looks at limits: see quota in config.py.
    """
    value = _number(arguments.value) if arguments.verb == 'set' else None
    quotas, project = open_store().admin.quotas, arguments.project
    if arguments.verb == 'set' and arguments.value == _DEFAULT:
        quotas.reset(project, arguments.setting)
    elif arguments.verb == 'set':
        quotas.set(project, arguments.setting, value)
    found = quotas.show(project)
    if arguments.json:
        terminal.show_json(found)
        found = {}
    for setting, limit in found.items():
        terminal.show(f'{setting} {"none" if limit is None else limit}')
    if not quotas.is_on:
        terminal.tell('no service looks at this: set quota.overrides in its settings')


def _number(text: str) -> int | None:
    """A number, or None for none and for default.

    :raises WrongUse: if it is something else
    """
    if text in ('none', _DEFAULT):
        return None
    # Python reads no number of thousands of digits.
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        raise WrongUse(f'{text[:40]!r} must be a number from 0 to 2^63 - 1, none or default')
    return int(text)
