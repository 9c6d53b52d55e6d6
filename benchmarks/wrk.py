"""Load over HTTP by wrk: kept connections, each of which waits for its answers."""

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.operations import HEADERS, Request

#: What to say where it is missing.
HOW_TO_GET = 'wrk is not in PATH (Debian: apt-get install wrk)'

CONNECTIONS = 8

_LOAD = Path(__file__).with_name('load.lua').read_text()


class LoadFailed(Exception):
    """The server refused requests or broke connections."""


@dataclass(frozen=True)
class Latency:
    """Seconds, of the answers to one kind of request."""

    count: int
    p50: float
    p95: float
    p99: float


@dataclass(frozen=True)
class Load:
    """What one run came to."""

    seconds: float
    kinds: dict[str, Latency]

    def rate(self, kind: str) -> float:
        """Answers a second to one kind of request."""
        return self.kinds[kind].count / self.seconds


Steps = Sequence[tuple[str, Request]]


def is_there() -> bool:
    """Whether wrk can be run."""
    return shutil.which('wrk') is not None


def drive(
    address: str,
    steps: Steps,
    seconds: float,
    rate: float | None = None,
    connections: int = CONNECTIONS,
    timed: bool = False,
    queues: int | None = None,
    headers: Mapping[str, str] = HEADERS,
) -> Load:
    """Let each connection go through the steps, over and over.

    :param steps: the kind of each request and the request; one of the kind 'delete' deletes
        what the last one of the kind 'claim' got
    :param rate: requests a second of all connections together; as many as can be if left out
    :param timed: whether latencies are told apart by kind, which costs wrk some time
    :param queues: '{queue}' in a path becomes one of so many numbers
    :param headers: of each request
    """
    settings = {
        'headers': headers,
        'steps': [{'kind': kind, **vars(request)} for kind, request in steps],
        'period': rate and connections / rate,
        'timed': timed,
        'queues': queues,
    }
    head = ''.join(f'{name} = {_lua(value)}\n' for name, value in settings.items())
    with tempfile.NamedTemporaryFile('w', suffix='.lua') as script:
        script.write(head + _LOAD)
        script.flush()
        # wrk has a Lua state for each thread: a thread is a connection with a memory.
        arguments = [f'-t{connections}', f'-c{connections}', f'-d{max(1, round(seconds))}s']
        done = subprocess.run(
            ['wrk', *arguments, '-s', script.name, address],
            capture_output=True,
            text=True,
            check=True,
        )
    found = re.search(r'^RESULT (.+)$', done.stdout, re.M)
    if not found:
        raise LoadFailed(done.stdout + done.stderr)
    result = json.loads(found[1])
    if result['refused'] or result['broken'] or not result['kinds']:
        raise LoadFailed(done.stdout)
    kinds = {kind: Latency(**latency) for kind, latency in result['kinds'].items()}
    return Load(result['seconds'], kinds)


def _lua(value: object) -> str:
    """A value as Lua writes it."""
    if value is None:
        return 'nil'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # As long brackets, in which nothing has a meaning.
        return f'[==[{value}]==]'
    if isinstance(value, Mapping):
        return (
            '{' + ', '.join(f'[ {_lua(key)} ] = {_lua(item)}' for key, item in value.items()) + '}'
        )
    if isinstance(value, Sequence):
        return '{' + ', '.join(map(_lua, value)) + '}'
    return str(value)
