"""What clients are told while the storage fails, and that nothing is half done.

See docs/protocol-v1.md, 10.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from webtest import TestResponse

from marconi_api.processes.embedded.cluster import EmbeddedPostgres
from tests.conftest import Sql
from tests.running_service import wait_until

from .client import CLIENT_ID, NO_CLAIM, NO_MESSAGE, PROJECT, QUEUE, Api, refusal

UNAVAILABLE = (503, 'Service temporarily unavailable')
TERMS = {'ttl': 60, 'grace': 60}

#: Every operation that needs the storage.
OPERATIONS: dict[str, tuple[str, str, Any]] = {
    'list-queues': ('GET', '/v1/queues', None),
    'create-queue': ('PUT', QUEUE, None),
    'get-queue': ('GET', QUEUE, None),
    'head-queue': ('HEAD', QUEUE, None),
    'delete-queue': ('DELETE', QUEUE, None),
    'get-metadata': ('GET', f'{QUEUE}/metadata', None),
    'set-metadata': ('PUT', f'{QUEUE}/metadata', {'a': 1}),
    'stats': ('GET', f'{QUEUE}/stats', None),
    'list-messages': ('GET', f'{QUEUE}/messages', None),
    'get-messages': ('GET', f'{QUEUE}/messages?ids={NO_MESSAGE}', None),
    'post-messages': ('POST', f'{QUEUE}/messages', [{'ttl': 60, 'body': 1}]),
    'delete-messages': ('DELETE', f'{QUEUE}/messages?ids={NO_MESSAGE}', None),
    'get-message': ('GET', f'{QUEUE}/messages/{NO_MESSAGE}', None),
    'delete-message': ('DELETE', f'{QUEUE}/messages/{NO_MESSAGE}', None),
    'delete-claimed': ('DELETE', f'{QUEUE}/messages/{NO_MESSAGE}?claim_id={NO_CLAIM}', None),
    'create-claim': ('POST', f'{QUEUE}/claims', TERMS),
    'get-claim': ('GET', f'{QUEUE}/claims/{NO_CLAIM}', None),
    'renew-claim': ('PATCH', f'{QUEUE}/claims/{NO_CLAIM}', {'ttl': 60}),
    'release-claim': ('DELETE', f'{QUEUE}/claims/{NO_CLAIM}', None),
}


def is_unavailable(response: TestResponse) -> bool:
    """Whether the answer is the 503 that promises nothing."""
    if response.request.method == 'HEAD':
        return bool(response.status_int == 503 and response.body == b'')
    return refusal(response) == UNAVAILABLE


# ---------------------------------------------------------------- no PostgreSQL at all


@pytest.mark.parametrize('operation', OPERATIONS)
def test_without_storage_every_operation_is_a_503(
    mortal_api: Api, other_postgres: EmbeddedPostgres, operation: str
) -> None:
    other_postgres.stop()

    response = mortal_api.request(*OPERATIONS[operation], client_id=CLIENT_ID)

    assert is_unavailable(response)


def test_a_storage_that_goes_away_is_a_503_and_when_it_is_back_all_is_there(
    mortal_api: Api, other_postgres: EmbeddedPostgres
) -> None:
    mortal_api.make_queue(metadata={'a': 1})
    mortal_api.post_messages('held', 'free')
    claim = mortal_api.claim(limit=1)
    other_postgres.stop()

    for operation in OPERATIONS.values():
        assert is_unavailable(mortal_api.request(*operation, client_id=CLIENT_ID))
    assert is_unavailable(mortal_api.delete(claim.href))
    assert is_unavailable(mortal_api.delete(claim.messages[0]['href']))

    other_postgres.start()
    assert mortal_api.get(f'{QUEUE}/metadata').json == {'a': 1}
    assert [m['body'] for m in mortal_api.get(claim.href).json['messages']] == ['held']
    assert [message['body'] for message in mortal_api.listed()] == ['free']
    assert mortal_api.stats()['total'] == 2


def test_a_restart_of_the_storage_between_requests_is_not_noticed(
    mortal_api: Api, other_postgres: EmbeddedPostgres
) -> None:
    mortal_api.make_queue()
    other_postgres.stop()
    other_postgres.start()

    [path] = mortal_api.post_messages('x')

    assert mortal_api.exists(path)


def test_health_follows_the_storage(mortal_api: Api, other_postgres: EmbeddedPostgres) -> None:
    assert mortal_api.get('/v1/health').status_int == 204
    other_postgres.stop()

    response = mortal_api.get('/v1/health')

    assert response.status_int == 503
    assert response.body == b''
    assert mortal_api.head('/v1/health').status_int == 204
    other_postgres.start()
    assert mortal_api.get('/v1/health').status_int == 204


def test_health_says_when_nothing_can_be_written(
    mortal_api: Api, other_postgres: EmbeddedPostgres
) -> None:
    administrator = Sql(f'{other_postgres.url}&options=-cdefault_transaction_read_only%3Doff')

    def statuses(read_only: str) -> list[int]:
        # The connections of the service are kept, and learn it.
        administrator(f'ALTER SYSTEM SET default_transaction_read_only = {read_only}')
        administrator('SELECT pg_reload_conf()')
        wait_until(lambda: _of_new_session(other_postgres) == read_only)
        paths = ('/v1/health', '/v1.1/ping', '/v2/ping')
        return [
            mortal_api.get(path, client_id=CLIENT_ID, project=PROJECT).status_int for path in paths
        ]

    assert statuses(read_only='off') == [204, 204, 204]
    assert statuses(read_only='on') == [503, 503, 503]
    assert statuses(read_only='off') == [204, 204, 204]
    administrator.connection.close()


def _of_new_session(server: EmbeddedPostgres) -> str:
    session = Sql(server.url)
    [(read_only,)] = session('SHOW default_transaction_read_only')
    session.connection.close()
    return str(read_only)


def test_a_503_says_when_to_try_again(mortal_api: Api, other_postgres: EmbeddedPostgres) -> None:
    other_postgres.stop()

    assert mortal_api.get('/v1/health').headers['Retry-After'] == '1'
    assert mortal_api.get('/v1/queues').headers['Retry-After'] == '1'
    ping = mortal_api.get('/v2/ping', client_id=CLIENT_ID, project=PROJECT)
    assert ping.headers['Retry-After'] == '1'


@pytest.mark.parametrize(
    ('method', 'path', 'status'),
    [
        ('GET', '/', 300),
        ('GET', '/v1', 200),
        ('GET', '/v1/nonsense', 404),
        ('POST', QUEUE, 405),
        ('OPTIONS', QUEUE, 200),
        ('GET', '/v1/queues?limit=x', 400),
        ('POST', f'{QUEUE}/claims', 400),
        ('PUT', '/v1/queues/a!b', 400),
    ],
)
def test_what_needs_no_storage_is_answered_without(
    mortal_api: Api, other_postgres: EmbeddedPostgres, method: str, path: str, status: int
) -> None:
    other_postgres.stop()

    assert mortal_api.request(method, path).status_int == status


# ---------------------------------------------------------------- one table missing

NEEDED = {
    'queues': [name for name in OPERATIONS if not name.startswith('health')],
    'message_states': [
        'stats',
        'list-messages',
        'get-messages',
        'post-messages',
        'delete-messages',
        'get-message',
        'delete-message',
        'delete-claimed',
        'create-claim',
        'get-claim',
        'renew-claim',
        'release-claim',
    ],
    'messages': ['stats', 'list-messages', 'get-messages', 'post-messages', 'create-claim'],
    'claims': ['create-claim', 'get-claim', 'renew-claim', 'release-claim'],
}


@pytest.mark.parametrize(
    ('table', 'operation'),
    [(table, operation) for table, operations in NEEDED.items() for operation in operations],
)
def test_a_statement_that_fails_is_a_503(
    api: Api, queue: str, sql: Any, table: str, operation: str
) -> None:
    sql(f'ALTER TABLE {table} RENAME TO mislaid')
    try:
        response = api.request(*OPERATIONS[operation], client_id=CLIENT_ID)
    finally:
        sql(f'ALTER TABLE mislaid RENAME TO {table}')

    assert is_unavailable(response)
    assert api.exists(queue)
    assert api.stats() == {'free': 0, 'claimed': 0, 'total': 0}


def test_a_503_tells_nothing_of_the_database(api: Api, queue: str, sql: Any) -> None:
    sql('ALTER TABLE message_states RENAME TO mislaid')
    try:
        response = api.get(f'{queue}/stats')
    finally:
        sql('ALTER TABLE mislaid RENAME TO message_states')

    for word in ('message_states', 'SELECT', 'relation', 'psycopg', 'Traceback'):
        assert word not in response.text


# ---------------------------------------------------------------- failures half way


@pytest.fixture
def refuse(api: Api, sql: Any) -> Iterator[Callable[[str, str], None]]:
    """Lets the database fail at the end of a statement that has done this to a table."""
    refused = []

    def refuse_from_now(event: str, table: str) -> None:
        sql(
            'CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS '
            "$$ BEGIN RAISE EXCEPTION 'disk full' USING ERRCODE = 'disk_full'; END $$"
        )
        sql(
            f'CREATE TRIGGER refused AFTER {event} ON {table} '
            'FOR EACH ROW EXECUTE FUNCTION refuse()'
        )
        refused.append(table)

    yield refuse_from_now
    for table in refused:
        sql(f'DROP TRIGGER IF EXISTS refused ON {table}')


@pytest.mark.parametrize('event', ['INSERT', 'UPDATE'])
def test_a_queue_is_made_whole_or_not_at_all(
    api: Api, refuse: Callable[[str, str], None], event: str
) -> None:
    refuse(event, 'queues')

    response = api.put(QUEUE)

    assert is_unavailable(response)
    assert api.get(QUEUE).status_int == 404


@pytest.mark.parametrize('table', ['messages', 'message_states'])
def test_a_post_is_stored_whole_or_not_at_all(
    api: Api, queue: str, refuse: Callable[[str, str], None], sql: Any, table: str
) -> None:
    refuse('INSERT', table)

    response = api.post(
        f'{queue}/messages',
        [{'ttl': 60, 'body': 'a'}, {'ttl': 60, 'body': 'b'}],
        client_id=CLIENT_ID,
    )

    assert is_unavailable(response)
    assert api.stats()['total'] == 0
    assert sql('SELECT * FROM messages') == sql('SELECT * FROM message_states') == []


def test_health_says_that_the_disk_is_full_until_a_message_can_be_stored(
    api: Api, queue: str, refuse: Callable[[str, str], None], sql: Any
) -> None:
    refuse('INSERT', 'messages')
    api.post(f'{queue}/messages', [{'ttl': 60, 'body': 'a'}], client_id=CLIENT_ID)

    assert api.get('/v1/health').status_int == 503
    sql('DROP TRIGGER refused ON messages')
    assert api.get('/v1/health').status_int == 204

    assert sql('SELECT name FROM queues') == [('jobs',)]


@pytest.mark.parametrize('how', ['alone', 'in bulk', 'by its claim'])
@pytest.mark.parametrize('table', ['messages', 'message_states'])
def test_a_message_is_deleted_whole_or_not_at_all(
    api: Api, queue: str, refuse: Callable[[str, str], None], table: str, how: str
) -> None:
    [path] = api.post_messages('x')
    target = path
    if how == 'in bulk':
        target = f'{queue}/messages?ids={path.rpartition("/")[2]}'
    elif how == 'by its claim':
        target = api.claim().messages[0]['href']
    refuse('DELETE', table)

    response = api.delete(target)

    assert is_unavailable(response)
    assert api.get(path).json['body'] == 'x'
    assert api.stats()['total'] == 1


@pytest.mark.parametrize(('event', 'table'), [('INSERT', 'claims'), ('UPDATE', 'message_states')])
def test_a_claim_is_made_whole_or_not_at_all(
    api: Api, queue: str, refuse: Callable[[str, str], None], sql: Any, event: str, table: str
) -> None:
    api.post_messages('a', 'b', ttl=60)
    refuse(event, table)

    response = api.post(f'{queue}/claims', {'ttl': 100, 'grace': 60})

    assert is_unavailable(response)
    assert [message['ttl'] for message in api.listed()] == [60, 60]
    assert api.stats()['claimed'] == 0
    assert sql('SELECT * FROM claims') == []


def test_what_a_failed_claim_did_not_take_is_claimed_by_the_next(
    api: Api, queue: str, refuse: Callable[[str, str], None], sql: Any
) -> None:
    api.post_messages('a', 'b')
    refuse('INSERT', 'claims')
    api.post(f'{queue}/claims', TERMS)
    sql('DROP TRIGGER refused ON claims')

    assert [message['body'] for message in api.claim().messages] == ['a', 'b']


@pytest.mark.parametrize('table', ['claims', 'message_states'])
def test_a_claim_is_renewed_whole_or_not_at_all(
    api: Api, queue: str, refuse: Callable[[str, str], None], table: str
) -> None:
    api.post_messages('x', ttl=60)
    claim = api.claim(ttl=100, grace=60)
    refuse('UPDATE', table)

    response = api.patch(claim.href, {'ttl': 500, 'grace': 60})

    assert is_unavailable(response)
    document = api.get(claim.href).json
    assert document['ttl'] == 100
    assert document['messages'][0]['ttl'] == 160


@pytest.mark.parametrize(('event', 'table'), [('DELETE', 'claims'), ('UPDATE', 'message_states')])
def test_a_claim_is_released_whole_or_not_at_all(
    api: Api, queue: str, refuse: Callable[[str, str], None], event: str, table: str
) -> None:
    api.post_messages('a', 'b')
    claim = api.claim()
    refuse(event, table)

    response = api.delete(claim.href)

    assert is_unavailable(response)
    assert len(api.get(claim.href).json['messages']) == 2
    assert api.stats()['claimed'] == 2


def test_metadata_is_replaced_whole_or_not_at_all(
    api: Api, refuse: Callable[[str, str], None]
) -> None:
    api.make_queue(metadata={'a': 1})
    refuse('UPDATE', 'queues')

    response = api.put(f'{QUEUE}/metadata', {'b': 2})

    assert is_unavailable(response)
    assert api.get(f'{QUEUE}/metadata').json == {'a': 1}


def test_a_queue_is_deleted_whole_or_not_at_all(
    api: Api, queue: str, refuse: Callable[[str, str], None]
) -> None:
    [path] = api.post_messages('x')
    refuse('UPDATE', 'queues')

    response = api.delete(queue)

    assert is_unavailable(response)
    assert api.exists(queue)
    assert api.exists(path)


def test_a_queue_out_of_sight_is_deleted_though_its_row_cannot_be_removed_now(
    api: Api, queue: str, refuse: Callable[[str, str], None]
) -> None:
    [path] = api.post_messages('x')
    refuse('DELETE', 'queues')

    response = api.delete(queue)

    assert response.status_int == 204
    assert not api.exists(queue)
    assert not api.exists(path)


# ---------------------------------------------------------------- connections that break


def test_an_idle_connection_that_was_cut_is_replaced(api: Api, queue: str, sql: Any) -> None:
    sql(
        'SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity '
        "WHERE application_name = 'marconi' AND pid <> pg_backend_pid()"
    )

    [path] = api.post_messages('x')

    assert api.exists(path)
