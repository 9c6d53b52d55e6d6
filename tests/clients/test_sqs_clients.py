"""Real clients of SQS, unchanged, against the real service (docs/sqs.md).

`make test-slow` makes an environment for them. The client of JavaScript is installed by npm, if that is
there.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import made_token
from tests.clients.openstack_tour import ENVIRONMENTS, HERE
from tests.running_service import DEADLINE, Service

pytestmark = pytest.mark.slow

OF_SQS, OF_QUERY = ENVIRONMENTS / 'clients-sqs/bin', ENVIRONMENTS / 'clients-query/bin'

#: Tasks that Celery's worker carries out; see celery_tasks.py.
TASKS = 200
KILLS = 5


@pytest.fixture(scope='module', autouse=True)
def environments() -> None:
    for environment in (OF_SQS, OF_QUERY):
        if not environment.exists():
            pytest.fail(
                f'{environment} is missing: run make test-slow once, which installs the clients'
            )


# ---------------------------------------------------------------- Celery


class Worker:
    """A worker of Celery, with all its processes."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        command = [str(OF_SQS / 'python'), '-m', 'celery', '--app', 'celery_tasks', 'worker']
        with log.open('ab') as file:
            self._process = subprocess.Popen(
                [*command, '--concurrency', '2', '--loglevel', 'INFO'],
                cwd=HERE,
                env=environment,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def kill(self) -> None:
        """End it in the midst of its work."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def test_a_worker_of_celery_that_is_killed_loses_no_task(service: Service, tmp_path: Path) -> None:
    done, log = tmp_path / 'done', tmp_path / 'worker.log'
    done.touch()
    environment = os.environ | {
        'BROKER': f'sqs://celery:any@127.0.0.1:{service.port}',
        'DONE': str(done),
        # Celery warns of each worker that runs as root.
        'C_FORCE_ROOT': '1',
    }
    sent = subprocess.run(
        [OF_SQS / 'python', 'celery_tasks.py', str(TASKS)],
        cwd=HERE,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert sent.returncode == 0, sent.stderr

    worker = Worker(environment, log)
    try:
        for kill in range(KILLS):
            _wait_for(done, (kill + 1) * TASKS // (KILLS + 2), log)
            worker.kill()
            worker = Worker(environment, log)
        _wait_for(done, TASKS + 1, log)
    finally:
        worker.kill()

    times = _done(done)
    assert times.keys() == {'eta', *map(str, range(TASKS))}
    assert times['eta'] >= float(sent.stdout)


def _done(file: Path) -> dict[str, float]:
    """The tasks that ended, each with the time at which it first did."""
    times: dict[str, float] = {}
    for line in file.read_text().splitlines():
        name, at = line.split()
        times.setdefault(name, float(at))
    return times


def _wait_for(file: Path, tasks: int, log: Path) -> None:
    deadline = time.monotonic() + 2 * DEADLINE
    while len(_done(file)) < tasks:
        assert time.monotonic() < deadline, log.read_text()[-5000:]
        time.sleep(0.05)


# ---------------------------------------------------------------- aws


class Aws:
    """The `aws` command."""

    def __init__(self, service: Service) -> None:
        url = f'http://127.0.0.1:{service.port}'
        program = [
            str(OF_SQS / 'python'),
            str(OF_SQS / 'aws'),
            '--endpoint-url',
            url,
            '--output',
            'json',
        ]
        self._command = [*program, 'sqs']
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith('AWS_')},
            'AWS_ACCESS_KEY_ID': 'command',
            'AWS_SECRET_ACCESS_KEY': 'any',
            'AWS_DEFAULT_REGION': 'us-east-1',
            'AWS_EC2_METADATA_DISABLED': 'true',
            'AWS_CONFIG_FILE': os.devnull,
            'AWS_SHARED_CREDENTIALS_FILE': os.devnull,
        }

    def run(self, operation: str, *options: str) -> 'subprocess.CompletedProcess[str]':
        return subprocess.run(
            [*self._command, operation, *options],
            env=self._environment,
            capture_output=True,
            text=True,
        )

    def __call__(self, operation: str, *options: str) -> Any:
        """What it prints, as JSON; it must succeed."""
        done = self.run(operation, *options)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout else None


def test_the_aws_command_makes_its_tour(service: Service) -> None:
    aws = Aws(service)
    dead = aws('create-queue', '--queue-name', 'dead')['QueueUrl']
    [arn] = aws('get-queue-attributes', '--queue-url', dead, '--attribute-names', 'QueueArn')[
        'Attributes'
    ].values()
    policy = json.dumps({'deadLetterTargetArn': arn, 'maxReceiveCount': 1})
    attributes = json.dumps({'VisibilityTimeout': '0', 'RedrivePolicy': policy})
    jobs = aws('create-queue', '--queue-name', 'jobs', '--attributes', attributes)['QueueUrl']
    of_jobs = ('--queue-url', jobs)
    assert aws('list-queues')['QueueUrls'] == [dead, jobs]
    assert aws('get-queue-url', '--queue-name', 'jobs') == {'QueueUrl': jobs}

    # One that is done.
    first = aws('send-message', *of_jobs, '--message-body', 'grüße')
    received = aws('receive-message', *of_jobs, '--visibility-timeout', '60')['Messages']
    assert [(one['MessageId'], one['Body']) for one in received] == [(first['MessageId'], 'grüße')]
    aws('delete-message', *of_jobs, '--receipt-handle', received[0]['ReceiptHandle'])

    # One that nobody does.
    aws('send-message', *of_jobs, '--message-body', 'fails')
    assert len(aws('receive-message', *of_jobs)['Messages']) == 1
    assert aws('receive-message', *of_jobs) is None
    [letter] = aws('receive-message', '--queue-url', dead, '--attribute-names', 'All')['Messages']
    assert (letter['Body'], letter['Attributes']['ApproximateReceiveCount']) == ('fails', '2')

    aws('set-queue-attributes', *of_jobs, '--attributes', 'DelaySeconds=5')
    told = aws('get-queue-attributes', *of_jobs, '--attribute-names', 'All')['Attributes']
    assert (told['DelaySeconds'], told['ApproximateNumberOfMessages']) == ('5', '0')
    for url in (jobs, dead):
        aws('delete-queue', '--queue-url', url)
    failed = aws.run('get-queue-url', '--queue-name', 'jobs')
    assert failed.returncode != 0
    assert 'AWS.SimpleQueueService.NonExistentQueue' in failed.stderr


# ---------------------------------------------------------------- JavaScript


@pytest.fixture(scope='module')
def of_javascript(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory in which the SDK is installed."""
    lacking = [name for name in ('node', 'npm') if not shutil.which(name)]
    if lacking:
        pytest.skip(f'{" and ".join(lacking)} cannot be found: install nodejs and npm')
    directory = tmp_path_factory.mktemp('javascript')
    done = subprocess.run(
        ['npm', 'install', '--no-audit', '--no-fund', '@aws-sdk/client-sqs@3'],
        cwd=directory,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip(f'npm cannot install @aws-sdk/client-sqs: {done.stderr[-500:]}')
    yield directory
    shutil.rmtree(directory)


def test_the_sdk_for_javascript_makes_its_tour(service: Service, of_javascript: Path) -> None:
    shutil.copy(HERE / 'sqs_tour.mjs', of_javascript)
    done = subprocess.run(
        ['node', 'sqs_tour.mjs', f'http://127.0.0.1:{service.port}'],
        cwd=of_javascript,
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stdout) == (0, 'ok\n'), done.stderr


# ---------------------------------------------------------------- the query protocol


def test_boto3_of_2023_makes_its_tour_by_the_query_protocol(token_service: Service) -> None:
    key = made_token(token_service, '--project', 'acme', '--role', 'admin', '--sqs').split()

    done = subprocess.run(
        [
            OF_QUERY / 'python',
            HERE / 'boto3_query.py',
            f'http://127.0.0.1:{token_service.port}',
            *key,
        ],
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stdout) == (0, 'ok\n'), done.stderr
