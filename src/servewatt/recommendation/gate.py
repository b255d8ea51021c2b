"""Two sides beside each other, configuration by configuration: better, equal, worse or undecided; and a gate's verdict.

A side is a run, or what a baseline file keeps of one. Two runs share no episode, so their bound is the unpaired one
(`servewatt.stats.unpaired`); two builds that were measured in one race are compared by the race's own.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from servewatt.errors import InputError
from servewatt.recommendation.fingerprint import Difference, Fingerprint, Part, check_comparable
from servewatt.records import Interval
from servewatt.stats.intervals import exponential
from servewatt.stats.race.bound import PairBound
from servewatt.stats.unpaired import UnpairedBound, unpaired_bound


class Metric(StrEnum):
    """What is compared, for each generated token."""

    ENERGY = "energy"
    TIME = "time"

    @property
    def unit(self) -> str:
        """Of a cost."""
        return "J/token" if self is Metric.ENERGY else "s/token"


class Change(StrEnum):
    """How a configuration's cost changed from base to head."""

    BETTER = "better"
    """The whole interval of head over base lies below 1."""
    EQUAL = "equal"
    """The whole interval lies within the tolerance."""
    NOT_WORSE = "not_worse"
    """The upper end lies within the tolerance; how much is saved is not known."""
    UNDECIDED = "undecided"
    WORSE = "worse"
    """The whole interval lies above the tolerance."""


class Outcome(StrEnum):
    """A gate's verdict on all configurations."""

    PASS = "pass"
    """None is worse by more than the tolerance."""
    WORSE = "worse"
    """At least one is."""
    UNDECIDED = "undecided"
    """None is shown to be, and not all are shown not to be; or one is missing on either side."""


@dataclass(frozen=True)
class SideCosts:
    """One configuration's costs on one side."""

    energy_j_per_token: tuple[float, ...] = ()
    """One an episode, inside the side's boundary."""
    s_per_token: tuple[float, ...] = ()
    engine_version: str = ""

    def of(self, metric: Metric) -> tuple[float, ...]:
        """Those of one metric."""
        return self.energy_j_per_token if metric is Metric.ENERGY else self.s_per_token


@dataclass(frozen=True)
class Side:
    """What is compared."""

    name: str
    fingerprint: Fingerprint
    run: str
    """Id of the run that it is from."""
    configurations: Mapping[str, SideCosts]
    absent: Mapping[str, str] = field(default_factory=dict)
    """Configurations that were planned and have no cost -> why."""


@dataclass(frozen=True)
class Compared:
    """One configuration on both sides."""

    configuration: str
    """Its key."""
    base: float
    """Geometric mean cost over episodes."""
    head: float
    ratio: Interval
    """head / base; `n` is the number of episodes, of the side that has fewer."""
    change: Change


@dataclass(frozen=True)
class Missing:
    """A configuration that only one side has."""

    configuration: str
    lacking: str
    """The side that lacks it: `base` or `head`."""
    reason: str


@dataclass(frozen=True)
class Verdict:
    """Two sides compared."""

    outcome: Outcome
    metric: Metric
    unit: str
    """Of the costs."""
    tolerance: float
    confidence: float
    paired: bool
    """Whether both were measured in the same episodes, so that what disturbs the machine cancels."""
    base: str
    head: str
    compared: tuple[Compared, ...]
    missing: tuple[Missing, ...] = ()
    differences: tuple[Difference, ...] = ()
    """In what the two sides differ, such as the versions of libraries."""
    common_shift: float | None = None
    """The geometric mean ratio, where all of three or more configurations moved the same way by about as much: the
    machine, or something that all share, may have changed. None otherwise, and where episodes are shared."""


def compare_sides(
    base: Side,
    head: Side,
    *,
    metric: Metric = Metric.ENERGY,
    tolerance: float = 0.03,
    confidence: float = 0.95,
    across_machines: bool = False,
) -> Verdict:
    """Compare the configurations that both sides have, by the unpaired bound.

    Each has an equal part of the error, so that with probability `confidence` no verdict is wrong, whenever one looks.
    Raises InputError if both are the same run or have nothing in common, the two cannot be compared
    (`check_comparable`), or `tolerance` or `confidence` is not between 0 and 1.
    """
    check_shares(tolerance, confidence)
    if base.run == head.run:
        raise InputError(
            f"both sides are run {base.run}: nothing was measured since", "measure again: servewatt run --fresh"
        )
    found = check_comparable(base.fingerprint, head.fingerprint, across_machines=across_machines)
    common = [key for key in base.configurations if key in head.configurations]
    costs = {key: (base.configurations[key].of(metric), head.configurations[key].of(metric)) for key in common}
    bounds = {key: unpaired_bound(*(tuple(map(math.log, side)) for side in both)) for key, both in costs.items()}
    known = {key: bound for key, bound in bounds.items() if bound is not None}
    missing = _missing(base, head, metric)
    if not known:
        raise InputError(
            f"the two have no configuration with {metric.value} in common: {_names(base)} against {_names(head)}",
            "measure the configurations of one with the other",
        )
    compared = tuple(
        compared_pair(key, bound, costs[key], min(map(len, costs[key])), tolerance, (1 - confidence) / len(known))
        for key, bound in known.items()
    )
    return verdict_of(
        compared,
        missing,
        metric=metric,
        tolerance=tolerance,
        confidence=confidence,
        paired=False,
        names=(base.name, head.name),
        differences=found + _engine_versions(base, head, common),
    )


