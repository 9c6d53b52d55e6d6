"""The proof of the checker: services with defects, each of which must be found.

A defect that is not found voids the campaign: what is green then proves nothing.
"""

import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from faults.campaign import Terms, new_folder, run
from faults.checker import OF_THE_END, Finding, Report, check
from faults.defects import DEFECTS

#: Runs with other accidents, until the defect is found: some defects need luck.
TRIES = 3

# Seconds within which what a process has noted is in its log.
_WRITING = 0.5


class Proof(NamedTuple):
    """Whether a defect was found: by what, in which run of it, after how many seconds."""

    defect: str
    finding: Finding | None
    tries: int
    seconds: float

    def lines(self) -> Iterator[str]:
        """The proof, with the history that shows the defect."""
        took = f'{self.tries} run{"s" if self.tries > 1 else ""}, {self.seconds:.0f} s'
        if self.finding is None:
            yield f'NOT FOUND: {self.defect} ({took})'
            return
        yield f'found: {self.defect} ({took}): {self.finding.verdict}: {self.finding.fault.why}'
        yield from self.finding.history


def prove(names: Sequence[str], seed: str, seconds: float, pace: float) -> list[Proof]:
    """Run a short campaign with each defect, until it is found."""
    proofs = []
    for name in names or DEFECTS:
        proofs.append(_look_for(name, seed, seconds, pace))
        print('\n'.join(proofs[-1].lines()), flush=True)
    return proofs


def _look_for(name: str, seed: str, seconds: float, pace: float) -> Proof:
    began = time.monotonic()
    for attempt in range(1, TRIES + 1):
        folder = new_folder()
        try:
            finding = _finding_of(
                _terms(name, f'{seed}.{attempt}', seconds * attempt, pace), folder
            )
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if finding:
            break
    return Proof(name, finding, attempt, time.monotonic() - began)


def _finding_of(terms: Terms, folder: Path) -> Finding | None:
    """What shows the defect of a run, which ends as soon as that is there."""
    awaited = DEFECTS[terms.defect].found_as
    early = [verdict for verdict in awaited if verdict not in OF_THE_END]

    def found_by_now() -> Finding | None:
        return _first(check(folder, time.time() - _WRITING), early)

    came_to_its_end = run(terms, folder, lambda: bool(early) and found_by_now() is not None)
    report = check(folder)
    if finding := _first(report, awaited if came_to_its_end else early):
        return finding
    print(f'{terms.defect}: found only {dict(report.found)}', flush=True)
    return None


def _first(report: Report, verdicts: Sequence[str]) -> Finding | None:
    found = [report.first[verdict] for verdict in verdicts if verdict in report.first]
    return min(found, key=lambda finding: finding.fault.at, default=None)


def _terms(name: str, seed: str, seconds: float, pace: float) -> Terms:
    accidents = DEFECTS[name].accidents
    weights = dict.fromkeys(accidents, 1) or None
    return Terms(seed, seconds, 2 * pace if accidents else pace, weights=weights, defect=name)
