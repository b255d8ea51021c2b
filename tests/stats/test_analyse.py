from __future__ import annotations

import random
from dataclasses import replace

import pytest

from servewatt.errors import InputError
from servewatt.records import (
    Boundary,
    Component,
    Configuration,
    Domain,
    Grade,
    Precision,
    Race,
    Result,
    Section,
    Status,
    Weights,
)
from servewatt.stats import analyse
from servewatt.stats.records import Analysis, ConfigurationSummary, Verdict
from tests.stats.builders import (
    GPU,
    ONNX,
    OPENVINO,
    OUTPUTS,
    PACKAGE,
    TORCH,
    TORCH_BF16,
    energy,
    failed,
    result,
    run,
    section,
)


def estimate(summary: ConfigurationSummary, name: str) -> float:
    value = getattr(summary, name).estimate
    assert isinstance(value, float)
    return value


def summary_of(analysis: Analysis, configuration: Configuration) -> ConfigurationSummary:
    return next(s for s in analysis.summaries if s.configuration == configuration)


def with_section(made: Result, name: str, **changes: object) -> Result:
    sections = tuple(replace(s, **changes) if s.name == name else s for s in made.sections)  # type: ignore[arg-type]
    return replace(made, sections=sections)


def without(made: Result, name: str) -> Result:
    return replace(made, sections=tuple(s for s in made.sections if s.name != name))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("energy_j_per_token", 3.0),  # (80 + 40) / 40
        ("energy_j_per_request", 12.0),  # 120 / (5 passes x 2 prompts)
        ("active_j_per_token", 2.25),  # (120 - 3 W x 10 s) / 40
        ("load_energy_j", 12.0),
        ("load_s", 1.5),
        ("idle_power_w", 3.0),
        ("tokens_per_s", 4.0),
        ("ttft_s", 0.2),
        ("ttft_p95_s", 0.29),
        ("inter_token_p50_s", 0.02),
        ("inter_token_p95_s", 0.0825),
        ("inter_token_p99_s", 0.0965),
        ("request_p50_s", 0.3),  # of 0.16 and 0.44
        ("request_p95_s", 0.426),
    ],
)
def test_figures_worked_out_by_hand(name: str, value: float) -> None:
    summary = analyse(run(), [result(block=b) for b in range(3)]).summaries[0]
    interval = getattr(summary, name)
    assert interval.estimate == pytest.approx(value)
    assert interval.low == interval.high == interval.estimate
    assert interval.n == 3


def test_use_of_the_machine() -> None:
    summary = analyse(run(), [result(block=b) for b in range(3)]).summaries[0]
    assert summary.cpu_percent == 150
    assert summary.gpu_percent == 20  # the sample before the section does not count
    assert summary.peak_rss_bytes == 1002
    assert summary.peak_gpu_bytes is None
    assert summary.energy_error_share == pytest.approx(0.001)
    assert summary.energy_grade == "counter"


def test_phases_add_up_to_the_total() -> None:
    summary = analyse(run(), [result()]).summaries[0]
    parts = {(p.phase, p.component): p.j_per_token.estimate for p in summary.phases}
    assert parts == {
        ("idle", Component.CPU): pytest.approx(0.5),
        ("idle", Component.GPU): pytest.approx(0.25),
        ("prefill", Component.CPU): pytest.approx(0.1),  # (12 W - 2 W) x 0.4 s / 40
        ("prefill", Component.GPU): pytest.approx(0.02),
        ("decode", Component.CPU): pytest.approx(1.4),
        ("decode", Component.GPU): pytest.approx(0.73),
    }
    assert sum(parts.values()) == pytest.approx(3.0)


def test_without_a_prefill_section_decode_holds_all_active_energy() -> None:
    summary = analyse(run(), [without(result(), "prefill")]).summaries[0]
    parts = {(p.phase, p.component): p.j_per_token.estimate for p in summary.phases}
    assert ("prefill", Component.CPU) not in parts
    assert parts["decode", Component.CPU] == pytest.approx(1.5)


def test_without_an_idle_section_there_is_no_active_energy() -> None:
    summary = analyse(run(), [without(result(), "idle")]).summaries[0]
    assert summary.active_j_per_token is None
    assert summary.idle_power_w is None
    assert summary.phases == ()
    assert estimate(summary, "energy_j_per_token") == 3.0


