"""Confidence intervals: one for typical values as shown, one for decisions that survives repeated looks.

No SciPy here: `servewatt report` answers in a fraction of a second, and importing it takes most of one.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import lru_cache

from servewatt.records.timing import interpolated
from servewatt.stats.records import Interval

EFFECT_VARIANCE = 100.0
"""Variance `g` of the normal prior on the standardised effect (mean over standard deviation).

Engines differ by 5 to 50 % in energy while one block scatters by about 1 %, so effects of some ten standard
deviations are what to look for, and g = 10 squared puts the prior there. Coverage holds for every g; only the width
depends on it. Half-widths of the interval in standard deviations:

    alpha              g = 1     10     30    100    300   1000
    0.05    n = 3          -   7.63   5.81   6.21   7.13   8.53
            n = 5       3.78   2.42   2.62   2.93   3.28   3.72
            n = 10      1.22   1.32   1.42   1.54   1.66   1.79
    0.005   n = 3          -      -      -  25.25  18.62  19.82
            n = 5          -   4.64   4.52   4.86   5.35   6.01
            n = 10      1.90   1.84   1.94   2.08   2.21   2.37

A small g cannot decide with three blocks at all ("-"), a large one wastes later blocks; 100 is near the best from
three blocks on, also where ten comparisons share the 5 % (alpha = 0.005).
"""

MOST_BLOCKS = 1000
"""A comparison that would need more blocks than this is as good as a tie."""


_NORMAL = statistics.NormalDist()


def typical(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """The median over blocks with a confidence interval for it, for a number of blocks fixed in advance.

    Where the blocks are many enough (6 for 95 %), the interval is bounded by two order statistics: for
    independent values of any continuous distribution, the k-th smallest of n lies above the median with probability
    P(Binomial(n, 1/2) < k), so no shape is assumed and the coverage is at least `confidence`. With 3 to 5 blocks no
    such interval exists, and Student's t interval takes its place: of the logarithms where all values are positive
    (durations and energies scatter by factors, and the median of a log-normal quantity is its geometric mean), of
    the values themselves otherwise. Below 3 blocks the bounds are None. Values without scatter give bounds
    equal to the value.

    Source: W. J. Conover, Practical Nonparametric Statistics, 3rd ed., section 3.2.

    Raises ValueError if there are no values, or one is not finite.
    """
    _check(values, 1.0 - confidence)
    ordered = sorted(values)
    n = len(ordered)
    estimate = statistics.median(ordered)
    if n < 3:
        return Interval(estimate, None, None, n)
    if ordered[0] == ordered[-1]:
        return Interval(estimate, estimate, estimate, n)
    rank = _order_statistic(n, 1.0 - confidence)
    if rank > 0:
        return Interval(estimate, ordered[rank - 1], ordered[n - rank], n)
    positive = ordered[0] > 0
    scale = [math.log(v) for v in ordered] if positive else ordered
    middle = statistics.fmean(scale)
    half = student_quantile(confidence, n - 1) * statistics.stdev(scale) / math.sqrt(n)
    low, high = middle - half, middle + half
    return Interval(estimate, exponential(low), exponential(high), n) if positive else Interval(estimate, low, high, n)


def percentile(values: Sequence[float], percent: float) -> float:
    """The percentile of `values` by linear interpolation between order statistics (NumPy's default method)."""
    _check(values, 0.5)
    return interpolated(sorted(values), percent)


def student_quantile(confidence: float, degrees: int) -> float:
    """The t for which P(|T| <= t) = confidence, with T of Student's distribution with whole `degrees` of freedom.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4 (finite series in the angle
    atan(t / sqrt(degrees))), inverted by bisection.
    """
    low, high = 0.0, math.pi / 2
    for _ in range(80):
        angle = (low + high) / 2
        if _within(angle, degrees) < confidence:
            low = angle
        else:
            high = angle
    return math.sqrt(degrees) * math.tan((low + high) / 2)


def _within(angle: float, degrees: int) -> float:
    """P(|T| <= sqrt(degrees) tan(angle)) for Student's T."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2 == 1
    term = cosine if odd else 1.0
    total = 0.0
    for k in range(2 if odd else 1, degrees, 2):
        total += term
        term *= cosine * cosine * k / (k + 1)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


@lru_cache(maxsize=64)
def _order_statistic(n: int, alpha: float) -> int:
    """The largest k with 2 P(Binomial(n, 1/2) < k) <= alpha; 0 if there is none.

    In whole numbers, as 2^n is beyond a float from 1,024 blocks on.
    """
    numerator, denominator = alpha.as_integer_ratio()
    most = numerator * 2**n
    tail, term, k = 0, 1, 0
    while 2 * (tail + term) * denominator <= most:
        tail += term
        term = term * (n - k) // (k + 1)
        k += 1
    return k


def e_value(n: int, t: float, effect_variance: float = EFFECT_VARIANCE) -> float:
    """Evidence against a mean, from the t statistic of `n` Gaussian values of unknown variance.

    The Bayes factor of "the standardised effect is N(0, g)" over "it is zero", with the right-Haar prior 1/sigma on
    the standard deviation in both:

        E = (1 + n g)^(-1/2) [ (1 + t^2/nu) / (1 + t^2/(nu (1 + n g))) ]^(n/2),    nu = n - 1.

    If the mean is as supposed, E over growing n is a martingale of mean 1 in the filtration of the scale-invariant
    statistics, so by Ville's inequality the probability that it ever reaches 1/alpha is at most alpha.

    Sources: T. L. Lai, On confidence sequences, Ann. Statist. 4 (1976); M. F. Perez-Ortiz, T. Lardy, R. de Heide and
    P. Grunwald, E-statistics, group invariance and anytime-valid testing, Ann. Statist. 52 (2024); H. Wang and
    A. Ramdas, Anytime-valid t-tests and confidence sequences for Gaussian means with unknown variance (2024).
    """
    if n < 2:
        return 1.0
    shrink = 1 + n * effect_variance
    x = t * t / (n - 1)
    return math.exp((n * (math.log1p(x) - math.log1p(x / shrink)) - math.log(shrink)) / 2)


def half_width(n: int, alpha: float, effect_variance: float = EFFECT_VARIANCE) -> float:
    """Half the width of the confidence sequence after `n` values, in their sample standard deviations.

    The means with `e_value < 1 / alpha` are those with t^2/nu < (K - 1) / (1 - K/c), where c = 1 + n g and
    K = (c / alpha^2)^(1/n). With few values K >= c: then every mean is possible and the width is infinite.
    """
    if n < 2:
        return math.inf
    shrink = 1 + n * effect_variance
    bound = math.exp((math.log(shrink) - 2 * math.log(alpha)) / n)
    if bound >= shrink:
        return math.inf
    return math.sqrt((n - 1) / n * (bound - 1) / (1 - bound / shrink))


def confidence_sequence(
    values: Sequence[float], alpha: float = 0.05, effect_variance: float = EFFECT_VARIANCE
) -> Interval:
    """The mean of independent Gaussian values of unknown variance, with an anytime-valid confidence interval.

    With probability 1 - alpha the true mean lies in the intervals after every number of values at once, so one may
    look after each, stop when one likes and go on later. The bounds are None while every mean is possible. Values
    without scatter give bounds equal to the mean once the bounds are finite at all.

    Raises ValueError if there are no values, or one is not finite.
    """
    _check(values, alpha)
    n = len(values)
    mean = statistics.fmean(values)
    width = half_width(n, alpha, effect_variance)
    if math.isinf(width):
        return Interval(mean, None, None, n)
    half = width * statistics.stdev(values)
    return Interval(mean, mean - half, mean + half, n)


def blocks_until_decided(values: Sequence[float], alpha: float, effect_variance: float = EFFECT_VARIANCE) -> int | None:
    """How many further values would make the confidence sequence exclude 0, if mean and scatter stay as they are.

    0 if it does already; None where fewer than two values leave the scatter unknown, or where more than
    `MOST_BLOCKS` values would be needed.
    """
    if len(values) < 2:
        return None
    _check(values, alpha)
    mean, scatter = abs(statistics.fmean(values)), statistics.stdev(values)
    if mean == 0:
        return None
    for n in range(len(values), MOST_BLOCKS + 1):
        width = half_width(n, alpha, effect_variance)
        if math.isfinite(width) and mean > width * scatter:
            return n - len(values)
    return None


def blocks_until_apart(interval: Interval, value: float, confidence: float = 0.95) -> int | None:
    """How many further blocks would likely leave `value` outside a `typical` interval, at the present scatter.

    The interval is taken to shrink as Student's does, by t / sqrt(n). Below 3 blocks, where there is no interval,
    those that give one. None where the estimate is `value` itself, or more than `MOST_BLOCKS` would be needed.
    """
    n = interval.n
    if interval.low is None or interval.high is None:
        return max(1, 3 - n)
    below = interval.estimate <= value
    half = interval.high - interval.estimate if below else interval.estimate - interval.low
    gap = abs(interval.estimate - value)
    if gap == 0 or not math.isfinite(half) or n < 2:
        return None
    unit = half / (_student(confidence, n - 1) / math.sqrt(n))
    for blocks in range(n + 1, MOST_BLOCKS + 1):
        if unit * _student(confidence, blocks - 1) / math.sqrt(blocks) < gap:
            return blocks - n
    return None


def _student(confidence: float, degrees: int) -> float:
    """Student's quantile; from 30 degrees of freedom on the normal one, which is within 5 % of it."""
    return student_quantile(confidence, degrees) if degrees < 30 else _NORMAL.inv_cdf((1 + confidence) / 2)


def _check(values: Sequence[float], alpha: float) -> None:
    if not 0 < alpha < 1:
        raise ValueError(f"a confidence lies between 0 and 1, not {1 - alpha}")
    if not values:
        raise ValueError("no values")
    if not all(map(math.isfinite, values)):
        raise ValueError("values must be finite numbers")


def exponential(value: float) -> float:
    """e to the power of `value`, infinite where a float cannot hold it."""
    return math.exp(value) if value < 709 else math.inf
