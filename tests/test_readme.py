"""The README's tour and transcript do what they show, line by line."""

import contextlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from marconi_api.processes import schema
from marconi_api.processes.embedded.cluster import running_url
from marconi_api.processes.installation import CHECKOUT, config_file
from tests.running_service import HEADERS, Service, services
from tests.tours import blocks, take_tour, what_varies_masked

SCRIPTS = Path(sysconfig.get_path('scripts'))
README = (CHECKOUT / 'README.md').read_text()


@pytest.fixture(scope='module')
def service() -> Iterator[Service]:
    """A service on an empty database."""
    with services() as start:
        yield start().wait_until_ready()


# The commands of the document are run as they stand there.
@pytest.mark.skipif(shutil.which('curl') is None, reason='the tour is made with curl')
def test_the_tour_shows_what_happens(service: Service, tmp_path: Path) -> None:
    assert take_tour(README, service, tmp_path) == 8


def test_the_tour_is_that_of_the_current_version() -> None:
    [tour] = re.findall(r'^## A tour .*?(?=^## )', README, re.MULTILINE | re.DOTALL)

    assert set(re.findall(r'127\.0\.0\.1:8888/(v[\d.]+)/', tour)) == {'v2'}


def test_the_first_screen_names_the_modes_of_access() -> None:
    assert '**Access.**' in README.partition('\n## ')[0]


def test_the_transcript_of_the_shell_shows_what_happens(service: Service) -> None:
    environment = os.environ | {'MARCONI_DATA_DIR': str(service.data_dir)}
    # What other tests left for the janitor is not to be counted here.
    subprocess.run([SCRIPTS / 'marconi', 'expire'], env=environment, check=True)
    fill_as_the_transcript_expects(service)
    [transcript] = blocks('pycon', README)
    statements = re.findall(r'^>>> (.*)$', transcript, re.MULTILINE)

    [command] = indented(r'\.venv/bin/pecan shell .*')
    done = subprocess.run(
        as_typed(command),
        shell=True,
        cwd=CHECKOUT,
        input='\n'.join(statements),
        env=environment,
        capture_output=True,
        text=True,
    )

    said = done.stdout.partition('>>> ')[2].replace('>>> ', '')
    shown = re.sub(r'^>>> .*\n', '', transcript, flags=re.MULTILINE)
    assert what_varies_masked(said) == what_varies_masked(shown)


def indented(pattern: str) -> list[str]:
    """The README's commands of that form, which stand indented on lines of their own."""
    return re.findall(rf'^    ({pattern})$', README, re.MULTILINE)


def as_typed(command: str) -> str:
    """The command with the programs of this environment, which may lie elsewhere."""
    return command.replace('.venv/bin/', f'{SCRIPTS}/')


def test_the_schema_is_made_as_the_dba_is_told(service: Service, tmp_path: Path) -> None:
    url = running_url(service.data_dir)
    assert url
    with contextlib.closing(psycopg2.connect(url.replace('+psycopg2', ''))) as connection:
        connection.autocommit = True
        connection.cursor().execute('CREATE DATABASE named')
    [named] = indented(r'export MARCONI_DATABASE_URL=.*')
    [upgrade] = indented(r'\.venv/bin/alembic upgrade head')

    done = subprocess.run(
        as_typed(f"{named.partition('=')[0]}='{url.replace('/marconi?', '/named?')}'; {upgrade}"),
        shell=True,
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    assert all(line.startswith('schema upgraded to ') for line in done.stdout.splitlines())
    schema.check(url.replace('/marconi?', '/named?'))


@pytest.mark.skipif(shutil.which('make') is None, reason='it is about make')
def test_make_serve_is_what_these_tests_serve_with() -> None:
    # Below another make, as in `make test`, it would say which directory it is in.
    command = ['make', '--dry-run', '--no-print-directory', 'serve']
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == 'exec .venv/bin/marconi serve'


def fill_as_the_transcript_expects(service: Service) -> None:
    """A queue of three messages, one of them claimed; and a queue of no project."""
    service.request('PUT', '/v1/queues/another')
    acme = {**HEADERS, 'X-Project-Id': 'acme'}
    connection = service.connect()
    for method, path, body in (
        ('PUT', '/v1/queues/jobs', None),
        (
            'POST',
            '/v1/queues/jobs/messages',
            json.dumps([{'ttl': 300, 'body': {'resize': number}} for number in (1, 2, 3)]),
        ),
        ('POST', '/v1/queues/jobs/claims?limit=1', '{"ttl": 60, "grace": 60}'),
    ):
        connection.request(method, path, body, acme)
        response = connection.getresponse()
        assert response.status == 201, response.read()
        response.read()
    connection.close()


def test_the_shell_introduces_the_administrator_s_object(service: Service) -> None:
    done = subprocess.run(
        [SCRIPTS / 'pecan', 'shell', str(config_file())],
        input='',
        env=os.environ | {'MARCONI_DATA_DIR': str(service.data_dir)},
        capture_output=True,
        text=True,
    )

    assert 'Start with admin' in done.stdout + done.stderr


def test_without_a_database_the_shell_says_what_to_do(tmp_path: Path) -> None:
    done = subprocess.run(
        [SCRIPTS / 'pecan', 'shell', str(config_file())],
        input='',
        env=os.environ | {'MARCONI_DATA_DIR': str(tmp_path / 'nothing')},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1
    assert done.stderr == 'no PostgreSQL is running: set MARCONI_DATABASE_URL, or make serve\n'


def test_every_setting_has_a_sentence() -> None:
    settings, _, _ = config_file().read_text().partition('logging = {')
    for above, line in itertools.pairwise(settings.splitlines()):
        if line.startswith("    '"):
            # A default and its maximum may share one.
            assert above.strip().startswith(('#', "'")), line


def test_each_variable_that_the_settings_read_is_named() -> None:
    read = set(re.findall(r"environ\.get\('(\w+)'", config_file().read_text()))

    assert len(read) > 10
    assert [name for name in sorted(read) if f'`{name}`' not in README] == []


def test_all_links_lead_somewhere() -> None:
    for document in (CHECKOUT / 'README.md', *(CHECKOUT / 'docs').glob('*.md')):
        links = re.findall(r'\]\(([^)#:]*)(?:#([^)]*))?\)', document.read_text())
        for target, anchor in links:
            led_to = document.parent / target if target else document
            assert led_to.exists(), f'{document.name}: {target}'
            assert not anchor or anchor in anchors(led_to), f'{document.name}: {target}#{anchor}'


def anchors(document: Path) -> set[str]:
    """The names by which links lead to a document's headings, as GitHub makes them."""
    headings = re.findall('^#+ (.*)$', document.read_text(), re.MULTILINE)
    return {re.sub('[^a-z0-9 _-]', '', heading.lower()).replace(' ', '-') for heading in headings}
