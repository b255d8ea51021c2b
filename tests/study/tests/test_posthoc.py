"""Tests of pairs, against sums done by hand and a published table."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from servewatt.study.tests.groups import Group
from servewatt.study.tests.posthoc import dunn, dunn_z, games_howell


def test_dunn_with_ties_by_hand() -> None:
    # Ranks 1; 3, 3, 3; 5. Mean ranks 7/3 and 4. Variance (30/12 - 24/48) x (1/3 + 1/2) = 5/3. z = -5/3 / sqrt(5/3).
    (finding,) = dunn([Group("a", (1, 2, 2)), Group("b", (2, 3))])
    assert finding.statistic == pytest.approx(-math.sqrt(5 / 3))
    assert finding.p_value == pytest.approx(math.erfc(math.sqrt(5 / 6)), abs=1e-12)
    assert finding.effect is not None
    assert finding.effect.value == pytest.approx(-4 / 6)


def test_dunn_cannot_tell_five_separated_groups_of_ten_apart() -> None:
    groups = [Group(str(i), tuple(1000.0**i + j / 100 for j in range(10))) for i in range(5)]
    findings = {f.groups: f for f in dunn(groups)}
    # Mean ranks of neighbours differ by 10: 10 / sqrt(50 x 51 / 12 x 2 / 10) = 1.5339, p = 0.12505, Holm x 4.
    assert dunn_z(groups)["0", "1"] == pytest.approx(-10 / math.sqrt(42.5))
    assert findings["3", "4"].statistic == pytest.approx(-1.53393, abs=1e-5)
    assert findings["3", "4"].p_value == pytest.approx(4 * 0.125047, abs=1e-5)
    # Three apart: z = 4.6018, p = 4.188e-6, of which nine p-values are not smaller.
    assert findings["0", "3"].p_value == pytest.approx(9 * 4.1888e-6, rel=1e-3)


def test_games_howell_at_a_tabulated_quantile() -> None:
    # Groups of three with variance 1 have 4 degrees of freedom; the studentised range of 3 and 4 is 5.040 at 0.05.
    shift = 5.040 / math.sqrt(2) * math.sqrt(2 / 3)
    groups = [Group("a", (-1, 0, 1)), Group("b", (shift - 1, shift, shift + 1)), Group("c", (99, 100, 101))]
    findings = {f.groups: f for f in games_howell(groups)}
    assert findings["a", "b"].statistic == pytest.approx(-5.040 / math.sqrt(2))
    assert findings["a", "b"].p_value == pytest.approx(0.05, abs=5e-5)


def test_only_the_pairs_of_a_small_group_are_refused() -> None:
    groups = [Group("one", (4,)), Group("none", ()), Group("a", (1, 2, 3)), Group("b", (4, 5, 6.5))]
    ranks = {f.groups: f for f in dunn(groups)}
    means = {f.groups: f for f in games_howell(groups)}
    assert len(ranks) == len(means) == 6
    assert ranks["one", "a"].p_value is not None
    assert ranks["one", "none"].refused == "none has no observations"
    assert means["one", "a"].refused == "one has one observation; a variance needs two"
    assert means["one", "a"].statistic is means["one", "a"].p_value is None
    assert means["one", "a"].effect is not None
    assert means["none", "b"].effect is None
    # What remains are two groups: the studentised range of two is Welch's t test.
    welch = stats.ttest_ind((1, 2, 3), (4, 5, 6.5), equal_var=False)
    assert means["a", "b"].statistic == pytest.approx(welch.statistic)
    assert means["a", "b"].p_value == pytest.approx(welch.pvalue, abs=1e-9)


def test_groups_that_do_not_vary() -> None:
    groups = [Group("a", (0.1, 0.1, 0.1)), Group("b", (0.2, 0.2, 0.2)), Group("c", (1, 2, 3))]
    means = {f.groups: f for f in games_howell(groups)}
    assert means["a", "b"].refused == "neither group varies, so t has no scale"
    assert means["a", "c"].p_value is not None
    same = dunn([Group("a", (7, 7)), Group("b", (7, 7, 7))])
    assert [f.refused for f in same] == ["all observations of all groups are equal"]
    assert same[0].effect is not None
    assert same[0].effect.value == 0
