"""The bound between two runs that share no episode."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servewatt.stats.race.bound import widths
from servewatt.stats.unpaired import Sample, UnpairedBound, unpaired_bound

STUDIES = 400
LOOKS = 24


def shows_a_difference(seed: int, base_sd: float, head_sd: float, fixed: int | None, alpha: float = 0.05) -> bool:
    """Whether two equal configurations are ever told apart, looked at after each episode.

    The base has `fixed` episodes, or grows with the head.
    """
    chance = random.Random(seed)
    base = [chance.gauss(0.0, base_sd) for _ in range(fixed or 2)]
    head = [chance.gauss(0.0, head_sd) for _ in range(2)]
    for _ in range(LOOKS):
        bound = unpaired_bound(base, head)
        assert bound is not None
        if abs(bound.difference) > bound.half_width(alpha):
            return True
        head.append(chance.gauss(0.0, head_sd))
        if fixed is None:
            base.append(chance.gauss(0.0, base_sd))
    return False


@pytest.mark.parametrize(
    ("base_sd", "head_sd", "fixed"),
    [
        (0.02, 0.02, None),
        (0.02, 0.02, 5),
        (0.02, 0.06, 10),
        (0.2, 0.02, None),
        (0.02, 0.2, 30),
        (0.3, 0.3, 30),
        (0.5, 0.1, None),
        (0.1, 0.5, 30),
    ],
)
def test_equal_runs_are_told_apart_no_more_often_than_stated(base_sd: float, head_sd: float, fixed: int | None) -> None:
    """Also where the prior (0.12) is much too small, the runs scatter differently, and one looks after each episode.

    0.05 would be 20 of 400; 31 is two and a half standard deviations more.
    """
    assert sum(shows_a_difference(seed, base_sd, head_sd, fixed) for seed in range(STUDIES)) <= 31


def test_a_true_difference_is_found() -> None:
    """10 % at a scatter of 2 %, 6 episodes each: the standard error is 1.2 %."""
    found = 0
    for seed in range(100):
        chance = random.Random(seed)
        bound = unpaired_bound(
            [chance.gauss(0.0, 0.02) for _ in range(6)], [chance.gauss(math.log(1.1), 0.02) for _ in range(6)]
        )
        assert bound is not None
        found += bound.difference > bound.half_width(0.05)
    assert found >= 95


def test_by_hand() -> None:
    """Equal runs of 3: n = 1.5, 4 degrees of freedom of their own, standard deviation 0.1; half of the error."""
    bound = unpaired_bound([0.9, 1.0, 1.1], [1.9, 2.0, 2.1])
    assert bound is not None
    assert bound.difference == pytest.approx(1.0)
    moderated_sd = math.sqrt((2 * 0.12**2 + 0.02) / 4)
    alone, moderated = 0.1 * widths(1.5, 4, 0.025), moderated_sd * widths(1.5, 8, 0.025)
    assert bound.half_width(0.05) == pytest.approx(min(alone, moderated))
    assert moderated < alone


def test_one_start_tells_nothing() -> None:
    bound = unpaired_bound([1.0], [2.0, 2.0, 2.0])
    assert bound is not None and bound.half_width(0.05) == math.inf
    assert unpaired_bound([], [1.0]) is None


def test_equal_readings_are_no_certainty() -> None:
    bound = unpaired_bound([1.0] * 5, [1.0] * 5)
    assert bound is not None and 1e-3 < bound.half_width(0.05) < 1e-2


counts = st.integers(2, 40)
squares = st.floats(0.0, 10.0)


@given(counts, counts, squares, squares, st.floats(-5, 5), st.floats(1e-4, 0.2))
def test_sides_may_be_exchanged_and_less_error_is_wider(
    n: int, m: int, one: float, other: float, mean: float, alpha: float
) -> None:
    base, head = Sample(n, 0.0, one), Sample(m, mean, other)
    forth, back = UnpairedBound(base, head), UnpairedBound(head, base)
    assert forth.half_width(alpha) == pytest.approx(back.half_width(alpha))
    assert forth.difference == -back.difference
    assert forth.half_width(alpha / 2) >= forth.half_width(alpha) > 0
