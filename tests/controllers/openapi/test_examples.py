"""Every path, method and status of the document happens, and is as it is documented."""

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs

import psycopg2
import pytest
from webtest import TestApp, TestResponse

from marconi_api import model
from marconi_api.controllers.openstack import signed_urls
from marconi_api.model import QueueKey, RequestKey
from marconi_api.policy import ROLES, roles_that_may
from marconi_api.processes.embedded.cluster import EmbeddedPostgres
from marconi_api.wire.doors import alternatives
from marconi_api.wire.waiting import EVENT_STREAM

from ..client import CLIENT_ID, OTHER_CLIENT_ID, PROJECT, Api, LaterApi, id_of
from .asked import ASKED, FORGOTTEN, make_asked
from .document import DOCUMENT, METHODS, OPERATIONS, RESOURCES, check_reply, resolved, validate
from .examples import (
    CIRCUMSTANCES,
    COMMON_FAILURES,
    COMMON_FAILURES_V2,
    EXAMPLES,
    HOOK,
    NEED_NO_STORAGE,
    OTHER_HOOK,
    Example,
)
from .hooked import make_delivery
from .redriven import REDRIVE, REDRIVEN, make_redrive


def all_examples() -> Iterator[tuple[str, str, int, Example]]:
    """Those of the table; and of each operation how its success becomes each common failure."""
    for (method, path), by_status in EXAMPLES.items():
        for status, example in by_status.items():
            yield method, path, status, example
        base = by_status[min(by_status)]
        common = COMMON_FAILURES if path.startswith('/v') else {}
        if path.startswith('/v2'):
            common = {**common, **COMMON_FAILURES_V2}
        for status, failure in common.items():
            yield method, path, status, base._replace(headers={**base.headers, **failure.headers})
        if role := one_that_may_not(method, path):
            headers = {**base.headers, 'X-Roles': role}
            yield method, path, 403, base._replace(headers=headers)
        elif '{queue}' in path:
            yield method, path, 403, base._replace(given='a token for other queues')
        if (method, path) not in NEED_NO_STORAGE:
            yield method, path, 503, base._replace(given='no storage')


def one_that_may_not(method: str, path: str) -> str | None:
    """A role that is not enough, whatever the form of the request."""
    for role in ROLES:
        for names in alternatives(RESOURCES[path].names[method]):
            if all(role in (roles_that_may(action) or ROLES) for action in names):
                break
        else:
            return role
    return None


ALL = list(all_examples())


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signed_urls, 'signer', signed_urls.Signer(['key']))


@pytest.fixture
def usual(app: TestApp) -> dict[str, str]:
    """What the placeholders of paths usually stand for."""
    api = LaterApi(app, '/v2')
    api.make_queue(metadata={'a': 1})
    held, free = api.post_messages('held', 'free', client_id=OTHER_CLIENT_ID)
    claim = api.claim(limit=1)
    assert claim.held == [held]
    subscriptions = model.store.subscriptions
    hook, _ = (
        subscriptions.create(QueueKey.of(PROJECT, 'jobs'), url) for url in (HOOK, OTHER_HOOK)
    )
    token = model.store.tokens.create(PROJECT, 'writer').token.id
    return {
        **{'queue': 'jobs', 'message': id_of(free), 'held': id_of(held), 'claim': claim.id},
        'token': token,
        'subscription': hook.id,
        'delivery': make_delivery(QueueKey.of(PROJECT, 'jobs'), hook.id, id_of(free)),
        'redrive': REDRIVE,
    }


@pytest.fixture
def circumstances(request: pytest.FixtureRequest, usual: dict[str, str], sql: Any) -> Api:
    """A client, once the circumstances of an example are as it wants them."""
    given = request.param
    assert given in ('', *CIRCUMSTANCES)
    if given == 'no storage':
        api: Api = request.getfixturevalue('api_without_storage')
        # The service reads its keys from a file that has none.
        signed_urls.init_signing(['key'])
        return api
    if given == 'a token for other queues':
        client: Api = request.getfixturevalue('api_for_other_queues')
        return client
    if given == 'no messages':
        sql('DELETE FROM messages; DELETE FROM message_states; DELETE FROM claims')
    if given == 'no queues':
        sql('DELETE FROM queues')
    if given in REDRIVEN:
        make_redrive(sql, given)
    if given == 'all messages are parked':
        sql("UPDATE message_states SET held_until = 'infinity', expires_at = 'infinity'")
    if given == 'a name whose hash is taken':
        usual['queue'] = 'twin'
        sql('UPDATE queues SET queue_id = %s', QueueKey.of(PROJECT, 'twin').id)
    if given == 'the key of another request':
        sql(_REMEMBER_KEY, *_key_parameters())
    if given == 'the key of a request under way':
        request.getfixturevalue('under_way')
    if given in ASKED or given == FORGOTTEN:
        make_asked(sql, given)
    client = request.getfixturevalue('api')
    return client


_REMEMBER_KEY = """
    INSERT INTO idempotency_keys (queue_id, operation, key, digest, first_id, claim_id, expires_at)
    SELECT %s, operation, key::uuid, %s, 9223372036854775807, gen_random_uuid(), now() + interval '1 hour'
      FROM generate_series(0, 2) AS operation, unnest(%s) AS key"""


def _key_parameters() -> tuple[Any, ...]:
    # Requests for a reply have keys of their own.
    keys = [RequestKey.of(name, b'another') for name in ('key', 'request key')]
    names = [key.name for key in keys]
    return (QueueKey.of(PROJECT, 'jobs').id, keys[0].digest, names)


