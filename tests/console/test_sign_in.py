"""Who gets into the console, and whose forms are taken."""

import pytest

from marconi_api import model
from marconi_api.controllers.console.sessions import COOKIE
from tests.console.conftest import Pages, post, token


def test_who_has_no_token_is_led_to_the_form(pages_by_token: Pages) -> None:
    response = pages_by_token.get('?search=jobs')

    assert response.status_int == 303
    assert response.headers['Location'] == '/console/sign-in?then=%2Fconsole%3Fsearch%3Djobs'
    assert '<form' in pages_by_token.get('/sign-in').text


def test_a_token_lets_in_and_leads_back(pages_by_token: Pages) -> None:
    post('jobs')

    response = pages_by_token.sign_in(token('reader'), then='/console?search=jobs')

    assert (response.status_int, response.headers['Location']) == (303, '/console?search=jobs')
    assert '>jobs<' in pages_by_token.get('?search=jobs').text


@pytest.mark.parametrize(
    'then', ['https://else.test/', '//else.test', '/console//else', '/console\\else', '/v2/queues']
)
def test_a_sign_in_leads_to_no_other_place(pages_by_token: Pages, then: str) -> None:
    response = pages_by_token.sign_in(token('reader'), then=then)

    assert response.headers['Location'] == '/console'


def test_a_wrong_token_does_not_let_in(pages_by_token: Pages) -> None:
    response = pages_by_token.sign_in('mrc_wrong')

    assert response.status_int == 401
    assert 'The token is not valid' in response.text
    assert pages_by_token.get().status_int == 303


def test_wrong_tokens_of_the_form_are_counted(pages_by_token: Pages) -> None:
    statuses = [pages_by_token.sign_in('mrc_wrong').status_int for _ in range(21)]

    assert statuses == [401] * 20 + [429]


def test_the_cookie_is_kept_from_scripts_and_other_sites_and_holds_no_token(
    pages_by_token: Pages,
) -> None:
    secret = token('reader')

    cookie = pages_by_token.sign_in(secret).headers['Set-Cookie']

    assert secret.split('_')[2] not in cookie
    assert '; Path=/console;' in cookie
    assert cookie.endswith('; HttpOnly; SameSite=Strict')


@pytest.mark.parametrize(
    'environ',
    [{'wsgi.url_scheme': 'https'}, {'HTTP_X_FORWARDED_PROTO': 'https'}],
    ids=['tls', 'proxy'],
)
def test_the_cookie_is_for_https_alone_where_that_is_spoken(
    pages_by_token: Pages, environ: dict[str, str]
) -> None:
    response = pages_by_token.get('/sign-in', extra_environ=environ)

    assert response.headers['Set-Cookie'].endswith('; Secure')


def test_a_cookie_that_was_changed_does_not_let_in(pages_by_token: Pages) -> None:
    cookie = pages_by_token.sign_in(token('reader')).headers['Set-Cookie']
    value = cookie.partition(';')[0].partition('=')[2]
    other = model.store.tokens.create('globex', 'admin').token.id
    visit, _, until, signature = value.split('.')

    forged = f'{COOKIE}={visit}.{other}.{until}.{signature}'

    assert pages_by_token.get(headers={'Cookie': forged}).status_int == 303


def test_a_revoked_token_lets_in_no_longer(pages_by_token: Pages) -> None:
    made = model.store.tokens.create('acme', 'reader')
    pages_by_token.sign_in(made.text)
    assert pages_by_token.get().status_int == 200

    model.store.tokens.revoke(made.token.id)

    assert pages_by_token.get().status_int == 303


def test_who_signs_out_is_out(pages_by_token: Pages) -> None:
    pages_by_token.sign_in(token('reader'))

    response = pages_by_token.send('/sign-out', {'form_key': pages_by_token.form_key()})

    assert (response.status_int, response.headers['Location']) == (303, '/console/sign-in')
    assert pages_by_token.get().status_int == 303


def test_a_form_without_its_key_is_refused(pages_by_token: Pages) -> None:
    response = pages_by_token.send('/sign-in', {'token': token('reader')})

    assert response.status_int == 403
    assert 'Nothing was done' in response.text


