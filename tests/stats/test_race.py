from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ville._boundaries import normal_mixture

from servewatt.stats.intervals import half_width
from servewatt.stats.race import (
    Levels,
    Scatter,
    Standing,
    after_episode,
    episode_levels,
    far_behind,
    pair_bound,
    pooled_scatter,
    rounds_for,
    standing,
)
from servewatt.stats.race.bound import mixture_width, widths
from servewatt.stats.race.episode import additive_residuals, hodges_lehmann
from servewatt.stats.race.rules import error_of_each, looks


def test_the_location_is_the_median_of_pairwise_means() -> None:
    # Pairs of 1, 2, 6: 1, 1.5, 3.5, 2, 4, 6.
    assert hodges_lehmann([1.0, 2.0, 6.0]) == 2.75


def test_what_a_round_shares_is_no_difference_between_configurations() -> None:
    """b costs e times a; the second round is e squared times as dear for both, the third 1/e."""
    rounds = [{"a": math.exp(shift), "b": math.exp(1 + shift)} for shift in (0.0, 2.0, -1.0)]
    levels = episode_levels(rounds)
    assert levels.log_cost["b"] - levels.log_cost["a"] == pytest.approx(1.0)
    assert levels.slice_variance == pytest.approx(0.0, abs=1e-12)
    assert levels.rounds == 3


def test_the_scatter_of_two_is_half_the_variance_of_their_difference() -> None:
    differences = (0.1, -0.2, 0.4, 0.3)
    levels = episode_levels([{"a": 1.0, "b": math.exp(d)} for d in differences])
    assert levels.slice_variance == pytest.approx(np.var(differences, ddof=1) / 2)
    assert levels.variance == pytest.approx(1.05 * np.var(differences, ddof=1) / 2 / 4)


def test_one_disturbed_slice_moves_no_level() -> None:
    quiet = [{"a": 1.0, "b": 2.0, "c": 3.0} for _ in range(9)]
    spiked = [*quiet[:4], {"a": 1.0, "b": 50.0, "c": 3.0}, *quiet[5:]]
    assert episode_levels(spiked).log_cost == pytest.approx(episode_levels(quiet).log_cost)


def test_a_configuration_may_leave_an_episode() -> None:
    rounds = [{"a": 1.0, "b": 2.0, "c": 30.0}, {"a": 2.0, "b": 4.0, "c": 60.0}, {"a": 1.0, "b": 2.0}]
    levels = episode_levels(rounds)
    assert levels.log_cost["c"] - levels.log_cost["a"] == pytest.approx(math.log(30))
    assert levels.slice_variance == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("cost", [0.0, -1.0, math.nan, math.inf])
def test_a_cost_is_a_positive_number(cost: float) -> None:
    with pytest.raises(ValueError, match="positive finite"):
        episode_levels([{"a": 1.0, "b": cost}])


def test_an_additive_table_leaves_nothing() -> None:
    table = [{"a": i + 1.0, "b": i + 5.0, "c": i - 3.0} for i in range(4)]
    squares, degrees = additive_residuals(table)
    assert squares == pytest.approx(0.0, abs=1e-12)
    assert degrees == 3 * 2


def test_residuals_of_two_by_two_by_hand() -> None:
    """Cells 0 0 / 0 4: grand mean 1, effects of +-1, so each cell is 1 off."""
    squares, degrees = additive_residuals([{"a": 0.0, "b": 0.0}, {"a": 0.0, "b": 4.0}])
    assert squares == pytest.approx(4.0)
    assert degrees == 1


def test_missing_cells_take_degrees_away() -> None:
    squares, degrees = additive_residuals([{"a": 0.0, "b": 1.0}, {"a": 3.0}, {"b": 7.0}])
    assert squares == pytest.approx(0.0)
    assert degrees == 0


def test_more_rounds_where_starting_is_dear_and_slices_scatter() -> None:
    assert rounds_for(start_s=5.0, slice_s=0.7, slice_sd=0.1) == math.ceil(math.sqrt(5 / 0.7) * 0.1 / 0.04) == 7
    assert rounds_for(start_s=5.0, slice_s=0.7, slice_sd=0.001) == 4
    assert rounds_for(start_s=600.0, slice_s=0.7, slice_sd=0.2) == 24


@pytest.mark.parametrize("n", [3, 5, 12])
@pytest.mark.parametrize("alpha", [0.05, 0.005])
@pytest.mark.parametrize("variance", [3.0, 100.0, 300.0])
def test_without_borrowed_degrees_it_is_the_anytime_valid_t_interval(n: int, alpha: float, variance: float) -> None:
    assert mixture_width(n, n - 1, alpha, variance) == pytest.approx(half_width(n, alpha, variance))


