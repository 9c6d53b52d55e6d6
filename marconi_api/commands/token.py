"""``marconi token``."""

import argparse
import re
import sys
from datetime import datetime

from marconi_api.commands.store import open_store
from marconi_api.errors import MarconiError
from marconi_api.model.tokens import Token, Tokens
from marconi_api.policy import ROLES
from marconi_api.processes.failures import ServiceError

_UNITS = {'m': 60, 'h': 3600, 'd': 86400, 'w': 7 * 86400}


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
        help='after how long it expires, in m, h, d or w; without it, never',
    )
    create.add_argument(
        '--queue',
        metavar='PATTERN',
        help='the only queues that it allows, such as orders, or orders-* for all names that '
        'start with orders-',
    )

    shown = choices.add_parser('list', help='show the tokens of a project, without their secrets')
    shown.add_argument(
        '--project', default='', help='the project; without it, the tokens of operators'
    )

    revoke = choices.add_parser('revoke', help='end a token')
    revoke.add_argument('id', help='its id: the part between mrc_ and the next underscore')


def run(arguments: argparse.Namespace) -> None:
    """Make, list and revoke the tokens that let clients in, if MARCONI_ACCESS is token.

    For example: marconi token create --project acme --role writer --name worker --expires 90d

    A token is shown once. It is sent as "Authorization: Bearer TOKEN" or "X-Auth-Token: TOKEN".
    """
    tokens = open_store().tokens
    try:
        _VERBS[arguments.verb](tokens, arguments)
    except MarconiError as error:
        # What the database has to say is in the log.
        raise ServiceError(str(error)) from None


def _create(tokens: Tokens, arguments: argparse.Namespace) -> None:
    made = tokens.create(
        arguments.project, arguments.role, arguments.name, arguments.queue, arguments.expires
    )
    print(made.text)
    print(f'token {made.token.id} is not shown again: keep it safe', file=sys.stderr)


def _list(tokens: Tokens, arguments: argparse.Namespace) -> None:
    for token in tokens.list(arguments.project):
        print(_line(token))


def _revoke(tokens: Tokens, arguments: argparse.Namespace) -> None:
    # Who has the whole token at hand need not take it apart.
    token_id = arguments.id.removeprefix('mrc_').partition('_')[0]
    tokens.revoke(token_id)
    print(
        f'token {token_id} is revoked; a process that remembers it may accept it for '
        'access.cache_seconds more',
        file=sys.stderr,
    )


_VERBS = {'create': _create, 'list': _list, 'revoke': _revoke}


def _line(token: Token) -> str:
    """A token, in the order in which the columns are of interest."""
    parts = [
        token.id,
        f'roles={",".join(token.roles)}',
        f'queues={token.queues or "*"}',
        f'created={_time(token.created_at)}',
        f'expires={_time(token.expires_at)}',
        f'used={_time(token.last_used_at)}',
        f'revoked={_time(token.revoked_at)}',
        token.name,
    ]
    return ' '.join(filter(None, parts))


def _time(time: datetime | None) -> str:
    return 'never' if time is None else time.strftime('%Y-%m-%dT%H:%M%z')


def seconds(text: str) -> int:
    """The seconds of a time such as 90d.

    :raises argparse.ArgumentTypeError: if it is none
    """
    found = re.fullmatch(r'([0-9]{1,9})([mhdw])', text)
    if found is None:
        raise argparse.ArgumentTypeError(
            f'{text!r} must be a number and m, h, d or w, such as 90d for 90 days'
        )
    return int(found[1]) * _UNITS[found[2]]
