"""More requests than a service can take: it answers the rest, goes on with what it takes, and recovers.

First clients post one message after the other, as fast as they are answered: that is saturation. Then
requests come at twice that rate, each over a connection that is free, whether others were answered or not.
Figures of a machine that has other work to do mean little.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.processes import family, memory
from faults.instances import Database, Instance

# Clients that are enough to saturate a service of two workers with four threads each.
_CLIENTS = 16
# Requests that may be under way in the overload: what a machine has sockets for.
_MOST_UNDER_WAY = 2000
_PATIENCE = 30.0

_BODY = b'{"messages": [{"body": 1, "ttl": 300}]}'
_REQUEST = (
    b'POST /v2/queues/load/messages HTTP/1.1\r\nHost: test\r\nX-Project-Id: load\r\n'
    b'Client-ID: 3381af92-2b9e-11e3-b191-71861300734c\r\nContent-Type: application/json\r\n'
    b'Content-Length: %d\r\n\r\n%s' % (len(_BODY), _BODY)
)


class Phase:
    """What became of the requests of a while; times in seconds."""

    def __init__(self, name: str) -> None:
        self.name = name
        #: By status; 0 if there was no answer.
        self.statuses: Counter[int] = Counter()
        #: Of those that were taken.
        self.times: list[float] = []
        #: Refused ones that do not say when to come again.
        self.without_retry_after = 0
        self.seconds = 0.0
        #: Requests that had to be left out, as too many were under way.
        self.left_out = 0

    @property
    def rate(self) -> float:
        """Requests that were taken, in a second."""
        return len(self.times) / self.seconds

    def percentile(self, share: float) -> float:
        """The time within which a share of those were answered that were taken."""
        return sorted(self.times)[int(share * (len(self.times) - 1))] if self.times else 0.0

    def note(self, head: bytes, seconds: float) -> None:
        """Count an answer, of which this is the head; b'' if there was none."""
        status = int(head[9:12]) if head else 0
        self.statuses[status] += 1
        if status == 201:
            self.times.append(seconds)
        elif status in (429, 503) and b'\r\nretry-after:' not in head.lower():
            self.without_retry_after += 1

    def __str__(self) -> str:
        counts = ', '.join(f'{status}: {count}' for status, count in sorted(self.statuses.items()))
        return (
            f'{self.name}: {self.rate:.0f} posts/s taken, p50 {self.percentile(0.5) * 1000:.0f} ms,'
            f' p99 {self.percentile(0.99) * 1000:.0f} ms; {counts}; {self.left_out} left out'
        )


class Outcome(NamedTuple):
    """What came of a run; memory in MiB of all processes but PostgreSQL."""

    saturation: Phase
    overload: Phase
    afterwards: Phase
    before: float
    after: float

    def faults(self) -> Iterator[str]:
        """What was not as it should be."""
        unknown = set(self.overload.statuses) - {201, 429, 503}
        if unknown:
            yield f'answers besides 201, 429 and 503 (0 is none): {sorted(unknown)}'
        if self.overload.without_retry_after:
            yield f'{self.overload.without_retry_after} refusals without Retry-After'
        limit = 4 * self.saturation.percentile(0.99)
        if self.overload.percentile(0.99) > limit:
            yield f'p99 under overload is above four times that at saturation, {limit * 1000:.0f} ms'
        if self.after > self.before * 1.25 + 16:
            yield f'memory grew from {self.before:.0f} to {self.after:.0f} MiB'
        if self.afterwards.rate < self.saturation.rate / 2:
            yield 'the service had not recovered five seconds after the overload'


def run(seconds: float, factor: float, folder: Path) -> Outcome:
    """Measure a service in ``folder``, with so many times the requests that it can take."""
    service = Instance('first', folder, 2)
    try:
        service.start({'MARCONI_DELIVERY_PROCESSES': '0'})
        saturation = asyncio.run(_saturate(service.port, 'saturation', seconds))
        before = _memory(service)
        overload = asyncio.run(_overload(service.port, saturation.rate * factor, seconds))
        after = _memory(service)
        time.sleep(5)
        afterwards = asyncio.run(_saturate(service.port, 'five seconds later', seconds / 4))
    finally:
        service.stop()
        Database.stop_at(folder)
    return Outcome(saturation, overload, afterwards, before, after)


async def _saturate(port: int, name: str, seconds: float) -> Phase:
    phase, began = Phase(name), time.monotonic()

    async def work() -> None:
        connections: list[_Connection] = []
        while time.monotonic() < began + seconds:
            await _post(port, connections, phase)

    await asyncio.gather(*(work() for _ in range(_CLIENTS)))
    phase.seconds = time.monotonic() - began
    return phase


async def _overload(port: int, rate: float, seconds: float) -> Phase:
    phase, began = Phase('overload'), time.monotonic()
    connections: list[_Connection] = []
    under_way: set[asyncio.Task[None]] = set()
    sent = 0
    while (now := time.monotonic() - began) < seconds:
        for _ in range(int(now * rate) - sent):
            sent += 1
            if len(under_way) >= _MOST_UNDER_WAY:
                phase.left_out += 1
                continue
            task = asyncio.ensure_future(_post(port, connections, phase))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.sleep(0.002)
    phase.seconds = time.monotonic() - began
    if under_way:
        await asyncio.wait(under_way)
    return phase


_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _post(port: int, free: list[_Connection], phase: Phase) -> None:
    """Post a message over a connection that is free, and give that back."""
    began, head = time.monotonic(), b''
    with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
        async with asyncio.timeout(_PATIENCE):
            reader, writer = (
                free.pop() if free else await asyncio.open_connection('127.0.0.1', port)
            )
            try:
                writer.write(_REQUEST)
                head = await reader.readuntil(b'\r\n\r\n')
                await reader.readexactly(_length(head))
            except BaseException:
                writer.transport.abort()
                raise
            if b'\r\nconnection: close' in head.lower():
                writer.transport.abort()
            else:
                free.append((reader, writer))
    phase.note(head, time.monotonic() - began)


def _length(head: bytes) -> int:
    for line in head.lower().split(b'\r\n'):
        if line.startswith(b'content-length:'):
            return int(line.partition(b':')[2])
    return 0


def _memory(service: Instance) -> float:
    return sum(
        memory(pid)[1]
        for pid in family(service.process.pid)
        if 'postgres' not in Path(f'/proc/{pid}/comm').read_text()
    )