@pytest.mark.parametrize("n", [1, 4, 30])
@pytest.mark.parametrize("alpha", [0.05, 0.001])
@pytest.mark.parametrize("variance", [3.0, 300.0])
def test_with_the_variance_known_it_is_robbins_normal_mixture(n: int, alpha: float, variance: float) -> None:
    """As an independent library computes it."""
    radius = float(normal_mixture(np.array([float(n)]), alpha, 1 / variance)[0]) / n
    assert mixture_width(n, 1e12, alpha, variance) == pytest.approx(radius, rel=1e-3)


def test_the_width_is_the_narrower_of_two_mixtures_and_shrinks_with_episodes() -> None:
    course = [widths(n, 11 + n, 0.05) for n in range(1, 40)]
    assert course == sorted(course, reverse=True)
    assert widths(5, 16, 0.05) == min(mixture_width(5, 16, 0.045, 3.0), mixture_width(5, 16, 0.005, 300.0))
    assert widths(0, 16, 0.05) == math.inf


def test_a_pair_borrows_its_scatter_by_hand() -> None:
    """Differences 1 and 3 of two episodes, and other pairs with 4 degrees of freedom and squares of 5 (of levels)."""
    episodes = [Levels({"a": 1.0, "b": 0.0}, 0.0, 4), Levels({"a": 3.0, "b": 0.0}, 0.0, 4)]
    scatter = Scatter(squares=5.0, degrees=5, within_variance=0.0)
    bound = pair_bound("a", "b", episodes, scatter)
    assert bound is not None
    own, prior, rest = 2.0, 2 * 0.04**2, 2 * 5.0 - 2.0
    centre = (2 * prior + rest) / (2 + 4)
    assert (bound.difference, bound.episodes) == (2.0, 2)
    assert bound.degrees == 6 + 1
    assert bound.variance == pytest.approx((6 * centre + own) / 7)


def test_what_others_lend_is_capped() -> None:
    episodes = [Levels({"a": 1.0, "b": 0.0}, 0.0, 4)] * 3
    bound = pair_bound("a", "b", episodes, Scatter(squares=0.0, degrees=500, within_variance=0.0))
    assert bound is not None
    assert bound.degrees == 12 + 2


def test_a_pair_that_shares_no_episode_has_no_bound() -> None:
    episodes = [Levels({"a": 1.0}, 0.0, 4), Levels({"b": 1.0}, 0.0, 4)]
    assert pair_bound("a", "b", episodes, pooled_scatter(episodes)) is None


def course(
    costs: dict[str, float], episodes: int, seed: int, *, process_sd: float = 0.03, slice_sd: float = 0.05
) -> list[Levels]:
    """Episodes of eight rounds with Gaussian scatter."""
    noise = random.Random(seed)
    found = []
    for _ in range(episodes):
        start = {name: math.log(cost) + noise.gauss(0, process_sd) for name, cost in costs.items()}
        rounds = []
        for _ in range(8):
            shared = noise.gauss(0, 0.1)
            rounds.append({n: math.exp(level + shared + noise.gauss(0, slice_sd)) for n, level in start.items()})
        found.append(episode_levels(rounds))
    return found


def test_a_large_difference_is_decided_by_two_episodes() -> None:
    found = standing(course({"a": 2.0, "b": 1.0, "c": 3.0}, 2, seed=1), ["a", "b", "c"])
    assert found.choice == "b"
    assert found.decided
    assert set(found.dropped) == {"a", "c"}
    assert found.promise == 0.0
    assert found.runner_up is None
    assert found.dropped["c"].beaten_by == "b"
    assert 1 < found.dropped["c"].ratio_low < 3


def test_one_episode_decides_nothing_however_large_the_difference() -> None:
    assert not standing(course({"a": 9.0, "b": 1.0}, 1, seed=1), ["a", "b"]).decided


def test_there_is_always_an_answer_and_its_promise() -> None:
    found = standing(course({"a": 1.0, "b": 1.0}, 2, seed=3), ["a", "b"])
    assert found.choice in {"a", "b"}
    assert not found.decided
    assert 0.03 < found.promise < 1
    assert {found.choice, found.runner_up} == {"a", "b"}
    assert set(found.racing) == {"a", "b"}


def test_a_tie_ends_with_a_promise_below_the_tie() -> None:
    episodes = course({"a": 1.0, "b": 1.0}, 80, seed=3)
    found = standing(episodes, ["a", "b"], tie=0.03)
    assert found.decided
    assert 0 < found.promise < 0.03
    assert found.dropped == {}
    assert len(found.resting) == 1


