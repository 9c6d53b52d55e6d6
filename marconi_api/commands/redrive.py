"""``marconi redrive``."""

import argparse
from dataclasses import asdict
from typing import Any

from marconi_api.commands import terminal
from marconi_api.commands.arguments import (
    add_consent,
    add_json,
    add_queue,
    add_way,
    seconds,
    whole_number,
)
from marconi_api.commands.failures import CommandFailed, NothingFound, WrongUse
from marconi_api.commands.ways import way_of
from marconi_api.commands.ways.way import Way
from marconi_api.model import Order, Preview, Redrive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What follows its name."""
    add_queue(parser)
    parser.add_argument(
        '--to',
        metavar='OTHER',
        help='a queue of the same project to which they go; without it, back to where they came from',
    )
    parser.add_argument(
        '--parked', action='store_true', help='the parked messages, instead of those that are ready'
    )
    parser.add_argument(
        '--min-age', metavar='1h', type=seconds, help='only messages posted at least that long ago'
    )
    parser.add_argument(
        '--max-age', metavar='7d', type=seconds, help='only messages posted at most that long ago'
    )
    parser.add_argument(
        '--reason',
        metavar='TEXT',
        help='only messages that were parked for a reason with that text',
    )
    parser.add_argument(
        '--rate', metavar='N', type=whole_number(1), help='move N messages a second at most'
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        '--status', action='store_true', help='only show the last redrives of the queue'
    )
    instead.add_argument(
        '--cancel', action='store_true', help='only cancel the one that is under way'
    )
    add_way(parser)
    add_consent(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Move dead letters back to the queues that they came from, or to another queue.

    With --parked the parked messages of a queue become ready again, there or in another queue. A
    message that is moved starts anew, with its whole ttl and no claims counted; it keeps its id.
    Messages that are claimed or delayed stay.

    Ctrl-C cancels the redrive: what is moved stays moved. If the command is killed, a running service
    goes on with it, and so does the same command, if it is typed again. No message is lost, and none
    is there twice.

    For example: marconi redrive dead --project acme --rate 100
    or: marconi redrive jobs --parked --reason 'timed out' --max-age 2d --project acme
    """
    way = way_of(arguments)
    if arguments.status:
        _show_all(arguments, way.redrives(arguments.queue))
        return
    if arguments.cancel:
        _cancel(arguments, way)
        return
    order = Order(
        'parked' if arguments.parked else 'ready',
        arguments.to,
        arguments.min_age,
        arguments.max_age,
        arguments.reason or None,
        arguments.rate,
    )
    under_way = _under_way(way, arguments.queue)
    if under_way is None or arguments.dry_run:
        found = way.preview_redrive(arguments.queue, order)
        _tell_what_stays(found.without_target)
        if arguments.dry_run:
            _show_preview(arguments, found)
            return
        terminal.confirm(f'Move {_messages(found)} {_where(arguments, found)}?', arguments.yes)
        started = way.start_redrive(arguments.queue, order)
    elif _is_for(order, under_way):
        terminal.tell(f'redrive {under_way.id} is under way: going on with it')
        started = under_way
    else:
        raise CommandFailed(
            f'another redrive of {arguments.queue} is under way, {under_way.id}: wait until it has '
            'ended, or cancel it with --cancel'
        )
    _report(arguments, _follow(way, arguments.queue, started))


def _follow(way: Way, queue: str, redrive: Redrive) -> Redrive:
    """How it has ended; Ctrl-C cancels it."""
    try:
        with terminal.progress(redrive.total, 'messages') as told:
            told(redrive.moved)
            while redrive.is_running:
                before = redrive.moved
                redrive = way.go_on_with_redrive(queue, redrive)
                told(redrive.moved - before)
    except KeyboardInterrupt:
        redrive = way.cancel_redrive(queue, redrive.id)
        terminal.tell(f'the redrive is cancelled; {redrive.moved} messages were moved')
        raise
    return redrive


def _under_way(way: Way, queue: str) -> Redrive | None:
    return next((redrive for redrive in way.redrives(queue) if redrive.is_running), None)


def _is_for(order: Order, redrive: Redrive) -> bool:
    asked = (order.state, order.to, order.min_age, order.max_age, order.reason, order.rate)
    return asked == (
        redrive.state,
        redrive.to,
        redrive.min_age,
        redrive.max_age,
        redrive.reason,
        redrive.rate,
    )


def _cancel(arguments: argparse.Namespace, way: Way) -> None:
    under_way = _under_way(way, arguments.queue)
    if under_way is None:
        raise NothingFound(f'no redrive of {arguments.queue} is under way')
    if arguments.dry_run:
        raise WrongUse('--dry-run does not go with --cancel')
    _report(arguments, way.cancel_redrive(arguments.queue, under_way.id))


def _messages(found: Preview) -> str:
    return f'{found.messages}{" or more" if found.has_more else ""} messages'


def _where(arguments: argparse.Namespace, found: Preview) -> str:
    if arguments.to:
        return f'of {arguments.queue} to {arguments.to}'
    several = ', '.join(f'{target.queue} ({target.messages})' for target in found.targets[:5])
    more = f' and {len(found.targets) - 5} other queues' if len(found.targets) > 5 else ''
    return f'of {arguments.queue} back to {several or "where they came from"}{more}'


def _tell_what_stays(count: int) -> None:
    if count:
        terminal.tell(
            f'{count} messages stay, as it is not known from which queue they came, or that is gone: '
            'name one with --to OTHER'
        )


def _show_preview(arguments: argparse.Namespace, found: Preview) -> None:
    if arguments.json:
        terminal.show_json(
            {
                'messages': found.messages,
                'targets': [target._asdict() for target in found.targets],
                'without_target': found.without_target,
                'more': found.has_more,
            }
        )
    else:
        terminal.show(f'would move {_messages(found)} {_where(arguments, found)}')


def _report(arguments: argparse.Namespace, redrive: Redrive) -> None:
    if arguments.json:
        terminal.show_json(_document(redrive))
    else:
        where = f'to {redrive.to}' if redrive.to else 'back'
        terminal.show(f'moved {redrive.moved} messages {where}')
    if redrive.status == 'failed':
        raise CommandFailed(f'the redrive has failed: {redrive.failure}')


def _show_all(arguments: argparse.Namespace, found: list[Redrive]) -> None:
    if arguments.json:
        terminal.show_json([_document(redrive) for redrive in found])
    elif found:
        terminal.show_table(
            ('STARTED', 'STATUS', 'STATE', 'TO', 'TOTAL', 'MOVED', 'ID'),
            [
                (
                    terminal.time_text(redrive.started_at),
                    redrive.status,
                    redrive.state,
                    redrive.to,
                    redrive.total,
                    redrive.moved,
                    redrive.id,
                )
                for redrive in found
            ],
        )
    if not found:
        raise NothingFound(f'there was no redrive of {arguments.queue} lately')


def _document(redrive: Redrive) -> dict[str, Any]:
    document = asdict(redrive)
    started, ended = document.pop('started_at'), document.pop('ended_at')
    return {
        **document,
        'started': terminal.time_text(started),
        'ended': None if ended is None else terminal.time_text(ended),
    }
