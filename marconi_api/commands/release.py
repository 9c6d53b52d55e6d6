"""``marconi release``."""

import argparse

from marconi_api.commands import terminal
from marconi_api.commands.arguments import add_consent, add_json, add_queue, add_way, add_words
from marconi_api.commands.failures import NothingFound, WrongUse
from marconi_api.commands.ways import way_of
from marconi_api.commands.ways.way import Way


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What follows its name."""
    add_queue(parser)
    add_words(parser, 'id', "a claim's id, or a message's")
    parser.add_argument('--parked', action='store_true', help='all parked messages of the queue')
    add_way(parser)
    add_consent(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Let messages be claimed at once: those of a claim, single ones, or all parked ones.

    A claim that is released ends, whoever has it. A message that is claimed, delayed or parked is
    ready then. One that was parked starts anew, with its whole ttl and no claims counted. It asks
    before it releases all parked messages. Exit code 1: none of them was found.

    For example: marconi release jobs 5b6c69d9-777f-482a-a5ad-b70e859b0e3a --project acme
    or: marconi release jobs --parked --yes
    """
    if bool(arguments.id) == arguments.parked:
        raise WrongUse('name claims or messages by their ids, or all parked ones with --parked')
    way = way_of(arguments)
    if arguments.parked:
        _release_parked(arguments, way)
        return
    line = way.line(arguments.queue)
    if arguments.dry_run:
        raise WrongUse('--dry-run goes with --parked')
    count = sum(way.release(line.name, identity) for identity in arguments.id)
    if not count:
        raise NothingFound(f'nothing to release in queue {line.name} has such an id')
    _report(arguments, count, 'released')


def _release_parked(arguments: argparse.Namespace, way: Way) -> None:
    count = way.line(arguments.queue).parked
    if arguments.dry_run:
        _report(arguments, count, 'would release')
        return
    terminal.confirm(f'Release {count} parked messages of {arguments.queue}?', arguments.yes)
    with terminal.progress(count, 'messages') as told:
        released = way.release_parked(arguments.queue, told)
    _report(arguments, released, 'released')


def _report(arguments: argparse.Namespace, count: int, verb: str) -> None:
    if arguments.json:
        terminal.show_json({'released': count if verb == 'released' else 0, 'messages': count})
    else:
        terminal.show(f'{verb} {count} messages')