def test_what_can_hardly_save_rests() -> None:
    """a costs 2 % more than b in 31 episodes; c was near b in one, which leaves room for more than a tie."""
    early = [Levels({"a": 0.02, "b": 0.0, "c": 0.001}, 1e-8, 8)]
    later = [Levels({"a": 0.02 + d, "b": 0.0}, 1e-8, 8) for d in (0.001, -0.001, 0.0) * 10]
    found = standing(early + later, ["a", "b", "c"], tie=0.03)
    assert found.choice == "b"
    assert "a" in found.resting or "a" in found.dropped
    assert found.racing == ("b", "c")
    assert found.runner_up == "c"


def test_what_rested_returns_when_the_choice_changes() -> None:
    """All three are within a tie until a turns out dear: then b and c are measured against each other again."""
    names = ["a", "b", "c"]
    first = [Levels({"a": 0.0, "b": 0.0005 + d, "c": 0.001}, 1e-8, 8) for d in (0.0005, -0.0004, 0.0, 0.0) * 4]
    before = standing(first, names, tie=0.1)
    assert before.choice == "a"
    assert before.resting == {"b", "c"}
    assert before.racing == ("a",)
    after = standing([*first, *[Levels({"a": 1.5, "c": 0.001}, 1e-8, 8)] * 60], names, tie=0.01)
    assert set(after.dropped) == {"a"}
    assert set(after.racing) == {"b", "c"}


def test_what_was_dropped_stays_dropped() -> None:
    episodes = course({"a": 1.0, "b": 1.4}, 3, seed=5)
    before = standing(episodes, ["a", "b"])
    assert set(before.dropped) == {"b"}
    wild = [*episodes, Levels({"a": 3.0}, 0.5, 4)]
    after = after_episode(wild, ["a", "b"], before)
    assert after.dropped == before.dropped
    assert after.choice == "a"


def test_each_comparison_may_err_by_its_share() -> None:
    assert error_of_each(0.95, 2) == pytest.approx(0.05)
    assert error_of_each(0.95, 6) == pytest.approx(0.01)
    assert error_of_each(0.95, 1) == pytest.approx(0.05)


def test_no_episodes_no_standing() -> None:
    with pytest.raises(ValueError, match="no episodes"):
        standing([], ["a"])
    with pytest.raises(ValueError, match="none of the configurations"):
        standing([Levels({"a": 1.0}, 0.0, 4)], ["b"])


def test_seventeen_times_as_dear_leaves_the_first_episode() -> None:
    rounds = [{"a": 1.0, "b": 1.1, "c": 17.0}] * 4
    assert far_behind(rounds[:3], 3) == {}
    assert set(far_behind(rounds, 3)) == {"c"}
    assert far_behind([{"a": 1.0, "c": 17.0}] * 4, 2) == {}


def test_what_left_the_first_episode_does_not_return() -> None:
    names = ["a", "b", "c"]
    first = episode_levels([{"a": 1.0, "b": 1.1, "c": 17.0}] * 4)
    found = standing([first], names)
    assert set(found.dropped) == {"c"}
    assert (found.dropped["c"].episode, set(found.racing)) == (1, {"a", "b"})
    # Three rounds say too little, and trials that followed one another know no such rule.
    assert not standing([episode_levels([{"a": 1.0, "b": 1.1, "c": 17.0}] * 3)], names).dropped
    assert not standing([first], names, process_sd=0.12, alone=True).dropped


def test_twice_as_dear_stays() -> None:
    assert far_behind([{"a": 1.0, "b": 1.1, "c": 2.1}] * 8, 3) == {}


def test_of_equal_configurations_hardly_ever_one_is_dropped_whenever_one_looks() -> None:
    """Looked at after each of 12 episodes: at most 5 % may err; 200 studies with 0.05 would have 4 to 17 (95 %)."""
    wrong = 0
    for seed in range(200):
        found: Standing | None = None
        episodes = course({"a": 1.0, "b": 1.0, "c": 1.0}, 12, seed)
        for count in range(1, 13):
            found = after_episode(episodes[:count], ["a", "b", "c"], found)
        assert found is not None
        wrong += bool(found.dropped)
    assert wrong <= 10


@given(st.permutations(["a", "b", "c", "d"]), st.integers(0, 50))
def test_the_answer_does_not_depend_on_the_order_of_configurations(order: list[str], seed: int) -> None:
    costs = {"a": 1.0, "b": 1.08, "c": 1.2, "d": 4.0}
    episodes = course(costs, 3, seed)
    found = standing(episodes, order)
    expected = standing(episodes, sorted(order))
    assert (found.choice, found.promise, set(found.dropped)) == (
        expected.choice,
        expected.promise,
        set(expected.dropped),
    )


def test_a_long_run_is_looked_at_ever_less_often() -> None:
    assert looks(0) == []
    assert looks(3) == [1, 2, 3]
    assert looks(16) == list(range(1, 17))
    assert looks(30) == [*range(1, 17), 20, 25, 30]
    assert looks(5000)[-1] == 5000 and len(looks(5000)) < 50
