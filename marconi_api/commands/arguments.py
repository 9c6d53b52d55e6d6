"""What several commands take, in one form for all of them."""

import argparse
import os
import re
from collections.abc import Callable

from marconi_api.commands.failures import WrongUse

_MOST_DIGITS = 18

_UNITS = {'s': 1, 'm': 60, 'h': 3600, 'd': 86400, 'w': 7 * 86400}


def add_queue(parser: argparse.ArgumentParser) -> None:
    """The queue: its name comes first, and ``--project`` says whose it is."""
    parser.add_argument('queue', metavar='QUEUE', help="the queue's name")
    add_project(parser)


def add_words(parser: argparse.ArgumentParser, name: str, help: str) -> None:
    """Any number of words behind the queue, or none; options may stand between."""
    added = parser.add_argument(name, metavar=name.upper(), nargs='+', default=[], help=help)
    # With nargs='*' argparse takes none at the first option that it meets, and refuses the others.
    added.required = False


def add_project(parser: argparse.ArgumentParser) -> None:
    """Whose queues are meant."""
    parser.add_argument(
        '--project', metavar='P', default='', help='the project that has the queue (default: none)'
    )


def add_way(parser: argparse.ArgumentParser) -> None:
    """Where the queues are reached: over HTTP, or else on the database."""
    parser.add_argument(
        '--url',
        default=os.environ.get('MARCONI_URL', ''),
        help='ask a running service at this URL, such as http://127.0.0.1:8888; without it (or if '
        "it is '') the database is used directly (default: MARCONI_URL)",
    )
    parser.add_argument(
        '--token',
        default=os.environ.get('MARCONI_TOKEN', ''),
        help='what proves to the service who asks; other users of this machine may see it here, '
        'so set MARCONI_TOKEN instead (default: that)',
    )


def refuse_url(arguments: argparse.Namespace, reason: str) -> None:
    """For a command that only works on the database.

    :raises WrongUse: if a service is named
    """
    if arguments.url:
        raise WrongUse(f"{reason}: run it where the database is, with --url ''")


def add_json(parser: argparse.ArgumentParser) -> None:
    """The form for programs."""
    parser.add_argument('--json', action='store_true', help='print JSON, for programs')


def add_consent(parser: argparse.ArgumentParser) -> None:
    """What a command takes that changes much."""
    parser.add_argument('--yes', action='store_true', help='do it without asking')
    parser.add_argument('--dry-run', action='store_true', help='only say what would be done')


def seconds(text: str) -> int:
    """The seconds of a time such as 90d.

    :raises argparse.ArgumentTypeError: if it is none
    """
    found = re.fullmatch(r'([0-9]{1,9})([smhdw])', text)
    if found is None:
        raise argparse.ArgumentTypeError(
            f'{text!r} must be a number and s, m, h, d or w, such as 90d for 90 days'
        )
    return int(found[1]) * _UNITS[found[2]]


def whole_number(least: int) -> Callable[[str], int]:
    """Reads an argument that is a whole number from ``least`` on."""

    def read(text: str) -> int:
        digits = text.removeprefix('-')
        is_number = digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS
        if not is_number or int(text) < least:
            raise argparse.ArgumentTypeError(
                f'must be a whole number from {least} on, not {text[:40]!r}'
            )
        return int(text)

    return read
