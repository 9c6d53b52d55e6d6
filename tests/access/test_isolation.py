"""Nobody gets at what is not theirs: each request, with each credential, has its answer.

A cell is a request of a row in ``isolation.ROWS`` with one credential. Where it is refused, nothing
in the database may have changed.
"""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
from webtest import TestApp, TestResponse

from marconi_api import model
from marconi_api.controllers.openstack import signed_urls
from marconi_api.model import QueueKey
from marconi_api.policy import ROLES
from marconi_api.processes.embedded.cluster import EmbeddedPostgres
from tests.access.conftest import in_token_mode
from tests.access.isolation import ADMINS, EVERYBODY, ROWS, WHO, Row
from tests.conftest import Sql
from tests.controllers.client import (
    CLIENT_ID,
    NO_CLAIM,
    NO_MESSAGE,
    OTHER_CLIENT_ID,
    Api,
    LaterApi,
    id_of,
)
from tests.controllers.openapi.asked import ASKED, make_asked
from tests.controllers.openapi.document import METHODS, OPERATIONS, RESOURCES
from tests.controllers.openapi.examples import HOOK, OTHER_HOOK
from tests.controllers.openapi.hooked import make_delivery
from tests.controllers.openapi.redriven import REDRIVE, REDRIVEN, make_redrive

ACME = 'acme'
OTHER = 'other'

_TABLES = (
    *('queues', 'messages', 'message_states', 'claims', 'requests', 'idempotency_keys'),
    *('subscriptions', 'subscription_owners', 'deliveries'),
    'redrives',
)

#: What no statement changes but the one that made it.
_PRINT = ' UNION ALL '.join(
    [
        *(
            f"SELECT '{table}', count(*), coalesce(sum(hashtextextended({table}::text, 0)), 0)"
            f' FROM {table}'
            for table in _TABLES
        ),
        # When they were used is noted.
        "SELECT 'tokens', count(*), count(revoked_at) FROM tokens",
    ]
)


class World:
    """A project with a queue, of whose two messages one is claimed; and who asks about it."""

    def __init__(self, api: Api, believing: LaterApi, sql: Sql) -> None:
        self.api = api
        self._believing = believing
        self._sql = sql
        self.usual: dict[str, str] = {}
        create = model.store.tokens.create
        self.of_role = {role: create(ACME, role).text for role in ROLES if role != 'operator'}
        self.operator = create('', 'operator').text
        self.other = create(OTHER, 'admin').text
        self.narrow = create(ACME, 'admin', queues='others-*').text
        self.fitting = create(ACME, 'admin', queues='*').text
        expired, revoked = create(ACME, 'admin', expires_in=60), create(ACME, 'admin')
        sql("UPDATE tokens SET expires_at = now() - interval '1 s' WHERE id = %s", expired.token.id)
        model.store.tokens.revoke(revoked.token.id)
        known = self.of_role['admin']
        self.wrong = {
            'malformed': 'secret',
            'mistyped': known[:-1] + ('a' if known[-1] != 'a' else 'b'),
            'expired': expired.text,
            'revoked': revoked.text,
        }

    def make(self, given: str = '') -> None:
        """Make the queue anew."""
        self._sql(''.join(f'DELETE FROM {table};' for table in _TABLES))
        self._sql("DELETE FROM tokens WHERE queues IN ('jobs', 'orders-*')")
        model.store.low_water_marks.forget()
        api = self._believing
        api.make_queue(metadata={'a': 1})
        held, free = api.post_messages('held', 'free', client_id=OTHER_CLIENT_ID)
        claim = api.claim(limit=1)
        subscriptions = model.store.subscriptions
        hook, _ = (
            subscriptions.create(QueueKey.of(ACME, 'jobs'), url) for url in (HOOK, OTHER_HOOK)
        )
        self.usual = {
            'subscription': hook.id,
            'delivery': make_delivery(QueueKey.of(ACME, 'jobs'), hook.id, id_of(free)),
            'queue': 'jobs',
            'message': id_of(free),
            'held': id_of(held),
            'claim': claim.id,
            'token': model.store.tokens.create(ACME, 'producer', queues='jobs').token.id,
            'redrive': REDRIVE,
        }
        if given in ASKED:
            make_asked(self._sql, given)
        elif given in REDRIVEN:
            make_redrive(self._sql, given)
        elif given:
            assert given == 'all messages are parked'
            self._sql("UPDATE message_states SET held_until = 'infinity', expires_at = 'infinity'")

    def make_queue_of_other(self) -> None:
        """Another project's queue of the same name."""
        self._believing.make_queue(project=OTHER)

    def print(self) -> list[Any]:
        """Whatever is stored, in short."""
        return self._sql(_PRINT)

    def send(
        self,
        row: Row,
        headers: Mapping[str, str],
        named: Mapping[str, str] | None = None,
    ) -> TestResponse:
        """Send a row's request.

        :param named: what its placeholders stand for, if not what they usually do
        """
        usual = self.usual if named is None else {**self.usual, **named}
        own = {name: value.format(**usual) for name, value in row.example.named.items()}
        target = row.path.format(**{**usual, **own})
        if row.example.query:
            target += '?' + _filled(row.example.query, usual, own)
        body = row.example.body
        if body is not None:
            body = json.loads(_named(json.dumps(body), usual))
        sent = {'Client-ID': CLIENT_ID, **_without_credential(row.example.headers), **headers}
        return self.api.request(row.method, target, body, headers=sent)