def test_a_form_with_the_key_of_another_browser_is_refused(pages_by_token: Pages) -> None:
    key = Pages(pages_by_token._app.app).form_key('/sign-in')
    pages_by_token.get('/sign-in')

    response = pages_by_token.send('/sign-in', {'form_key': key, 'token': token('reader')})

    assert response.status_int == 403


@pytest.mark.parametrize(
    'headers',
    [
        {'Sec-Fetch-Site': 'cross-site'},
        {'Sec-Fetch-Site': 'same-site'},
        {'Origin': 'https://else.test'},
        {'Origin': 'null'},
    ],
    ids=str,
)
def test_a_form_of_another_site_is_refused(pages_by_token: Pages, headers: dict[str, str]) -> None:
    form = {'form_key': pages_by_token.form_key('/sign-in'), 'token': token('reader')}

    assert pages_by_token.send('/sign-in', form, headers=headers).status_int == 403


def test_a_token_opens_its_project_alone(pages_by_token: Pages) -> None:
    post('jobs')
    post('theirs', project='globex')
    pages_by_token.sign_in(token('reader'))

    assert 'theirs' not in pages_by_token.get().text
    response = pages_by_token.get('?project=globex')
    assert response.status_int == 403
    assert 'theirs' not in response.text


def test_a_token_for_some_queues_shows_these_alone(pages_by_token: Pages) -> None:
    post('orders-new')
    post('letters')
    pages_by_token.sign_in(token('reader', queues='orders-*'))

    page = pages_by_token.get().text

    assert 'orders-new' in page
    assert 'letters' not in page


def test_an_operator_sees_all_projects(pages_by_token: Pages) -> None:
    post('jobs')
    post('theirs', project='globex')
    pages_by_token.sign_in(token('operator', project=''))

    page = pages_by_token.get().text

    assert 'jobs' in page
    assert 'theirs' in page
    assert 'jobs' not in pages_by_token.get('?project=globex').text


def test_a_role_that_may_not_list_queues_is_refused(pages_by_token: Pages) -> None:
    pages_by_token.sign_in(token('producer'))

    response = pages_by_token.get()

    assert response.status_int == 403
    assert 'One of these roles is required here' in response.text


def test_a_token_in_a_header_lets_in_too(pages_by_token: Pages) -> None:
    post('jobs')

    page = pages_by_token.get(headers={'Authorization': f'Bearer {token("reader")}'})

    assert '>jobs<' in page.text


def test_where_headers_are_trusted_a_proxy_says_which_project(pages: Pages) -> None:
    post('jobs')
    post('theirs', project='globex')
    behind = {'X-Project-Id': 'acme'}

    assert 'theirs' not in pages.get(headers=behind).text
    assert pages.get('?project=globex', headers=behind).status_int == 403


def test_where_headers_are_trusted_and_none_comes_all_projects_are_shown(pages: Pages) -> None:
    post('jobs')
    post('theirs', project='globex')

    page = pages.get().text

    assert 'jobs' in page
    assert 'theirs' in page


def test_the_api_takes_no_cookie(pages_by_token: Pages) -> None:
    pages_by_token.sign_in(token('admin'))
    headers = {'Client-ID': '3381af92-2b9e-11e3-b191-71861300734c'}

    response = pages_by_token._app.get('/v2/queues', headers=headers, expect_errors=True)

    assert response.status_int == 401


def test_tokens_are_shown_without_their_secrets(pages_by_token: Pages) -> None:
    secret = token('admin', name='<b>mine', queues='orders-*')
    token('reader', project='globex', name='theirs')
    pages_by_token.sign_in(token('admin'))

    page = pages_by_token.get('/tokens').text

    assert '&lt;b&gt;mine' in page
    assert 'orders-*' in page
    assert secret.split('_')[2] not in page
    assert 'theirs' not in page


def test_tokens_that_may_do_more_are_not_shown(pages_by_token: Pages) -> None:
    token('operator', name='of an operator')
    token('reader', name='of all queues')
    pages_by_token.sign_in(token('admin', queues='orders-*'))

    page = pages_by_token.get('/tokens').text

    assert 'of an operator' not in page
    assert 'of all queues' not in page


def test_tokens_are_not_for_writers(pages_by_token: Pages) -> None:
    pages_by_token.sign_in(token('writer'))

    assert pages_by_token.get('/tokens').status_int == 403
    assert 'Tokens' not in pages_by_token.get().text
