"""From a run's results to the study's table: one observation a trial, whatever its status."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from servewatt.records import Boundary, DomainEnergy, Result, Run, Section, Status
from servewatt.stats.describe import requests_per_pass, trial_figures
from servewatt.stats.energy import counted_domains, section_energies, section_powers, worst
from servewatt.stats.http_share import engine_share
from servewatt.stats.limits import limit_of
from servewatt.study.names import label
from servewatt.study.records import Observation


@dataclass(frozen=True)
class Counted:
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
    counted = Counted(whole, cpu, gpu)
    return tuple(_observation(run, result, counted, campaign) for result in results)


def usable(observations: Iterable[Observation]) -> tuple[Observation, ...]:
    """The last valid attempt of each model, configuration and block of a run: what enters statistics."""
    last: dict[tuple[str, str, str, str, int], Observation] = {}
    for seen in sorted(observations, key=lambda o: o.attempt):
        if seen.status is Status.OK:
            last[seen.campaign, seen.run, seen.model, seen.configuration, seen.block] = seen
    return tuple(last.values())


def _observation(run: Run, result: Result, counted: Counted, campaign: str) -> Observation:
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
    measured = _measured(ended, result, generate, counted)
    limit = limit_of(run.plan.model.shape, configuration, [result], run.environment, confidence=0.95)
    if limit is None or limit.floor_s_per_token is None or limit.times_floor is None:
        return measured
    return replace(measured, floor_s_per_token=limit.floor_s_per_token, times_floor=limit.times_floor.estimate)


def _measured(ended: Observation, result: Result, generate: Section, counted: Counted) -> Observation:
    figures = trial_figures(result, counted.whole)
    energies, cpu, gpu = (section_energies(generate, part) or () for part in (counted.whole, counted.cpu, counted.gpu))
    powers = section_powers(result.section("idle"), counted.whole)
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
