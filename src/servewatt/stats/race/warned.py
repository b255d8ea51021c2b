"""Warnings of a race's checks, and the size of disturbance that would overturn its choice."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from servewatt.stats.race.episode import Levels
from servewatt.stats.race.rules import TIE


class Kind(StrEnum):
    """What a warning is about."""

    BLOCKED = "blocked"
    COMPANY = "company"
    DRIFT = "drift"
    PREDECESSOR = "predecessor"
    SPIKES = "spikes"
    SCATTER = "scatter"
    AUTOCORRELATION = "autocorrelation"
    THROTTLED = "throttled"
    CLOCK = "clock"
    TEMPERATURE = "temperature"
    QUANTUM = "quantum"
    ESTIMATED = "estimated"
    OUTPUTS = "outputs"
    LIMIT = "limit"


@dataclass(frozen=True)
class RaceWarning:
    """Something that may have deceived a race."""

    kind: Kind
    configuration: str | None
    """Key of the configuration that it is about; None for the whole race."""
    size: float
    threshold: float
    """In the unit of `size`; see the check."""
    sentence: str
    could_overturn: bool
    """Whether, if all of it were an error, another configuration might save more than a tie over the choice."""

    @property
    def told(self) -> str:
        """The sentence, and what it could change."""
        change = "this could overturn the choice" if self.could_overturn else "the choice would stand"
        return f"{self.sentence}; {change}"


@dataclass(frozen=True)
class Margins:
    """How far the choice of a race is ahead of the others."""

    choice: str
    leads: Mapping[str, float]
    """Log cost of each other configuration less that of the choice."""
    tie: float = TIE

    @property
    def log_tie(self) -> float:
        return math.log1p(self.tie)

    def overturned_by(self, shift: float, configuration: str | None = None) -> bool:
        """Whether another might save more than a tie if a log cost were wrong by `shift`.

        `configuration` is whose cost may be wrong; None: anybody's.
        """
        if configuration is None or configuration == self.choice:
            return any(shift - lead > self.log_tie for lead in self.leads.values())
        return configuration in self.leads and shift - self.leads[configuration] > self.log_tie


def margins(episodes: Sequence[Levels], choice: str, tie: float = TIE) -> Margins:
    """The mean lead of `choice` over each configuration that shared an episode with it."""
    found: dict[str, list[float]] = {}
    for episode in episodes:
        if choice in episode.log_cost:
            for key, level in episode.log_cost.items():
                if key != choice:
                    found.setdefault(key, []).append(level - episode.log_cost[choice])
    return Margins(choice, {key: statistics.fmean(leads) for key, leads in found.items()}, tie)
