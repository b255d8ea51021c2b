"""Descriptive statistics of each group of a sample."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from servewatt.stats.intervals import typical
from servewatt.stats.records import Interval
from servewatt.study.data.samples import Sample


@dataclass(frozen=True)
class Description:
    """One group of a sample, in the unit of its values. None where the group has too few."""

    group: str
    n: int
    """Finite observations."""
    values: tuple[float, ...]
    """These, in the order given."""
    median: Interval | None
    """With its interval at 95 %, from three observations on; see `stats.intervals.typical`."""
    mean: float | None
    sd: float | None
    """Sample standard deviation, with n - 1."""
    least: float | None
    greatest: float | None


def describe(sample: Sample) -> tuple[Description, ...]:
    """Every group of a sample, in its order."""
    found = []
    for group in sample.groups:
        values = tuple(v for v in group.values if math.isfinite(v))
        if not values:
            found.append(Description(group.name, 0, (), None, None, None, None, None))
            continue
        sd = statistics.stdev(values) if len(values) > 1 else None
        mean = statistics.fmean(values)
        found.append(Description(group.name, len(values), values, typical(values), mean, sd, min(values), max(values)))
    return tuple(found)
