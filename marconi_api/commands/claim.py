"""``marconi claim``."""

import argparse

from marconi_api.commands import terminal
from marconi_api.commands.arguments import add_json, add_queue, add_way, whole_number
from marconi_api.commands.failures import NothingFound
from marconi_api.commands.peek import document
from marconi_api.commands.ways import way_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What follows its name."""
    add_queue(parser)
    parser.add_argument(
        '--limit', metavar='N', type=whole_number(1), default=1, help='N messages at most (1)'
    )
    parser.add_argument(
        '--ttl', metavar='S', type=whole_number(1), help='seconds that the claim lives (300)'
    )
    parser.add_argument(
        '--grace',
        metavar='S',
        type=whole_number(0),
        help='seconds that a message outlives the claim, if it would end before (60)',
    )
    add_way(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Claim messages: nobody else gets them until the claim ends, or is released.

    It prints the claim's id and the messages. "marconi release QUEUE CLAIM" gives them back; else
    they come back when the claim's ttl is over. A claim counts for _max_claim_count, so to look
    at messages use "marconi peek". Exit code 1: there is nothing to claim.

    For example: marconi claim jobs --project acme --limit 5 --ttl 60
    """
    claim = way_of(arguments).claim(
        arguments.queue, arguments.ttl, arguments.grace, arguments.limit
    )
    if claim is None:
        raise NothingFound(f'there is nothing to claim in queue {arguments.queue}')
    if arguments.json:
        messages = [document(message) for message in claim.messages]
        terminal.show_json({'id': claim.id, 'ttl': claim.ttl, 'messages': messages})
        return
    terminal.show(f'claim {claim.id} for {claim.ttl} s')
    rows = [(message.id, message.age, message.ttl, message.body) for message in claim.messages]
    terminal.show_table(('ID', 'AGE', 'TTL', 'BODY'), rows)
