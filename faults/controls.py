"""The proof of the checker: services with defects, each of which must be found.

A defect that is not found voids the campaign: what is green then proves nothing.
"""

import shutil
from collections.abc import Sequence

from faults.campaign import Terms, new_folder, run
from faults.checker import Finding, check
from faults.defects import DEFECTS

#: Runs with other accidents, until the defect is found: some defects need luck.
TRIES = 3


def prove(names: Sequence[str], seed: str, seconds: float, pace: float) -> list[str]:
    """Run a short campaign with each defect; those that were not found."""
    missed = []
    for name in names or DEFECTS:
        finding = _look_for(name, seed, seconds, pace)
        if finding is None:
            missed.append(name)
            print(f'NOT FOUND: {name}', flush=True)
        else:
            print(f'found: {name}: {finding.verdict}: {finding.fault.why}')
            print('\n'.join(finding.history), flush=True)
    return missed


def _look_for(name: str, seed: str, seconds: float, pace: float) -> Finding | None:
    for attempt in range(TRIES):
        folder = new_folder()
        try:
            run(_terms(name, f'{seed}.{attempt}', seconds * (1 + attempt), pace), folder)
            report = check(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        found = [
            report.first[verdict] for verdict in DEFECTS[name].found_as if verdict in report.first
        ]
        if found:
            return found[0]
        print(f'{name}: found only {dict(report.found)}', flush=True)
    return None


def _terms(name: str, seed: str, seconds: float, pace: float) -> Terms:
    accidents = DEFECTS[name].accidents
    weights = dict.fromkeys(accidents, 1) or None
    return Terms(seed, seconds, 2 * pace if accidents else pace, weights=weights, defect=name)