def test_active_energy_below_zero_is_kept() -> None:
    summary = analyse(run(), [result(package_j=15.0, gpu_j=5.0)]).summaries[0]
    assert estimate(summary, "active_j_per_token") == pytest.approx(-0.25)


@pytest.mark.parametrize(("boundary", "joules"), [(Boundary.MACHINE, 3.0), (Boundary.CPU, 2.0), (Boundary.GPU, 1.0)])
def test_boundary(boundary: Boundary, joules: float) -> None:
    analysis = analyse(run(), [result()], boundary=boundary)
    assert analysis.boundary is boundary
    assert estimate(analysis.summaries[0], "energy_j_per_token") == joules
    assert [r.boundary for r in analysis.rankings] == [Boundary.MACHINE, Boundary.CPU, Boundary.GPU]


def test_a_boundary_nobody_metered_has_no_energy() -> None:
    made = with_section(result(), "generate", energy=(energy(PACKAGE, 80.0),))
    analysis = analyse(run(), [made], boundary=Boundary.GPU)
    summary = analysis.summaries[0]
    assert summary.energy_j_per_token is None
    assert summary.active_j_per_token is None
    assert summary.energy_grade == ""
    assert estimate(summary, "tokens_per_s") == 4.0
    assert [r.boundary for r in analysis.rankings] == [Boundary.MACHINE, Boundary.CPU]
    assert any("no energy domain" in w for w in analysis.warnings)


def test_a_domain_missing_from_one_trial_is_not_a_saving() -> None:
    lacking = with_section(result(TORCH, 1), "generate", energy=(energy(PACKAGE, 80.0),))
    analysis = analyse(run(), [result(TORCH, 0), lacking])
    summary = summary_of(analysis, TORCH)
    assert summary.blocks == 2
    assert summary.block_energy_j_per_token == ((0, 3.0),)
    assert any("1 of 2 valid trials lack a domain" in w for w in analysis.warnings)


def test_a_domain_inside_another_counts_where_the_other_is_out_of_bounds() -> None:
    machine = Domain("machine:psys", Component.MACHINE, Grade.COUNTER, 0.001)
    package = replace(PACKAGE, within="machine:psys")
    core = Domain("cpu:core-0", Component.CPU, Grade.COUNTER, 0.001, within="cpu:package-0")
    made = with_section(
        result(),
        "generate",
        energy=(energy(machine, 200.0), energy(package, 80.0, counted=False), energy(core, 60.0, counted=False)),
    )
    whole = run()
    whole = replace(whole, environment=replace(whole.environment, domains=(machine, package, core)))
    assert estimate(analyse(whole, [made]).summaries[0], "energy_j_per_token") == 5.0
    cpu = analyse(whole, [made], boundary=Boundary.CPU)
    assert estimate(cpu.summaries[0], "energy_j_per_token") == 2.0


def test_grades_that_are_added_are_named() -> None:
    guess = replace(PACKAGE, grade=Grade.ESTIMATED)
    sections = tuple(replace(s, energy=(energy(guess, 4.0), energy(GPU, 2.0))) for s in result().sections)
    analysis = analyse(run(), [replace(result(), sections=sections)])
    assert analysis.summaries[0].energy_grade == "counter + estimated"
    assert any("grades" in w for w in analysis.warnings)
    grades = {p.component: p.grade for p in analysis.summaries[0].phases}
    assert grades == {Component.CPU: Grade.ESTIMATED, Component.GPU: Grade.COUNTER}


def test_only_the_last_valid_attempt_of_a_block_counts() -> None:
    results = [
        replace(result(TORCH, 0, package_j=1000.0), status=Status.INVALID, reason="busy"),
        result(TORCH, 0, package_j=500.0, attempt=1),
        result(TORCH, 0, package_j=80.0, attempt=2),
    ]
    for shuffled in (results, results[::-1]):
        summary = summary_of(analyse(run(), shuffled), TORCH)
        assert summary.blocks == 1
        assert estimate(summary, "energy_j_per_token") == 3.0
    assert [(c.status, c.count) for c in summary.statuses] == [(Status.OK, 2), (Status.INVALID, 1)]


