from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from servewatt.stats.intervals import (
    EFFECT_VARIANCE,
    blocks_until_decided,
    confidence_sequence,
    e_value,
    half_width,
    percentile,
    student_quantile,
    typical,
)


@pytest.mark.parametrize("degrees", range(1, 16))
@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.95, 0.999])
def test_student_quantiles_are_scipys(degrees: int, confidence: float) -> None:
    expected = stats.t.ppf((1 + confidence) / 2, degrees)
    assert student_quantile(confidence, degrees) == pytest.approx(expected, rel=1e-10)


def bayes_factor(values: list[float], variance: float) -> float:
    """delta ~ N(0, variance) over delta = 0, where values are N(delta sigma, sigma^2) and sigma has prior 1/sigma."""
    n = len(values)
    mean, squares = statistics.fmean(values), sum((v - statistics.fmean(values)) ** 2 for v in values)

    def log_likelihood(delta: float, sigma: float) -> float:
        return -n * math.log(sigma) - (squares + n * (mean - delta * sigma) ** 2) / (2 * sigma**2)

    def over_sigma(delta: float) -> float:
        # sigma = e^u turns the prior 1/sigma into a flat one.
        value, _ = integrate.quad(lambda u: math.exp(log_likelihood(delta, math.exp(u))), -12, 12, limit=400)
        return float(value)

    width = math.sqrt(variance)
    above, _ = integrate.quad(
        lambda d: over_sigma(d) * stats.norm.pdf(d, 0, width), -12 * width, 12 * width, limit=400, points=[0.0, mean]
    )
    return float(above / over_sigma(0.0))


@pytest.mark.parametrize("variance", [1.0, 4.0])
@pytest.mark.parametrize("values", [[0.3, 1.1, -0.4], [1.0, 1.3, 0.8, 1.1, 0.9]])
def test_e_value_is_the_bayes_factor_with_a_right_haar_prior(values: list[float], variance: float) -> None:
    t = math.sqrt(len(values)) * statistics.fmean(values) / statistics.stdev(values)
    assert e_value(len(values), t, variance) == pytest.approx(bayes_factor(values, variance), rel=1e-5)


@pytest.mark.parametrize("n", [3, 4, 5, 10, 40])
@pytest.mark.parametrize("alpha", [0.05, 0.005])
def test_the_interval_ends_where_the_e_value_reaches_one_over_alpha(n: int, alpha: float) -> None:
    t_at_the_end = half_width(n, alpha) * math.sqrt(n)
    assert e_value(n, t_at_the_end) == pytest.approx(1 / alpha, rel=1e-9)


def test_coverage_holds_when_one_looks_after_every_block() -> None:
    random = np.random.default_rng(20260101)
    values = random.normal(0.0, 1.0, size=(20_000, 30))
    missed = np.zeros(len(values), dtype=bool)
    for n in range(2, 31):
        head = values[:, :n]
        missed |= np.abs(head.mean(axis=1)) > half_width(n, 0.05) * head.std(axis=1, ddof=1)
    assert missed.mean() <= 0.05
    # Looking once at the last Student interval is fair, looking at each is not: this is what the sequence mends.
    t_missed = np.zeros(len(values), dtype=bool)
    for n in range(3, 31):
        head = values[:, :n]
        width = stats.t.ppf(0.975, n - 1) / math.sqrt(n)
        t_missed |= np.abs(head.mean(axis=1)) > width * head.std(axis=1, ddof=1)
    assert t_missed.mean() > 0.15


def test_the_table_that_chose_the_prior() -> None:
    assert [round(half_width(3, 0.05, g), 2) for g in (10, 30, 100, 300, 1000)] == [7.63, 5.81, 6.21, 7.13, 8.53]
    assert math.isinf(half_width(3, 0.05, 1))
    assert round(half_width(5, 0.005), 2) == 4.86
    assert EFFECT_VARIANCE == 100


def test_confidence_sequence_is_symmetric_about_the_mean() -> None:
    interval = confidence_sequence([1.0, 2.0, 3.0])
    assert interval.estimate == 2
    assert interval.low is not None and interval.high is not None
    assert (round(interval.low, 2), round(interval.high, 2)) == (-4.21, 8.21)  # 2 -+ 6.21 x 1


