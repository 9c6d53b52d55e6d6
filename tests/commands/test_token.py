"""``marconi token``, and the tokens in `pecan shell`, as an operator types them."""

import argparse
import json
import re
from typing import Any

import pytest

from marconi_api import model
from marconi_api.commands.arguments import seconds


def test_only_the_token_goes_to_standard_output(marconi: Any) -> None:
    done = marconi('token', 'create', '--project', 'acme', '--role', 'writer', '--expires', '90d')

    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r'mrc_\w+\n', done.stdout)
    valid = model.store.tokens.look_up(done.stdout.strip())
    assert valid is not None
    assert (valid.project, set(valid.roles)) == ('acme', {'writer'})


def test_a_token_may_have_roles_a_name_and_a_pattern(marconi: Any) -> None:
    marconi(
        *('token', 'create', '--project', 'acme', '--role', 'producer', '--role', 'reader'),
        *('--name', 'shop', '--queue', 'orders-*'),
    )

    [token] = model.store.tokens.list('acme')
    assert (token.roles, token.name, token.queues) == (('producer', 'reader'), 'shop', 'orders-*')


def test_the_list_shows_no_secret(marconi: Any) -> None:
    made = model.store.tokens.create('acme', 'writer', 'worker')

    listed = marconi('token', 'list', '--project', 'acme').stdout

    headings, line = listed.splitlines()
    assert headings.split() == [
        'ID',
        'ROLES',
        'QUEUES',
        'CREATED',
        'EXPIRES',
        'USED',
        'REVOKED',
        'NAME',
    ]
    assert re.fullmatch(rf'{made.token.id} +writer +- +\S+Z +- +- +- +worker', line)


def test_programs_read_it_as_json(marconi: Any) -> None:
    made = marconi('token', 'create', '--project', 'acme', '--role', 'writer', '--json')
    listed = marconi('token', 'list', '--project', 'acme', '--json')

    shown = json.loads(made.stdout)
    assert model.store.tokens.look_up(shown.pop('token')) is not None
    assert json.loads(listed.stdout) == [shown]
    assert (shown['project'], shown['roles'], shown['expires']) == ('acme', ['writer'], None)


def test_a_project_without_tokens_has_exit_code_1(marconi: Any) -> None:
    listed = marconi('token', 'list', '--project', 'acme', '--json')

    assert (listed.returncode, listed.stdout) == (1, '[]\n')
    assert listed.stderr == 'marconi: project acme has no tokens\n'


def test_a_token_is_revoked_by_its_id_or_as_a_whole(marconi: Any) -> None:
    made = [model.store.tokens.create('acme', 'writer') for _ in range(2)]

    marconi('token', 'revoke', made[0].token.id)
    marconi('token', 'revoke', made[1].text)

    assert [model.store.tokens.look_up(one.text) for one in made] == [None, None]


@pytest.mark.parametrize(
    ('arguments', 'exit_code', 'said'),
    [
        (('revoke', 'none'), 1, 'marconi: Token none does not exist.\n'),
        (('create', '--role', 'writer'), 2, 'marconi: A token needs a project'),
        (('create', '--project', 'a', '--role', 'boss'), 2, "not 'boss'"),
    ],
)
def test_a_mistake_is_one_line(
    marconi: Any, arguments: tuple[str, ...], exit_code: int, said: str
) -> None:
    done = marconi('token', *arguments)

    assert done.returncode == exit_code
    assert said in done.stderr
    assert done.stderr.count('\n') == 1


def test_times_are_numbers_with_a_unit() -> None:
    assert [seconds(text) for text in ('5m', '2h', '90d', '1w')] == [300, 7200, 7776000, 604800]
    for wrong in ('', '90', 'd', '1y', '-1d'):
        with pytest.raises(argparse.ArgumentTypeError):
            seconds(wrong)


def test_the_shell_has_tokens(app: Any) -> None:
    tokens = model.store.admin.tokens
    made = tokens.create('acme', 'writer')

    assert 'tokens' in repr(model.store.admin)
    assert tokens.list('acme') == [made.token]
    tokens.revoke(made.token.id)
    assert model.store.tokens.look_up(made.text) is None


def test_an_access_key_is_its_id_and_its_secret(marconi: Any) -> None:
    done = marconi(
        *('token', 'create', '--project', 'acme', '--role', 'writer', '--sqs'),
        MARCONI_SECRET_KEYS='a key',
    )

    key_id, secret = done.stdout.splitlines()
    assert re.fullmatch(r'[0-9A-Za-z]{12}', key_id)
    assert re.fullmatch(r'[0-9A-Za-z]{43}', secret)
    assert re.search('have the account [0-9]{12}', done.stderr)
    [token] = model.store.tokens.list('acme')
    assert (token.id, token.roles) == (key_id, ('writer',))


def test_an_access_key_is_a_document(marconi: Any) -> None:
    done = marconi(
        *('token', 'create', '--project', 'acme', '--role', 'writer', '--sqs', '--json'),
        MARCONI_SECRET_KEYS='a key',
    )

    shown = json.loads(done.stdout)
    assert shown['access_key_id'] == shown['id']
    assert len(shown['secret_access_key']) == 43
    assert re.fullmatch('[0-9]{12}', shown['account'])
    assert 'token' not in shown


def test_without_a_key_for_secrets_no_access_key_is_made(marconi: Any) -> None:
    done = marconi('token', 'create', '--project', 'acme', '--role', 'writer', '--sqs')

    assert done.returncode == 2
    assert 'MARCONI_SECRET_KEYS' in done.stderr
    assert model.store.tokens.list('acme') == []