def test_a_configuration_without_valid_trials_has_no_numbers_and_comes_last() -> None:
    crashed = [failed(ONNX, b, Status.CRASHED, "killed by SIGSEGV") for b in range(2)]
    crashed.append(failed(ONNX, 2, Status.CRASHED, "killed by SIGILL"))
    analysis = analyse(run((ONNX, TORCH, OPENVINO)), [*crashed, result(TORCH)])
    assert [s.configuration for s in analysis.summaries] == [TORCH, ONNX, OPENVINO]
    summary = analysis.summaries[1]
    assert summary.blocks == 0
    assert summary.energy_j_per_token is None
    assert summary.statuses[0].reason == "killed by SIGSEGV"
    assert "onnx/cpu/fp32/b1: 3 trials crashed (killed by SIGSEGV)" in analysis.warnings
    assert "openvino/cpu/fp32/b1: 0 of 3 blocks have a valid trial" in analysis.warnings


def test_nothing_measured_yet() -> None:
    analysis = analyse(run(), [])
    assert len(analysis.summaries) == 2
    assert analysis.comparisons == ()
    assert analysis.rankings == ()
    assert analysis.reference is None


def noisy(configuration: Configuration, factor: float, seed: int, blocks: int = 5) -> list[Result]:
    draw = random.Random(seed)
    return [
        result(configuration, b, package_j=factor * 80 * (1 + b / 10) * (1 + draw.gauss(0, 0.002)), gpu_j=0.0)
        for b in range(blocks)
    ]


def test_pairing_by_block_cancels_a_drift_larger_than_the_difference() -> None:
    results = noisy(TORCH, 1.0, 1) + noisy(ONNX, 1.1, 2)
    analysis = analyse(run(blocks=5), results)
    (comparison,) = analysis.comparisons
    assert (comparison.first, comparison.second) == (TORCH, ONNX)
    assert comparison.verdict is Verdict.LOWER
    assert comparison.more_blocks == 0
    assert comparison.ratio.estimate == pytest.approx(1 / 1.1, rel=0.01)
    assert comparison.ratio.n == 5
    torch, onnx = analysis.summaries
    assert torch.energy_j_per_token is not None and onnx.energy_j_per_token is not None
    assert torch.energy_j_per_token.high is not None and onnx.energy_j_per_token.low is not None
    assert torch.energy_j_per_token.high > onnx.energy_j_per_token.low  # unpaired, they overlap


def test_equals_stay_undecided() -> None:
    (comparison,) = analyse(run(blocks=5), noisy(TORCH, 1.0, 1) + noisy(ONNX, 1.001, 4)).comparisons
    assert comparison.verdict is Verdict.UNDECIDED
    assert comparison.more_blocks is None or comparison.more_blocks > 0


def test_more_comparisons_widen_each_interval() -> None:
    two = analyse(run(blocks=5), noisy(TORCH, 1.0, 1) + noisy(ONNX, 1.1, 2)).comparisons[0].ratio
    more = analyse(
        run((TORCH, ONNX, OPENVINO), blocks=5), noisy(TORCH, 1.0, 1) + noisy(ONNX, 1.1, 2) + noisy(OPENVINO, 2.0, 3)
    ).comparisons[0]
    assert more.second == ONNX
    assert two.high is not None and more.ratio.high is not None
    assert more.ratio.high > two.high


def test_configurations_that_share_no_block_cannot_be_told_apart() -> None:
    (comparison,) = analyse(run(), [result(TORCH, 0), result(ONNX, 1, package_j=120.0)]).comparisons
    assert comparison.ratio.estimate == pytest.approx(0.75)
    assert (comparison.ratio.low, comparison.ratio.high, comparison.ratio.n) == (None, None, 0)
    assert comparison.verdict is Verdict.UNDECIDED
    assert comparison.more_blocks is None


def test_agreement_with_the_reference() -> None:
    changed = ((10, 11, 12, 99), (20, 21))  # 3 + 2 of 4 + 4 positions
    results = [result(ONNX, outputs=changed), result(TORCH_BF16, outputs=changed), result(TORCH)]
    analysis = analyse(run((ONNX, TORCH_BF16, TORCH)), results)
    assert analysis.reference == TORCH
    assert summary_of(analysis, TORCH).output_agreement == 1
    assert summary_of(analysis, ONNX).output_agreement == 5 / 8


def test_the_reference_falls_back_to_the_first_fp32_configuration_with_outputs() -> None:
    results = [result(OPENVINO), result(ONNX, outputs=()), failed(TORCH, 0, Status.FAILED, "no")]
    assert analyse(run((TORCH, ONNX, OPENVINO)), results).reference == OPENVINO
    only = Configuration("torch", precision=Precision.INT8)
    analysis = analyse(run((only,)), [result(only)])
    assert analysis.reference is None
    assert analysis.summaries[0].output_agreement is None


