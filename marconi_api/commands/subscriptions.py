"""``marconi subscriptions``."""

import argparse
from dataclasses import asdict
from typing import Any

import msgspec

from marconi_api.commands import terminal
from marconi_api.commands.arguments import (
    add_consent,
    add_json,
    add_queue,
    add_way,
    add_words,
    whole_number,
)
from marconi_api.commands.failures import NothingFound, WrongUse
from marconi_api.commands.ways import way_of
from marconi_api.commands.ways.way import Way, is_json
from marconi_api.model import Delivery, Subscription

#: The states of a delivery that is not over.
_STATES = ('pending', 'failed')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What follows its name."""
    choices = parser.add_subparsers(required=True, metavar='|'.join(_VERBS), dest='verb')

    shown = _add_verb(choices, 'list', 'show the subscriptions to a queue')
    shown.add_argument(
        '--limit', metavar='N', type=whole_number(1), default=100, help='show N at most (100)'
    )

    _add_verb(choices, 'show', 'show all that is known of one', of_one=True)

    create = _add_verb(choices, 'create', 'subscribe a webhook or another queue')
    create.add_argument(
        'subscriber', metavar='SUBSCRIBER', help='a URL, or queue:NAME for a queue of the project'
    )
    create.add_argument(
        '--ttl', metavar='S', type=whole_number(1), help='seconds to live (default: 3600)'
    )
    create.add_argument(
        '--options', metavar='JSON', help='an object, such as {"_max_in_flight": 5}'
    )

    delete = _add_verb(choices, 'delete', 'end one, with what it still was to get', of_one=True)
    add_consent(delete)

    _add_verb(choices, 'pause', 'call a webhook no more; what it is to get waits', of_one=True)
    _add_verb(choices, 'resume', 'let one go on that is paused', of_one=True)

    waiting = _add_verb(
        choices, 'deliveries', 'show the messages that a webhook has not taken', of_one=True
    )
    waiting.add_argument('--state', choices=_STATES, help='only those in this state')
    waiting.add_argument(
        '--limit', metavar='N', type=whole_number(1), default=20, help='show N at most (20)'
    )

    retry = _add_verb(choices, 'retry', 'send messages to a webhook again', of_one=True)
    add_words(retry, 'delivery', 'the id of a delivery')
    retry.add_argument('--failed', action='store_true', help='all that have failed')
    add_consent(retry)


def _add_verb(choices: Any, verb: str, help: str, of_one: bool = False) -> Any:
    parser = choices.add_parser(verb, help=help, allow_abbrev=False)
    add_queue(parser)
    if of_one:
        parser.add_argument('id', metavar='ID', help="the subscription's id")
    add_way(parser)
    add_json(parser)
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Show and change who gets what is posted to a queue: webhooks, and queues that get copies.

    A message that a webhook has not taken is a delivery. It is pending until its attempts are used
    up; then it has failed, and can be sent again.

    For example: marconi subscriptions create events https://hooks.example.com/ --project acme
    or: marconi subscriptions deliveries events 00066147a6e3d5c0 --state failed --project acme
    or: marconi subscriptions retry events 00066147a6e3d5c0 --failed --project acme
    """
    _VERBS[arguments.verb](arguments, way_of(arguments))


def _list(arguments: argparse.Namespace, way: Way) -> None:
    found = way.subscriptions(arguments.queue, arguments.limit)
    if arguments.json:
        terminal.show_json([_document(one) for one in found])
    elif found:
        terminal.show_table(_HEADINGS, [_row(one) for one in found])
    if not found:
        raise NothingFound(f'queue {arguments.queue} has no subscriptions')
    if len(found) == arguments.limit:
        terminal.tell(f'There may be more than these {len(found)}: --limit shows more.')


def _show(arguments: argparse.Namespace, way: Way) -> None:
    found = _document(way.subscription(arguments.queue, arguments.id))
    if arguments.json:
        terminal.show_json(found)
        return
    found['options'] = bytes(found['options']).decode()
    deliveries = found.pop('deliveries')
    width = max(map(len, (*found, *deliveries)))
    for name, value in (found | deliveries).items():
        terminal.show(f'{name:{width}}  {_text(value)}')


def _text(value: Any) -> str:
    if value is None:
        return '-'
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    return terminal.printable(str(value))


