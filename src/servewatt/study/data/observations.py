"""From a run's results to the study's table: one observation a trial, whatever its status."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from servewatt.records import Boundary, DomainEnergy, Grade, Result, Run, Section, Status, Via, Weights
from servewatt.stats.describe import requests_per_pass, trial_figures
from servewatt.stats.energy import counted_domains, section_energies, section_powers, worst
from servewatt.stats.http_share import engine_share
from servewatt.stats.limits import limit_of
from servewatt.study.data.names import label


@dataclass(frozen=True)
class Observation:
    """One trial as one row of the study's table. SI units without prefixes; None where a quantity was not measured.

    Energies are those of the whole machine's metered domains (`energy_j`) and of its parts; a part that was not
    metered is None, never zero.
    """

    campaign: str
    """Which measuring campaign: the name of the results file, such as `h200`."""
    run: str
    machine: str
    """Fingerprint of the hardware."""
    model: str
    """As in the study's tables."""
    parameters: int
    weights: Weights
    engine: str
    provider: str
    precision: str
    batch: int
    via: Via
    configuration: str
    """The study's name of it, such as `<CUDA, ONNX>`; see `names.label`."""
    block: int
    position: int
    attempt: int
    status: Status
    reason: str = ""
    started_at: str = ""
    grade: Grade = Grade.MISSING
    """The worst grade in `energy_j`."""
    cpu_grade: Grade = Grade.MISSING
    gpu_grade: Grade = Grade.MISSING
    tokens_in: int = 0
    tokens_out: int = 0
    """Tokens generated inside the window."""
    requests: int = 0
    duration_s: float | None = None
    """Length of the generation window."""
    energy_j: float | None = None
    """Of the window, by the run's boundary."""
    cpu_energy_j: float | None = None
    gpu_energy_j: float | None = None
    energy_error_j: float | None = None
    """Bound of the error that the counters' quanta cause."""
    idle_power_w: float | None = None
    """By the run's boundary, model loaded, nothing asked."""
    energy_j_per_token: float | None = None
    cpu_energy_j_per_token: float | None = None
    gpu_energy_j_per_token: float | None = None
    active_j_per_token: float | None = None
    s_per_token: float | None = None
    """Window over tokens generated: prefill included."""
    ttft_s: float | None = None
    inter_token_mean_s: float | None = None
    """Mean over the window's generations: engines that hand over several tokens at once have a median of 0."""
    load_s: float | None = None
    load_energy_j: float | None = None
    cpu_percent: float | None = None
    """Of the processes that serve; 100 is one CPU."""
    rss_bytes: int | None = None
    """Peak."""
    gpu_percent: float | None = None
    gpu_memory_bytes: int | None = None
    """Peak, added by the trial."""
    output_digest: str = ""
    engine_share: float | None = None
    """Through HTTP: seconds the engine worked over seconds the client waited, summed over the window's requests."""
    floor_s_per_token: float | None = None
    """Least time of a decoded token by memory and arithmetic (`stats.limits`); null where no floor is known."""
    times_floor: float | None = None
    """Measured time of a decoded token over that."""


@dataclass(frozen=True)
class Variable:
    """A response variable of the study: a column of Observation."""

    name: str
    """Field of Observation."""
    title: str
    unit: str
    scale: float = 1.0
    """Multiply the field by this to show it in `unit`."""


VARIABLES = (
    Variable("energy_j_per_token", "global energy", "mJ/token", 1e3),
    Variable("cpu_energy_j_per_token", "CPU energy", "mJ/token", 1e3),
    Variable("gpu_energy_j_per_token", "GPU energy", "mJ/token", 1e3),
    Variable("s_per_token", "execution time", "ms/token", 1e3),
    Variable("cpu_percent", "CPU usage", "%"),
    Variable("rss_bytes", "RAM", "GB", 1e-9),
    Variable("gpu_percent", "GPU usage", "%"),
    Variable("gpu_memory_bytes", "GPU memory", "GB", 1e-9),
)
"""The study's response variables, in its order, per generated token where work matters."""


@dataclass(frozen=True)
class CountedDomains:
    """Names of the domains whose joules add up inside a boundary."""

    whole: frozenset[str]
    cpu: frozenset[str]
    """The processor package, with its memory where that is metered apart."""
    gpu: frozenset[str]


