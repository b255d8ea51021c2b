"""Our results beside the published table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from servewatt.errors import InputError
from servewatt.records import (
    Boundary,
    Component,
    Domain,
    Environment,
    Gpu,
    Grade,
    Model,
    ModelSource,
    Procedure,
    Weights,
)
from servewatt.study.data.cells import By
from servewatt.study.data.observations import Observation
from servewatt.study.data.results_file import Results, RunNote, WorkloadNote
from servewatt.study.published.beside import BesidePublished, Source, set_beside
from tests.study.builders import observation

DOMAINS = (
    Domain("cpu:estimate", Component.CPU, Grade.ESTIMATED, 0.01),
    Domain("gpu:0", Component.GPU, Grade.COUNTER, 0.1),
)


def trials(model: str, campaign: str = "h200", **energies: float) -> tuple[Observation, ...]:
    """Three blocks a configuration, named like `cuda_torch`; a token takes 1/100 of its joules in seconds."""
    labels = {name: f"<{', '.join(p if p == 'bf16' else p.upper() for p in name.split('_'))}>" for name in energies}
    return tuple(
        observation(
            model,
            labels[name],
            block,
            campaign=campaign,
            run=f"{campaign}-{model}",
            energy_j_per_token=energy + 0.01 * (block - 1),
            s_per_token=energy / 100,
        )
        for name, energy in energies.items()
        for block in range(3)
    )


def note(campaign: str, model: str, stop: str = "length", domains: tuple[Domain, ...] = DOMAINS) -> RunNote:
    shape = Model(model, ModelSource.RANDOM, "", "r", "PhiForCausalLM", Weights.RANDOM, 1, 1, 1, 1)
    gpus = (Gpu(0, "NVIDIA H200", 1, "570"),) if len(domains) > 1 else ()
    environment = Environment("Example Xeon", 16, 1, "6.1", "Debian", "3.12", gpus=gpus, domains=domains)
    work = WorkloadNote("study", "d", 8, 32, stop)
    return RunNote(
        f"{campaign}-{model}",
        campaign,
        "2026-01-01",
        "1",
        shape,
        work,
        Procedure(boundary=Boundary.MACHINE),
        environment,
        (),
    )


def results(observations: Iterable[Observation], *notes: RunNote) -> Results:
    return Results(tuple(observations), notes)


def source(found: BesidePublished, name: str) -> Source:
    return next(s for s in found.sources if s.name == name)


ONE = trials("phi2", cuda_torch=2.0, cuda_onnx=3.0, cuda_jit=4.0)
"""Published: JIT 10.9 kJ, TORCH 63.6 kJ, ONNX 127.9 kJ."""


def test_without_results_the_published_table_is_checked_alone() -> None:
    found = set_beside()
    assert [s.name for s in found.sources] == ["published"]
    assert "2412.15441" in found.sources[0].citation
    assert (found.rows, found.ranks, found.overall, found.steps) == ((), (), (), ())
    assert {c.claim.by for c in found.claims} == {By.ENERGY}
    assert len(found.boundaries) == 15
    assert {s.source for s in found.savings} == {"published"}


def test_by_time_the_claims_about_time_and_the_polling_loop_are_shown() -> None:
    found = set_beside(by=By.TIME)
    assert [c.claim.name for c in found.claims] == ["cuda-before-cpu-time"]
    assert len(found.steps) == 12
    assert found.boundaries == ()


def test_ours_and_theirs_stand_in_one_row_each_over_its_own_least() -> None:
    found = set_beside(results(ONE, note("h200", "phi2")))
    rows = {r.configuration: r for r in found.rows}
    assert list(rows) == ["<CUDA, TORCH>", "<CUDA, ONNX>", "<CUDA, JIT>"]
    onnx = rows["<CUDA, ONNX>"]
    assert onnx.published == 127932.914739
    assert onnx.ours == pytest.approx(3.0)
    assert onnx.published_relative == pytest.approx(127932.914739 / 10862.803397)
    assert onnx.ours_relative == pytest.approx(1.5)
    assert rows["<CUDA, TORCH>"].ours_relative == 1.0


def test_ranks_are_told_with_and_without_jit() -> None:
    found = set_beside(results(ONE))
    with_jit, without = found.ranks
    assert (with_jit.jit, without.jit) == (True, False)
    # JIT < TORCH < ONNX and TORCH < ONNX < JIT: one pair of three agrees.
    assert with_jit.tau == pytest.approx(-1 / 3)
    assert without.refused == "2 configurations in common, fewer than 3"
    assert [(o.jit, o.models, o.same_order) for o in found.overall] == [(True, 1, 0), (False, 0, 1)]


def test_campaigns_are_compared_one_by_one() -> None:
    cpu = trials("phi2", "cpu", cpu_torch=30.0, cpu_onnx=20.0, cpu_ov=10.0)
    found = set_beside(results((*ONE, *cpu)))
    assert [s.name for s in found.sources] == ["published", "cpu", "h200"]
    assert {r.source for r in found.rows} == {"cpu", "h200"}
    taus = {r.source: r.tau for r in found.ranks if r.jit}
    # Published: OV < ONNX < TORCH.
    assert taus["cpu"] == pytest.approx(1.0)
    # Neither campaign has configurations of both providers, so no saving crosses the machines.
    crossing = {"all", "cuda-torch", "cuda-cpu", "cuda-cpu-best"}
    assert {s.source for s in found.savings if s.definition.name in crossing} == {"published"}
    by_claim = {c.claim.name: c for c in found.claims}
    own = {(r.source, r.definition): r.saving for r in by_claim["cpu-most"].ours}
    assert own["h200", "within-cpu"] is None
    saving = own["cpu", "within-cpu"]
    assert saving is not None
    assert saving.share == pytest.approx(2 / 3)


def test_only_fp32_has_a_counterpart_and_the_rest_is_told() -> None:
    more = (*ONE, *trials("phi2", cuda_onnx_bf16=1.0), *trials("my-own-model", cuda_torch=1.0))
    found = set_beside(results(more))
    assert source(found, "h200").unmatched == ("<CUDA, ONNX, bf16>", "my-own-model")
    assert source(found, "h200").models == 1
    assert {r.configuration for r in found.rows} == {"<CUDA, TORCH>", "<CUDA, ONNX>", "<CUDA, JIT>"}


def test_a_campaign_over_http_stands_beside_the_published_one_which_was_too() -> None:
    served = tuple(replace(o, configuration=o.configuration.replace(">", ", HTTP>")) for o in ONE)
    found = set_beside(results(served))
    assert {r.configuration for r in found.rows} == {"<CUDA, TORCH>", "<CUDA, ONNX>", "<CUDA, JIT>"}
    told = source(found, "h200")
    assert told.stand_ins == ("<CUDA, JIT, HTTP>", "<CUDA, ONNX, HTTP>", "<CUDA, TORCH, HTTP>")
    assert told.unmatched == ()
    # Beside the same in process, which is shown, the ones over HTTP have no counterpart left.
    both = source(set_beside(results((*ONE, *served))), "h200")
    assert both.stand_ins == ()
    assert both.unmatched == told.stand_ins


def test_the_boundary_and_the_work_of_ours_are_told() -> None:
    mixed = (*ONE, *trials("phi2", cpu_torch=30.0))
    told = source(set_beside(results(mixed, note("h200", "phi2"))), "h200")
    assert told.machine == "NVIDIA H200, Example Xeon, 16 CPUs"
    assert told.boundary.startswith("machine boundary, the same for every configuration: ")
    assert "cpu:estimate (estimated), gpu:0 (counter)" in told.boundary
    assert "an idle GPU is paid by CPU configurations too" in told.boundary
    assert told.work == "per generated token, output lengths equal; medians over blocks"
    assert told.repetitions == (3, 3)
    eos = source(set_beside(results(ONE, note("h200", "phi2", stop="eos", domains=DOMAINS[:1]))), "h200")
    assert eos.work == "per generated token; medians over blocks"
    assert "idle GPU" not in eos.boundary


def test_random_weights_and_estimates_are_told() -> None:
    trained = tuple(replace(o, weights=Weights.TRAINED) for o in trials("tinyllama", cuda_torch=1.0))
    assert source(set_beside(results(ONE)), "h200").weights == "random"
    assert source(set_beside(results((*ONE, *trained))), "h200").weights == "random for 1 of 2 models"
    assert source(set_beside(results(trained)), "h200").weights == "trained"
    estimated = tuple(replace(o, grade=Grade.ESTIMATED) for o in ONE)
    assert source(set_beside(results(estimated)), "h200").estimated
    assert not source(set_beside(results(ONE)), "h200").estimated


def test_one_model_leaves_out_the_claims_which_are_extremes_over_all() -> None:
    found = set_beside(results((*ONE, *trials("tinyllama", cuda_torch=1.0))), models=["phi2"])
    assert found.claims == ()
    assert {r.model for r in found.rows} == {"phi2"}
    assert all({v.model for v in s.values} <= {"phi2"} for s in found.savings)
    assert {b.model for b in set_beside(models=["phi2"]).boundaries} == {"phi2"}


def test_an_unknown_model_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError) as caught:
        set_beside(models=["tinylama"])
    assert "tinyllama" in caught.value.hint


@pytest.mark.parametrize("strange", [trials("phi2", cuda_torch_bf16=1.0), trials("my-own-model", cuda_torch=1.0), ()])
def test_results_without_any_counterpart_are_refused(strange: tuple[Observation, ...]) -> None:
    with pytest.raises(InputError, match="published counterpart"):
        set_beside(results(strange))