def _create(arguments: argparse.Namespace, way: Way) -> None:
    if arguments.options is not None and not (
        is_json(arguments.options) and arguments.options.lstrip().startswith('{')
    ):
        raise WrongUse('--options must be a JSON object')
    made = way.subscribe(arguments.queue, arguments.subscriber, arguments.ttl, arguments.options)
    if arguments.json:
        terminal.show_json({'id': made.id, 'secret': made.secret})
    else:
        terminal.show(made.id)
        if made.secret:
            terminal.show(made.secret)
    if made.secret:
        terminal.tell('what signs the calls is not shown again: keep it safe')


def _delete(arguments: argparse.Namespace, way: Way) -> None:
    found = way.subscription(arguments.queue, arguments.id)
    waiting = found.pending + found.failed
    what = f'subscription {found.id} of {found.subscriber}, with {waiting} messages that it has not taken'
    if not arguments.dry_run:
        terminal.confirm(f'End {what}?', arguments.yes)
        way.unsubscribe(arguments.queue, arguments.id)
    if arguments.json:
        terminal.show_json({'deleted': not arguments.dry_run, 'messages': waiting})
    else:
        terminal.show(f'{"would end" if arguments.dry_run else "ended"} {what}')


def _pause(arguments: argparse.Namespace, way: Way) -> None:
    way.pause(arguments.queue, arguments.id)
    _show_state(arguments, way)


def _resume(arguments: argparse.Namespace, way: Way) -> None:
    way.resume(arguments.queue, arguments.id)
    _show_state(arguments, way)


def _show_state(arguments: argparse.Namespace, way: Way) -> None:
    found = way.subscription(arguments.queue, arguments.id)
    if arguments.json:
        terminal.show_json(_document(found))
    else:
        terminal.show(f'subscription {found.id} is {found.state}; {found.pending} messages wait')


def _deliveries(arguments: argparse.Namespace, way: Way) -> None:
    found = way.deliveries(arguments.queue, arguments.id, arguments.state, arguments.limit)
    if arguments.json:
        terminal.show_json(msgspec.to_builtins(found))
    elif found:
        terminal.show_table(
            ('ID', 'STATE', 'AGE', 'NEXT ATTEMPT', 'FAILED', 'LAST'),
            [
                (one.id, one.state, one.age, one.next_attempt, len(one.attempts), _last(one))
                for one in found
            ],
        )
    if not found:
        raise NothingFound(f'subscription {arguments.id} has no such deliveries')
    if len(found) == arguments.limit:
        terminal.tell(f'There may be more than these {len(found)}: --limit shows more.')


def _last(delivery: Delivery) -> str | None:
    """What came of the last call."""
    if not delivery.attempts:
        return None
    attempt = delivery.attempts[-1]
    return attempt.error or f'status {attempt.status}'


def _retry(arguments: argparse.Namespace, way: Way) -> None:
    if bool(arguments.delivery) == arguments.failed:
        raise WrongUse('name deliveries by their ids, or all that have failed with --failed')
    if arguments.dry_run and not arguments.failed:
        raise WrongUse('--dry-run goes with --failed')
    found = way.subscription(arguments.queue, arguments.id)
    count = found.failed if arguments.failed else len(arguments.delivery)
    if arguments.failed and not arguments.dry_run:
        terminal.confirm(f'Send {count} messages to {found.subscriber} again?', arguments.yes)
        way.retry_all(arguments.queue, arguments.id)
    for delivery in arguments.delivery:
        way.retry(arguments.queue, arguments.id, delivery)
    if arguments.json:
        terminal.show_json({'sent': 0 if arguments.dry_run else count, 'messages': count})
    else:
        verb = 'would send' if arguments.dry_run else 'sending'
        terminal.show(f'{verb} {count} messages to {found.subscriber} again')


_VERBS = {
    'list': _list,
    'show': _show,
    'create': _create,
    'delete': _delete,
    'pause': _pause,
    'resume': _resume,
    'deliveries': _deliveries,
    'retry': _retry,
}

_HEADINGS = ('ID', 'STATE', 'TTL', 'AGE', 'DELIVERED', 'PENDING', 'FAILED', 'SUBSCRIBER')


def _row(found: Subscription) -> tuple[Any, ...]:
    return (
        found.id,
        found.state if found.confirmed else 'unconfirmed',
        found.ttl,
        found.age,
        found.delivered,
        found.pending,
        found.failed,
        found.subscriber,
    )


def _document(found: Subscription) -> dict[str, Any]:
    """As the API shows it."""
    document = asdict(found)
    counts = ('delivered', 'pending', 'failed', 'oldest_pending_age')
    document['deliveries'] = {name: document.pop(name) for name in counts}
    document['options'] = msgspec.Raw(found.options.encode())
    return document