def test_a_configuration_whose_outputs_vary_does_not_agree_with_itself() -> None:
    other = (OUTPUTS[0], (20, 21, 22, 99))
    analysis = analyse(run(), [result(TORCH, 0), result(TORCH, 1, outputs=other)])
    assert analysis.summaries[0].output_agreement == 15 / 16


def test_pareto_front_and_boundaries_that_disagree() -> None:
    quick = replace(result(ONNX, package_j=20.0, gpu_j=200.0), generations=result().generations[:1])
    slow = result(OPENVINO, package_j=90.0, gpu_j=40.0)
    analysis = analyse(run((TORCH, ONNX, OPENVINO)), [result(TORCH), quick, slow])
    assert {s.configuration: s.on_pareto_front for s in analysis.summaries} == {TORCH: True, ONNX: True, OPENVINO: True}
    worse = replace(slow, generations=(replace(slow.generations[1], ttft_s=9.0),))
    analysis = analyse(run((TORCH, ONNX, OPENVINO)), [result(TORCH), quick, worse])
    assert not summary_of(analysis, OPENVINO).on_pareto_front
    assert any("torch/cpu/fp32/b1 inside machine, onnx/cpu/fp32/b1 inside cpu" in w for w in analysis.warnings)


def test_warnings_about_the_machine() -> None:
    stolen = with_section(result(TORCH, 0), "generate", stolen_cpu_s=1.0)  # 1 s of 2 CPUs x 10 s
    coarse = with_section(result(ONNX, 0), "generate", energy=(energy(PACKAGE, 80.0, error_j=2.0), energy(GPU, 40.0)))
    warnings = analyse(run((TORCH, ONNX), blocks=1), [stolen, coarse]).warnings
    assert "the hypervisor gave up to 5.0 % of the CPU time to others (most in torch/cpu/fp32/b1)" in warnings
    assert any(w.startswith("onnx/cpu/fp32/b1: the counter's step is up to 1.7 %") for w in warnings)
    assert len(warnings) == 2
    # In a race most slices begin and end at a step of the counter.
    raced = run((TORCH, ONNX), blocks=1)
    raced = replace(raced, plan=replace(raced.plan, race=Race(60.0)))
    assert len(analyse(raced, [stolen, coarse]).warnings) == 1


def test_a_clean_run_warns_of_nothing_but_random_weights() -> None:
    clean = [result(c, b) for c in (TORCH, ONNX) for b in range(3)]
    assert analyse(run(), clean).warnings == ()
    made = run()
    made = replace(made, plan=replace(made.plan, model=replace(made.plan.model, weights=Weights.RANDOM)))
    assert "random" in analyse(made, clean).warnings[0]


def test_scatter_and_zero_energy_are_told() -> None:
    wild = [result(TORCH, b, package_j=j) for b, j in enumerate((80.0, 120.0, 160.0))]
    assert any("scatters by" in w for w in analyse(run(), wild).warnings)
    zero = [result(TORCH, b, package_j=0.0, gpu_j=0.0) for b in range(3)]
    analysis = analyse(run(), zero + [result(ONNX, b) for b in range(3)])
    assert any("reads as 0 J" in w for w in analysis.warnings)
    assert analysis.comparisons == ()


def test_a_trial_that_made_no_token_has_no_energy_per_token() -> None:
    nothing = with_section(result(), "generate", tokens_out=0, passes=0)
    summary = analyse(run(), [replace(nothing, generations=())]).summaries[0]
    assert summary.energy_j_per_token is None
    assert summary.energy_j_per_request is None
    assert summary.ttft_s is None


def test_results_of_another_run_are_refused() -> None:
    with pytest.raises(InputError, match="run-2"):
        analyse(run(), [result(run_id="run-2")])
    with pytest.raises(InputError, match="confidence"):
        analyse(run(), [], confidence=95)


def test_a_section_that_was_never_reached() -> None:
    bare = replace(result(), sections=(section("load", 1.0),), generations=(), utilisation=())
    summary = analyse(run(), [bare]).summaries[0]
    assert isinstance(bare.sections[0], Section)
    assert summary.blocks == 1
    assert summary.energy_j_per_token is None
    assert summary.tokens_per_s is None
    assert estimate(summary, "load_s") == 1.0
