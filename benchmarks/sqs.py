"""How fast is SQS's door, beside others that speak its protocol, and beside our own API?

moto's server and LocalStack are what many test against; they keep messages in memory. Each is driven by the
same 8 processes of boto3, in turns. A cycle sends 10 messages of 1 KiB, receives 10 and deletes them.

Then wrk sends one message a request over 8 kept connections, by SQS and by version 2 of our API in turns,
without a signature: the service runs in trusted mode.

Marconi flushes each commit to the disk before it answers.
"""

import contextlib
import http.client
import json
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks import wrk
from benchmarks.children import free_port, listens, running
from benchmarks.environments import Unavailable, environment
from benchmarks.measured import Measured, Name, in_rounds
from benchmarks.operations import HEADERS, Queue, Request
from benchmarks.plan import Plan
from benchmarks.report import Answer, Chart, Table
from benchmarks.service import data_directory, running_service

CLIENTS = 8
_OURS, _MOTO, _LOCALSTACK = 'Marconi', 'moto', 'LocalStack'
_KEEPS = {
    _OURS: 'each commit flushed',
    _MOTO: 'memory',
    _LOCALSTACK: 'memory',
}
# It does not start with newer releases of these, which it does not refuse.
_LOCALSTACK_NEEDS = (
    'localstack-core[runtime]==4.9.2',
    *('cbor2<5.9', 'cryptography<46', 'pyOpenSSL<25.2', 'service-identity<25'),
)
_SQS, _NATIVE = 'SQS, SendMessage', 'version 2, post 1'
_QUEUE = Queue('v2', 'sqs-beside')


def ask(plan: Plan) -> Answer:
    """Measure, and say what came of it."""
    answer = Answer('sqs', __doc__ or '')
    answer.notes.append('ElasticMQ is not measured: it needs Java.')
    with data_directory() as directory, running_service() as service:
        directory.mkdir()
        _beside_others(answer, plan, service.address, directory)
        if wrk.is_there():
            _beside_our_own(answer, plan, service.address)
        else:
            answer.notes.append(f'Nothing beside version 2: {wrk.HOW_TO_GET}.')
    return answer


def _beside_others(answer: Answer, plan: Plan, address: str, directory: Path) -> None:
    seconds = plan.choose(full=5.0, quick=1.0)
    contenders: dict[Name, Callable[[], float]] = {}
    with contextlib.ExitStack() as stack:
        python = str(environment('sqs-clients', 'boto3>=1.40,<2') / 'bin/python')
        contenders[_OURS,] = partial(_rate, python, address, seconds)
        for name, run in ((_MOTO, moto), (_LOCALSTACK, localstack)):
            try:
                theirs = stack.enter_context(run(directory))
            except Unavailable as error:
                answer.notes.append(f'{name} is not measured: {error}')
            else:
                contenders[name,] = partial(_rate, python, theirs, seconds)
        rates = in_rounds(plan.choose(full=5, quick=1), contenders)
    table = Table(
        ['service', 'keeps messages by', 'cycles of 10 messages a second', 'Marconi, to it'],
        'Through boto3',
    )
    for (name,), found in rates.items():
        table.rows.append([name, _KEEPS[name], found, rates[_OURS,] / found])
    answer.tables.append(table)
    shown = {f'{name} ({_KEEPS[name]})': found for (name,), found in rates.items()}
    answer.charts.append(
        Chart('Cycles of 10 messages, by boto3', 'cycles a second', {'a second': shown})
    )


def _rate(python: str, address: str, seconds: float) -> float:
    script = str(Path(__file__).with_name('sqs_clients.py'))
    done = subprocess.run(
        [python, script, address, str(CLIENTS), str(seconds)], capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f'the clients of {address} failed: {done.stderr[-500:]}')
    return float(done.stdout)


@contextlib.contextmanager
def moto(directory: Path) -> Iterator[str]:
    """A server of moto's; its address."""
    installed = environment('moto', 'moto[server,sqs]>=5,<6')
    port = free_port()
    command = [str(installed / 'bin/moto_server'), '-H', '127.0.0.1', '-p', str(port)]
    with running(command, lambda: listens(port), directory / 'moto.log'):
        yield f'http://127.0.0.1:{port}'


@contextlib.contextmanager
def localstack(directory: Path) -> Iterator[str]:
    """A LocalStack with SQS alone; its address."""
    installed = environment('localstack', *_LOCALSTACK_NEEDS)
    port = free_port()
    settings = {
        'GATEWAY_LISTEN': f'127.0.0.1:{port}',
        'SERVICES': 'sqs',
        'DISABLE_EVENTS': '1',
        'SKIP_SSL_CERT_DOWNLOAD': '1',
        # No line for each request.
        'LS_LOG': 'warn',
        'FILESYSTEM_ROOT': str(directory / 'localstack'),
    }
    command = [str(installed / 'bin/python'), '-m', 'localstack.runtime.main']
    with running(command, lambda: listens(port), directory / 'localstack.log', settings):
        yield f'http://127.0.0.1:{port}'


def _beside_our_own(answer: Answer, plan: Plan, address: str) -> None:
    seconds = plan.choose(full=5.0, quick=1.0)
    post = _QUEUE.post(1)
    connection = http.client.HTTPConnection(urlsplit(address).netloc)
    make = _QUEUE.make()
    connection.request(make.method, make.path, make.body, HEADERS)
    made = connection.getresponse()
    if made.status >= 300:
        raise SystemExit(f'{make.path}: {made.status}')
    connection.close()
    [message] = json.loads(post.body)['messages']
    body = json.dumps({'QueueUrl': _QUEUE.name, 'MessageBody': json.dumps(message['body'])})
    send = Request('POST', '/', body)
    headers = HEADERS | {
        'Content-Type': 'application/x-amz-json-1.0',
        'X-Amz-Target': 'AmazonSQS.SendMessage',
    }

    def rate(request: Request, given: dict[str, str]) -> float:
        load = wrk.drive(address, [('send', request)], seconds, headers=given)
        return load.rate('send')

    rates = in_rounds(
        plan.choose(full=7, quick=1),
        {
            (_SQS,): partial(rate, send, headers),
            (_NATIVE,): partial(rate, post, dict(HEADERS)),
        },
    )
    by_sqs, by_us = rates[_SQS,], rates[_NATIVE,]
    ratio: Measured = by_sqs / by_us
    table = Table([f'{_SQS}, a second', f'{_NATIVE}, a second', 'ratio', 'least'], 'One message')
    table.rows.append([by_sqs, by_us, ratio, '0.8'])
    answer.tables.append(table)
