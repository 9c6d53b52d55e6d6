"""``marconi quota``."""

import argparse
import sys

from marconi_api import model
from marconi_api.app import prepare
from marconi_api.model.quotas import SETTINGS
from marconi_api.processes import schema
from marconi_api.processes.settings import read_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What follows its name."""
    choices = parser.add_subparsers(required=True, metavar='show|set', dest='verb')
    shown = choices.add_parser('show', help='show what a project may have and do')
    shown.add_argument('--project', required=True, help='the project')
    put = choices.add_parser('set', help='let a project differ from the settings')
    put.add_argument('--project', required=True, help='the project')
    put.add_argument('setting', choices=SETTINGS, help='what to limit')
    put.add_argument('value', help='a number; none for no limit; default for that of the settings')


def run(arguments: argparse.Namespace) -> None:
    """Show or set the limits of one project, where they differ from the settings.

    For example: marconi quota set --project acme quota.messages 100000

    A service goes by it half a minute later, if it looks at limits: see quota in config.py.
    """
    settings = read_settings()
    prepare(settings)
    schema.check(settings.database.url)
    quotas, project = model.store.quotas, arguments.project
    if arguments.verb == 'set' and arguments.value == 'default':
        quotas.reset(project, arguments.setting)
    elif arguments.verb == 'set':
        quotas.set(project, arguments.setting, _number(arguments.value))
    for setting, value in quotas.show(project).items():
        print(setting, 'none' if value is None else value)
    if not quotas.is_on:
        print('no service looks at this: set quota.overrides in its settings', file=sys.stderr)


def _number(text: str) -> int | None:
    """A number, or None for none."""
    if text == 'none':
        return None
    if not text.isascii() or not text.isdigit():
        raise SystemExit(f'marconi: {text!r} must be a number from 0, none or default')
    return int(text)
