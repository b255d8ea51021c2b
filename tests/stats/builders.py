"""Runs and results made up by hand, with round numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from servewatt.records import (
    Component,
    Configuration,
    Domain,
    DomainEnergy,
    Environment,
    Facts,
    Generation,
    Grade,
    Model,
    ModelSource,
    Plan,
    PowerSample,
    Precision,
    Procedure,
    Provider,
    Result,
    Run,
    Section,
    Status,
    Trial,
    UtilisationSample,
    Weights,
    Workload,
)

TORCH = Configuration("torch")
ONNX = Configuration("onnx")
OPENVINO = Configuration("openvino")
TORCH_BF16 = Configuration("torch", Provider.CPU, Precision.BF16)
TORCH_CUDA = Configuration("torch", Provider.CUDA)

PACKAGE = Domain("cpu:package-0", Component.CPU, Grade.COUNTER, 0.001)
GPU = Domain("gpu:0", Component.GPU, Grade.COUNTER, 0.1)

MODEL = Model(
    name="bundled",
    source=ModelSource.BUNDLED,
    folder="/models/bundled",
    revision="0" * 64,
    architecture="LlamaForCausalLM",
    weights=Weights.TRAINED,
    parameters=10_000_000,
    weight_bytes=20_000_000,
    vocabulary_size=4096,
    context_length=512,
)
WORKLOAD = Workload("two", ((1, 2, 3), (4, 5)), new_tokens=4)
ENVIRONMENT = Environment(
    cpu="Example CPU",
    cpu_count=2,
    memory_bytes=8 * 2**30,
    kernel="6.1",
    system="Linux",
    python="3.12.0",
    domains=(PACKAGE, GPU),
)
OUTPUTS = ((10, 11, 12, 13), (20, 21, 22, 23))


def run(
    configurations: Sequence[Configuration] = (TORCH, ONNX), *, blocks: int = 3, id_: str = "run-1", **changes: object
) -> Run:
    plan = Plan(MODEL, WORKLOAD, tuple(configurations), Procedure(blocks=blocks))
    made = Run(id_, "2026-01-02T03:04:05+00:00", plan, ENVIRONMENT, "0.1.0")
    return replace(made, **changes)  # type: ignore[arg-type]


def energy(domain: Domain, energy_j: float, *, counted: bool = True, error_j: float = 0.0) -> DomainEnergy:
    return DomainEnergy(domain.name, domain.component, energy_j, error_j, domain.grade, counted)


def section(name: str, duration_s: float, *energies: DomainEnergy, **changes: object) -> Section:
    made = Section(name, start_s=100.0, duration_s=duration_s, energy=energies)
    return replace(made, **changes)  # type: ignore[arg-type]


def result(
    configuration: Configuration = TORCH,
    block: int = 0,
    package_j: float = 80.0,
    gpu_j: float = 40.0,
    **changes: object,
) -> Result:
    """A valid trial: 10 s, 5 passes over two prompts, 40 tokens; idle 2 W + 1 W, prefill 12 W + 3 W for 0.25 s each."""
    attempt = changes.pop("attempt", 0)
    run_id = changes.pop("run_id", "run-1")
    trial = Trial(str(run_id), block, 0, int(str(attempt)), MODEL, WORKLOAD, configuration, Procedure(blocks=3))
    made = Result(
        trial=trial,
        status=Status.OK,
        started_at="2026-01-02T03:04:05+00:00",
        facts=Facts("2.13"),
        sections=(
            section("load", 1.5, energy(PACKAGE, 9.0), energy(GPU, 3.0)),
            section("idle", 2.0, energy(PACKAGE, 4.0), energy(GPU, 2.0)),
            section("prefill", 2.0, energy(PACKAGE, 24.0), energy(GPU, 6.0)),
            section(
                "generate",
                10.0,
                energy(PACKAGE, package_j, error_j=0.06),
                energy(GPU, gpu_j, error_j=0.06),
                own_cpu_s=15.0,
                stolen_cpu_s=0.1,
                passes=5,
                tokens_out=40,
            ),
        ),
        generations=(
            Generation(0, 1, 100.0, 0.1, (0.01, 0.02, 0.03), 4),
            Generation(1, 1, 101.0, 0.3, (0.02, 0.02, 0.10), 4),
        ),
        outputs=OUTPUTS,
        power=(PowerSample("gpu:0", 100.5, 4.0),),
        utilisation=(
            UtilisationSample(99.0, gpu_percent=90.0),
            UtilisationSample(101.0, gpu_percent=10.0),
            UtilisationSample(109.0, gpu_percent=30.0),
            UtilisationSample(109.5),
        ),
        peak_rss_bytes=1000 + block,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def failed(configuration: Configuration, block: int, status: Status, reason: str, attempt: int = 0) -> Result:
    made = result(configuration, block, attempt=attempt)
    return Result(made.trial, status, reason)


def run_at(folder: str, made: Run) -> Run:
    """The run, its model in another folder."""
    return replace(made, plan=replace(made.plan, model=replace(made.plan.model, folder=folder)))


def results_at(folder: str, made: Sequence[Result]) -> list[Result]:
    """The results, their model in another folder."""
    return [replace(r, trial=replace(r.trial, model=replace(r.trial.model, folder=folder))) for r in made]
