"""``marconi queues``."""

import argparse

from marconi_api.commands import terminal
from marconi_api.commands.arguments import add_json, add_project, add_way, whole_number
from marconi_api.commands.failures import NothingFound, WrongUse
from marconi_api.commands.ways import way_of
from marconi_api.commands.ways.way import QueueLine

_COUNTS = ('free', 'claimed', 'parked', 'total')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What follows its name."""
    add_project(parser)
    parser.add_argument(
        '--all-projects', action='store_true', help='the queues of all projects (not over HTTP)'
    )
    parser.add_argument(
        '--limit', metavar='N', type=whole_number(1), default=100, help='show N at most (100)'
    )
    add_way(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """List queues with their numbers of messages, the deepest queue first.

    A free message is ready, or delayed until its time comes. The time that the command takes
    grows with the number of messages. It changes nothing. Exit code 1: there is no queue.

    For example: marconi queues --all-projects
    or: marconi queues --project acme --json
    """
    found = _find(arguments)
    if arguments.json:
        terminal.show_json([_document(line) for line in found])
    elif found:
        rows = [(line.name, line.project or None, *_counts(line)) for line in found]
        terminal.show_table(('QUEUE', 'PROJECT', *map(str.upper, _COUNTS)), rows)
    if not found:
        raise NothingFound(_missing(arguments))
    if len(found) == arguments.limit:
        terminal.tell(f'There may be more than these {len(found)}: --limit shows more.')


def _find(arguments: argparse.Namespace) -> list[QueueLine]:
    if not arguments.all_projects:
        return way_of(arguments).queues(arguments.limit)
    if arguments.url:
        raise WrongUse('over HTTP there is no --all-projects: name one with --project')
    if arguments.project:
        raise WrongUse('name one project with --project, or --all-projects, but not both')
    from marconi_api.commands.ways.direct import Direct

    return Direct('').queues_of_all_projects(arguments.limit)


def _missing(arguments: argparse.Namespace) -> str:
    if arguments.all_projects:
        return 'there are no queues yet'
    whose = f'project {arguments.project} has' if arguments.project else 'no project has'
    if not arguments.project:
        return 'there is no queue without a project: name one with --project' + (
            '' if arguments.url else ', or see all with --all-projects'
        )
    return f'{whose} no queues'


def _counts(line: QueueLine) -> list[int]:
    return [getattr(line, count) for count in _COUNTS]


def _document(line: QueueLine) -> dict[str, object]:
    counts = dict(zip(_COUNTS, _counts(line), strict=True))
    return {'project': line.project, 'name': line.name, **counts}
