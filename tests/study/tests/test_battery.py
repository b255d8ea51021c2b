"""The battery of tests: numbers by hand, refusals with reasons, notes on what misleads."""

from __future__ import annotations

import math
import sys

import pytest

from servewatt.errors import InputError, UnavailableError
from servewatt.study.tests.battery import run_battery
from servewatt.study.tests.findings import Battery, Finding

THREE = {"a": [1.0, 2.0, 3.0], "b": [2.0, 4.0, 6.0], "c": [10.0, 11.0, 12.0]}


def of(battery: Battery, test: str) -> Finding:
    return next(f for f in battery.findings if f.test == test)


def test_levene_by_hand() -> None:
    # Deviations from medians 1 0 1, 2 0 2, 1 0 1: 6/2 x (8/9) / 4 = 2/3 on 2 and 6 degrees; p = (1 + 2/9)^-3.
    finding = of(run_battery("m", "x", THREE), "levene")
    assert finding.statistic == pytest.approx(2 / 3)
    assert finding.p_value == pytest.approx((11 / 9) ** -3)
    assert finding.groups == ("a", "b", "c")


def test_welch_by_hand() -> None:
    # Weights 3, 0.75, 3; grand mean 42 / 6.75; F = 62.8333 / 1.175926 on 2 and 3.78947 degrees.
    finding = of(run_battery("m", "x", THREE), "welch-anova")
    assert finding.statistic == pytest.approx(53.4331, abs=1e-4)
    # With 2 degrees in the numerator p = (1 + 2 F / d)^(-d / 2).
    assert finding.p_value == pytest.approx((1 + 2 * 53.4331 / 3.789474) ** (-3.789474 / 2), rel=1e-5)
    assert finding.effect is not None
    assert finding.effect.value == pytest.approx(0.92096, abs=1e-5)


def test_kruskal_wallis_by_hand() -> None:
    # Ranks 1 2.5 4, 2.5 5 6, 7 8 9; one tie of two corrects by 1 - (8 - 2) / (729 - 9).
    ranks = (7.5, 13.5, 24.0)
    h = (12 / 90 * sum(r * r / 3 for r in ranks) - 30) / (1 - 6 / 720)
    finding = of(run_battery("m", "x", THREE), "kruskal-wallis")
    assert finding.statistic == pytest.approx(h)
    assert finding.p_value == pytest.approx(math.exp(-h / 2))


def test_shapiro_wilk_of_the_example_of_its_authors() -> None:
    # Weights of eleven men in pounds; Shapiro and Wilk (1965) give W = 0.79.
    weights = [148.0, 154, 158, 160, 161, 162, 166, 170, 182, 195, 236]
    finding = of(run_battery("m", "x", {"men": weights}), "shapiro-wilk")
    assert finding.statistic == pytest.approx(0.79, abs=0.005)
    assert finding.p_value is not None
    assert 0.005 < finding.p_value < 0.02


def test_every_test_that_cannot_be_computed_says_why_and_the_others_are_computed() -> None:
    groups = {"fine": [1.0, 2.0, 4.0], "same": [5.0, 5.0, 5.0], "single": [3.0], "nothing": [math.nan]}
    battery = run_battery("m", "x", groups)
    shapiro = {f.groups[0]: f for f in battery.findings if f.test == "shapiro-wilk"}
    assert shapiro["fine"].p_value is not None
    assert shapiro["same"].refused == "all observations are equal"
    assert shapiro["single"].refused == "one observation; the test needs three"
    assert shapiro["nothing"].refused == "no observations; the test needs three"
    assert of(battery, "levene").refused == "single has one observation; a variance needs two"
    assert of(battery, "welch-anova").refused == "single has one observation; a variance needs two"
    assert of(battery, "kruskal-wallis").groups == ("fine", "same", "single")
    assert of(battery, "kruskal-wallis").p_value is not None
    assert battery.groups == (("fine", 3), ("same", 3), ("single", 1), ("nothing", 0))
    assert all((f.p_value is None) == bool(f.refused) for f in battery.findings)
    assert "observations that are not finite numbers are left out: nothing no. 1 of 1" in battery.notes
    assert "tests over all groups leave out those without observations: nothing" in battery.notes


def test_groups_that_lack_the_same_are_named_together() -> None:
    battery = run_battery("m", "x", {"a": [1.0], "b": [2.0], "c": [], "d": [3.0, 4.0]})
    assert of(battery, "levene").refused == "a; b have one observation each; a variance needs two"


def test_constant_groups() -> None:
    battery = run_battery("m", "x", {"a": [0.1, 0.1, 0.1], "b": [1.0, 2.0, 3.0]})
    assert of(battery, "welch-anova").refused.startswith("all observations are equal in a:")
    assert of(battery, "levene").p_value is not None
    everything = run_battery("m", "x", {"a": [2.0, 2.0, 2.0], "b": [2.0, 2.0, 2.0]})
    assert all(f.refused for f in everything.findings)
    assert of(everything, "levene").refused == "no group varies"
    assert of(everything, "kruskal-wallis").refused == "all observations of all groups are equal"


