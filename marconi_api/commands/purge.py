"""``marconi purge``."""

import argparse

from marconi_api.commands import terminal
from marconi_api.commands.arguments import add_consent, add_json, add_queue, add_way
from marconi_api.commands.ways import way_of
from marconi_api.commands.ways.way import QueueLine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What follows its name."""
    add_queue(parser)
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument('--parked', action='store_true', help='only the parked messages')
    kinds.add_argument(
        '--claimed', action='store_true', help='the claimed messages, too (not over HTTP)'
    )
    add_way(parser)
    add_consent(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Delete the messages of a queue, except those that a claim holds; the queue stays.

    They cannot be brought back. A message that is being claimed at this very moment may be gone
    from under its claim. The number that is shown was counted before.

    For example: marconi purge jobs --project acme --dry-run
    or: marconi purge jobs --project acme --parked --yes
    """
    way = way_of(arguments)
    count = _count(arguments, way.line(arguments.queue))
    if arguments.dry_run:
        _report(arguments, count, is_done=False)
        return
    terminal.confirm(f'Delete {count} messages of queue {arguments.queue}?', arguments.yes)
    way.purge(arguments.queue, arguments.parked, arguments.claimed)
    _report(arguments, count, is_done=True)


def _count(arguments: argparse.Namespace, line: QueueLine) -> int:
    if arguments.parked:
        return line.parked
    return line.total if arguments.claimed else line.free + line.parked


def _report(arguments: argparse.Namespace, count: int, is_done: bool) -> None:
    if arguments.json:
        terminal.show_json({'queue': arguments.queue, 'messages': count, 'purged': is_done})
    else:
        terminal.show(f'{"deleted" if is_done else "would delete"} {count} messages')
