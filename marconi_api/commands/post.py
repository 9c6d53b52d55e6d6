"""``marconi post``."""

import argparse
import sys
from collections.abc import Iterator, Sequence

import msgspec

from marconi_api.commands import terminal
from marconi_api.commands.arguments import add_json, add_queue, add_way, add_words, whole_number
from marconi_api.commands.failures import CommandFailed, WrongUse
from marconi_api.commands.ways import way_of
from marconi_api.commands.ways.way import is_json

# What goes into one request, if it is read from standard input: messages, and bytes of them.
_MOST = 100
_MOST_BYTES = 128 * 1024

_SHOWN = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What follows its name."""
    add_queue(parser)
    add_words(parser, 'body', 'a message as JSON; without any, each line of input is one')
    parser.add_argument(
        '--text', action='store_true', help='take each body as a text, which becomes a JSON string'
    )
    parser.add_argument(
        '--ttl', metavar='S', type=whole_number(1), help="seconds to live (the queue's default)"
    )
    parser.add_argument(
        '--delay',
        metavar='S',
        type=whole_number(0),
        help="seconds before it can be claimed (the queue's default)",
    )
    add_way(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Post messages to a queue, and print their ids; the queue is made if it is not there.

    Bodies that are arguments are posted all or none. Without any, each line of standard input is
    a body, and 100 lines at most are posted at a time; empty lines are left out. If that fails
    amid the input, the ids that were printed tell what was posted.

    For example: marconi post jobs '{"resize": 1}' --project acme --ttl 600
    or: marconi post jobs --text 'hello'
    or: marconi post jobs < bodies.jsonl
    """
    way = way_of(arguments)
    is_counted = not arguments.body
    posted: list[str] = []
    with terminal.progress(None if is_counted else len(arguments.body), 'messages') as told:
        for bodies in _batches(arguments):
            try:
                ids = way.post(arguments.queue, bodies, arguments.ttl, arguments.delay)
            except Exception:
                if posted:
                    terminal.tell(f'{len(posted)} messages were posted before this:')
                raise
            posted += ids
            told(len(ids))
            if not arguments.json:
                terminal.show('\n'.join(ids))
    if arguments.json:
        terminal.show_json(posted)
    if not posted:
        raise CommandFailed('standard input has no message')


def _batches(arguments: argparse.Namespace) -> Iterator[Sequence[str]]:
    if arguments.body:
        yield [
            _json(body, arguments.text, f'message {number}')
            for number, body in enumerate(arguments.body, 1)
        ]
        return
    if sys.stdin is None or sys.stdin.isatty():
        raise WrongUse('name a message, or send some to standard input')
    batch: list[str] = []
    size = 0
    for number, line in _lines():
        body = _json(line, arguments.text, f'line {number}')
        if batch and (len(batch) == _MOST or size + len(body) > _MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(body)
        size += len(body)
    if batch:
        yield batch


def _lines() -> Iterator[tuple[int, str]]:
    number = 0
    for number, line in enumerate(sys.stdin.buffer, 1):
        try:
            text = line.decode().strip('\r\n')
        except UnicodeDecodeError:
            raise WrongUse(f'line {number} is not UTF-8') from None
        if text.strip():
            yield number, text


def _json(text: str, is_text: bool, where: str) -> str:
    if is_text:
        return msgspec.json.encode(text).decode()
    if not is_json(text):
        raise WrongUse(f'{where} is not JSON: {text[:_SHOWN]} (--text posts it as a string)')
    return text.strip()
