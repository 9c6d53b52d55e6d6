"""A long run: rounds of a campaign, one after the other, until enough has happened.

Each round is a run by itself, with a database of its own, and is checked at its end. So the disk never
holds more than one round, unless a round has failed. The counts of all rounds are in a file, with which
a later command goes on.
"""

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from faults.accidents import CROWD, OF_CLIENTS, OF_PAIRS, OF_POSTGRES, OF_SERVICES
from faults.campaign import Terms, new_folder, run
from faults.checker import VERDICTS, Report, check


class Wanted(NamedTuple):
    """How often, of all rounds together, one of these accidents is to befall somebody."""

    times: int
    accidents: tuple[str, ...]


WANTED = {
    'postmaster kills': Wanted(200, ('kill postmaster',)),
    'backend kills': Wanted(1000, ('kill backend',)),
    'worker kills': Wanted(500, ('kill worker',)),
    'consumer kills': Wanted(2000, ('kill consumers',)),
    'paused consumers': Wanted(2000, ('pause consumers',)),
    'restores and failovers': Wanted(40, ('fail over',)),
}
#: Messages of which the post was answered with success.
ACKNOWLEDGED = 2_000_000

# Accidents that are not counted have this part of all.
_OTHERS = 0.1
#: Rounds that may fail before the run is given up: each leaves its folder.
_MOST_FAILED = 5


class Counts(msgspec.Struct):
    """What all rounds together came to."""

    rounds: int = 0
    #: For which clients worked.
    seconds: float = 0
    messages: int = 0
    acknowledged: int = 0
    happened: dict[str, int] = {}
    #: Calls, by what became of them.
    calls: dict[str, int] = {}
    #: By the verdicts of the checker.
    found: dict[str, int] = {}
    #: Why rounds came to no end, or the folders of those that failed.
    failed: list[str] = []

    def add(self, report: Report, seconds: float) -> None:
        """Add those of a round."""
        self.rounds += 1
        self.seconds += seconds
        self.messages += report.messages
        self.acknowledged += report.acknowledged
        self.happened = _sum(self.happened, report.surroundings.happened)
        outcomes: Counter[str] = Counter()
        for (_, outcome), count in report.surroundings.calls.items():
            outcomes[outcome] += count
        self.calls = _sum(self.calls, outcomes)
        self.found = _sum(self.found, report.found)

    def came_to(self, wanted: Wanted) -> int:
        """How often one of the accidents befell somebody."""
        return sum(self.happened.get(what, 0) for what in wanted.accidents)

    def is_enough(self) -> bool:
        """Whether all that is wanted has happened."""
        reached = all(self.came_to(wanted) >= wanted.times for wanted in WANTED.values())
        return reached and self.acknowledged >= ACKNOWLEDGED

    def lines(self) -> Iterator[str]:
        """A table of them."""
        yield f'{self.rounds} rounds, {self.seconds:,.0f} seconds of work'
        yield f'{self.acknowledged:12,} of {ACKNOWLEDGED:12,}  acknowledged messages'
        for name, wanted in WANTED.items():
            yield f'{self.came_to(wanted):12,} of {wanted.times:12,}  {name}'
        named = {what for wanted in WANTED.values() for what in wanted.accidents}
        for what, count in sorted(self.happened.items()):
            if what not in named:
                yield f'{count:12,}                  {what}'
        for outcome, count in sorted(self.calls.items()):
            yield f'{count:12,}                  calls: {outcome}'
        yield from (f'{self.found.get(verdict, 0):12,}  {verdict}' for verdict in VERDICTS)
        yield f'{len(self.failed):12,}  rounds failed'
        yield from self.failed


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return dict(Counter(one) + Counter(other))


def go_on(folder: Path, seed: str, seconds: float, until: float) -> Counts:
    """Make rounds until all that is wanted has happened; the counts are kept in ``folder``.

    :param seconds: for which clients work in a round
    :param until: when no further round begins, by the monotonic clock
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / 'counts.json'
    counts = msgspec.json.decode(kept.read_bytes(), type=Counts) if kept.exists() else Counts()
    while not counts.is_enough() and time.monotonic() < until and len(counts.failed) < _MOST_FAILED:
        _make_round(counts, f'{seed}.{counts.rounds}', seconds)
        _replace(kept, msgspec.json.encode(counts))
        _replace(folder / 'table.txt', '\n'.join([*counts.lines(), '']).encode())
        print('\n'.join(counts.lines()), end='\n\n', flush=True)
    return counts


def _make_round(counts: Counts, seed: str, seconds: float) -> None:
    folder = new_folder()
    terms = _terms(counts, seed, seconds)
    try:
        run(terms, folder)
    except SystemExit as why:
        counts.rounds += 1
        counts.failed.append(f'{folder}: {why}')
        return
    report = check(folder)
    counts.add(report, seconds)
    if report.is_good:
        shutil.rmtree(folder)
    else:
        print('\n'.join(report.lines()), flush=True)
        counts.failed.append(f'{folder}: {dict(report.found)}')


def _terms(counts: Counts, seed: str, seconds: float) -> Terms:
    """A round with most of what is missing; failovers are in a third of all rounds."""
    failovers = WANTED['restores and failovers']
    has_standby = counts.rounds % 3 == 2 and counts.came_to(failovers) < failovers.times
    weights = _weights(counts, has_standby)
    return Terms(seed, seconds, pace=_PACE, has_standby=has_standby, weights=weights)


#: Accidents a second, if no accident takes longer.
_PACE = 2.5


def _weights(counts: Counts, has_standby: bool) -> dict[str, float]:
    possible = {*OF_CLIENTS, *OF_SERVICES, *(OF_PAIRS if has_standby else OF_POSTGRES)}
    missing = {
        what: max(0, wanted.times - counts.came_to(wanted)) / _BEFALLEN.get(what, 1)
        for wanted in WANTED.values()
        for what in wanted.accidents
        if what in possible
    }
    if has_standby:
        # A failover takes some seconds, and is made in few of the rounds.
        missing['fail over'] *= 10
    others = possible - missing.keys()
    share = _OTHERS * (sum(missing.values()) or 1) / len(others)
    return {what: missing.get(what) or share for what in sorted(possible)}


#: How many clients an accident befalls, on average.
_BEFALLEN = {'kill consumers': (1 + CROWD) / 2, 'pause consumers': (1 + CROWD) / 2}


def _replace(path: Path, content: bytes) -> None:
    """Write a file that is whole at any time."""
    new = path.with_suffix('.new')
    new.write_bytes(content)
    os.replace(new, path)
