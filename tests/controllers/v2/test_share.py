"""Pre-signed access to a queue: docs/protocol-v2.md, 9."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from webtest import TestApp, TestResponse

from marconi_api.controllers.openstack import signed_urls

from ..client import CLIENT_ID

OWN = {'Client-ID': CLIENT_ID, 'X-Project-Id': 'p1'}
QUEUE = '/v2/queues/jobs'

Share = Callable[..., dict[str, Any]]
Use = Callable[..., TestResponse]


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signed_urls, 'signer', signed_urls.Signer(['new key', 'old key']))


@pytest.fixture
def post_share(app: TestApp) -> Callable[[Any], TestResponse]:
    """Asks for a signature."""

    def post(wanted: Any) -> TestResponse:
        return app.post_json(f'{QUEUE}/share', wanted, headers=OWN, expect_errors=True)

    return post


@pytest.fixture
def share(post_share: Callable[[Any], TestResponse]) -> Share:
    """What was signed."""

    def ask(**wanted: Any) -> dict[str, Any]:
        response = post_share(wanted)
        assert response.status_int == 200, response
        document: dict[str, Any] = response.json
        return document

    return ask


@pytest.fixture
def use(app: TestApp) -> Use:
    """Sends a request that bears what was signed."""

    def send(
        shared: dict[str, Any], method: str = 'GET', path: str = f'{QUEUE}/messages', **headers: str
    ) -> TestResponse:
        signed = {
            'URL-Signature': shared['signature'],
            'URL-Expires': shared['expires'],
            'URL-Methods': ','.join(shared['methods']),
            'URL-Paths': ','.join(shared['paths']),
            'X-Project-Id': shared['project'],
            'Client-ID': CLIENT_ID,
        }
        signed |= {name.replace('_', '-'): value for name, value in headers.items()}
        return app.request(path, method=method, headers=signed, expect_errors=True)

    return send


def test_by_default_messages_may_be_read_for_a_day(share: Share) -> None:
    shared = share()

    assert shared['paths'] == [f'{QUEUE}/messages']
    assert shared['methods'] == ['GET']
    assert shared['project'] == 'p1'
    ends = datetime.strptime(shared['expires'], '%Y-%m-%dT%H:%M:%S').replace(tzinfo=UTC)
    assert timedelta(hours=23) < ends - datetime.now(UTC) <= timedelta(days=1)
    assert len(shared['signature']) == 64


def test_what_was_granted_is_let_through(share: Share, use: Use) -> None:
    assert use(share()).status_int == 200


def test_what_lies_below_a_granted_path_is_let_through(share: Share, use: Use) -> None:
    response = use(share(methods=['DELETE']), 'DELETE', f'{QUEUE}/messages/{"0" * 16}')

    assert response.status_int == 204


def test_a_signature_of_the_old_key_still_holds(
    share: Share, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(signed_urls, 'signer', signed_urls.Signer(['old key']))
        shared = share()

    assert use(shared).status_int == 200


def test_a_signature_of_a_key_that_was_dropped_opens_nothing(
    share: Share, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = share()
    monkeypatch.setattr(signed_urls, 'signer', signed_urls.Signer(['another key']))

    assert use(shared).status_int == 404


@pytest.mark.parametrize(
    ('method', 'path'),
    [
        ('POST', f'{QUEUE}/messages'),
        ('DELETE', f'{QUEUE}/messages?pop=1'),
        ('GET', QUEUE),
        ('GET', f'{QUEUE}/stats'),
        ('GET', '/v2/queues/jobs2/messages'),
        ('GET', '/v2/queues/other/messages'),
        ('GET', '/v2/queues'),
        ('POST', f'{QUEUE}/claims'),
        ('POST', f'{QUEUE}/share'),
    ],
)
def test_it_opens_no_other_method_or_path(share: Share, use: Use, method: str, path: str) -> None:
    response = use(share(), method, path)

    assert (response.status_int, response.json) == (404, {'title': '404 Not Found'})


@pytest.mark.parametrize(
    'forged',
    [
        {'URL_Methods': 'GET,DELETE'},
        {'URL_Paths': f'{QUEUE}/messages,{QUEUE}/claims'},
        {'URL_Paths': '/v2'},
        {'URL_Paths': ''},
        {'URL_Expires': '2999-01-01T00:00:00'},
        {'URL_Expires': 'never'},
        {'X_Project_Id': 'p2'},
        {'URL_Signature': '0' * 64},
        {'URL_Signature': ''},
        {'URL_Signature': '\xe4'},
    ],
    ids=str,
)
def test_what_was_changed_opens_nothing(share: Share, use: Use, forged: dict[str, str]) -> None:
    assert use(share(), **forged).status_int == 404


def test_it_ends(share: Share, use: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_minute = datetime.now(UTC) + timedelta(minutes=1)
    shared = share(expires=in_a_minute.isoformat())
    assert use(shared).status_int == 200

    monkeypatch.setattr(signed_urls, 'now', lambda: in_a_minute + timedelta(seconds=1))

    assert use(shared).status_int == 404


@pytest.mark.parametrize(
    'wanted',
    [
        {'unknown': 1},
        {'paths': ['stats']},
        {'paths': 'messages'},
        {'methods': 'GET'},
        {'methods': {'GET': 1}},
        {'methods': ['GET,DELETE']},
        {'methods': ['GET\\nother']},
        {'expires': '2001-01-01T00:00:00'},
        {'expires': 'tomorrow'},
        {'expires': '20300101'},
        {'expires': '0001-01-01T00:00:00+01:00'},
        {'expires': '9999-12-31T23:59:59-01:00'},
        {'expires': '10000-01-01T00:00:00'},
        {'expires': 5},
        [],
    ],
    ids=str,
)
def test_a_bad_wish_is_refused(post_share: Callable[[Any], TestResponse], wanted: Any) -> None:
    assert post_share(wanted).status_int == 400


def test_a_body_is_required(app: TestApp) -> None:
    assert app.post(f'{QUEUE}/share', headers=OWN, expect_errors=True).status_int == 400


@pytest.mark.parametrize('expires', ['2999-01-01T00:00:00', '2999-01-01T00:00:00.331882Z'])
def test_an_end_may_have_a_fraction_which_is_dropped(share: Share, expires: str) -> None:
    assert share(expires=expires)['expires'] == '2999-01-01T00:00:00'


def test_a_grant_may_end_in_the_last_second_of_all_years(share: Share, use: Use) -> None:
    shared = share(expires='9999-12-31T23:59:59')

    assert shared['expires'] == '9999-12-31T23:59:59'
    assert use(shared).status_int == 200


@pytest.mark.parametrize(
    'end', ['0001-01-01T00:00:00', '9999-12-31T23:59:60', '10000-01-01T00:00:00', '0' * 5000]
)
def test_an_end_that_no_clock_shows_opens_nothing(share: Share, use: Use, end: str) -> None:
    assert use(share(), URL_Expires=end).status_int == 404


def test_without_a_key_nothing_is_shared(
    post_share: Callable[[Any], TestResponse], use: Use, share: Share, monkeypatch: Any
) -> None:
    shared = share()
    monkeypatch.setattr(signed_urls, 'signer', signed_urls.Signer([]))

    refused = post_share({})
    assert refused.status_int == 400
    assert 'MARCONI_SIGNING_KEYS' in refused.json['description']
    assert use(shared).status_int == 404


def test_the_signature_is_the_documented_one(share: Share) -> None:
    """So that others can make or check it: HMAC-SHA256, as docs/protocol-v2.md, 9 has it."""
    grant = signed_urls.Grant(
        ('/v2/queues/q/messages',), ('GET', 'POST'), 'p1', datetime(2026, 1, 1)
    )

    assert grant.text == r'/v2/queues/q/messages\nGET,POST\np1\n2026-01-01T00:00:00'
    assert signed_urls.Signer(['key']).sign(grant) == (
        '0856de432794352a72edaeb023b0ad836d58358266adc5a7b845bc3d90d357e7'
    )


@pytest.mark.parametrize(
    ('shared_path', 'path'),
    [
        ('messages', 'messages/1/park'),
        ('messages', 'messages/1/kick'),
        ('claims', 'claims/1/verdicts'),
        ('claims', 'claims/1/heartbeat'),
    ],
)
def test_a_signature_opens_what_it_names_and_its_members_but_no_verdicts_on_them(
    share: Share, use: Use, shared_path: str, path: str
) -> None:
    shared = share(paths=[shared_path], methods=['GET', 'POST'])

    assert use(shared, 'POST', f'{QUEUE}/{path}').status_int == 404
    assert use(shared, 'GET', f'{QUEUE}/{path.rpartition("/")[0]}').json['title'] == 'Not found'
