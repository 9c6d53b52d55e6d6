"""Hostile input: requests that schemathesis makes from the document, and bytes that are nearly HTTP.

The service under test has no faults meanwhile. So no answer may be 500 or above, none may have a status
that the document does not name, its log may hold no traceback, and its memory stays as it is.
"""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from benchmarks.processes import family, memory
from faults import raw
from faults.instances import Database, Instance
from marconi_api.processes.installation import CHECKOUT

# Of each operation, in each run of schemathesis: one run makes about fifteen thousand requests.
_EXAMPLES = 20
_CHECKS = (
    *('not_a_server_error', 'status_code_conformance', 'content_type_conformance'),
    *('response_headers_conformance', 'response_schema_conformance'),
)
_HEADERS = ('Client-ID: 3381af92-2b9e-11e3-b191-71861300734c', 'X-Project-Id: hostile')
# A request that waits, or a stream, would take up the time of many others.
_SETTINGS = "\nlimits |= {'max_wait': 1, 'max_stream_seconds': 1}\n"

#: Statuses that docs/protocol-v2.md (2.1) names for all paths, beside those of single ones.
_OF_ALL_PATHS = {100, 405, 408, 413}

#: Requests after which the memory is measured for the first time.
_WARM_UP = 500
#: MiB by which the memory of all processes may grow.
MOST_GROWTH = 64.0


class Outcome(NamedTuple):
    """What came of a run."""

    cases: int
    #: What schemathesis says of answers that contradict the document.
    failures: list[str]
    answers: raw.Answers
    documented: set[int]
    tracebacks: int
    #: MiB of all processes of the service, before and after.
    before: float
    after: float

    @property
    def undocumented(self) -> dict[int, int]:
        """How often answers to raw requests had a status that no document names."""
        return {
            status: count
            for status, count in self.answers.statuses.items()
            if status not in self.documented
        }

    @property
    def is_good(self) -> bool:
        """Whether nothing was wrong."""
        return not (
            self.failures
            or self.undocumented
            or self.tracebacks
            or any(status >= 500 for status in self.answers.statuses)
            or self.after - self.before > MOST_GROWTH
        )

    def lines(self) -> Iterator[str]:
        """All of it."""
        yield f'{self.cases} requests made from the document, {len(self.failures)} answers contradict it'
        yield from self.failures
        statuses = ', '.join(
            f'{status}: {count}' for status, count in sorted(self.answers.statuses.items())
        )
        yield f'{self.answers.sent} raw requests, {self.answers.unanswered} without an answer; {statuses}'
        for status in self.undocumented:
            yield f'{status} is not documented: {self.answers.first[status]}'
        for status, request in self.answers.first.items():
            if status >= 500:
                yield f'{status} is the answer to {request}'
        yield f'{self.tracebacks} tracebacks in the log'
        yield f'{self.before:.0f} MiB before, {self.after:.0f} MiB after'


def run(seed: int, cases: int, raw_requests: int, folder: Path) -> Outcome:
    """Send so many requests, at least, to a service in ``folder``."""
    service = Instance('first', folder, 2, settings=_SETTINGS)
    try:
        service.start({'MARCONI_DELIVERY_PROCESSES': '0'})
        documented = _documented(service.port)
        raw.send_all(service.port, f'{seed} warm-up', _WARM_UP)
        before = _memory(service)
        made, failures = 0, []
        while made < cases:
            report = _schemathesis(service.port, seed + made, folder)
            made += report['test_cases']['generated']
            failures += [str(it) for it in (*report['failures'], *report['errors'])]
        answers = raw.send_all(service.port, str(seed), raw_requests)
        after = _memory(service)
    finally:
        service.stop()
        Database.stop_at(folder)
    tracebacks = (folder / 'first.err').read_text(errors='replace').count('Traceback')
    return Outcome(made, failures, answers, documented, tracebacks, before, after)


def _schemathesis(port: int, seed: int, folder: Path) -> Any:
    """The report of a run of schemathesis, with the links of the document."""
    report = folder / 'report.json'
    headers = [word for header in _HEADERS for word in ('--header', header)]
    hooks = {'SCHEMATHESIS_HOOKS': 'faults.schemathesis_hooks', 'PYTHONPATH': str(CHECKOUT)}
    with (folder / 'schemathesis.out').open('ab') as said:
        subprocess.run(
            [
                *(sys.executable, '-m', 'schemathesis.cli', 'run'),
                f'http://127.0.0.1:{port}/openapi.json',
                *('--checks', ','.join(_CHECKS), '--max-examples', str(_EXAMPLES)),
                *('--seed', str(seed), '--workers', '1', *headers),
                *('--generation-database', 'none', '--no-shrink', '--continue-on-failure'),
                *('--report', 'json', '--report-json-path', str(report), '--request-timeout', '30'),
            ],
            # It leaves files where it is.
            cwd=folder,
            env=os.environ | hooks,
            stdout=said,
            stderr=said,
            check=False,
        )
    return msgspec.json.decode(report.read_bytes())


def _documented(port: int) -> set[int]:
    """All statuses that the document names, or the page on the protocol."""
    with urllib.request.urlopen(f'http://127.0.0.1:{port}/openapi.json') as answer:
        document = msgspec.json.decode(answer.read())
    return _OF_ALL_PATHS | {
        int(status)
        for operations in document['paths'].values()
        for operation in operations.values()
        for status in operation['responses']
    }


def _memory(service: Instance) -> float:
    """MiB of all processes but those of PostgreSQL; what they share is counted once."""
    return sum(memory(pid)[1] for pid in family(service.process.pid) if not _is_postgres(pid))


def _is_postgres(pid: int) -> bool:
    return 'postgres' in Path(f'/proc/{pid}/comm').read_text()
