"""Effect sizes with their 95 % intervals: how large a difference is, whatever its p-value."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence

from servewatt.study.tests.findings import Effect
from servewatt.study.tests.libraries import library, quiet

CLIFFS_DELTA = "cliff's delta"
OMEGA_SQUARED = "omega squared"

_Z_975 = 1.959963984540054
_MAGNITUDES = ("negligible", "small", "medium", "large")
_DELTA_STEPS = (0.147, 0.33, 0.474)
_OMEGA_STEPS = (0.010, 0.059, 0.138)


def cliffs_delta(first: Sequence[float], second: Sequence[float]) -> Effect:
    """The share of pairs in which the first value is the greater, less the share in which it is the lesser.

    From -1 (every first value below every second one) to 1. Needs at least one value in each. Its interval is
    Newcombe's method 5, which keeps its width where the values do not overlap at all (see `delta_interval`).

    Sources: N. Cliff, Dominance statistics: ordinal analyses to answer ordinal questions, Psychol. Bull. 114 (1993);
    thresholds 0.147, 0.33, 0.474: J. Romano et al., Appropriate statistics for ordinal level data, Florida
    Association of Institutional Research (2006).
    """
    ordered = sorted(second)
    more = sum(bisect_left(ordered, value) for value in first)
    less = sum(len(ordered) - bisect_right(ordered, value) for value in first)
    delta = (more - less) / (len(first) * len(ordered))
    low, high = delta_interval(delta, len(first), len(second))
    return Effect(CLIFFS_DELTA, delta, _magnitude(abs(delta), _DELTA_STEPS), low, high)


def delta_interval(delta: float, first: int, second: int) -> tuple[float, float]:
    """The 95 % interval of Cliff's delta found with so many values in each group.

    With theta = (delta + 1) / 2 and N values in all it holds the thetas at most z standard errors away, where
    variance(theta) = theta (1 - theta) (1 + (N / 2 - 1) ((1 - theta) / (2 - theta) + theta / (1 + theta))) / (m n).

    Source: R. G. Newcombe, Confidence intervals for an effect size measure based on the Mann-Whitney statistic, part 2,
    Stat. Med. 25 (2006), method 5.
    """
    found = (delta + 1) / 2

    def outside(theta: float) -> bool:
        spread = (1 - theta) / (2 - theta) + theta / (1 + theta)
        variance = theta * (1 - theta) * (1 + ((first + second) / 2 - 1) * spread) / (first * second)
        return (theta - found) ** 2 > _Z_975**2 * variance

    low, high = _edge(outside, 0.0, found), _edge(outside, 1.0, found)
    return 2 * low - 1, 2 * high - 1


def _edge(outside: Callable[[float], bool], far: float, near: float) -> float:
    """Where the interval begins between `far`, outside of it, and `near`; `far` itself if that is where it lies."""
    if far == near:
        return near
    for _ in range(60):
        middle = (far + near) / 2
        if outside(middle):
            far = middle
        else:
            near = middle
    return near


def omega_squared_welch(f: float, groups: int, observations: int, degrees: float | None = None) -> Effect:
    """Adjusted omega squared of Welch's F over k groups: (k - 1)(F - 1) / ((k - 1)(F - 1) + N).

    The share of variance that the groups explain. Below 0 where F is below 1, which stands for none. With Welch's
    `degrees` of freedom within, it has an interval (see `_omega`).

    Sources: R. E. Kirk, Practical significance: a concept whose time has come, Educ. Psychol. Meas. 56 (1996), which
    has the formula for the classical F (Welch's F takes its place) and the thresholds 0.010, 0.059, 0.138.
    """
    excess = (groups - 1) * (f - 1)
    return _omega(excess / (excess + observations), f, groups, observations, degrees)


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
    value = (share - (groups - 1) * within) / (1 + within)
    if within <= 0:
        return Effect(OMEGA_SQUARED, value, _magnitude(value, _OMEGA_STEPS))
    f = share / (groups - 1) / within
    return _omega(value, f, groups, observations, observations - groups)


def _omega(value: float, f: float, groups: int, observations: int, degrees: float | None) -> Effect:
    """Omega squared with its 95 % interval: lambda / (lambda + N) for the noncentralities lambda that fit F.

    Exact for the classical F of normal values, and an approximation for Welch's F and for ranks.

    Source: J. H. Steiger, Beyond the F test, Psychol. Methods 9 (2004).
    """
    magnitude = _magnitude(value, _OMEGA_STEPS)
    if degrees is None or not 0 < f < math.inf:
        return Effect(OMEGA_SQUARED, value, magnitude)
    bounds = [_noncentrality(f, groups - 1, degrees, p) for p in (0.975, 0.025)]
    low, high = (bound / (bound + observations) for bound in bounds)
    return Effect(OMEGA_SQUARED, value, magnitude, low, high)


def _noncentrality(f: float, between: int, within: float, probability: float) -> float:
    """The noncentrality at which F is below `f` with the given probability; 0 where none is so small."""
    # Noncentralities grow with F in proportion, and beyond this the library's series lose their digits.
    largest = 1e6
    if f > largest:
        return f / largest * _noncentrality(largest, between, within, probability)
    with quiet():
        cdf = library("scipy.stats").ncf.cdf
        low, high = 0.0, 4 * f * between + 50.0
        if cdf(f, between, within, 0.0) <= probability:
            return 0.0
        while cdf(f, between, within, high) > probability:
            high *= 2
        while high - low > 1e-5 * high:
            middle = (low + high) / 2
            if cdf(f, between, within, middle) > probability:
                low = middle
            else:
                high = middle
    return high


def _magnitude(value: float, steps: Sequence[float]) -> str:
    return _MAGNITUDES[bisect_right(steps, value)]
