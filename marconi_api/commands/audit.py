"""``marconi audit``."""

import argparse
from typing import Any

import msgspec

from marconi_api.commands import terminal
from marconi_api.commands.arguments import add_json, seconds, whole_number
from marconi_api.commands.failures import NothingFound
from marconi_api.commands.ways.direct import open_quietly
from marconi_api.model.audit import Entry


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What follows its name."""
    parser.add_argument(
        '--since', metavar='7d', type=seconds, help='what was done at most that long ago'
    )
    parser.add_argument('--project', metavar='P', help='on this project')
    parser.add_argument('--queue', metavar='QUEUE', help='on the queues of this name')
    parser.add_argument(
        '--action', metavar='A', help='an action, such as purge or "token create"; token is both'
    )
    parser.add_argument(
        '--limit', metavar='N', type=whole_number(1), default=100, help='show N at most (100)'
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Show what people did by commands and prompts, the last first: who, when, on which queue.

    Of requests over HTTP it has redrives, purges, and changes of tokens. It works on the database
    only, and changes nothing. Exit code 1: nothing was found.

    For example: marconi audit --since 7d --project acme
    or: marconi audit --action redrive --json
    """
    found = open_quietly().audit.find(
        arguments.since, arguments.project, arguments.queue, arguments.action, arguments.limit
    )
    if arguments.json:
        terminal.show_json([_document(entry) for entry in found])
    elif found:
        rows = [
            (
                terminal.time_text(entry.at),
                entry.who,
                entry.way,
                entry.action,
                entry.project or None,
                entry.queue,
                entry.count,
                _in_short(entry.details),
            )
            for entry in found
        ]
        terminal.show_table(_HEADINGS, rows)
    if not found:
        raise NothingFound('nothing of that kind was done')
    if len(found) == arguments.limit:
        terminal.tell(f'There may be more than these {len(found)}: --limit shows more.')


_HEADINGS = ('WHEN', 'WHO', 'BY', 'ACTION', 'PROJECT', 'QUEUE', 'MESSAGES', 'DETAILS')


def _document(entry: Entry) -> dict[str, Any]:
    return {
        'at': terminal.time_text(entry.at),
        'who': entry.who,
        'way': entry.way,
        'action': entry.action,
        'project': entry.project,
        'queue': entry.queue,
        'messages': entry.count,
        'details': msgspec.Raw(entry.details.encode()),
    }


def _in_short(details: str) -> str | None:
    members = msgspec.json.decode(details, type=dict[str, Any])
    return ' '.join(f'{name}={_text_of(value)}' for name, value in members.items()) or None


def _text_of(value: Any) -> str:
    return ','.join(map(str, value)) if isinstance(value, list) else str(value)