def check_shares(tolerance: float, confidence: float) -> None:
    """Raise InputError unless both are shares between 0 and 1, the tolerance at least a tenth of a per mille."""
    if not 1e-4 <= tolerance < 1:
        raise InputError(f"a tolerance of {tolerance:g} makes no sense", "give a share from 0.01% to 99%, such as 3%")
    if not 0 < confidence < 1:
        raise InputError(f"a confidence of {confidence:g} makes no sense", "give a share between 0 and 1, such as 95%")


def compared_pair(
    key: str,
    bound: UnpairedBound | PairBound,
    costs: tuple[Sequence[float], Sequence[float]],
    episodes: int,
    tolerance: float,
    error: float,
) -> Compared:
    """One configuration by the bound of its log costs, head less base; `costs` are those of (base, head)."""
    half = bound.half_width(error)
    ends = (None, None) if math.isinf(half) else (bound.difference - half, bound.difference + half)
    low, high = (None if end is None else exponential(end) for end in ends)
    ratio = Interval(exponential(bound.difference), low, high, episodes)
    means = [statistics.geometric_mean(values) for values in costs]
    return Compared(key, means[0], means[1], ratio, change_of(ratio, tolerance))


def change_of(ratio: Interval, tolerance: float) -> Change:
    """What the interval of head over base shows."""
    if ratio.low is None or ratio.high is None:
        return Change.UNDECIDED
    if ratio.high <= 1 + tolerance:
        if ratio.low >= 1 / (1 + tolerance):
            return Change.EQUAL
        return Change.BETTER if ratio.high < 1 else Change.NOT_WORSE
    return Change.WORSE if ratio.low > 1 + tolerance else Change.UNDECIDED


def verdict_of(
    compared: tuple[Compared, ...],
    missing: tuple[Missing, ...],
    *,
    metric: Metric,
    tolerance: float,
    confidence: float,
    paired: bool,
    names: tuple[str, str],
    differences: tuple[Difference, ...] = (),
) -> Verdict:
    """The verdict on all: worse if one is, else undecided if one is or is missing, else a pass."""
    changes = {one.change for one in compared}
    if Change.WORSE in changes:
        outcome = Outcome.WORSE
    elif Change.UNDECIDED in changes or missing or not compared:
        outcome = Outcome.UNDECIDED
    else:
        outcome = Outcome.PASS
    shift = None if paired else _common_shift([one.ratio.estimate for one in compared], tolerance)
    return Verdict(
        outcome,
        metric,
        metric.unit,
        tolerance,
        confidence,
        paired,
        *names,
        compared=compared,
        missing=missing,
        differences=differences,
        common_shift=shift,
    )


def _common_shift(ratios: Sequence[float], tolerance: float) -> float | None:
    """Where all of at least three moved one way, by more than the tolerance in the mean and within it of each."""
    if len(ratios) < 3 or min(ratios) <= 0:
        return None
    logs = list(map(math.log, ratios))
    mean, edge = statistics.fmean(logs), math.log1p(tolerance)
    return exponential(mean) if abs(mean) > edge and max(abs(one - mean) for one in logs) <= edge else None


def _missing(base: Side, head: Side, metric: Metric) -> tuple[Missing, ...]:
    found = []
    pairs: tuple[tuple[Side, Side, str], ...] = ((base, head, "head"), (head, base, "base"))
    for here, there, lacking in pairs:
        for key, costs in here.configurations.items():
            other = there.configurations.get(key, SideCosts())
            if costs.of(metric) and not other.of(metric):
                found.append(Missing(key, lacking, there.absent.get(key, "not measured")))
    return tuple(found)


def _engine_versions(base: Side, head: Side, common: Sequence[str]) -> tuple[Difference, ...]:
    pairs = [(key, base.configurations[key].engine_version, head.configurations[key].engine_version) for key in common]
    return tuple(Difference(Part.SOFTWARE, f"engine of {key}", a, b) for key, a, b in pairs if a != b)


def _names(side: Side) -> str:
    return ", ".join(list(side.configurations)[:6]) or "nothing measured"
