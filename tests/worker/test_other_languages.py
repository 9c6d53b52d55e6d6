"""The workers of docs/worker.mjs and docs/worker.go keep what docs/workers.md promises."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.running_service import services, wait_until
from tests.worker.workshop import DOCS, TTL, Workshop, stop

HERE = Path(__file__).parent

#: A worker is started as ``[*command, URL, QUEUE, TTL]``.
Command = Sequence[str]

LANGUAGES = [
    pytest.param(
        'javascript',
        marks=pytest.mark.skipif(shutil.which('node') is None, reason='Node is not there'),
    ),
    pytest.param(
        'go',
        # To compile it takes seconds.
        marks=[
            pytest.mark.slow,
            pytest.mark.skipif(shutil.which('go') is None, reason='Go is not there'),
        ],
    ),
]


@pytest.fixture(scope='module')
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Compiles the worker in Go with a program that uses it; once each."""
    directory = tmp_path_factory.mktemp('go')

    def program(source: Path) -> str:
        path = directory / source.stem
        if not path.exists():
            # Go wants the files of a program in one directory.
            files = [shutil.copy(file, directory) for file in (DOCS / 'worker.go', source)]
            # Only the standard library is there.
            done = subprocess.run(
                ['go', 'build', '-o', path, *files],
                cwd=directory,
                env=os.environ | {'GO111MODULE': 'off', 'GOFLAGS': '', 'GOPROXY': 'off'},
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr
        return str(path)

    return program


def skip_unless_node_is_new() -> None:
    """Debian 12 has an older one."""
    if subprocess.run(['node', '-e', 'process.exit(AbortSignal.any ? 0 : 1)']).returncode:
        pytest.skip('Node is older than 20.3')


@pytest.fixture(params=LANGUAGES)
def command(request: pytest.FixtureRequest) -> Command:
    """What starts a worker that says what it does."""
    if request.param == 'javascript':
        skip_unless_node_is_new()
        return ['node', str(HERE / 'recording.mjs'), str(DOCS / 'worker.mjs')]
    return [request.getfixturevalue('compiled')(HERE / 'recording.go')]


@pytest.fixture(params=LANGUAGES)
def program(request: pytest.FixtureRequest) -> Command:
    """What starts the program that the page shows."""
    if request.param == 'javascript':
        skip_unless_node_is_new()
        return ['node', str(DOCS / 'resize.mjs')]
    return [request.getfixturevalue('compiled')(DOCS / 'resize.go')]


class Crew:
    """Workers on the first queue of a workshop, and what they said."""

    def __init__(self, workshop: Workshop, command: Command) -> None:
        self.workshop = workshop
        self.command = command
        self.files: list[Path] = []

    def start(self, address: str | None = None, ttl: int = TTL) -> 'subprocess.Popen[str]':
        path = self.workshop.record.with_name(f'said-{len(self.files)}')
        self.files.append(path)
        where = address or self.workshop.address
        with path.open('w') as file:
            arguments = (*self.command, where, self.workshop.queues[0], str(ttl))
            return self.workshop.launch(*arguments, stdout=file)

    def said(self, word: str) -> list[str]:
        """The ids of messages that were begun or done."""
        text = ''.join(path.read_text() for path in self.files)
        return re.findall(rf'^{word} (\w+)$', text, re.MULTILINE)

    def wait_for(self, word: str, count: int) -> None:
        wait_until(lambda: len(self.said(word)) >= count)


@pytest.fixture
def crew(workshop: Workshop, command: Command) -> Crew:
    return Crew(workshop, command)


@pytest.mark.parametrize('name', ['worker.mjs', 'resize.mjs', 'worker.go', 'resize.go'])
def test_the_page_shows_the_very_programs(name: str) -> None:
    language = {'mjs': 'javascript', 'go': 'go'}[name.rpartition('.')[2]]

    shown = f'```{language}\n{(DOCS / name).read_text()}```\n'
    assert shown in (DOCS / 'workers.md').read_text()


def test_the_program_of_the_page_works(workshop: Workshop, program: Command) -> None:
    queue = workshop.queues[0]
    workshop.post({'picture': 'a.png'}, {'picture': 'b.png'})

    worker = workshop.launch(*program, workshop.address, 'acme', queue)
    workshop.wait_until_empty()
    stop(worker)

    assert worker.stdout
    assert worker.stdout.read() == 'resized a.png\nresized b.png\n'


def test_all_messages_are_handled_once_and_are_gone(crew: Crew) -> None:
    posted = crew.workshop.post(*[{}] * 15)
    worker = crew.start()

    crew.workshop.wait_until_empty()
    stop(worker)

    assert crew.said('done') == posted


def test_a_message_comes_at_once_to_a_worker_that_waits(crew: Crew) -> None:
    worker = crew.start()
    wait_until(lambda: 'ready' in crew.files[0].read_text())

    for count in (1, 2):
        crew.workshop.post({})
        crew.wait_for('done', count)
    crew.workshop.wait_until_empty()
    stop(worker)


def test_a_message_whose_handling_failed_is_tried_again(crew: Crew) -> None:
    [poison, _] = crew.workshop.post({'fails': True}, {})
    worker = crew.start()

    crew.workshop.wait_until_empty()
    stop(worker)

    assert crew.said('start').count(poison) == 2
    assert crew.said('done')[-1] == poison


def test_a_stopped_worker_finishes_one_message_and_gives_the_others_back(crew: Crew) -> None:
    first, *others = crew.workshop.post({'seconds': 0.5}, {}, {})
    worker = crew.start()

    crew.wait_for('start', 1)
    stop(worker)

    assert crew.said('done') == [first]
    assert crew.workshop.messages('claimed') == []
    assert [message['id'] for message in crew.workshop.messages('ready')] == others


def test_an_idle_worker_stops_as_well(crew: Crew) -> None:
    worker = crew.start()
    wait_until(lambda: 'ready' in crew.files[0].read_text())

    stop(worker)


@pytest.mark.slow
def test_a_job_that_takes_longer_than_its_claim_stays_its_worker_s(crew: Crew) -> None:
    posted = crew.workshop.post({'seconds': TTL * 1.75}, {})
    workers = [crew.start(), crew.start()]

    crew.workshop.wait_until_empty()
    stop(*workers)

    assert crew.said('start') == posted


@pytest.mark.slow
def test_a_worker_whose_claim_has_lapsed_deletes_nothing_and_goes_on(crew: Crew) -> None:
    crew.workshop.post({'seconds': 0.5}, {})
    sleeper = crew.start()
    crew.wait_for('start', 1)
    sleeper.send_signal(signal.SIGSTOP)
    time.sleep(TTL)
    other = crew.start()
    crew.wait_for('done', 2)

    sleeper.send_signal(signal.SIGCONT)
    crew.wait_for('done', 3)
    [late] = crew.workshop.post({})
    wait_until(lambda: late in crew.said('done'))
    crew.workshop.wait_until_empty()
    stop(sleeper, other)

    # The other message of the claim was not begun a second time.
    assert len(crew.said('start')) == 4


@pytest.mark.slow
def test_a_worker_waits_for_a_service_that_is_away(crew: Crew) -> None:
    with socket.create_server(('127.0.0.1', 0)) as listener:
        port = listener.getsockname()[1]
    worker = crew.start(f'http://127.0.0.1:{port}', ttl=60)
    wait_until(lambda: 'ready' in crew.files[0].read_text())

    with services() as start:
        away = Workshop(start(PORT=str(port)).wait_until_ready(), crew.files[0].parent)
        away.queues = crew.workshop.queues
        away.post({})
        crew.wait_for('done', 1)
        away.wait_until_empty()
        stop(worker)
