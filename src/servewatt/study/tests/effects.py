"""Effect sizes: how large a difference is, whatever its p-value."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from servewatt.study.tests.findings import Effect

CLIFFS_DELTA = "cliff's delta"
OMEGA_SQUARED = "omega squared"

_MAGNITUDES = ("negligible", "small", "medium", "large")
_DELTA_STEPS = (0.147, 0.33, 0.474)
_OMEGA_STEPS = (0.010, 0.059, 0.138)


def cliffs_delta(first: Sequence[float], second: Sequence[float]) -> Effect:
    """The share of pairs in which the first value is the greater, less the share in which it is the lesser.

    From -1 (every first value below every second one) to 1. Needs at least one value in each.

    Sources: N. Cliff, Dominance statistics: ordinal analyses to answer ordinal questions, Psychol. Bull. 114 (1993);
    thresholds 0.147, 0.33, 0.474: J. Romano et al., Appropriate statistics for ordinal level data, Florida
    Association of Institutional Research (2006).
    """
    ordered = sorted(second)
    more = sum(bisect_left(ordered, value) for value in first)
    less = sum(len(ordered) - bisect_right(ordered, value) for value in first)
    delta = (more - less) / (len(first) * len(ordered))
    return Effect(CLIFFS_DELTA, delta, _magnitude(abs(delta), _DELTA_STEPS))


def omega_squared_welch(f: float, groups: int, observations: int) -> Effect:
    """Adjusted omega squared of Welch's F over k groups: (k - 1)(F - 1) / ((k - 1)(F - 1) + N).

    The share of variance that the groups explain. Below 0 where F is below 1, which stands for none.

    Sources: R. E. Kirk, Practical significance: a concept whose time has come, Educ. Psychol. Meas. 56 (1996), which
    has the formula for the classical F (Welch's F takes its place) and the thresholds 0.010, 0.059, 0.138.
    """
    excess = (groups - 1) * (f - 1)
    return _omega(excess / (excess + observations))


def omega_squared_ranks(h: float, groups: int, observations: int) -> Effect | None:
    """Omega squared of the one-way analysis of variance of the ranks, from the H of Kruskal and Wallis.

    H / (N - 1), H corrected for ties, is the ranks' sum of squares between groups over the total one. With that
    share r, and the mean square within, m = (1 - r) / (N - k): omega squared = (r - (k - 1) m) / (1 + m). The same
    thresholds as for `omega_squared_welch`. None where every group has one value, which leaves nothing within.

    Sources: W. J. Conover and R. L. Iman, Rank transformations as a bridge between parametric and nonparametric
    statistics, Am. Stat. 35 (1981), for H as an analysis of variance of ranks; W. L. Hays, Statistics, for omega
    squared.
    """
    if observations <= groups:
        return None
    share = h / (observations - 1)
    within = (1 - share) / (observations - groups)
    return _omega((share - (groups - 1) * within) / (1 + within))


def _omega(value: float) -> Effect:
    return Effect(OMEGA_SQUARED, value, _magnitude(value, _OMEGA_STEPS))


def _magnitude(value: float, steps: Sequence[float]) -> str:
    return _MAGNITUDES[bisect_right(steps, value)]
