"""The commands and files of docs/operating.md do what it says."""

import base64
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from marconi_api.processes.embedded.cluster import EmbeddedPostgres
from marconi_api.processes.installation import CHECKOUT, config_file
from tests.directories import open_directory
from tests.nginx import nginx, with_nginx
from tests.running_service import DEADLINE, HEADERS, Service, Start, services
from tests.tours import blocks, take_tour, what_varies_masked

SCRIPTS = Path(sysconfig.get_path('scripts'))
DOCS = CHECKOUT / 'docs'
PAGE = (DOCS / 'operating.md').read_text()
DEBIAN_15 = Path('/usr/lib/postgresql/15/bin')


def section(title: str) -> str:
    """The text below a heading, up to the next one of any level."""
    [text] = re.findall(rf'^#+ {title}$(.*?)(?=^##|\Z)', PAGE, re.MULTILINE | re.DOTALL)
    return str(text)


def commands(title: str) -> str:
    """The commands of a section that are run by a test."""
    return '\n'.join(re.sub('^ +', '', block, flags=re.MULTILINE) for block in scripts(title))


def scripts(title: str) -> list[str]:
    return re.findall(r'^ *```sh\n(.*?)^ *```$', section(title), re.MULTILINE | re.DOTALL)


def run(script: str, service: Service, directory: Path, **environment: str) -> None:
    """Run commands of the page as they stand there, on the data of ``service``."""
    prepared = (
        commands('Backup and restore')
        .replace('/var/lib/marconi', str(service.data_dir))
        .replace('/opt/marconi/bin', str(SCRIPTS))
    )
    clean = {name: value for name, value in os.environ.items() if 'MARCONI' not in name}
    done = subprocess.run(
        ['bash', '-e', '-o', 'pipefail', '-c', f'{prepared}\n{script}'],
        cwd=directory,
        env=clean | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def ask(port: int, method: str, path: str, document: Any = None, **headers: str) -> tuple[int, Any]:
    """The status and the document that a request is answered with."""
    with contextlib.closing(http.client.HTTPConnection('127.0.0.1', port, timeout=DEADLINE)) as it:
        body = None if document is None else json.dumps(document)
        it.request(method, path, body, {**HEADERS, 'X-Project-Id': 'acme', **headers})
        answer = it.getresponse()
        text = answer.read()
    is_json = answer.headers['Content-Type'] == 'application/json'
    return answer.status, json.loads(text) if is_json else None


def post(service: Service, *bodies: Any) -> list[str]:
    """The ids of new messages."""
    status, answer = ask(
        service.port,
        'POST',
        '/v2/queues/jobs/messages',
        {'messages': [{'body': body} for body in bodies]},
    )
    assert status == 201, answer
    return [path.rpartition('/')[2] for path in answer['resources']]


def listed(service: Service, marker: str = '') -> list[str]:
    """The bodies of the messages after a marker."""
    path = f'/v2/queues/jobs/messages?echo=true&limit=20&marker={marker}'
    _, answer = ask(service.port, 'GET', path)
    return [message['body'] for message in answer['messages']]


@pytest.fixture
def start() -> Iterator[Start]:
    with services() as start:
        yield start


@pytest.fixture
def service(start: Start) -> Service:
    """One that a test has for itself, and may stop."""
    return start().wait_until_ready()


@pytest.fixture(scope='module')
def shared_service() -> Iterator[Service]:
    with services() as start:
        yield start().wait_until_ready()


@pytest.fixture
def directory() -> Iterator[Path]:
    """One that the user of an embedded PostgreSQL can enter."""
    with open_directory() as path:
        yield path


def test_the_page_has_the_commands_that_it_says_are_run() -> None:
    for title in ('Backup and restore', 'Backup', 'Restore'):
        assert scripts(title), title
    assert len(scripts('Moving to a PostgreSQL of your own')) == 3


@pytest.mark.skipif(shutil.which('curl') is None, reason='the probe is shown with curl')
def test_the_probe_answers_as_shown(shared_service: Service, tmp_path: Path) -> None:
    assert take_tour(PAGE, shared_service, tmp_path) == 2


@pytest.mark.slow
@pytest.mark.parametrize('release', ['this', 'former'])
def test_a_dump_is_restored_and_new_ids_are_above_all_former_ones(
    start: Start, service: Service, tmp_path: Path, release: str
) -> None:
    post(service, 'dumped')
    if release == 'former':
        run('alembic -c "$(marconi paths alembic)" downgrade -1', service, tmp_path)
    run(commands('Backup'), service, tmp_path)
    run('alembic -c "$(marconi paths alembic)" upgrade head', service, tmp_path)
    [late] = post(service, 'late')
    service.end(signal.SIGTERM)
    # Its port is another one each time, which no client knows.
    hidden = start().wait_until_ready()

    run(commands('Restore'), hidden, tmp_path)
    hidden.end(signal.SIGTERM)

    usual = start().wait_until_ready()
    assert listed(usual) == ['dumped']
    [new] = post(usual, 'new')
    assert new > late
    assert listed(usual, marker=late) == ['new']


@pytest.mark.slow
def test_a_copy_of_the_files_of_a_stopped_service_can_be_put_back(
    directory: Path, start: Start, service: Service
) -> None:
    post(service, 'copied')
    service.end(signal.SIGTERM)
    subprocess.run(['cp', '-a', service.data_dir, directory / 'copy'], check=True)
    later = start().wait_until_ready()
    [late] = post(later, 'late')
    later.end(signal.SIGTERM)

    again = start(data_dir=directory / 'copy').wait_until_ready()

    assert listed(again) == ['copied']
    assert post(again, 'new') > [late]


@pytest.mark.slow
@pytest.mark.parametrize(
    'programs',
    [
        None,
        pytest.param(
            DEBIAN_15,
            marks=pytest.mark.skipif(not DEBIAN_15.exists(), reason='PostgreSQL 15 is not there'),
        ),
    ],
)
def test_messages_move_to_a_postgresql_of_one_s_own(
    directory: Path, start: Start, service: Service, tmp_path: Path, programs: Path | None
) -> None:
    own = EmbeddedPostgres(
        directory / 'own', programs, ['fsync=off', 'full_page_writes=off'], durable=False
    )
    own.start()
    url = own.url.replace('+psycopg2', '')
    [old] = post(service, 'moved')
    naming, *rest = scripts('Moving to a PostgreSQL of your own')
    moving = ''.join(rest).replace('   ', '')
    assert naming.strip().startswith('export MARCONI_DATABASE_URL=')

    try:
        run(moving, service, tmp_path, MARCONI_DATABASE_URL=url)
        service.end(signal.SIGTERM)

        moved = start(MARCONI_DATABASE_URL=url).wait_until_ready()
        assert listed(moved) == ['moved']
        assert post(moved, 'new') > [old]
        moved.end(signal.SIGTERM)
    finally:
        own.stop()


def test_parked_messages_are_looked_at_as_the_transcript_shows(service: Service) -> None:
    parked = post(service, {'resize': 1}, {'resize': 2}, {'resize': 3})[:2]
    for message in parked:
        path = f'/v2/queues/jobs/messages/{message}/park'
        assert ask(service.port, 'POST', path, {'reason': 'no such picture'})[0] == 204
    [transcript] = blocks('pycon', PAGE)
    statements = re.findall(r'^>>> (.*)$', transcript, re.MULTILINE)

    done = subprocess.run(
        [SCRIPTS / 'pecan', 'shell', str(config_file())],
        input='\n'.join(statements),
        env=os.environ | {'MARCONI_DATA_DIR': str(service.data_dir)},
        capture_output=True,
        text=True,
    )

    said = done.stdout.partition('>>> ')[2].replace('>>> ', '')
    shown = re.sub(r'^>>> .*\n', '', transcript, flags=re.MULTILINE)
    assert what_varies_masked(said) == what_varies_masked(shown)


@pytest.fixture
def proxy(shared_service: Service, directory: Path) -> Iterator[int]:
    """The port of an nginx that runs the configuration of the page, without TLS.

    The user alice of project acme, and the user bob, have the password "secret".
    """
    with nginx(directory, {'127.0.0.1:8888': f'127.0.0.1:{shared_service.port}'}) as port:
        yield port


def by(user: str) -> dict[str, str]:
    """What a client sends that has a password."""
    token = base64.b64encode(f'{user}:secret'.encode()).decode()
    return {'Authorization': f'Basic {token}'}


@with_nginx
def test_the_proxy_lets_nobody_in_without_a_password(proxy: int) -> None:
    assert ask(proxy, 'GET', '/v2/queues')[0] == 401
    assert ask(proxy, 'GET', '/v1/health')[0] == 204


@with_nginx
def test_behind_the_proxy_a_client_cannot_choose_its_project(
    shared_service: Service, proxy: int
) -> None:
    told = {'X-Project-Id': 'other', 'X_Project_Id': 'other', 'X-Roles': 'admin'}

    assert ask(proxy, 'PUT', '/v2/queues/of-alice', **by('alice'), **told)[0] == 201
    assert ask(proxy, 'PUT', '/v2/queues/of-bob', **by('bob'), **told)[0] == 201
    assert ask(proxy, 'GET', '/v2/health', **by('alice'), **told)[0] == 403

    for project, names in (('acme', ['of-alice']), ('bob', ['of-bob']), ('other', [])):
        _, answer = ask(shared_service.port, 'GET', '/v2/queues', **{'X-Project-Id': project})
        assert [queue['name'] for queue in answer['queues'] if 'of-' in queue['name']] == names


@with_nginx
def test_the_proxy_passes_a_path_and_a_body_on_as_they_are(
    shared_service: Service, proxy: int
) -> None:
    body = {'messages': [{'body': 'x' * 300_000}]}

    too_large = ask(proxy, 'POST', '/v2/queues/by-proxy/messages', body, **by('alice'))
    other_spelling = ask(proxy, 'PUT', '/v2/queues/a%2Fb/../by-proxy', **by('alice'))

    assert too_large == ask(shared_service.port, 'POST', '/v2/queues/by-proxy/messages', body)
    assert too_large[0] == 400
    assert other_spelling == ask(shared_service.port, 'PUT', '/v2/queues/a%2Fb/../by-proxy')
    assert other_spelling[0] >= 400


@pytest.mark.slow
@pytest.mark.skipif(shutil.which('systemd-analyze') is None, reason='systemd is not there')
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / 'marconi.service'
    unit.write_text(
        (DOCS / 'marconi.service').read_text().replace('/opt/marconi/bin', str(SCRIPTS))
    )

    done = subprocess.run(
        ['systemd-analyze', 'verify', '--man=no', unit], capture_output=True, text=True
    )

    assert (done.returncode, done.stderr) == (0, '')