@pytest.fixture
def under_way(postgres: EmbeddedPostgres, sql: Any) -> Iterator[None]:
    """A request that has the key, and does not end while others have the patience to wait."""
    other = psycopg2.connect(postgres.url.replace('+psycopg2', ''))
    model.store.database.rows("SET statement_timeout = '100ms'", {})
    with other.cursor() as cursor:
        cursor.execute(_REMEMBER_KEY, _key_parameters())
        yield
    other.close()
    model.store.database.close()


def send(api: Api, method: str, path: str, example: Example, usual: dict[str, str]) -> TestResponse:
    named = {**usual, **{name: value.format(**usual) for name, value in example.named.items()}}
    target = path.format(**named)
    if example.query:
        target += '?' + example.query.format(**named)
    headers = {'Client-ID': CLIENT_ID, 'X-Project-Id': PROJECT, **example.headers}
    return api.request(method, target, example.body, headers=headers)


@pytest.mark.parametrize(
    ('method', 'path', 'status', 'example', 'circumstances'),
    [
        pytest.param(*parameters, parameters[-1].given, id='-'.join(map(str, parameters[:3])))
        for parameters in ALL
    ],
    indirect=['circumstances'],
)
def test_a_reply_is_as_documented(
    circumstances: Api,
    usual: dict[str, str],
    method: str,
    path: str,
    status: int,
    example: Example,
) -> None:
    response = send(circumstances, method, path, example, usual)

    assert response.status_int == status, response.text
    check_reply(method, path, response)
    if status < 300:
        check_request(method, path, example)


def test_a_stream_is_as_documented(api: Api, usual: dict[str, str]) -> None:
    path, example = (
        '/v2/queues/{queue}/messages',
        Example('marker=', headers={'Accept': EVENT_STREAM}),
    )

    response = send(api, 'GET', path, example, usual)

    assert response.content_type == EVENT_STREAM
    check_reply('GET', path, response)


def check_request(method: str, path: str, example: Example) -> None:
    """What succeeds is documented to be sent."""
    operation = OPERATIONS[method, path]
    body = operation.get('requestBody')
    if example.body is None:
        assert not (body and body['required'])
    else:
        assert body
        [content] = body['content'].values()
        validate(content['schema'], example.body)
    parameters = [resolved(parameter) for parameter in operation['parameters']]
    known = {parameter['name'] for parameter in parameters if parameter['in'] == 'query'}
    assert 'filter' in known or parse_qs(example.query).keys() <= known


def test_every_status_of_the_document_has_an_example_and_no_example_is_of_another() -> None:
    documented = {
        (method, path, int(status))
        for (method, path), operation in OPERATIONS.items()
        for status in operation['responses']
    }
    shown = {(method, path, status) for method, path, status, _ in ALL}
    shown.update((*guarded, status) for guarded in GUARDED for status in (401, 403, 429))

    without_example = '; '.join(f'{m} {p} {s}' for m, p, s in sorted(documented - shown))
    assert not without_example, f'add to examples.py a request that gets {without_example}'
    undocumented = '; '.join(f'{m} {p} {s}' for m, p, s in sorted(shown - documented))
    assert not undocumented, f'say in replies or raises of expose() that there is {undocumented}'


#: What nobody does who does not show a credential.
GUARDED = [request for request, operation in OPERATIONS.items() if operation['security']]


@pytest.mark.parametrize(
    ('status', 'access', 'sent'),
    [
        (401, {}, {}),
        (401, {'failures_before_delay': 0}, {'X-Auth-Token': 'wrong'}),
        (403, {}, {'X-Auth-Token': '{token}', 'X-Project-Id': 'another'}),
        (429, {'failures_before_delay': 1}, {'X-Auth-Token': 'wrong'}),
    ],
    ids=['no token', 'a wrong token', 'another project', 'too many wrong tokens'],
)
def test_who_is_not_let_in_is_told_so_as_documented(
    api_with_tokens: Callable[..., Api], status: int, access: dict[str, Any], sent: dict[str, str]
) -> None:
    api = api_with_tokens(**access)
    token = model.store.tokens.create(PROJECT, 'admin').text
    headers = {name: value.format(token=token) for name, value in sent.items()}
    if status == 429:
        api.get('/v2', headers=headers)

    for method, path in GUARDED:
        response = api.request(method, path, headers=headers)

        assert response.status_int == status, f'{method} {path}: {response.text}'
        check_reply(method, path, response)


#: Paths that are refused whatever is asked.
NOT_OFFERED = [path for path in RESOURCES if path not in DOCUMENT['paths']]


@pytest.mark.parametrize('path', NOT_OFFERED)
def test_a_path_that_is_not_in_it_is_not_found(api: Api, path: str) -> None:
    named = dict.fromkeys(re.findall(r'{(\w+)}', path), 'x')

    for method in METHODS:
        assert send(api, method.upper(), path, Example(), named).status_int == 404


@pytest.mark.parametrize('path', DOCUMENT['paths'])
def test_of_each_path_options_names_the_methods_and_others_are_refused(
    api: Api, usual: dict[str, str], path: str
) -> None:
    offered = {method for method, of_path in OPERATIONS if of_path == path}

    options = send(api, 'OPTIONS', path, Example(), usual)

    assert options.status_int == 200
    assert set(options.headers['Allow'].split(', ')) == {*offered, 'OPTIONS'}
    for method in {method.upper() for method in METHODS} - offered:
        response = send(api, method, path, Example(), usual)
        assert response.status_int == 405
        assert set(response.headers['Allow'].split(', ')) == {*offered, 'OPTIONS'}