def _filled(query: str, usual: Mapping[str, str], own: Mapping[str, str]) -> str:
    return _named(query.format(**{**usual, **own}), usual)


def _named(text: str, usual: Mapping[str, str]) -> str:
    """With the ids for their names, and the queue's name where it is that of the examples."""
    for name in ('message', 'held', 'claim'):
        text = text.replace(f'{{{name}}}', usual[name])
    return re.sub(r'\bjobs\b', usual['queue'], text)


def _without_credential(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name != 'X-Roles'}


@pytest.fixture(scope='module')
def world(wsgi_app: Any, postgres: EmbeddedPostgres, database_url: str) -> Iterator[World]:
    """One for all cells: a service in token mode, and one that believes who makes the queues."""
    of_the_first = model.store
    sql = Sql(postgres.url)
    sql('DELETE FROM tokens')
    api = in_token_mode(database_url, failures_before_delay=1_000_000)
    # The service reads its keys from a file that has none.
    signed_urls.init_signing(['key'])
    try:
        yield World(api, LaterApi(TestApp(wsgi_app, lint=False), '/v2'), sql)
    finally:
        signed_urls.init_signing([])
        sql('DELETE FROM tokens')
        sql.connection.close()
        model.store.database.close()
        model.store = of_the_first


@pytest.fixture(params=ROWS, ids=[row.name for row in ROWS])
def row(request: pytest.FixtureRequest) -> Row:
    """Each row of the table."""
    found: Row = request.param
    return found


class Cells:
    """Fills the cells of a row, and holds each to what is due."""

    def __init__(self, world: World, row: Row) -> None:
        self._world = world
        self._row = row
        self._is_fresh = False

    def refused(self, headers: Mapping[str, str], status: int, title: str | None = None) -> None:
        """The request is refused, and nothing is changed."""
        self._make()
        before = self._world.print()
        response = self._world.send(self._row, headers)
        assert response.status_int == status, (self._row.name, response.text)
        if title and self._row.method != 'HEAD':
            assert response.json['title'] == title
        assert self._world.print() == before
        # Nothing was changed.
        self._is_fresh = True

    def served(self, headers: Mapping[str, str]) -> None:
        """The request does what it is for."""
        self._make()
        response = self._world.send(self._row, headers)
        assert response.status_int == self._row.status, (self._row.name, response.text)

    def _make(self) -> None:
        if not self._is_fresh:
            self._world.make(self._row.example.given)
        self._is_fresh = False


@pytest.fixture
def cells(world: World, row: Row) -> Cells:
    return Cells(world, row)