def test_too_few_values_bound_nothing() -> None:
    for values in ([5.0], [5.0, 5.1]):
        interval = confidence_sequence(values)
        assert (interval.low, interval.high) == (None, None)


def test_no_scatter_is_certain_once_there_are_three() -> None:
    interval = confidence_sequence([0.5, 0.5, 0.5])
    assert (interval.low, interval.estimate, interval.high) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_not_a_number_is_refused(bad: float) -> None:
    for function in (typical, confidence_sequence):
        with pytest.raises(ValueError, match="finite"):
            function([1.0, bad, 2.0])
        with pytest.raises(ValueError, match="no values"):
            function([])


def test_typical_of_few_values_is_students_interval_of_logarithms() -> None:
    values = [0.9, 1.0, 1.3, 1.1]
    interval = typical(values)
    logs = np.log(values)
    low, high = stats.t.interval(0.95, 3, loc=logs.mean(), scale=stats.sem(logs))
    assert interval.estimate == pytest.approx(1.05)
    assert interval.low == pytest.approx(math.exp(low))
    assert interval.high == pytest.approx(math.exp(high))
    assert interval.n == 4


def test_typical_of_values_of_both_signs_is_students_interval() -> None:
    values = [-1.0, 0.5, 1.0, 2.0, 0.0]
    interval = typical(values)
    low, high = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    assert interval.low == pytest.approx(low)
    assert interval.high == pytest.approx(high)
    assert interval.estimate == 0.5


@pytest.mark.parametrize(("n", "low", "high"), [(6, 1, 6), (8, 1, 8), (9, 2, 8), (12, 3, 10), (20, 6, 15)])
def test_typical_of_many_values_is_bounded_by_order_statistics(n: int, low: float, high: float) -> None:
    # Ranks of Conover's table A3, lower and upper, for 95 %.
    interval = typical([float(v) for v in range(n, 0, -1)])
    assert (interval.low, interval.high) == (low, high)
    assert stats.binom.cdf(low - 1, n, 0.5) * 2 <= 0.05 < stats.binom.cdf(low, n, 0.5) * 2


def test_typical_without_scatter_and_of_very_few() -> None:
    assert typical([2.0, 2.0, 2.0]).low == typical([2.0, 2.0, 2.0]).high == 2.0
    assert typical([2.0, 3.0]).low is None
    assert typical([2.0, 3.0]).estimate == 2.5


def test_typical_covers_the_median() -> None:
    random = np.random.default_rng(7)
    for n in (3, 5, 6, 10):
        draws = np.exp(random.normal(0, 0.3, size=(3000, n)))
        intervals = [typical(list(row)) for row in draws]
        covered = statistics.fmean(i.low <= 1 <= i.high for i in intervals if i.low is not None and i.high is not None)
        assert covered > 0.94


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), st.floats(0, 100))
def test_percentiles_are_numpys(values: list[float], percent: float) -> None:
    assert percentile(values, percent) == pytest.approx(np.percentile(values, percent), rel=1e-9, abs=1e-6)


@given(st.lists(st.floats(1e-3, 1e3), min_size=3, max_size=12))
def test_the_estimate_lies_in_the_typical_interval(values: list[float]) -> None:
    interval = typical(values)
    assert interval.low is not None and interval.high is not None
    assert interval.low <= interval.estimate * (1 + 1e-9)
    assert interval.high >= interval.estimate * (1 - 1e-9)


def test_projection_of_blocks() -> None:
    # The mean is 2 standard deviations: n is enough once half_width(n) < 2.
    values = [1.0, 2.0, 3.0]
    n = next(n for n in range(3, 100) if half_width(n, 0.05) < 2)
    assert n > 5
    assert blocks_until_decided(values, 0.05) == n - 3
    assert blocks_until_decided([1.0, 1.001, 1.002], 0.05) == 0
    assert blocks_until_decided([1.0], 0.05) is None
    assert blocks_until_decided([-1.0, 1.0, 0.001], 0.05) is None
    assert blocks_until_decided([0.0, 0.0, 0.0], 0.05) is None
    assert blocks_until_decided([1.0, 1.0], 0.05) == 1
