"""``marconi show``."""

import argparse
from dataclasses import asdict
from typing import Any

import msgspec

from marconi_api.commands import terminal
from marconi_api.commands.arguments import add_json, add_queue, add_way
from marconi_api.commands.ways import way_of
from marconi_api.commands.ways.way import Details, End


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What follows its name."""
    add_queue(parser)
    add_way(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Show one queue: its messages by state, its oldest and newest message, its metadata.

    On the database it also shows the ten claims that end first. The time that the command takes
    grows with the number of messages. It changes nothing. Exit code 1: there is no such queue.

    For example: marconi show jobs --project acme
    """
    details = way_of(arguments).details(arguments.queue)
    if arguments.json:
        terminal.show_json(_document(details))
    else:
        _print(details)


def _print(details: Details) -> None:
    line = details.line
    rows: list[tuple[str, Any]] = [('queue', line.name), ('project', line.project or None)]
    if details.ready is None:
        rows.append(('free', f'{line.free} (ready or delayed)'))
    else:
        rows += [('ready', str(details.ready)), ('delayed', str(details.delayed))]
    rows += [
        ('claimed', str(line.claimed)),
        ('parked', str(line.parked)),
        ('oldest', _end(details.oldest)),
        ('newest', _end(details.newest)),
        ('metadata', details.metadata),
    ]
    for claim in details.claims or ():
        rows.append(
            (
                'claim',
                f'{claim.id} holds {claim.holds}, made or renewed {claim.age} s ago, '
                f'ends in {claim.expires_in} s',
            )
        )
    for name, value in rows:
        shown = '-' if value is None else terminal.printable(value)
        terminal.show(f'{name:<9} {shown}')


def _end(end: End | None) -> str | None:
    return None if end is None else f'{end.id}, posted {end.age} s ago'


def _document(details: Details) -> dict[str, Any]:
    line = details.line
    document = {
        'project': line.project,
        'name': line.name,
        'free': line.free,
        'claimed': line.claimed,
        'parked': line.parked,
        'total': line.total,
        'oldest': details.oldest,
        'newest': details.newest,
        'metadata': msgspec.Raw(details.metadata.encode()),
    }
    if details.ready is not None:
        document |= {'ready': details.ready, 'delayed': details.delayed}
    if details.claims is not None:
        document['claims'] = [asdict(claim) for claim in details.claims]
    return document
