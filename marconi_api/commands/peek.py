"""``marconi peek``."""

import argparse
from typing import Any

import msgspec

from marconi_api.commands import terminal
from marconi_api.commands.arguments import add_json, add_queue, add_way, whole_number
from marconi_api.commands.failures import NothingFound
from marconi_api.commands.ways import way_of
from marconi_api.model import STATES, Message, PeekedMessage

_ALL = 'all'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What follows its name."""
    add_queue(parser)
    parser.add_argument(
        '--state', choices=(*STATES, _ALL), default=_ALL, help='messages of this state (all)'
    )
    parser.add_argument(
        '--limit', metavar='N', type=whole_number(1), default=10, help='show N at most (10)'
    )
    parser.add_argument('--after', metavar='ID', help='only messages after the one with this id')
    add_way(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Look at the messages of a queue, the one that was posted first comes first.

    It changes nothing: a message that is looked at can be claimed as before. Ages and ttls are
    in seconds. --json prints bodies as they were posted. Exit code 1: there is no such queue,
    or no such message in it.

    For example: marconi peek jobs --state parked --limit 20
    """
    states = tuple(STATES) if arguments.state == _ALL else (arguments.state,)
    found = way_of(arguments).peek(arguments.queue, states, arguments.limit, arguments.after)
    if arguments.json:
        terminal.show_json([document(message) for message in found])
    elif found:
        headings = ('ID', 'STATE', 'AGE', 'TTL', 'CLAIMS', 'CLAIM', 'REASON', 'BODY')
        terminal.show_table(headings, list(map(_row, found)))
    if not found:
        kind = '' if arguments.state == _ALL else f'{arguments.state} '
        raise NothingFound(f'there is no {kind}message in queue {arguments.queue}')


def _row(message: PeekedMessage) -> tuple[Any, ...]:
    return (
        message.id,
        message.state,
        message.age,
        message.ttl,
        message.claim_count,
        message.claim,
        message.reason,
        message.body,
    )


def document(message: Message) -> dict[str, Any]:
    """A message for programs; its body as it was posted.

    What only messages in queues with groups have is left out of others.
    """
    members = msgspec.structs.asdict(message)
    for name in ('group', 'sequence', 'deduplication_id'):
        if members.get(name, '') is None:
            del members[name]
    return members | {'body': msgspec.Raw(message.body.encode())}
