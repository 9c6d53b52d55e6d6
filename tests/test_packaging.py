"""`pip install .`, and the Dockerfile that rests on it, tried without Docker."""

import contextlib
import json
import os
import pwd
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from marconi_api.processes.installation import CHECKOUT
from tests.test_requirements import canonical, releases

pytestmark = pytest.mark.slow


# What a clone would not have.
NOT_CLONED = shutil.ignore_patterns(
    '.git', '.venv', 'build', '*.egg-info', '__pycache__', '.*_cache'
)


def instructions(name: str) -> list[str]:
    """What the Dockerfile says after each instruction of that name."""
    text = (CHECKOUT / 'Dockerfile').read_text().replace('\\\n', ' ')
    return re.findall(rf'^{name} (.+)$', text, re.MULTILINE)


def commands(program: str) -> str:
    [command] = [run for run in instructions('RUN') if run.startswith(program)]
    return command


@pytest.fixture(scope='module')
def environment() -> Iterator[dict[str, str]]:
    """The environment variables of an image in which the Dockerfile's RUN pip was done."""
    with tempfile.TemporaryDirectory(prefix='marconi-test-') as path:
        # The server's user has to enter it if we are root.
        os.chmod(path, 0o755)
        source = Path(path, 'source')
        shutil.copytree(CHECKOUT, source, ignore=NOT_CLONED)
        subprocess.run([sys.executable, '-m', 'venv', Path(path, 'venv')], check=True)
        with socket.create_server(('127.0.0.1', 0)) as listener:
            port = listener.getsockname()[1]
        environment = {
            'PATH': f'{path}/venv/bin:/usr/bin:/bin',
            'HOME': path,
            'HOST': '127.0.0.1',
            'PORT': str(port),
            'MARCONI_DATA_DIR': f'{path}/data',
        }
        # How this machine reaches its package index is no business of the image.
        pip = {name: value for name, value in os.environ.items() if name.startswith('PIP_')}
        subprocess.run(
            commands('pip').replace('/usr/src/marconi', str(source)),
            shell=True,
            check=True,
            env=environment | pip,
            capture_output=True,
        )
        assert not source.exists()
        yield environment


def run(command: str, environment: dict[str, str]) -> str:
    # From a directory that has nothing of ours.
    return subprocess.run(
        command, shell=True, check=True, env=environment, cwd='/', stdout=subprocess.PIPE, text=True
    ).stdout


@contextlib.contextmanager
def serving(command: str, environment: dict[str, str]) -> Iterator['subprocess.Popen[str]']:
    """The service that a command of the shell starts, from when it is ready; it is stopped at the end."""
    service = subprocess.Popen(
        command,
        shell=True,
        env=environment,
        cwd='/',
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with service:
        assert service.stdout is not None
        assert service.stdout.readline().startswith('Marconi is ready')
        yield service
        service.send_signal(signal.SIGTERM)


def test_the_installed_service_runs_anywhere_and_passes_the_health_check(
    environment: dict[str, str],
) -> None:
    [command] = instructions('CMD')
    [check] = re.findall(r'CMD (\[.+\])', instructions('HEALTHCHECK')[0])
    health_check = shlex.join(json.loads(check))

    with serving(f'exec {shlex.join(json.loads(command))}', environment) as service:
        run(health_check, environment)

    assert service.returncode == 0
    with pytest.raises(subprocess.CalledProcessError):
        run(f'{health_check} 2>/dev/null', environment)


def test_a_package_that_is_not_the_one_of_its_hash_is_refused(
    environment: dict[str, str], tmp_path: Path
) -> None:
    wanted = tmp_path / 'requirements.txt'
    wanted.write_text(f'sniffio=={releases()["sniffio"]} --hash=sha256:{"0" * 64}\n')
    pip = {name: value for name, value in os.environ.items() if name.startswith('PIP_')}

    done = subprocess.run(
        ['pip', 'download', '--no-deps', '--require-hashes', '--requirement', wanted],
        cwd=tmp_path,
        env=environment | pip,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1
    assert 'DO NOT MATCH THE HASHES' in done.stderr


def test_the_installed_releases_are_those_of_the_file(environment: dict[str, str]) -> None:
    installed = dict(
        line.split('==') for line in run('pip freeze --all', environment).split() if '==' in line
    )

    wanted = releases()
    for name, version in installed.items():
        if canonical(name) not in ('pip', 'marconi-api'):
            assert wanted[canonical(name)] == version


def test_the_installed_migrations_are_at_hand(environment: dict[str, str]) -> None:
    heads = run('alembic -c "$(marconi paths alembic)" heads', environment)

    assert heads.endswith('(head)\n')


def test_the_commands_of_the_readme_work_from_any_directory(environment: dict[str, str]) -> None:
    readme = (CHECKOUT / 'README.md').read_text()
    [shown] = re.findall(r'^((?: {4}(?:marconi|alembic|pecan) .*\n)+)', readme, re.MULTILINE)
    serve, upgrade, shell = (line.strip() for line in shown.splitlines())

    with serving(f'exec {serve}', environment):
        run(upgrade, environment)
        said = run(f'echo "admin.overview()" | {shell} 2>&1', environment)

    assert 'Start with admin' in said


def test_the_installed_settings_are_those_of_the_checkout(environment: dict[str, str]) -> None:
    path = run('marconi paths config', environment).strip()

    assert Path(path).parent.name == 'operator_files'
    assert Path(path).read_bytes() == (CHECKOUT / 'config.py').read_bytes()


def test_nothing_but_the_package_is_installed(environment: dict[str, str]) -> None:
    top_level = run(
        'python -c "import importlib.metadata as m;'
        " print({f.parts[0] for f in m.files('marconi-api') if f.suffix == '.py'})\"",
        environment,
    )

    assert top_level.strip() == "{'marconi_api'}"


# The image is made by root on Debian, where useradd is; a developer may be neither.
@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which('useradd'), reason='only root can, with useradd'
)
def test_the_user_of_the_image_can_be_made(tmp_path: Path) -> None:
    (tmp_path / 'etc').mkdir()
    for name in ('passwd', 'group'):
        (tmp_path / 'etc' / name).touch()

    command = commands('useradd').replace('useradd', f'useradd --prefix {tmp_path}')
    subprocess.run(command, shell=True, check=True, capture_output=True)

    assert (tmp_path / 'etc' / 'passwd').read_text().startswith('marconi:')


def test_the_data_directory_of_the_image_is_closed_to_others(tmp_path: Path) -> None:
    me = pwd.getpwuid(os.geteuid()).pw_name
    command = (
        commands('install')
        .replace('/var/lib/marconi/data', str(tmp_path / 'data'))
        .replace('--owner=marconi --group=marconi', f'--owner={me}')
    )

    subprocess.run(command, shell=True, check=True)

    assert (tmp_path / 'data').stat().st_mode & 0o777 == 0o700


def test_the_image_serves_as_a_plain_user() -> None:
    assert instructions('USER') == ['marconi']
