"""Ratios of groups with intervals, against SciPy and by hand, and the sentences that conclude."""

from __future__ import annotations

import math
import random

import pytest
from scipy import stats

from servewatt.study.data.samples import Sample, SampleGroup
from servewatt.study.tests.battery import welch_degrees
from servewatt.study.tests.conclusion import conclude
from servewatt.study.tests.describe import describe
from servewatt.study.tests.differences import differences, welch_ratio
from servewatt.study.tests.groups import Group


def sample(**groups: tuple[float, ...]) -> Sample:
    return Sample("phi2", "joules", tuple(SampleGroup(*one) for one in groups.items()), paired=False)


def in_blocks(**groups: tuple[float, ...]) -> Sample:
    made = (SampleGroup(name, values, tuple(range(len(values)))) for name, values in groups.items())
    return Sample("phi2", "joules", tuple(made), paired=True)


def test_the_ratio_of_two_groups_is_welch_s_interval_of_logarithms() -> None:
    first, second = (1.0, 1.2, 1.1, 0.9), (2.0, 2.6, 1.7)
    found = welch_ratio(first, second, 0.05)
    logs = [[math.log(v) for v in values] for values in (first, second)]
    expected = stats.ttest_ind(*logs, equal_var=False).confidence_interval(0.95)
    assert found is not None and found.low is not None and found.high is not None
    assert found.n == 7
    assert found.estimate == pytest.approx(math.prod(first) ** (1 / 4) / math.prod(second) ** (1 / 3))
    assert found.low == pytest.approx(math.exp(expected.low))
    assert found.high == pytest.approx(math.exp(expected.high))


def test_no_ratio_of_values_at_or_below_zero_and_no_bounds_from_one_observation() -> None:
    assert welch_ratio((1.0, 0.0), (2.0, 3.0), 0.05) is None
    alone = welch_ratio((1.0,), (2.0, 2.0), 0.05)
    assert alone is not None and (alone.estimate, alone.low) == (0.5, None)
    same = welch_ratio((1.0, 1.0), (2.0, 2.0), 0.05)
    assert same is not None and (same.estimate, same.low) == (0.5, None)


def test_welch_s_degrees_of_freedom_are_satterthwaite_s_for_two_groups() -> None:
    first, second = (1.0, 1.2, 1.1, 0.9), (2.0, 2.6, 1.7)
    expected = stats.ttest_ind(first, second, equal_var=False).df
    assert welch_degrees([Group("a", first), Group("b", second)]) == pytest.approx(expected)


def test_all_pairs_share_the_error() -> None:
    made = sample(a=(1.0, 1.1, 1.2), b=(2.0, 2.1, 2.2), c=(3.0, 3.3, 3.6))
    found = differences(made)
    assert [(d.first, d.second) for d in found] == [("a", "b"), ("a", "c"), ("b", "c")]
    expected = welch_ratio((1.0, 1.1, 1.2), (2.0, 2.1, 2.2), 0.05 / 3)
    assert found[0].ratio is not None and expected is not None
    assert found[0].ratio.low == pytest.approx(expected.low)
    assert all(d.effect is not None and d.effect.value == -1 and not d.paired for d in found)


def test_blocks_remove_what_they_share() -> None:
    """Blocks differ tenfold and groups by 10 %: only paired values tell."""
    chance = random.Random(3)
    blocks = [10 ** chance.uniform(0, 1) for _ in range(8)]
    low = tuple(b * chance.gauss(1, 0.005) for b in blocks)
    high = tuple(1.1 * b * chance.gauss(1, 0.005) for b in blocks)
    (paired,) = differences(in_blocks(low=low, high=high))
    (separate,) = differences(sample(low=low, high=high))
    assert paired.paired and paired.ratio is not None and paired.ratio.high is not None
    assert paired.ratio.n == 8 and paired.ratio.estimate == pytest.approx(1 / 1.1, rel=0.01)
    assert paired.ratio.high < 1
    assert separate.ratio is not None and separate.ratio.high is not None and separate.ratio.high > 1


def test_descriptions_leave_out_what_is_no_number() -> None:
    one, none = describe(sample(a=(1.0, math.nan, 3.0, 2.0), b=(math.nan,)))
    assert (one.n, one.mean, one.sd, one.least, one.greatest) == (3, 2.0, 1.0, 1.0, 3.0)
    assert one.median is not None and one.median.estimate == 2.0 and one.median.n == 3
    assert (none.n, none.median, none.mean, none.sd) == (0, None, None, None)


def test_a_conclusion_for_separate_groups() -> None:
    sure = conclude(sample(onnx=(1.0, 1.01, 0.99, 1.0), torch=(2.0, 2.02, 1.98, 2.0), jit=(3.0, 3.1, 2.9)))
    assert sure.startswith("onnx has the least joules: 50.0 % [49.")
    assert sure.endswith("less than torch, the next (4 and 4 observations, not paired).")
    unsure = conclude(sample(onnx=(1.0, 1.5, 0.7), torch=(1.1, 1.4, 0.8), jit=(9.0, 9.1, 9.2)))
    assert unsure.startswith("Undecided between onnx and torch (joules of onnx over torch: 0.")
    assert "jit" not in unsure


@pytest.mark.parametrize(
    ("groups", "sentence"),
    [
        ({"a": (math.nan,)}, "No group has a value of joules."),
        ({"a": (1.0,), "b": ()}, "a is the only group with a value of joules"),
        ({"a": (-1.0, -2.0), "b": (1.0, 2.0)}, "a has the least median joules; values at or below zero have no ratios"),
        ({"a": (1.0,), "b": (2.0,)}, "Undecided between a and b (joules of a over b: 0.500, without an interval"),
    ],
)
def test_a_conclusion_where_little_can_be_said(groups: dict[str, tuple[float, ...]], sentence: str) -> None:
    assert conclude(sample(**groups)).startswith(sentence)