def bearing(token: str, **headers: str) -> dict[str, str]:
    sent = {name.replace('_', '-'): value for name, value in headers.items()}
    return {'Authorization': f'Bearer {token}', **sent}


# ---------------------------------------------------------------- every route has a row


def test_each_request_has_a_row() -> None:
    missing = {f'{method} {path}' for method, path in OPERATIONS.keys() - WHO.keys()}

    assert not missing, f'say in isolation.WHO who may send {missing}'


def test_each_row_is_of_a_request_that_there_is() -> None:
    assert {(row.method, row.path) for row in ROWS} == OPERATIONS.keys()


# ---------------------------------------------------------------- who gets in


def test_no_credential_opens_only_what_is_open_to_everybody(cells: Cells, row: Row) -> None:
    sent = {'X-Project-Id': ACME, 'X-Roles': 'admin,operator'}
    if row.who == EVERYBODY:
        cells.served(sent)
    else:
        cells.refused(sent, 401, 'Not authenticated')


def test_a_wrong_credential_opens_as_little(cells: Cells, row: Row, world: World) -> None:
    for token in world.wrong.values():
        for sent in (bearing(token), {'X-Auth-Token': token}):
            if row.who == EVERYBODY:
                cells.served({**sent, 'X-Project-Id': ACME})
            else:
                cells.refused(sent, 401, 'Not authenticated')


def test_each_role_may_do_what_is_its_own(cells: Cells, row: Row, world: World) -> None:
    for role, token in world.of_role.items():
        if row.who == EVERYBODY or role in row.who:
            cells.served(bearing(token, X_Project_Id=ACME))
        else:
            # The header of a client is not believed.
            cells.refused(bearing(token, X_Roles='admin,operator'), 403, 'Not authorized')


def test_an_operator_may_do_everything_in_the_project_that_is_named(
    cells: Cells, world: World
) -> None:
    cells.served(bearing(world.operator, X_Project_Id=ACME))


def test_a_token_opens_no_project_that_its_client_names(
    cells: Cells, row: Row, world: World
) -> None:
    sent = bearing(world.other, X_Project_Id=ACME)
    if row.who == EVERYBODY:
        cells.served(sent)
    else:
        cells.refused(sent, 403, 'Not authorized')


def test_a_pattern_opens_the_queues_that_match_it(cells: Cells, row: Row, world: World) -> None:
    cells.served(bearing(world.fitting, X_Project_Id=ACME))
    if row.names_a_queue:
        cells.refused(bearing(world.narrow), 403, 'Not authorized')


# ---------------------------------------------------------------- another project's ids

_VARYING = re.compile(
    r'[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{64}|[0-9a-f]{16}'
    r'|\d{4}-\d\d-\d\dT[0-9:]+Z?|"seconds": ?[0-9.e-]+|\bmrc_\w+|\b[0-9A-Za-z]{12}\b'
)


def shown(response: TestResponse) -> tuple[int, str, list[tuple[str, str]]]:
    """An answer, with ids, times and the queue's name masked."""

    def masked(text: str) -> str:
        return re.sub(r'\b(jobs|gone)\b', 'QUEUE', _VARYING.sub('ID', text))

    headers = [(name, masked(value)) for name, value in response.headers.items()]
    return (
        response.status_int,
        masked(response.text),
        # The length is that of the name, too.
        [(name, value) for name, value in headers if name != 'Content-Length'],
    )


NOTHING = {
    'message': NO_MESSAGE,
    'held': NO_MESSAGE,
    'claim': NO_CLAIM,
    'token': '0000000000AA',
    'subscription': NO_MESSAGE,
    'redrive': NO_CLAIM,
}


#: Those that are not about the service as a whole.
_OF_A_PROJECT = [row for row in ROWS if not row.path.endswith('/health') or row.who == EVERYBODY]