def test_pairs_of_observations_are_too_few_for_levene() -> None:
    battery = run_battery("m", "x", {"a": [1.0, 2.0], "b": [3.0, 7.0]})
    assert of(battery, "levene").refused.startswith("no group has three observations")
    assert of(battery, "welch-anova").p_value is not None


@pytest.mark.parametrize("groups", [{}, {"a": [1.0, 2.0, 3.0]}, {"a": [1.0, 2.0, 3.0], "b": []}])
def test_one_group_has_nothing_to_be_compared_with(groups: dict[str, list[float]]) -> None:
    battery = run_battery("m", "x", groups)
    for test in ("levene", "welch-anova", "kruskal-wallis"):
        assert "comparing needs two groups" in of(battery, test).refused


def test_infinite_and_missing_values_are_left_out_and_named() -> None:
    battery = run_battery("m", "x", {"a": [1.0, math.inf, 2.0, math.nan, 3.0], "b": [4.0, 5.0, 7.0]})
    assert battery.groups == (("a", 3), ("b", 3))
    assert battery.notes[0] == "observations that are not finite numbers are left out: a no. 2, 4 of 5"
    assert of(battery, "welch-anova").p_value is not None


@pytest.mark.parametrize("unit", [1e-300, 1e-9, 1e300])
def test_the_unit_does_not_matter(unit: float) -> None:
    battery = run_battery("m", "x", {name: [v * unit for v in values] for name, values in THREE.items()})
    expected = run_battery("m", "x", THREE)
    assert [f.p_value for f in battery.findings] == pytest.approx([f.p_value for f in expected.findings])


def test_more_observations_than_the_p_value_is_known_for() -> None:
    battery = run_battery("m", "x", {"a": [float(i % 71) for i in range(5001)]})
    assert of(battery, "shapiro-wilk").refused == "5001 observations; its p-value is known for at most 5000"


def test_the_note_on_separated_groups_has_the_numbers_of_the_case() -> None:
    groups = {f"g{i}": [100.0 * i + j + j * j / 10 for j in range(10)] for i in range(5)}
    (note,) = run_battery("m", "x", groups).notes
    assert "all 5 (n = 10 in each) are completely separated" in note
    assert "6 of 10 pairs apart and misses 4 of 4 neighbours" in note
    assert "z = 1.53 (p = 0.13, after Holm 0.5)" in note
    assert "no difference, however large, brings that below 0.05" in note
    assert "Games-Howell, which compares means, tells 10 of 10 apart" in note


def test_groups_of_one_value_are_not_called_separated() -> None:
    assert not run_battery("m", "x", {"a": [1.0], "b": [2.0], "c": [3.0], "d": [4.0]}).notes


def test_holm_alone_can_hide_separated_neighbours() -> None:
    # Three groups of twenty: z = 20 / sqrt(60 x 61 / 12 x 2 / 20) = 3.62. Two of three: z = 1.96, p = 0.0495.
    twenty = {f"g{i}": [100.0 * i + j for j in range(20)] for i in range(3)}
    assert not run_battery("m", "x", twenty).notes
    assert not run_battery("m", "x", {"a": [1.0, 2.0, 3.0], "b": [4.0, 5.0, 7.0]}).notes
    # Three of seven: z = 7 / sqrt(21 x 22 / 12 x 2 / 7) = 2.11, p = 0.0348, after Holm 0.0696.
    seven = {f"g{i}": [100.0 * i + j for j in range(7)] for i in range(3)}
    (note,) = run_battery("m", "x", seven).notes
    assert "z = 2.11 (p = 0.035, after Holm 0.07): Holm's correction over 3 pairs lifts that above 0.05" in note


def test_a_separated_pair_among_overlapping_groups_is_explained() -> None:
    spread = [[j + 0.1 * i for j in range(8)] for i in range(3)]
    groups = {"low": [-50.0 - j for j in range(8)], **{f"g{i}": values for i, values in enumerate(spread)}}
    groups["lower"] = [-100.0 - j for j in range(8)]
    notes = run_battery("m", "x", groups).notes
    assert any(
        "does not tell low from lower" in n and "counts how many observations of all 5 groups" in n for n in notes
    )


def test_dunn_alone_is_explained() -> None:
    # Two far outliers keep the mean's test from rejecting; ranks do not see how far they are.
    groups = {"a": [*(j / 10 for j in range(10)), 10.0], "b": [*(2 + j / 10 for j in range(10)), 900.0]}
    (note,) = run_battery("m", "x", groups).notes
    assert note.startswith("Dunn-Holm alone tells apart a and b")


def test_a_level_of_significance_outside_its_range_is_an_error() -> None:
    with pytest.raises(InputError, match="makes no sense"):
        run_battery("m", "x", THREE, alpha=1.0)


def test_a_missing_library_names_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scikit_posthocs", None)
    with pytest.raises(UnavailableError, match="scikit-posthocs") as caught:
        run_battery("m", "x", THREE)
    assert caught.value.hint == "pip install 'servewatt[study]'"
