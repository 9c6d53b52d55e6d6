"""Quantities measured in rounds: a machine's mood changes, so contenders take turns."""

import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

#: What is measured, from the general to the special: ('post 1', 'over HTTP').
Name = tuple[str, ...]


@dataclass(frozen=True)
class Measured:
    """One quantity, measured once in each round."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """What to quote."""
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        """The least of all rounds."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The most of all rounds."""
        return max(self.values)

    def __truediv__(self, other: 'Measured') -> 'Measured':
        """The ratio, round by round: what both had in common at that moment cancels out."""
        pairs = zip(self.values, other.values, strict=True)
        return Measured(tuple(mine / theirs for mine, theirs in pairs))

    def __str__(self) -> str:
        """The median, and in brackets the least and the most."""
        if len(self.values) == 1:
            return rounded(self.median)
        return f'{rounded(self.median)} ({rounded(self.low)}–{rounded(self.high)})'


def rounded(value: float) -> str:
    """A figure with the digits that mean something."""
    places = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f'{value:,.{places}f}'


def quantities_in_rounds(
    rounds: int, contenders: Mapping[Name, Callable[[], Mapping[str, float]]]
) -> dict[Name, dict[str, Measured]]:
    """Let all contenders measure once a round, every second round in reverse order.

    A run of a contender may measure several quantities, by name.
    """
    runs: dict[Name, list[Mapping[str, float]]] = {name: [] for name in contenders}
    order = list(contenders)
    for turn in range(1, rounds + 1):
        for name in order:
            run = contenders[name]()
            runs[name].append(run)
            found = ', '.join(f'{what} {rounded(value)}'.strip() for what, value in run.items())
            say(f'round {turn} of {rounds}: {", ".join(name)}: {found}')
        order.reverse()
    return {
        name: {what: Measured(tuple(run[what] for run in found)) for what in found[0]}
        for name, found in runs.items()
    }


def in_rounds(rounds: int, contenders: Mapping[Name, Callable[[], float]]) -> dict[Name, Measured]:
    """The same where each measures one quantity."""

    def named(measure: Callable[[], float]) -> Callable[[], Mapping[str, float]]:
        return lambda: {'': measure()}

    several = {name: named(measure) for name, measure in contenders.items()}
    return {name: run[''] for name, run in quantities_in_rounds(rounds, several).items()}


def say(line: str) -> None:
    """Tell who waits what goes on."""
    print(f'  {line}', file=sys.stderr, flush=True)