@pytest.mark.parametrize('has_queue', [False, True], ids=['without', 'with'])
@pytest.mark.parametrize('row', _OF_A_PROJECT, ids=[row.name for row in _OF_A_PROJECT])
def test_another_project_s_queue_and_ids_are_as_those_that_are_not_there(
    world: World, row: Row, has_queue: bool
) -> None:
    """With a queue of the same name, and without: ids in paths, queries and bodies."""
    other = bearing(world.other)

    def answer(named: Mapping[str, str]) -> Any:
        world.make(row.example.given)
        if has_queue:
            world.make_queue_of_other()
        before = of_acme(world)
        response = world.send(row, other, named)
        assert of_acme(world) == before
        return shown(response)

    theirs = answer({})
    missing = answer(NOTHING if has_queue else {**NOTHING, 'queue': 'gone'})

    assert theirs == missing


def of_acme(world: World) -> list[Any]:
    """Whatever is stored of the project."""
    return world._sql(
        'WITH theirs AS (SELECT queue_id FROM queues WHERE project = %s)'
        " SELECT 'queue', q::text FROM queues q JOIN theirs USING (queue_id)"
        " UNION ALL SELECT 'message', m::text FROM messages m JOIN theirs USING (queue_id)"
        " UNION ALL SELECT 'state', s::text FROM message_states s JOIN theirs USING (queue_id)"
        " UNION ALL SELECT 'claim', c::text FROM claims c JOIN theirs USING (queue_id)"
        " UNION ALL SELECT 'token', id || coalesce(revoked_at::text, '') FROM tokens"
        ' WHERE project = %s ORDER BY 1, 2',
        ACME,
        ACME,
    )


# ---------------------------------------------------------------- signed URLs

_METHODS = tuple(method.upper() for method in METHODS)


def signed(
    *paths: str, methods: tuple[str, ...] = _METHODS, project: str = ACME, days: int = 1
) -> dict[str, str]:
    """The headers of who bears such a grant."""
    end = (signed_urls.now() + timedelta(days=days)).replace(microsecond=0)
    grant = signed_urls.Grant(paths, methods, project, end)
    return {
        'URL-Signature': signed_urls.signer.sign(grant),
        'URL-Expires': grant.expires.strftime(signed_urls.TIME_FORMAT),
        'URL-Methods': ','.join(methods),
        'URL-Paths': ','.join(paths),
        'X-Project-Id': project,
    }


QUEUE = '/v2/queues/jobs'
SHARED = (f'{QUEUE}/messages', f'{QUEUE}/claims')


def test_a_signature_opens_what_was_granted_and_nothing_else(cells: Cells, row: Row) -> None:
    if row.can_be_shared:
        cells.served(signed(*SHARED))
    else:
        cells.refused(signed(*SHARED), 404)


def test_a_signature_that_was_made_for_something_else_opens_nothing(cells: Cells, row: Row) -> None:
    others = tuple(method for method in _METHODS if method != row.method)
    for elsewhere in (
        signed('/v2/queues/jobs2/messages', '/v2/queues/job/claims'),
        signed(*SHARED, methods=others),
        {**signed(*SHARED, project=OTHER), 'X-Project-Id': ACME},
        signed(*SHARED, days=-1),
        {**signed(*SHARED, days=-1), 'URL-Expires': signed(*SHARED)['URL-Expires']},
        {**signed(*SHARED), 'URL-Signature': '0' * 64},
    ):
        cells.refused(elsewhere, 404)


def test_a_credential_does_not_mend_a_signature(cells: Cells, row: Row, world: World) -> None:
    cells.refused({**signed(*SHARED, days=-1), **bearing(world.of_role['admin'])}, 404)


# ---------------------------------------------------------------- what is not offered

NOT_OFFERED = [path for path in RESOURCES if not any(path == found for _, found in OPERATIONS)]


@pytest.mark.parametrize('path', NOT_OFFERED)
def test_what_is_not_offered_is_told_to_those_who_get_in(world: World, path: str) -> None:
    target = path.format(
        queue='jobs', subscription='x', topic='x', message='x', pool='x', flavor='x'
    )
    for method in _METHODS:
        row = Row(method, target, 404, ROWS[0].example, ADMINS)
        assert world.send(row, {}).status_int == 401
        for token in world.of_role.values():
            assert world.send(row, bearing(token)).status_int == 404
