"""Verdicts on two sides, from costs given by hand."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servewatt.errors import InputError
from servewatt.recommendation.fingerprint import Fingerprint, Part, differences, fingerprint
from servewatt.recommendation.gate import Change, Metric, Outcome, Side, SideCosts, change_of, compare_sides
from servewatt.records import Interval
from tests.stats.builders import ENVIRONMENT
from tests.stats.builders import run as made_run

MARK = fingerprint(made_run().plan, ENVIRONMENT, boundary="machine", domains=("cpu:package-0 (counter)",))
KEYS = ("torch/cpu/fp32/b1", "onnx/cpu/fp32/b1")


def side(costs: Mapping[str, float], run: str = "head", *, episodes: int = 8, mark: Fingerprint = MARK) -> Side:
    """Costs that scatter by 0.2 % from episode to episode."""
    chance = random.Random(run)
    known = {}
    for key, cost in costs.items():
        joules = tuple(cost * math.exp(chance.gauss(0, 0.002)) for _ in range(episodes))
        known[key] = SideCosts(joules, tuple(joule / 50 for joule in joules), "1.0")
    return Side(f"run {run}", mark, run, known, {})


BASE = side({KEYS[0]: 2.0, KEYS[1]: 1.0}, "base")


@pytest.mark.parametrize(
    ("torch", "onnx", "outcome"),
    [
        (2.0, 1.0, Outcome.PASS),
        (1.0, 1.0, Outcome.PASS),
        (2.02, 1.0, Outcome.PASS),
        (2.2, 1.0, Outcome.WORSE),
        (1.0, 1.2, Outcome.WORSE),
        (2.06, 1.0, Outcome.UNDECIDED),
    ],
)
def test_the_verdict(torch: float, onnx: float, outcome: Outcome) -> None:
    verdict = compare_sides(BASE, side({KEYS[0]: torch, KEYS[1]: onnx}))
    assert verdict.outcome is outcome
    ratios = {one.configuration: one.ratio.estimate for one in verdict.compared}
    assert ratios == pytest.approx({KEYS[0]: torch / 2, KEYS[1]: onnx}, rel=0.005)


def test_time_is_compared_too() -> None:
    verdict = compare_sides(BASE, side({KEYS[0]: 2.0, KEYS[1]: 1.0}), metric=Metric.TIME)
    assert (verdict.outcome, verdict.unit) == (Outcome.PASS, "s/token")
    assert verdict.compared[0].base == pytest.approx(0.04, rel=0.005)


def test_what_is_missing_on_either_side_is_named_and_makes_a_pass_undecided() -> None:
    fewer = side({KEYS[0]: 2.0})
    fewer = replace(fewer, absent={KEYS[1]: "crashed: SIGSEGV"})
    verdict = compare_sides(BASE, fewer)
    assert verdict.outcome is Outcome.UNDECIDED
    assert [(m.configuration, m.lacking, m.reason) for m in verdict.missing] == [(KEYS[1], "head", "crashed: SIGSEGV")]
    more = compare_sides(side({KEYS[0]: 2.0}, "base"), side({KEYS[0]: 2.0, KEYS[1]: 1.0}))
    assert [(m.configuration, m.lacking) for m in more.missing] == [(KEYS[1], "base")]
    assert compare_sides(BASE, side({KEYS[0]: 3.0})).outcome is Outcome.WORSE


def test_one_episode_decides_nothing() -> None:
    assert compare_sides(BASE, side({KEYS[0]: 9.0, KEYS[1]: 9.0}, episodes=1)).outcome is Outcome.UNDECIDED


def test_nothing_in_common() -> None:
    with pytest.raises(InputError, match="no configuration with energy in common"):
        compare_sides(BASE, side({"openvino/cpu/fp32/b1": 1.0}))


def test_the_same_run_twice_is_no_comparison() -> None:
    with pytest.raises(InputError, match="nothing was measured since"):
        compare_sides(BASE, BASE)


@pytest.mark.parametrize("tolerance", [0.0, -0.1, 1.0, 5.0, math.nan, math.inf])
def test_a_tolerance_is_a_share(tolerance: float) -> None:
    with pytest.raises(InputError, match="tolerance"):
        compare_sides(BASE, side({KEYS[0]: 2.0}), tolerance=tolerance)


@pytest.mark.parametrize("confidence", [0.0, 1.0, math.nan])
def test_a_confidence_is_a_share(confidence: float) -> None:
    with pytest.raises(InputError, match="confidence"):
        compare_sides(BASE, side({KEYS[0]: 2.0}), confidence=confidence)


def changed(**parts: Mapping[str, object]) -> Fingerprint:
    made = {name: replace(getattr(MARK, name), **values) for name, values in parts.items()}
    return replace(MARK, **made)


@pytest.mark.parametrize(
    ("mark", "named"),
    [
        (changed(machine={"cpu": "Other CPU", "digest": "1"}), "cpu: Example CPU against Other CPU"),
        (changed(machine={"gpus": ("NVIDIA H200",), "digest": "1"}), "gpus: none against NVIDIA H200"),
        (changed(work={"model_digest": "f" * 64}), "model digest: 0000"),
        (changed(work={"prompts_digest": "abc"}), "prompts digest"),
        (changed(work={"new_tokens": 9}), "new tokens: 4 against 9"),
        (changed(procedure={"boundary": "cpu"}), "boundary: machine against cpu"),
        (changed(procedure={"turns": "duet"}), "turns: blocks against duet"),
        (changed(procedure={"settings": {"window_s": "9.0"}}), "window_s: default against 9.0"),
        (changed(procedure={"domains": ("cpu (estimated)",)}), r"domains: cpu:package-0 \(counter\) against cpu"),
    ],
)
def test_what_cannot_be_compared_is_refused_and_named(mark: Fingerprint, named: str) -> None:
    with pytest.raises(InputError, match=named):
        compare_sides(BASE, side({KEYS[0]: 2.0}, mark=mark))


def test_other_machines_on_request_alone() -> None:
    mark = changed(machine={"cpu": "Other CPU", "digest": "1"}, procedure={"domains": ("cpu (estimated)",)})
    head = side({KEYS[0]: 2.0, KEYS[1]: 1.0}, mark=mark)
    verdict = compare_sides(BASE, head, across_machines=True)
    assert {d.what for d in verdict.differences} == {"cpu", "digest", "domains"}
    work = replace(mark, work=replace(mark.work, model="other"))
    with pytest.raises(InputError, match="model: bundled against other"):
        compare_sides(BASE, replace(head, fingerprint=work), across_machines=True)


def test_other_software_is_told_and_no_obstacle() -> None:
    mark = replace(MARK, software={**MARK.software, "torch": "2.13"})
    head = side({KEYS[0]: 2.0, KEYS[1]: 1.0}, mark=mark)
    costs = {**head.configurations, KEYS[1]: replace(head.configurations[KEYS[1]], engine_version="2.0")}
    found = compare_sides(BASE, replace(head, configurations=costs)).differences
    assert [str(d) for d in found] == ["torch: none against 2.13", f"engine of {KEYS[1]}: 1.0 against 2.0"]
    assert {d.part for d in found} == {Part.SOFTWARE}
    assert differences(MARK, MARK) == ()


def test_what_all_share_is_told() -> None:
    base = side({"a": 1.0, "b": 2.0, "c": 3.0}, "base")
    slower = compare_sides(base, side({"a": 1.1, "b": 2.2, "c": 3.3}))
    assert slower.common_shift == pytest.approx(1.1, rel=0.005)
    assert compare_sides(base, side({"a": 1.1, "b": 2.0, "c": 3.3})).common_shift is None


shares = st.floats(1e-3, 0.5)


@given(st.floats(0.2, 5.0), st.floats(0.0, 1.0), st.floats(0.0, 1.0), shares)
def test_changes_by_their_interval(estimate: float, below: float, above: float, tolerance: float) -> None:
    low, high = estimate / (1 + below), estimate * (1 + above)
    change = change_of(Interval(estimate, low, high, 5), tolerance)
    assert (change is Change.WORSE) == (low > 1 + tolerance)
    assert (change in {Change.BETTER, Change.EQUAL, Change.NOT_WORSE}) == (high <= 1 + tolerance)
    # An improvement never fails.
    assert high >= 1 or change not in {Change.WORSE, Change.UNDECIDED}
    assert change_of(Interval(estimate, None, None, 1), tolerance) is Change.UNDECIDED
