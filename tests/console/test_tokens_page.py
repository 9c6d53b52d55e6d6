"""Tokens are made and revoked."""

import re
from typing import Any

import pytest
from webtest import TestResponse

from marconi_api import model
from marconi_api.model.tokens import parsed
from tests.console.conftest import Pages, token
from tests.console.test_verbs import carry_out, heading


@pytest.fixture
def admin(pages_by_token: Pages) -> Pages:
    """Somebody who is signed in as the admin of a project."""
    pages_by_token.sign_in(token('admin'))
    return pages_by_token


def make(pages: Pages, **fields: str) -> TestResponse:
    form = {'form_key': pages.form_key('/tokens/new'), 'role': 'reader', **fields}
    return pages.send('/tokens/new', form)


def secret_of(page: TestResponse) -> str:
    [text] = re.findall('<pre[^>]*>(mrc_[^<]*)</pre>', page.text)
    return str(text)


def tokens() -> list[Any]:
    return [one for one in model.store.tokens.list('acme') if one.name == 'mine']


def test_a_token_is_made_and_lets_in(admin: Pages) -> None:
    page = make(admin, name='mine', queues='orders-*', days='30')

    secret = secret_of(page)
    [made] = tokens()
    assert parsed(secret) is not None
    assert (made.roles, made.queues) == (('reader',), 'orders-*')
    assert made.expires_at is not None
    assert (made.expires_at - made.created_at).days == 30
    assert Pages(admin._app.app).sign_in(secret).status_int == 303


def test_a_secret_is_shown_once(admin: Pages) -> None:
    page = make(admin, name='mine')

    assert page.headers['Cache-Control'] == 'no-store'
    secret = secret_of(page).split('_')[2]
    for path in ('/tokens', f'/tokens/revoke?token={tokens()[0].id}', '/audit'):
        assert secret not in admin.get(path).text


def test_who_makes_a_token_is_noted(admin: Pages) -> None:
    make(admin, name='mine')

    [entry] = model.store.audit.find(action='token')
    assert (entry.action, entry.way, entry.project) == ('token create', 'console', 'acme')
    assert tokens()[0].id in entry.details


@pytest.mark.parametrize(
    ('fields', 'status', 'text'),
    [
        ({'role': 'operator'}, 403, 'operator'),
        ({'role': 'king'}, 400, 'A role must be one of'),
        ({'days': '0'}, 400, '1 to 36600 days'),
        ({'days': 'x'}, 400, '1 to 36600 days'),
        ({'queues': 'a b'}, 400, 'the name of a queue'),
        ({'name': 'x' * 300}, 400, 'The name of a token'),
    ],
    ids=str,
)
def test_a_token_that_cannot_be_is_refused(
    admin: Pages, fields: dict[str, str], status: int, text: str
) -> None:
    page = make(admin, **fields)

    assert page.status_int == status
    assert text in page.text
    assert len(model.store.tokens.list('acme')) == 1


def test_a_token_needs_a_role(admin: Pages) -> None:
    page = admin.send('/tokens/new', {'form_key': admin.form_key('/tokens/new')})

    assert page.status_int == 400
    assert 'A token needs a role' in page.text


def test_a_token_opens_no_more_than_that_of_its_maker(pages_by_token: Pages) -> None:
    pages_by_token.sign_in(token('admin', queues='orders-*'))

    assert make(pages_by_token, queues='').status_int == 403
    assert make(pages_by_token, queues='orders-new').status_int == 200


def test_a_token_is_revoked(admin: Pages) -> None:
    made = secret_of(make(admin, name='mine'))
    [one] = tokens()

    question = admin.get(f'/tokens/revoke?token={one.id}')
    done = carry_out(admin, question)

    assert heading(question) == f'Revoke token <code>{one.id}</code>?'
    assert 'mine' in question.text
    assert heading(done) == f'Token <code>{one.id}</code> was revoked'
    assert tokens()[0].revoked_at is not None
    assert Pages(admin._app.app).sign_in(made).status_int == 401
    assert model.store.audit.find()[0].action == 'token revoke'


def test_a_token_that_may_do_more_cannot_be_revoked(pages_by_token: Pages) -> None:
    wider = model.store.tokens.create('acme', 'reader').token.id
    theirs = model.store.tokens.create('globex', 'reader').token.id
    pages_by_token.sign_in(token('admin', queues='orders-*'))
    key = pages_by_token.form_key('/tokens/new')

    for one in (wider, theirs, 'x'):
        assert pages_by_token.get(f'/tokens/revoke?token={one}').status_int == 404
        response = pages_by_token.send('/tokens/revoke', {'form_key': key, 'token': one})
        assert response.status_int == 404
    assert model.store.audit.find() == []


@pytest.mark.parametrize('path', ['/tokens/new', '/tokens/revoke'])
@pytest.mark.parametrize(
    ('headers', 'with_key'),
    [
        ({'Sec-Fetch-Site': 'cross-site'}, True),
        ({'Origin': 'https://else.test'}, True),
        ({}, False),
    ],
    ids=['by-sec-fetch-site', 'by-origin', 'without-key'],
)
def test_nothing_is_done_for_another_site_or_without_the_key(
    admin: Pages, sql: Any, path: str, headers: dict[str, str], with_key: bool
) -> None:
    one = model.store.tokens.create('acme', 'reader').token.id
    form = {'role': 'reader', 'token': one}
    if with_key:
        form['form_key'] = admin.form_key('/tokens/new')

    assert admin.send(path, form, headers=headers).status_int == 403
    assert sql('SELECT count(*), count(revoked_at) FROM tokens') == [(2, 0)]


@pytest.mark.parametrize('role', ['reader', 'writer'])
@pytest.mark.parametrize('path', ['/tokens/new', '/tokens/revoke'])
def test_nothing_is_done_for_who_may_not(pages_by_token: Pages, path: str, role: str) -> None:
    pages_by_token.sign_in(token(role))
    one = model.store.tokens.create('acme', 'reader').token.id
    form = {'role': 'reader', 'token': one, 'form_key': pages_by_token.form_key()}

    assert pages_by_token.send(path, form).status_int == 403
    assert pages_by_token.get(f'{path}?token={one}').status_int == 403
    assert model.store.tokens.get(one, 'acme').revoked_at is None


def test_an_operator_makes_tokens_of_a_project_that_is_chosen(pages_by_token: Pages) -> None:
    pages_by_token.sign_in(token('operator', project=''))
    key = pages_by_token.form_key('/tokens/new?project=acme')
    form = {'form_key': key, 'role': 'operator', 'name': 'mine'}

    assert pages_by_token.send('/tokens/new?project=acme', form).status_int == 200
    assert [one.roles for one in tokens()] == [('operator',)]
