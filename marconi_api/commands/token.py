"""``marconi token``."""

import argparse
from typing import Any

from marconi_api import model
from marconi_api.commands import terminal
from marconi_api.commands.arguments import add_json, seconds
from marconi_api.commands.failures import NothingFound
from marconi_api.commands.store import open_store
from marconi_api.model.noted import NotedTokens
from marconi_api.model.tokens import Token, described
from marconi_api.policy import ROLES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What follows its name."""
    choices = parser.add_subparsers(required=True, metavar='create|list|revoke', dest='verb')

    create = choices.add_parser(
        'create', help='make a token; only the token goes to standard output'
    )
    create.add_argument('--project', default='', help='the project whose queues it allows')
    create.add_argument(
        '--role',
        action='append',
        required=True,
        metavar='ROLE',
        help=f'one of {", ".join(ROLES)}; may be repeated',
    )
    create.add_argument('--name', default='', help='what it is for, in your words')
    create.add_argument(
        '--expires',
        type=seconds,
        metavar='90d',
        help='after how long it expires, in s, m, h, d or w; without it, never',
    )
    create.add_argument(
        '--queue',
        metavar='PATTERN',
        help='the only queues that it allows, such as orders, or orders-* for all names that '
        'start with orders-',
    )

    create.add_argument(
        '--sqs',
        action='store_true',
        help='make an access key for clients of SQS: its id, and its secret in a second line',
    )
    add_json(create)

    shown = choices.add_parser('list', help='show the tokens of a project, without their secrets')
    shown.add_argument(
        '--project', default='', help='the project; without it, the tokens of operators'
    )
    add_json(shown)

    revoke = choices.add_parser('revoke', help='end a token')
    revoke.add_argument('id', help='its id: the part between mrc_ and the next underscore')


def run(arguments: argparse.Namespace) -> None:
    """Make, list and revoke the tokens that let clients in, if MARCONI_ACCESS is token.

    For example: marconi token create --project acme --role writer --name worker --expires 90d

    A token is shown once. It is sent as "Authorization: Bearer TOKEN" or "X-Auth-Token: TOKEN". With
    --sqs it is an access key: clients of SQS sign their requests by its secret.
    """
    _VERBS[arguments.verb](open_store().admin.tokens, arguments)


def _create(tokens: NotedTokens, arguments: argparse.Namespace) -> None:
    made = tokens.create(
        arguments.project,
        arguments.role,
        arguments.name,
        arguments.queue,
        arguments.expires,
        is_access_key=arguments.sqs,
    )
    if made.secret_key is None:
        shown = {'token': made.text}
    else:
        shown = {
            'access_key_id': made.token.id,
            'secret_access_key': made.secret_key,
            'account': model.store.accounts.of(arguments.project).number,
        }
    if arguments.json:
        terminal.show_json({**shown, **_document(made.token)})
    elif made.secret_key is None:
        terminal.show(made.text)
    else:
        terminal.show(shown['access_key_id'])
        terminal.show(shown['secret_access_key'])
        terminal.tell(f'queues of the project have the account {shown["account"]}')
    terminal.tell(f'token {made.token.id} is not shown again: keep it safe')


def _list(tokens: NotedTokens, arguments: argparse.Namespace) -> None:
    found = tokens.list(arguments.project)
    if arguments.json:
        terminal.show_json([_document(token) for token in found])
    elif found:
        terminal.show_table(_HEADINGS, [_row(described(token)) for token in found])
    if not found:
        whose = f'project {arguments.project} has' if arguments.project else 'operators have'
        raise NothingFound(f'{whose} no tokens')


def _revoke(tokens: NotedTokens, arguments: argparse.Namespace) -> None:
    # Who has the whole token at hand need not take it apart.
    token_id = arguments.id.removeprefix('mrc_').partition('_')[0]
    tokens.revoke(token_id)
    terminal.tell(
        f'token {token_id} is revoked; a process that remembers it may accept it for '
        'access.cache_seconds more'
    )


_VERBS = {'create': _create, 'list': _list, 'revoke': _revoke}

_HEADINGS = ('ID', 'ROLES', 'QUEUES', 'CREATED', 'EXPIRES', 'USED', 'REVOKED', 'NAME')


def _row(shown: dict[str, Any]) -> tuple[str | None, ...]:
    times = (shown[name] for name in ('created', 'expires', 'last_used', 'revoked'))
    roles = ','.join(shown['roles'])
    return (shown['id'], roles, shown['queues'], *times, shown['name'] or None)


def _document(token: Token) -> dict[str, Any]:
    return {'project': token.project, **described(token)}
