"""Which databases Marconi accepts, and how they may be named."""

import contextlib
import os
import re
import subprocess
from collections.abc import Callable
from urllib.parse import quote

import psycopg2
import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import text

from marconi_api.model.postgres.tables import REVISION
from marconi_api.processes import schema
from marconi_api.processes.embedded.cluster import EmbeddedPostgres, running_url
from marconi_api.processes.installation import OPERATOR_FILES, normalise_url


@pytest.fixture
def url(postgres: EmbeddedPostgres) -> str:
    """A database of its own, with the schema."""
    with contextlib.closing(psycopg2.connect(postgres.url.replace('+psycopg2', ''))) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute('DROP DATABASE IF EXISTS checked WITH (FORCE)')
        cursor.execute('CREATE DATABASE checked')
    found = postgres.url.replace('/marconi?', '/checked?')
    schema.upgrade(found)
    return found


@pytest.fixture
def socket_dir(postgres: EmbeddedPostgres) -> str:
    """Where the server's socket is."""
    url = running_url(postgres.state_dir)
    assert url
    return url.partition('?host=')[2]


@pytest.mark.parametrize(
    'form',
    [
        'postgresql://marconi@{encoded}/marconi',
        'postgresql://marconi@{encoded}:5432/marconi',
        'postgresql://marconi@127.0.0.1:1,{encoded}/marconi',
        'postgresql://marconi@127.0.0.1:1,{encoded}:5432/marconi?sslmode=prefer',
        'postgresql://marconi@[::1]:1,{encoded}:5432/marconi',
        'postgresql://{encoded},127.0.0.1:1/marconi?user=marconi',
        'postgresql://marconi@/marconi?host={plain}',
        'postgres://marconi@/marconi?host={encoded}&port=5432',
        'postgresql:///marconi?user=marconi&host=127.0.0.1,{plain}&port=1,5432',
        'postgresql+psycopg2://marconi@/marconi?host={plain}',
    ],
)
def test_a_url_as_psql_takes_it_is_understood(socket_dir: str, form: str) -> None:
    schema.check(form.format(plain=socket_dir, encoded=quote(socket_dir, safe='')))


def test_a_password_may_hold_what_separates_hosts() -> None:
    url = 'postgresql://me:a,b%25@db.example.com/marconi'

    assert normalise_url(url) == 'postgresql+psycopg2://me:a,b%25@db.example.com/marconi'


@pytest.mark.parametrize(
    'url',
    ['postgresql://me:secret@h:x/marconi', 'postgresql://me:secret@h1,h2:x/marconi', 'nonsense'],
)
def test_a_url_that_cannot_be_used_is_refused_with_a_form_that_can(url: str) -> None:
    with pytest.raises(schema.SchemaError, match='postgresql://user:password@host/name') as refused:
        schema.check(url)

    assert 'secret' not in str(refused.value)


@pytest.mark.parametrize('parameter', ['password', 'sslpassword'])
def test_a_secret_in_a_url_s_parameters_is_not_shown(parameter: str) -> None:
    with pytest.raises(schema.SchemaError) as refused:
        schema.check(f'postgresql://me@127.0.0.1:1/marconi?{parameter}=secret')

    assert 'secret' not in str(refused.value)


@pytest.mark.parametrize('password', ['', ':secret'])
def test_the_command_that_upgrades_can_be_pasted(url: str, socket_dir: str, password: str) -> None:
    with schema.connection(url) as connection:
        connection.execute(text('DROP SCHEMA public CASCADE'))
        connection.execute(text('CREATE SCHEMA public'))
        connection.commit()
    named = (
        f'postgresql://marconi{password}@{quote(socket_dir, safe="")}/checked?options=-c%20jit=off'
    )
    with pytest.raises(schema.SchemaError) as refused:
        schema.check(named)
    [command] = re.findall(r'run  (.*)$', str(refused.value))

    subprocess.run(
        command, shell=True, check=True, env=os.environ | {'MARCONI_DATABASE_URL': named}
    )

    schema.check(named)
    assert 'secret' not in str(refused.value)


def test_tables_that_citus_distributes_are_refused(url: str) -> None:
    with schema.connection(url) as connection:
        # As far as anybody can tell who has no Citus at hand: its catalog.
        connection.execute(text('CREATE TABLE pg_dist_partition (logicalrelid regclass)'))
        connection.commit()
        schema.check(url)
        connection.execute(text("INSERT INTO pg_dist_partition VALUES ('messages')"))
        connection.commit()

    with pytest.raises(schema.SchemaError, match=r'Citus distributes tables of .* \(messages\)'):
        schema.check(url)


def test_the_code_knows_which_migration_is_the_newest() -> None:
    """``/readyz`` compares it with that of the database."""
    [newest] = ScriptDirectory(str(OPERATOR_FILES / 'migrations')).get_heads()

    assert newest == REVISION


def is_noted(url: str) -> str:
    """What the database tells older code."""
    with schema.connection(url) as connection:
        noted: str = connection.scalar(text("SELECT obj_description('alembic_version'::regclass)"))
    return noted


def become_newer(url: str, oldest: str | None) -> None:
    """Let the schema be one that this code does not know, and that works from a revision on."""
    with schema.connection(url) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        noted = 'NULL' if oldest is None else f"'{schema._WORKS_FROM}{oldest}'"
        connection.execute(text(f'COMMENT ON TABLE alembic_version IS {noted}'))
        connection.commit()


@pytest.mark.parametrize('use', [schema.check, schema.upgrade])
def test_a_newer_schema_that_works_with_this_code_is_accepted_and_told(
    url: str, use: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    become_newer(url, REVISION)

    use(url)

    [record] = caplog.records
    assert 'at revision 9999, newer than this Marconi, which works with it' in record.message


@pytest.mark.parametrize('oldest', ['9999', None])
@pytest.mark.parametrize('use', [schema.check, schema.upgrade])
def test_a_newer_schema_that_does_not_say_so_is_refused(
    url: str, use: Callable[[str], None], oldest: str | None
) -> None:
    become_newer(url, oldest)

    with pytest.raises(schema.SchemaError, match='9999'):
        use(url)


def test_a_schema_tells_the_oldest_code_that_works_with_it(url: str) -> None:
    scripts = ScriptDirectory(str(OPERATOR_FILES / 'migrations'))
    oldest = REVISION
    while getattr(scripts.get_revision(oldest).module, 'additive', False):
        oldest = str(scripts.get_revision(oldest).down_revision)

    assert is_noted(url) == f'{schema._WORKS_FROM}{oldest}'
    with contextlib.closing(psycopg2.connect(url.replace('+psycopg2', ''))) as connection:
        connection.autocommit = True
        connection.cursor().execute('DROP SCHEMA public CASCADE; CREATE SCHEMA public')
        connection.cursor().execute(schema.upgrading_sql(url))
    assert is_noted(url) == f'{schema._WORKS_FROM}{oldest}'
