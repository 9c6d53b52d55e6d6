"""The release before works on when the schema is brought up: that comes first, and the code second."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import alembic.command
import psycopg2
import pytest
from alembic.script import ScriptDirectory

from marconi_api.model.postgres.tables import REVISION
from marconi_api.processes import schema
from marconi_api.processes.embedded.cluster import EmbeddedPostgres
from tests.directories import open_directory
from tests.release_before import NoHistory, unpack
from tests.running_service import HEADERS, Service, services

pytestmark = pytest.mark.slow


#: What the code before calls itself here, so that nobody mistakes the one for the other.
NAME = 'Marconi as it was before'


@pytest.fixture(scope='module')
def code_before() -> Iterator[Path]:
    """A directory with the code before the newest migration."""
    with open_directory() as directory:
        try:
            unpack(directory)
        except NoHistory as why:
            pytest.skip(str(why))
        description = directory / 'marconi_api' / 'wire' / 'openapi.py'
        description.write_text(description.read_text().replace("'Marconi'", repr(NAME)))
        yield directory


@pytest.fixture(scope='module')
def url(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A database whose schema is the one of the code before."""
    with contextlib.closing(psycopg2.connect(postgres.url.replace('+psycopg2', ''))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute('CREATE DATABASE before')
            url = postgres.url.replace('/marconi?', '/before?')
            config = schema._alembic_config(url)
            newest = ScriptDirectory.from_config(config).get_revision('head')
            alembic.command.upgrade(config, str(newest.down_revision))
            yield url
            cursor.execute('DROP DATABASE before WITH (FORCE)')


@pytest.fixture(scope='module')
def service(code_before: Path, url: str) -> Iterator[Service]:
    """The release before, which runs while the schema is brought up."""
    # Python looks for modules there first.
    older = {'cwd': str(code_before), 'MARCONI_CONFIG': str(code_before / 'config.py')}
    with services() as start:
        running = start(MARCONI_DATABASE_URL=url, **older).wait_until_ready()
        schema.upgrade(url)
        yield running


def test_it_is_ready(service: Service) -> None:
    assert service.request('GET', '/readyz')[0] == 200
    _, description = service.request('GET', '/openapi.json')
    assert json.loads(description)['info']['title'] == NAME


def test_it_can_be_restarted_on_the_newer_schema(
    service: Service, code_before: Path, url: str
) -> None:
    if '_WORKS_FROM' not in (code_before / 'marconi_api/processes/schema.py').read_text():
        pytest.skip('the code before did not know of newer schemas')
    older = {'cwd': str(code_before), 'MARCONI_CONFIG': str(code_before / 'config.py')}
    with services() as start:
        again = start(MARCONI_DATABASE_URL=url, **older).wait_until_ready()
        assert again.request('GET', '/readyz')[0] == 200


def test_messages_are_posted_listed_claimed_released_and_deleted(service: Service) -> None:
    def ask(method: str, path: str, document: Any = None) -> Any:
        body = None if document is None else json.dumps(document)
        connection = service.connect()
        connection.request(method, path, body, {**HEADERS, 'X-Project-Id': 'acme'})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        assert response.status < 300, content
        return json.loads(content) if content else None

    ask('PUT', '/v2/queues/jobs', {'_max_claim_count': 3})
    ask('POST', '/v2/queues/jobs/messages', {'messages': [{'body': n} for n in range(3)]})
    assert len(ask('GET', '/v2/queues/jobs/messages?echo=true')['messages']) == 3
    held = ask('POST', '/v2/queues/jobs/claims', {})['messages']
    assert [message['body'] for message in held] == [0, 1, 2]
    path = held[0]['href']
    ask('DELETE', path)
    claim = f'/v2/queues/jobs/claims/{path.partition("claim_id=")[2]}'
    ask('PATCH', claim, {'ttl': 100, 'grace': 100})
    ask('DELETE', claim)
    assert len(ask('POST', '/v2/queues/jobs/claims', {})['messages']) == 2
    ask('DELETE', '/v2/queues/jobs')


def test_this_code_starts_on_a_schema_of_the_next_release_that_works_with_it(
    service: Service, url: str
) -> None:
    with contextlib.closing(psycopg2.connect(url.replace('+psycopg2', ''))) as connection:
        connection.autocommit = True
        connection.cursor().execute("UPDATE alembic_version SET version_num = '9999'")
        try:
            with services() as start:
                running = start(MARCONI_DATABASE_URL=url).wait_until_ready()
                assert running.request('GET', '/readyz')[0] == 200
                assert 'at revision 9999, newer than this Marconi' in running.err.read_text()
        finally:
            connection.cursor().execute('UPDATE alembic_version SET version_num = %s', [REVISION])
