"""Tokens as they are made, kept and looked up."""

import re
from dataclasses import replace
from typing import Any

import pytest

from marconi_api import model
from marconi_api.errors import InvalidRequest, QuotaExceeded, TokenNotFound
from marconi_api.model.tokens import Tokens, is_within, parsed


@pytest.fixture
def tokens(app: Any) -> Tokens:
    return model.store.tokens


def test_a_token_has_a_form_that_scanners_find(tokens: Tokens) -> None:
    made = tokens.create('acme', 'writer')

    assert re.fullmatch(r'mrc_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}', made.text)
    assert made.text.startswith(f'mrc_{made.token.id}_')


def test_each_typing_error_is_told_without_the_database(tokens: Tokens) -> None:
    text = tokens.create('acme', 'writer').text
    places = [place for place in range(len(text)) if text[place] != '_']

    assert parsed(text) is not None
    for place in places:
        other = 'x' if text[place] != 'x' else 'y'
        assert parsed(text[:place] + other + text[place + 1 :]) is None
    assert parsed(f'{text}\n') is None
    assert parsed(text[:-1]) is None


def test_no_two_are_alike(tokens: Tokens) -> None:
    texts = [tokens.create('acme', 'writer').text for _ in range(20)]

    assert len({text[-49:-6] for text in texts}) == 20


def test_the_secret_is_neither_stored_nor_shown(tokens: Tokens, sql: Any) -> None:
    made = tokens.create('acme', 'writer', 'the worker')
    secret = made.text.rpartition('_')[2][:-6]

    assert secret not in repr(made)
    assert secret not in repr(tokens.list('acme'))
    [(row,)] = sql('SELECT tokens::text FROM tokens')
    assert secret not in row
    assert secret.encode().hex() not in row


def test_it_says_who_shows_it(tokens: Tokens) -> None:
    made = tokens.create('acme', ['producer', 'reader'], queues='orders-*', expires_in=600)

    valid = tokens.look_up(made.text)

    assert valid is not None
    assert (valid.id, valid.project, valid.queues) == (made.token.id, 'acme', 'orders-*')
    assert valid.roles == {'producer', 'reader'}
    assert valid.expires_in is not None
    assert 590 < valid.expires_in <= 600


def test_another_token_s_secret_opens_nothing(tokens: Tokens) -> None:
    one, other = tokens.create('acme', 'writer'), tokens.create('other', 'writer')
    mixed = other.text.replace(other.token.id, one.token.id)

    assert tokens.look_up(mixed) is None


def test_a_revoked_one_is_still_shown(tokens: Tokens) -> None:
    made = tokens.create('acme', 'writer')
    tokens.revoke(made.token.id)
    [shown] = tokens.list('acme')
    tokens.revoke(made.token.id)

    assert shown.revoked_at is not None
    assert tokens.list('acme') == [shown]
    assert replace(shown, revoked_at=None) == made.token
    assert tokens.look_up(made.text) is None


def test_another_project_s_token_is_not_there(tokens: Tokens) -> None:
    made = tokens.create('acme', 'writer')

    with pytest.raises(TokenNotFound):
        tokens.revoke(made.token.id, 'other')
    with pytest.raises(TokenNotFound):
        tokens.get(made.token.id, 'other')
    assert tokens.list('other') == []
    assert tokens.look_up(made.text) is not None


def test_a_project_has_room_for_so_many(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('marconi_api.model.tokens.MOST_TOKENS', 2)
    tokens.create('acme', 'writer')
    tokens.create('acme', 'writer')

    with pytest.raises(QuotaExceeded):
        tokens.create('acme', 'writer')
    assert tokens.create('other', 'writer')


@pytest.mark.parametrize('ended', ['revoked_at', 'expires_at'])
def test_what_ended_long_ago_makes_room(
    tokens: Tokens, sql: Any, monkeypatch: pytest.MonkeyPatch, ended: str
) -> None:
    monkeypatch.setattr('marconi_api.model.tokens.MOST_TOKENS', 1)
    tokens.create('acme', 'writer')
    sql(f"UPDATE tokens SET {ended} = now() - interval '31 days'")

    made = tokens.create('acme', 'writer')

    assert [token.id for token in tokens.list('acme')] == [made.token.id]


@pytest.mark.parametrize(
    ('wanted', 'said'),
    [
        ({'roles': []}, 'needs a role'),
        ({'roles': 'boss'}, "one of producer, .*, not 'boss'"),
        ({'project': ''}, 'needs a project'),
        ({'project': 'a,b'}, 'named by at most'),
        ({'project': 'a\n'}, 'named by at most'),
        ({'project': 'é'}, 'of ASCII'),
        ({'project': 'x' * 1001}, 'named by at most'),
        ({'name': 'x' * 257}, 'name of a token'),
        ({'name': 'a\0'}, 'name of a token'),
        ({'queues': ''}, 'queues must be'),
        ({'queues': 'a*b'}, 'queues must be'),
        ({'queues': 'x' * 257}, 'queues must be'),
        ({'expires_in': 1}, 'must be between 60'),
        ({'expires_in': 10**12}, 'must be between 60'),
    ],
)
def test_what_cannot_be_is_refused(tokens: Tokens, wanted: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        tokens.create(**{'project': 'acme', 'roles': 'writer', **wanted})


def test_an_operator_needs_no_project(tokens: Tokens) -> None:
    assert tokens.create('', 'operator').token.project == ''


@pytest.mark.parametrize(
    ('queues', 'limits', 'holds'),
    [
        ('orders-*', None, True),
        (None, None, True),
        (None, '*', False),
        ('orders', '*', True),
        ('orders-eu-*', 'orders-*', True),
        ('orders-*', 'orders-*', True),
        ('orders*', 'orders-*', False),
        ('orders-eu', 'orders-*', True),
        ('orders*', 'orders', False),
        ('orders', 'orders', True),
    ],
)
def test_a_pattern_is_covered_by_another(
    queues: str | None, limits: str | None, holds: bool
) -> None:
    assert is_within(queues, limits) is holds
