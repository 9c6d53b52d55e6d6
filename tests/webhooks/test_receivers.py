"""The receivers of docs/eventing.md take what we send, once, and nothing else."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from marconi_api.processes.installation import CHECKOUT
from marconi_api.webhooks.calling import Caller
from marconi_api.webhooks.forms import headers_of, notification
from marconi_api.webhooks.rules import Rules
from marconi_api.webhooks.signatures import new_secret
from tests.running_service import DEADLINE

DOCS = CHECKOUT / 'docs'
PROGRAMS = {'receiver.py': [sys.executable], 'receiver.mjs': ['node']}

OLD, NEW = new_secret(), new_secret()
RULES = Rules.from_config({'allowed_networks': ['127.0.0.1'], 'allowed_ports': range(65536)})


class Program:
    """A receiver that runs."""

    def __init__(self, name: str) -> None:
        self.process = subprocess.Popen(
            [*PROGRAMS[name], DOCS / name, '0'],
            env=os.environ | {'SECRETS': f'{NEW} {OLD}'},
            stdout=subprocess.PIPE,
            text=True,
        )
        self._target = RULES.target(f'http://127.0.0.1:{self.line()}/')

    def line(self) -> str:
        """The next line that it printed."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def call(self, body: bytes, headers: dict[str, str]) -> int | None:
        """The status of its answer."""
        return asyncio.run(Caller(RULES).call(self._target, headers, body, DEADLINE)).status


@pytest.fixture(scope='module', params=PROGRAMS)
def program(request: Any) -> Iterator[Program]:
    if shutil.which(PROGRAMS[request.param][0]) is None:
        pytest.skip(f'there is no {PROGRAMS[request.param][0]}')
    program = Program(request.param)
    yield program
    program.process.terminate()
    program.process.communicate()


def message(text: str) -> bytes:
    return notification('events', '0' * 16, 60, f'"{text}"')


@pytest.mark.parametrize('secrets', [[NEW], [OLD], [new_secret(), OLD]])
def test_what_a_secret_signed_is_taken_once(program: Program, secrets: list[str]) -> None:
    body = message('grüße')
    headers = headers_of({}, secrets, f'id {time.monotonic()}', body)

    assert [program.call(body, headers) for _ in range(2)] == [204, 204]
    other = headers_of({}, secrets, f'id {time.monotonic()}', message('other'))
    assert program.call(message('other'), other) == 204
    assert [json.loads(program.line()), json.loads(program.line())] == ['grüße', 'other']


@pytest.mark.parametrize(
    'change',
    [
        {'webhook-signature': 'v1,AAAA'},
        {'webhook-signature': ''},
        {'webhook-id': 'another'},
        {'webhook-timestamp': '1'},
        {'webhook-timestamp': 'now'},
    ],
)
def test_what_was_changed_is_refused(program: Program, change: dict[str, str]) -> None:
    body = message('changed')

    assert program.call(body, headers_of({}, [NEW], 'id', body) | change) == 401


def test_what_another_secret_signed_is_refused(program: Program) -> None:
    body = message('of another')

    assert program.call(body, headers_of({}, [new_secret()], 'id', body)) == 401
    assert program.call(body + b' ', headers_of({}, [NEW], 'id', body)) == 401
    assert program.call(body, {}) == 401


@pytest.mark.parametrize(
    ('name', 'language'), [('receiver.py', 'python'), ('receiver.mjs', 'javascript')]
)
def test_the_document_shows_the_very_programs(name: str, language: str) -> None:
    program = (DOCS / name).read_text()

    assert f'```{language}\n{program}```\n' in (DOCS / 'eventing.md').read_text()
