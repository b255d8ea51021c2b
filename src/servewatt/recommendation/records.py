"""Records of a user's constraints and of the recommendation."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from servewatt.recommendation.objective import Objective
from servewatt.records import Configuration, Provider
from servewatt.stats.race.warned import RaceWarning
from servewatt.stats.records import Comparison


@dataclass(frozen=True)
class Constraints:
    """Limits a configuration must meet; None is no limit."""

    max_latency_p95_s: float | None = None
    """On the 95th percentile of a whole request's latency."""
    max_ttft_s: float | None = None
    """On the 95th percentile of the time to first token."""
    max_memory_bytes: int | None = None
    """On peak memory: resident memory plus, on a GPU, device memory, each against the limit."""
    provider: Provider | None = None
    concurrency: int | None = None
    """Requests that wait at a time: a larger batch would not be filled."""


class Standing(StrEnum):
    """The standing of a configuration to a limit; its interval decides, not its estimate."""

    MET = "met"
    """The whole interval is within the limit."""
    NOT_MET = "not_met"
    """The whole interval is beyond the limit."""
    NOT_SHOWN = "not_shown"
    """The limit lies inside the interval, or there is none yet: more measurements would tell."""
    NOT_MEASURED = "not_measured"


@dataclass(frozen=True)
class LimitCheck:
    """One limit and one configuration."""

    configuration: Configuration
    name: str
    unit: str
    """Of the numbers: `s`, `bytes`, `share` or `ratio`."""
    limit: float
    estimate: float | None
    low: float | None
    high: float | None
    """Bounds of the estimate, equal to it where it is exact; None where too little was measured for an interval."""
    n: int
    """Blocks, prompts or documents behind the estimate."""
    standing: Standing
    more_blocks: int | None = None
    """For a limit that is not shown yet: blocks that would likely decide it; None if no realistic number would."""

    @property
    def excess(self) -> float:
        """How far the estimate is beyond the limit, as a share of it; infinite where unknown."""
        return self.estimate / self.limit - 1 if self.estimate is not None else float("inf")


@dataclass(frozen=True)
class Exclusion:
    """A configuration that is ruled out, or not shown to meet the limits yet, and why."""

    configuration: Configuration
    reason: str
    not_shown: bool = False
    """Whether it could meet the limits: nothing excludes it but that it is not shown yet."""


@dataclass(frozen=True)
class Beaten:
    """A configuration that was shown to cost more than another, and is out of the race since."""

    configuration: Configuration
    block: int
    """After which block it was shown, from 1."""
    beaten_by: Configuration
    ratio_low: float
    """It costs at least this many times as much."""


@dataclass(frozen=True)
class Recommendation:
    """One reasoned answer."""

    constraints: Constraints
    choice: Configuration | None
    """None only where nothing that has energy is shown to meet the constraints."""
    candidates: tuple[Configuration, ...]
    """The choice and those that it is not shown to beat, or, where none is shown to meet the limits, those that
    could."""
    runner_up: Comparison | None
    """The choice (or leader) against the next best feasible configuration."""
    exclusions: tuple[Exclusion, ...]
    sentence: str
    """The answer in words, with its interval."""
    more_blocks: int | None
    """Blocks that would likely decide; 0 if decided."""
    promise: float | None = None
    """Nothing else that is feasible saves more than this share of the choice's cost; None without a choice, or where
    there is nothing to compare it with."""
    floor: float | None = None
    """Share by which the choice differed from itself, measured twice at once: nothing smaller is claimed. None where
    that was not measured."""
    beaten: tuple[Beaten, ...] = ()
    """In the order in which that was shown."""
    tie: float = 0.03
    """The choice is decided once the promise is below this share."""
    checks: tuple[LimitCheck, ...] = ()
    """Every numeric limit for every measured configuration that it applies to."""

    objective: Objective = Objective.ENERGY
    """What the choice and its promise are about."""
    baseline: Configuration | None = None
    """What people run today, or what the user asked for; None where nothing such was measured."""
    over_baseline: Comparison | None = None
    """The choice beside it; None where the choice is it, or they share no block."""
    warnings: tuple[RaceWarning, ...] = ()
    """What may have deceived the choice; what could overturn it comes first."""

    @property
    def doubts(self) -> tuple[RaceWarning, ...]:
        """The warnings that could overturn the choice."""
        return tuple(w for w in self.warnings if w.could_overturn)

    @property
    def decided(self) -> bool:
        """Whether the choice may stand: nothing else saves more than a tie."""
        return self.choice is not None and (self.promise is None or self.promise < self.tie)
