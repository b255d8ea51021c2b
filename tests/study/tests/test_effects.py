"""Effect sizes, against enumeration and an analysis of variance done by another library."""

from __future__ import annotations

import random

import pytest
from scipy import stats

from servewatt.study.tests.effects import cliffs_delta, omega_squared_ranks, omega_squared_welch


def test_cliffs_delta_by_enumeration() -> None:
    # 1 loses thrice; 2 loses twice; 3 wins once and loses once; 4 wins twice and loses once: -4 of 12.
    effect = cliffs_delta([1, 2, 3, 4], [2, 3, 5])
    assert effect.value == pytest.approx(-4 / 12)
    assert effect.magnitude == "medium"
    assert cliffs_delta([2, 3, 5], [1, 2, 3, 4]).value == pytest.approx(4 / 12)


@pytest.mark.parametrize(
    ("wins", "magnitude"),
    [(57, "negligible"), (58, "small"), (66, "small"), (67, "medium"), (73, "medium"), (74, "large")],
)
def test_magnitudes_follow_romano(wins: int, magnitude: str) -> None:
    # One value above `wins` of 100 others: delta = (wins - (100 - wins)) / 100, thresholds 0.147, 0.33, 0.474.
    assert cliffs_delta([wins + 0.5], range(1, 101)).magnitude == magnitude


def test_separated_groups_have_delta_one() -> None:
    assert cliffs_delta([5, 6], [1, 2, 3]).value == 1
    assert cliffs_delta([1], [1]).value == 0


def test_adjusted_omega_squared_of_welch_by_hand() -> None:
    # 2 x 52.4331 / (2 x 52.4331 + 9)
    effect = omega_squared_welch(53.4331, 3, 9)
    assert effect.value == pytest.approx(0.92096, abs=1e-5)
    assert effect.magnitude == "large"
    assert omega_squared_welch(0.5, 3, 30).value == pytest.approx(-1 / 29)
    assert omega_squared_welch(0.5, 3, 30).magnitude == "negligible"


def test_omega_squared_of_ranks_is_that_of_an_anova_of_ranks() -> None:
    groups = [[1.0, 2.0, 2.0, 7.0], [3.0, 4.0, 4.0], [2.0, 5.0, 6.0, 8.0, 9.0]]
    ranks = stats.rankdata([v for g in groups for v in g])
    f = stats.f_oneway(ranks[:4], ranks[4:7], ranks[7:]).statistic
    expected = 2 * (f - 1) / (2 * (f - 1) + 12)
    effect = omega_squared_ranks(stats.kruskal(*groups).statistic, 3, 12)
    assert effect is not None
    assert effect.value == pytest.approx(expected)


def test_ranks_of_single_observations_leave_nothing_within() -> None:
    assert omega_squared_ranks(2.0, 3, 3) is None


def test_the_interval_of_delta_keeps_its_width_where_groups_are_separated() -> None:
    effect = cliffs_delta([1, 2, 3, 4, 5], [6, 7, 8, 9, 10])
    assert (effect.value, effect.low) == (-1, -1)
    assert effect.high is not None
    # At its end theta is z standard errors away from 0, by Newcombe's variance with N / 2 - 1 = 4 and m n = 25.
    theta = (effect.high + 1) / 2
    variance = theta * (1 - theta) * (1 + 4 * ((1 - theta) / (2 - theta) + theta / (1 + theta))) / 25
    assert theta == pytest.approx(1.959963984540054 * variance**0.5, rel=1e-6)
    assert -0.4 < effect.high < -0.2


def test_the_interval_of_delta_is_the_mirror_image_of_its_opposite() -> None:
    first, second = [1.0, 2.0, 5.0], [2.0, 3.0, 4.0, 6.0]
    one, other = cliffs_delta(first, second), cliffs_delta(second, first)
    assert one.low is not None and one.high is not None
    assert other.low is not None and other.high is not None
    assert one.low == pytest.approx(-other.high)
    assert one.high == pytest.approx(-other.low)
    assert one.low < one.value < one.high


def test_the_interval_of_delta_covers() -> None:
    """Normal values one standard deviation apart: P(first > second) = Phi(1 / sqrt 2) = 0.7602, delta = 0.5205."""
    chance = random.Random(5)
    covered = 0
    for _ in range(400):
        effect = cliffs_delta([chance.gauss(1, 1) for _ in range(9)], [chance.gauss(0, 1) for _ in range(7)])
        assert effect.low is not None and effect.high is not None
        covered += effect.low <= 0.5205 <= effect.high
    assert covered >= 0.93 * 400


def test_the_interval_of_omega_squared_holds_the_noncentralities_that_fit() -> None:
    effect = omega_squared_welch(5.0, 3, 30, 27)
    assert effect.low is not None and effect.high is not None
    for bound, probability in ((effect.low, 0.975), (effect.high, 0.025)):
        noncentrality = bound * 30 / (1 - bound)
        assert stats.ncf.cdf(5.0, 2, 27, noncentrality) == pytest.approx(probability, abs=1e-3)
    assert effect.low < effect.value < effect.high
    assert omega_squared_welch(0.5, 3, 30, 27).low == 0
    huge = omega_squared_welch(1e9, 3, 30, 27)
    assert huge.low is not None and 0.999 < huge.low <= huge.value <= (huge.high or 0) <= 1


def test_without_degrees_of_freedom_omega_squared_has_no_interval() -> None:
    assert omega_squared_welch(5.0, 3, 30).low is None
