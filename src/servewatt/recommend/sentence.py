"""The recommendation in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from servewatt.errors import counted
from servewatt.recommend.records import Constraints, Exclusion
from servewatt.records import Boundary, Configuration
from servewatt.stats.records import Analysis, Comparison, ConfigurationSummary, Interval

MOST_NAMES = 4
"""More candidates than this are counted, not named."""


def serve_with(comparison: Comparison, grade: str, boundary: Boundary, constraints: Constraints) -> str:
    """A choice, and by how much it beats the runner-up."""
    less = f"{saving(comparison.ratio)} less {energy(grade, boundary)} per token"
    answer = f"Serve with {comparison.first.key}: it needs {less} than {comparison.second.key}, the runner-up."
    return answer + traffic(comparison.first, constraints)


def traffic(choice: Configuration, constraints: Constraints) -> str:
    """What a batch asks of the traffic, unless the user has told how many requests wait at a time."""
    if choice.batch == 1 or constraints.concurrency is not None:
        return ""
    return f" It takes {choice.batch} requests at a time: --concurrency N leaves out batches larger than yours."


def undecided(
    candidates: Sequence[Configuration], closest: Comparison, more_blocks: int | None, grade: str, boundary: Boundary
) -> str:
    """Several that cannot be told apart, and what would tell."""
    shown = [c.key for c in candidates]
    if len(shown) > MOST_NAMES:
        shown[MOST_NAMES - 1 :] = [f"{len(shown) - MOST_NAMES + 1} others"]
    names = f"{', '.join(shown[:-1])} and {shown[-1]}"
    subject = "ratio" if len(candidates) == 2 else f"{closest.first.key} to {closest.second.key}"
    if more_blocks is None:
        outlook = (
            "how many more blocks would tell is not known yet"
            if closest.ratio.n < 2
            else "more blocks would hardly tell"
        )
    else:
        outlook = f"about {counted(more_blocks, 'more block')} would tell"
    measure = f"{subject} {ratio(closest.ratio)} in {energy(grade, boundary)} per token"
    return f"Undecided between {names} ({measure}); {outlook}."


def only_one(
    summary: ConfigurationSummary, exclusions: Sequence[Exclusion], constraints: Constraints, boundary: Boundary
) -> str:
    """A choice without a rival."""
    if not exclusions:
        why = "it is the only configuration measured"
    elif constraints == Constraints():
        why = "it is the only configuration with a valid measurement"
    else:
        why = "it is the only configuration that meets the limits"
    grade = summary.energy_grade
    label = "" if grade in ("", "counter") else f"partly {grade.split(' + ')[-1]}" if "+" in grade else grade
    value = summary.energy_j_per_token
    amount = f" ({value.estimate:.3g} J of {energy(label, boundary)} per token)" if value else ""
    answer = f"Serve with {summary.configuration.key}: {why}{amount}, so there is nothing to compare it with."
    return answer + traffic(summary.configuration, constraints)


def nothing_feasible(nearest: Configuration | None, missed: str, excess: float, analysis: Analysis) -> str:
    """No choice, and what comes closest to one."""
    if nearest is not None:
        return f"No configuration meets the limits; {nearest.key} comes nearest: {missed} ({over(excess)})."
    if not any(s.blocks for s in analysis.summaries):
        return "No configuration has a valid trial yet."
    return "No configuration is feasible: see the reason beside each."


def energy(grade: str, boundary: Boundary) -> str:
    """`energy`, with its grade unless counted, and its boundary unless it is the machine."""
    where = "" if boundary is Boundary.MACHINE else f"{boundary.value.upper()} "
    return f"{grade} {where}energy".strip()


def saving(interval: Interval) -> str:
    """A ratio below one as the percentage saved, `31 % [28, 34]`, to the digits that its interval supports."""
    value = 100 * (1 - interval.estimate)
    if interval.low is None or interval.high is None:
        return f"{value:.0f} %"
    low, high = 100 * (1 - interval.high), 100 * (1 - interval.low)
    digits = _digits(min(high - low, 3 * low))
    return f"{value:.{digits}f} % [{low:.{digits}f}, {high:.{digits}f}]"


def ratio(interval: Interval) -> str:
    """A ratio with its interval, `0.99 [0.96, 1.03]`."""
    if interval.low is None or interval.high is None:
        return f"{interval.estimate:.2f}, no interval from {counted(interval.n, 'block')}"
    digits = 2 + _digits(100 * (interval.high - interval.low))
    if interval.high > 1000:
        return f"{interval.estimate:.{digits}f} [{interval.low:.{digits}f}, {interval.high:.2g}]"
    return f"{interval.estimate:.{digits}f} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def describe_limit(name: str, value: float | None, limit: float, unit: str) -> str:
    """A limit that is not met, in a reader's units."""
    if value is None:
        return f"{name} was not measured"
    if unit == "bytes":
        units = _family(limit)
        return f"{name} {_size(value, units)} is above the limit of {_size(limit, units)}"
    return f"{name} {_duration(value)} is above the limit of {_duration(limit)}"


def over(excess: float) -> str:
    """By how much a limit is exceeded, as a share of it: `25 % over`, or from ten times on `201 times the limit`."""
    return f"{100 * excess:.0f} % over" if excess < 9 else f"{1 + excess:.0f} times the limit"


_BINARY = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "bytes"))
_DECIMAL = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"), (1, "bytes"))


def _family(limit: float) -> Sequence[tuple[int, str]]:
    """The units in which a limit is a round number, which must be those that it was given in."""
    scale = next(scale for scale, _ in _BINARY if limit >= scale or scale == 1)
    return _BINARY if float(f"{limit / scale:.4g}") * scale == limit and scale > 1 else _DECIMAL


def _size(size_bytes: float, units: Sequence[tuple[int, str]]) -> str:
    scale, name = next((scale, name) for scale, name in units if size_bytes >= scale or scale == 1)
    return f"{size_bytes / scale:.4g} {name}"


def _duration(value: float) -> str:
    """In a unit that suits it; enough digits that a value just above a limit looks so."""
    return f"{value:.4g} s" if value >= 1 else f"{1000 * value:.4g} ms"


def _digits(width: float) -> int:
    """Decimals for the bounds of an interval so wide: none from 3 on, one from 0.3 on ... at most 4."""
    return min(4, max(0, math.ceil(math.log10(3 / width)))) if width > 0 else 0
