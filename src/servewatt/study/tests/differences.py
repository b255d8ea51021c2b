"""How much one group needs more or less than another: ratios with intervals, paired by block where there are blocks."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from servewatt.stats.compare import compare_blocks
from servewatt.stats.intervals import exponential
from servewatt.stats.records import Interval
from servewatt.study.data.samples import Sample
from servewatt.study.tests.effects import cliffs_delta
from servewatt.study.tests.findings import Effect
from servewatt.study.tests.libraries import library, quiet


@dataclass(frozen=True)
class PairDifference:
    """Two groups of a sample, the one of the lesser median first."""

    first: str
    second: str
    ratio: Interval | None
    """First over second: geometric means. None where either has a value that is not above zero, or none."""
    paired: bool
    """Whether it is taken within blocks; its `n` counts these then, and else the observations of both groups."""
    effect: Effect | None
    """Cliff's delta, blocks left aside, with its own interval. None where either group has no observation."""


def differences(sample: Sample, confidence: float = 0.95) -> tuple[PairDifference, ...]:
    """Every pair of groups. The intervals of all pairs hold together at `confidence` (Bonferroni).

    With blocks they are those of `stats.compare.compare_blocks`, which stay valid however often one looks; without,
    Welch's, for numbers of observations fixed beforehand (see `welch_ratio`). Raises UnavailableError without scipy
    where there are no blocks.
    """
    finite = {name: tuple(v for v in values if math.isfinite(v)) for name, values in sample.values.items()}
    order = sorted((name for name in finite if finite[name]), key=lambda name: statistics.median(finite[name]))
    pairs = tuple(itertools.combinations(order, 2))
    alpha = (1 - confidence) / max(1, len(pairs))
    return tuple(
        PairDifference(
            first,
            second,
            ratio_of(sample, first, second, alpha),
            sample.paired,
            cliffs_delta(finite[first], finite[second]),
        )
        for first, second in pairs
    )


def ratio_of(sample: Sample, first: str, second: str, alpha: float) -> Interval | None:
    """First over second with its interval at error `alpha`; within blocks where the sample has them.

    None where a ratio has no meaning: without positive values, or without a block in common.
    """
    if sample.paired:
        by_block = sample.by_block
        paired = compare_blocks(by_block.get(first, {}), by_block.get(second, {}), alpha)
        return None if paired is None else paired.ratio
    values = sample.values
    finite = [tuple(v for v in values[name] if math.isfinite(v)) for name in (first, second)]
    return welch_ratio(finite[0], finite[1], alpha)


def welch_ratio(first: Sequence[float], second: Sequence[float], alpha: float) -> Interval | None:
    """The ratio of two geometric means with its interval at error `alpha`: Welch's t interval of the logarithms.

    Variances may differ. `n` counts the observations of both. No bounds where a group has one observation or neither
    varies. None unless all values are above zero.

    Source: B. L. Welch, The generalization of "Student's" problem, Biometrika 34 (1947), with Satterthwaite's degrees
    of freedom.
    """
    if not first or not second or min(*first, *second) <= 0:
        return None
    logs = [[math.log(v) for v in values] for values in (first, second)]
    difference = statistics.fmean(logs[0]) - statistics.fmean(logs[1])
    n = len(first) + len(second)
    if min(map(len, logs)) < 2:
        return Interval(exponential(difference), None, None, n)
    squares = [statistics.variance(values) / len(values) for values in logs]
    total = sum(squares)
    if total == 0:
        return Interval(exponential(difference), None, None, n)
    degrees = total**2 / sum(s**2 / (len(values) - 1) for s, values in zip(squares, logs, strict=True))
    with quiet():
        half = float(library("scipy.stats").t.ppf(1 - alpha / 2, degrees)) * math.sqrt(total)
    return Interval(exponential(difference), exponential(difference - half), exponential(difference + half), n)
