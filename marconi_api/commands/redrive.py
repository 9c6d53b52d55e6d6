"""``marconi redrive``."""

import argparse
import time
from collections.abc import Callable

from marconi_api.commands import terminal
from marconi_api.commands.arguments import (
    add_consent,
    add_json,
    add_queue,
    add_way,
    refuse_url,
    whole_number,
)
from marconi_api.commands.failures import WrongUse
from marconi_api.model.redrive import BATCH_SIZE

# A batch writes as many bodies in one statement, which has five seconds.
_LARGEST_BATCH = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What follows its name."""
    add_queue(parser)
    parser.add_argument(
        '--to', metavar='OTHER', help='the queue of the same project to which they go; required'
    )
    parser.add_argument(
        '--rate', metavar='N', type=whole_number(1), help='move N messages a second at most'
    )
    parser.add_argument(
        '--batch',
        metavar='N',
        type=whole_number(1),
        default=BATCH_SIZE,
        help=f'messages in one transaction ({BATCH_SIZE}); fewer, if they are very large',
    )
    add_way(parser)
    add_consent(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Move the ready messages of a queue to another one, as back from a dead-letter queue.

    --to is required: a message does not keep the name of the queue that it came from. Messages
    that are claimed, delayed or parked stay ("marconi release --parked" is for parked ones). A
    message that is moved starts anew, with its whole ttl and no claims counted; it keeps its id.

    Each batch is one transaction. So the command can be ended at any moment, and be run again:
    no message is lost, and none is there twice. It works on the database only.

    For example: marconi redrive dead --to jobs --project acme --rate 100
    """
    refuse_url(arguments, 'redrive works on the database only, in transactions that HTTP has not')
    if arguments.batch > _LARGEST_BATCH:
        raise WrongUse(f'--batch must be {_LARGEST_BATCH} at most')
    from marconi_api.commands.ways.direct import Direct

    way = Direct(arguments.project)
    source = way.admin(arguments.queue)
    if arguments.to is None:
        raise WrongUse(_asks_for_target(way.sources_of(arguments.queue)))
    way.key(arguments.to)
    if arguments.to == arguments.queue:
        raise WrongUse('--to must name another queue')
    ready = source.stats()['ready']
    if arguments.dry_run:
        _report(arguments, 0, ready, f'would move {ready} messages to {arguments.to}')
        return
    terminal.confirm(
        f'Move {ready} messages of {arguments.queue} to {arguments.to}?', arguments.yes
    )
    batch = min(arguments.batch, arguments.rate or arguments.batch)
    with terminal.progress(ready, 'messages') as told:
        moved = source.redrive(arguments.to, batch, _at_rate(told, arguments.rate))
    left = source.stats()['ready']
    _report(arguments, moved, left, f'moved {moved} messages to {arguments.to}')
    if left and not arguments.json:
        terminal.tell(f'{left} ready messages are in {arguments.queue} now: run it again for them.')


def _report(arguments: argparse.Namespace, moved: int, left: int, text: str) -> None:
    if arguments.json:
        terminal.show_json({'moved': moved, 'ready': left, 'to': arguments.to})
    else:
        terminal.show(text)


def _asks_for_target(sources: list[str]) -> str:
    named = f'; dead letters of {", ".join(sources[:5])} come here' if sources else ''
    return f'name the queue to which the messages go with --to OTHER{named}'


def _at_rate(told: Callable[[int], None], rate: int | None) -> Callable[[int], None]:
    """Tells on, and waits after each batch for as long as it may take at that rate."""
    if rate is None:
        return told
    begun = time.monotonic()
    total = 0

    def wait(moved: int) -> None:
        nonlocal total
        told(moved)
        total += moved
        time.sleep(max(0, begun + total / rate - time.monotonic()))

    return wait
