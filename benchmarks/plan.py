"""How much time a run may take."""

from dataclasses import dataclass
from typing import TypeVar

Amount = TypeVar('Amount')


@dataclass(frozen=True)
class Plan:
    """A full run, for figures to quote; or a quick one, to see that all works."""

    quick: bool

    def choose(self, full: Amount, quick: Amount) -> Amount:
        """How much of something this run takes."""
        return quick if self.quick else full

    @property
    def facts(self) -> dict[str, str]:
        """What a reader must know of it."""
        return {'run': 'quick: too short for figures to be quoted' if self.quick else 'full'}
