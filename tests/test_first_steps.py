"""What docs/first-steps.md tells a newcomer to do works, step by step."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from marconi_api.processes.installation import CHECKOUT
from tests.running_service import Service, Start, services, wait_until
from tests.tours import blocks, take_tour

# It starts a service twice.
pytestmark = pytest.mark.slow

DOCS = CHECKOUT / 'docs'
PAGE = (DOCS / 'first-steps.md').read_text()
SCRIPTS = sysconfig.get_path('scripts')


@pytest.fixture
def start() -> Iterator[Start]:
    with services() as start:
        yield start


def section(title: str) -> str:
    [text] = re.findall(rf'^## {title}$(.*?)(?=^## |\Z)', PAGE, re.MULTILINE | re.DOTALL)
    return str(text)


def take(title: str, service: Service, directory: Path) -> int:
    """Take the steps of a section, with the command where the page has the shell find it."""
    return take_tour(
        section(title),
        service,
        directory,
        PATH=f'{SCRIPTS}:{os.environ["PATH"]}',
        MARCONI_DATA_DIR=str(service.data_dir),
    )


def shown(title: str) -> str:
    """What a section says that the worker prints."""
    return ''.join(re.findall(r'^    (resized .*\n)', section(title), re.MULTILINE))


def work(program: str, service: Service, directory: Path, is_done: 're.Pattern[str]') -> str:
    """What the worker prints until it is ended, once the counts of the queue match."""
    (directory / 'resize.py').write_text(program.replace(':8888', f':{service.port}'))
    shutil.copy(DOCS / 'worker.py', directory)
    worker = subprocess.Popen(
        [sys.executable, 'resize.py'], cwd=directory, stdout=subprocess.PIPE, text=True
    )

    def counts() -> str:
        connection = service.connect()
        headers = {'Client-ID': '3381af92-2b9e-11e3-b191-71861300734c', 'X-Project-Id': 'demo'}
        connection.request('GET', '/v2/queues/pictures/stats', headers=headers)
        messages = json.load(connection.getresponse())['messages']
        connection.close()
        return f'{messages["total"]} with {messages["parked"]} parked'

    try:
        wait_until(lambda: bool(is_done.fullmatch(counts())))
    finally:
        worker.send_signal(signal.SIGINT)
        said, _ = worker.communicate(timeout=60)
    assert worker.returncode == 0
    return said


@pytest.mark.skipif(shutil.which('curl') is None, reason='the tour is made with curl')
def test_a_newcomer_gets_what_the_page_shows(start: Start, tmp_path: Path) -> None:
    service = start().wait_until_ready()
    [program] = blocks('python', section('Let a worker do the work'))
    [mended] = blocks('python', section('Mend what failed'))
    broken = re.search(r'^    width = .*\n', program, re.MULTILINE)
    assert broken

    assert take('Post messages', service, tmp_path) == 3
    said = work(program, service, tmp_path, re.compile('1 with 1 parked'))
    assert said == shown('Let a worker do the work')
    assert take('Mend what failed', service, tmp_path) == 3
    said = work(program.replace(broken[0], mended), service, tmp_path, re.compile('0 .*'))
    assert said == shown('Mend what failed')

    service.end(signal.SIGTERM)
    closed = start(MARCONI_ACCESS='token').wait_until_ready()
    assert take('Let others in', closed, tmp_path) == 4
