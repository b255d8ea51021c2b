"""Effect sizes, against enumeration and an analysis of variance done by another library."""

from __future__ import annotations

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
