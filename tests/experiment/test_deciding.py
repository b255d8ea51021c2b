"""What a decision says beside its choice: the saving over what people run, and what could overturn it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from servewatt.errors import InputError
from servewatt.experiment.deciding import decide
from servewatt.experiment.gathering import Found
from servewatt.recommendation.doubts import beyond_the_limit
from servewatt.recommendation.records import Constraints
from servewatt.records import Grade, Shape, UtilisationSample
from servewatt.stats.analyse import analyse
from servewatt.stats.race.warned import Kind, Margins
from tests.report.races import ONNX, OPENVINO, SLOW, TORCH, race
from tests.stats.builders import TORCH_CUDA, result, run


def test_the_choice_stands_beside_torch_in_fp32() -> None:
    """openvino needs half of what torch does."""
    answer = decide(race()).recommendation
    assert (answer.choice, answer.baseline) == (OPENVINO, TORCH)
    over = answer.over_baseline
    assert over is not None
    assert over.ratio.estimate == pytest.approx(0.5, abs=0.02)
    assert over.ratio.low is not None and over.ratio.high is not None
    assert over.ratio.low < 0.5 < over.ratio.high


def test_another_baseline_can_be_named_by_some_parts_of_its_key() -> None:
    assert decide(race(), against="onnx/fp32").recommendation.baseline == ONNX
    assert decide(race(), against=SLOW.key).recommendation.baseline == SLOW
    itself = decide(race(), against="openvino").recommendation
    assert (itself.baseline, itself.over_baseline) == (OPENVINO, None)
    with pytest.raises(InputError, match="more than one configuration"):
        decide(race(), against="fp32")
    with pytest.raises(InputError, match="has no energy in this run"):
        decide(race(), against="vllm/cuda/bf16/b1")


def test_the_baseline_runs_where_the_choice_does() -> None:
    cheap = result(TORCH_CUDA, package_j=10.0, gpu_j=5.0)
    answer = decide(Found(run((TORCH, TORCH_CUDA), blocks=1), [result(TORCH), cheap])).recommendation
    assert (answer.choice, answer.baseline) == (TORCH_CUDA, TORCH_CUDA)
    assert decide(Found(run((ONNX,)), [result(ONNX)])).recommendation.baseline is None


def test_a_race_without_disturbance_has_no_warnings() -> None:
    assert decide(race()).recommendation.warnings == ()


def test_estimated_joules_may_overturn_a_close_race_and_no_other() -> None:
    """onnx is 5 % dearer; an estimate cannot be trusted below 10 %."""
    close = decide(race(grade=Grade.ESTIMATED)).recommendation
    assert [w.kind for w in close.doubts] == [Kind.ESTIMATED]
    assert close.doubts[0].told.endswith("; this could overturn the choice")
    clear = decide(race({OPENVINO: 1.0, TORCH: 2.0}, grade=Grade.ESTIMATED)).recommendation
    assert clear.warnings == ()


def test_what_could_overturn_the_choice_comes_first() -> None:
    """The slow one throttles, which changes nothing."""
    found = race(grade=Grade.ESTIMATED)
    hot = UtilisationSample(0.1, gpu_throttled=True)
    results = [replace(r, utilisation=(hot,)) if r.trial.configuration == SLOW else r for r in found.results]
    answer = decide(replace(found, results=results)).recommendation
    assert [w.kind for w in answer.warnings] == [Kind.ESTIMATED, Kind.THROTTLED]
    assert answer.warnings[1].told.endswith("; the choice would stand")


@pytest.mark.parametrize(("error_j", "told"), [(0.4, False), (20.0, True)])
def test_a_coarse_counter_is_told_of_only_where_it_could_matter(error_j: float, told: bool) -> None:
    """40 J a slice: 1 % is what any counter has; of 50 % over 32 slices, 9 % are left, and onnx is 5 % dearer."""
    found = race()
    results = [
        replace(r, slices=tuple(replace(s, energy=(replace(s.energy[0], error_j=error_j),)) for s in r.slices))
        for r in found.results
    ]
    answer = decide(replace(found, results=results)).recommendation
    assert (Kind.QUANTUM in {w.kind for w in answer.warnings}) is told
    assert all(w.configuration in (OPENVINO.key, ONNX.key) for w in answer.warnings)


def test_whole_trials_are_checked_too() -> None:
    changed = ((10, 11, 12, 99), (20, 21))  # 3 + 2 of 4 + 4 positions
    hot = (UtilisationSample(105.0, gpu_throttled=True),)
    results = [result(ONNX, outputs=changed, package_j=60.0), result(TORCH), result(SLOW, utilisation=hot)]
    answer = decide(Found(run((ONNX, TORCH, SLOW), blocks=1), results)).recommendation
    told = {w.kind: w for w in answer.warnings}
    assert told[Kind.OUTPUTS].sentence.startswith("onnx/cpu/fp32/b1: only 62.5 % of its output tokens")
    assert told[Kind.OUTPUTS].could_overturn  # it is the choice
    assert told[Kind.THROTTLED].configuration == SLOW.key


def test_a_result_beyond_what_memory_can_deliver_is_a_fault() -> None:
    """A token in 10 ms from 40 MB of weights takes 4 GB/s; the machine is said to have 0.1 GB/s."""
    made = run((ONNX, TORCH), blocks=1)
    shape = Shape(
        layers=1,
        hidden_size=1000,
        query_heads=10,
        key_value_heads=10,
        head_size=100,
        feed_forward_size=1000,
        feed_forward_matrices=2,
        vocabulary_size=4000,
    )
    plan = replace(made.plan, model=replace(made.plan.model, shape=shape))
    made = replace(
        made, plan=plan, environment=replace(made.environment, memory_bandwidth_bytes_s=1e8, cache_bytes=1000)
    )
    analysis = analyse(made, [result(ONNX, package_j=60.0), result(TORCH)])
    beyond = list(beyond_the_limit(analysis.summaries, Margins(ONNX.key, {})))
    assert {w.configuration: w.could_overturn for w in beyond} == {ONNX.key: True, TORCH.key: False}
    assert beyond[0].size < 1
    assert "memory can deliver" in beyond[0].sentence


def test_warnings_are_about_the_choice_within_the_limits() -> None:
    found = race(grade=Grade.ESTIMATED)
    none = decide(found, limits=Constraints(max_memory_bytes=1)).recommendation
    assert (none.choice, none.warnings, none.over_baseline) == (None, (), None)


def test_the_way_of_each_configuration_to_the_choice() -> None:
    ways = {way.configuration: way for way in decide(race()).analysis.race}
    assert [ways[c.key].episodes for c in (OPENVINO, ONNX, TORCH, SLOW)] == [4, 4, 2, 1]
    assert ways[OPENVINO.key].steps == ()
    assert [s.episode for s in ways[ONNX.key].steps] == [1, 2, 3, 4]
    widths = [s.ratio.high / s.ratio.low for s in ways[ONNX.key].steps if s.ratio.high and s.ratio.low]
    assert widths == sorted(widths, reverse=True)
    assert ways[ONNX.key].could_save == pytest.approx(0.03, abs=0.015)
    # Load, idle and prefill take 5.5 s, and eight slices of 0.4 s x 9.
    assert ways[SLOW.key].measured_s == pytest.approx(5.5 + 8 * 3.6, rel=0.05)