def observe(run: Run, results: Sequence[Result], campaign: str) -> tuple[Observation, ...]:
    """One observation for each trial of a run, in the order given."""
    whole, cpu, gpu = (
        counted_domains(boundary, run.environment.domains, results)
        for boundary in (run.plan.procedure.boundary, Boundary.CPU, Boundary.GPU)
    )
    domains = CountedDomains(whole, cpu, gpu)
    return tuple(_observation(run, result, domains, campaign) for result in results)


def usable(observations: Iterable[Observation]) -> tuple[Observation, ...]:
    """The last valid attempt of each model, configuration and block of a run: what enters statistics."""
    last: dict[tuple[str, str, str, str, int], Observation] = {}
    for seen in sorted(observations, key=lambda o: o.attempt):
        if seen.status is Status.OK:
            last[seen.campaign, seen.run, seen.model, seen.configuration, seen.block] = seen
    return tuple(last.values())


def _observation(run: Run, result: Result, domains: CountedDomains, campaign: str) -> Observation:
    trial = result.trial
    model, configuration = trial.model, trial.configuration
    ended = Observation(
        campaign=campaign,
        run=run.id,
        machine=run.environment.fingerprint,
        model=PurePath(model.name).name,
        parameters=model.parameters,
        weights=model.weights,
        engine=configuration.engine,
        provider=configuration.provider.value,
        precision=configuration.precision.value,
        batch=configuration.batch,
        via=configuration.via,
        configuration=label(configuration),
        block=trial.block,
        position=trial.position,
        attempt=trial.attempt,
        status=result.status,
        reason=result.reason,
        started_at=result.started_at,
    )
    generate = result.section("generate")
    if result.status is not Status.OK or generate is None:
        return ended
    measured = _measured(ended, result, generate, domains)
    limit = limit_of(run.plan.model.shape, configuration, [result], run.environment, confidence=0.95)
    if limit is None or limit.floor_s_per_token is None or limit.times_floor is None:
        return measured
    return replace(measured, floor_s_per_token=limit.floor_s_per_token, times_floor=limit.times_floor.estimate)


def _measured(ended: Observation, result: Result, generate: Section, domains: CountedDomains) -> Observation:
    figures = trial_figures(result, domains.whole)
    energies, cpu, gpu = (section_energies(generate, part) or () for part in (domains.whole, domains.cpu, domains.gpu))
    powers = section_powers(result.section("idle"), domains.whole)
    cpu_j, gpu_j = _sum_j(cpu), _sum_j(gpu)
    tokens = generate.tokens_out
    return replace(
        ended,
        grade=worst(e.grade for e in energies),
        cpu_grade=worst(e.grade for e in cpu),
        gpu_grade=worst(e.grade for e in gpu),
        tokens_in=generate.tokens_in,
        tokens_out=tokens,
        requests=generate.passes * requests_per_pass(result),
        duration_s=generate.duration_s,
        energy_j=_sum_j(energies),
        cpu_energy_j=cpu_j,
        gpu_energy_j=gpu_j,
        energy_error_j=sum(e.error_j for e in energies) if energies else None,
        idle_power_w=sum(powers.values()) if powers is not None else None,
        energy_j_per_token=figures.energy_j_per_token,
        cpu_energy_j_per_token=_ratio(cpu_j, tokens),
        gpu_energy_j_per_token=_ratio(gpu_j, tokens),
        active_j_per_token=figures.active_j_per_token,
        s_per_token=_ratio(generate.duration_s, tokens),
        ttft_s=figures.ttft_p50_s,
        inter_token_mean_s=figures.inter_token_mean_s,
        load_s=figures.load_s,
        load_energy_j=figures.load_energy_j,
        cpu_percent=figures.cpu_percent,
        rss_bytes=result.peak_rss_bytes,
        gpu_percent=figures.gpu_percent,
        gpu_memory_bytes=result.peak_gpu_bytes,
        output_digest=result.output_digest,
        engine_share=engine_share(result),
    )


def _sum_j(energies: Sequence[DomainEnergy]) -> float | None:
    """Joules of domains that were metered; None for none."""
    return sum(e.energy_j for e in energies) if energies else None


def _ratio(value: float | None, by: float) -> float | None:
    return value / by if value is not None and by > 0 else None
