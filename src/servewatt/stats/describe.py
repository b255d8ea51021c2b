"""Figures of one trial, then of one configuration over its blocks."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from servewatt.records import Component, Configuration, Grade, Result, Section, Status
from servewatt.stats.energy import grade_line, section_energies, section_powers, total_j, worst
from servewatt.stats.intervals import typical
from servewatt.stats.records import ConfigurationSummary, Interval, PhaseEnergy, StatusCount

Number = TypeVar("Number", int, float)

PHASES = ("idle", "prefill", "decode")


@dataclass(frozen=True)
class PhasePart:
    """Energy of one phase and component in one trial, per generated token."""

    phase: str
    component: Component
    j_per_token: float
    grade: Grade


@dataclass(frozen=True)
class TrialFigures:
    """The figures of one valid trial. None if something needed was not metered."""

    block: int
    energy_j_per_token: float | None
    energy_j_per_request: float | None
    active_j_per_token: float | None
    grades: tuple[Grade, ...]
    error_share: float | None
    load_energy_j: float | None
    load_s: float | None
    idle_power_w: float | None
    phases: tuple[PhasePart, ...]
    prefill_j_per_token: float | None
    decode_j_per_token: float | None
    tokens_per_s: float | None
    ttft_p50_s: float | None
    ttft_p95_s: float | None
    inter_token_mean_s: float | None
    inter_token_p50_s: float | None
    inter_token_p95_s: float | None
    inter_token_p99_s: float | None
    request_p50_s: float | None
    request_p95_s: float | None
    cpu_percent: float | None
    gpu_percent: float | None


def trial_figures(result: Result, domains: frozenset[str]) -> TrialFigures:
    """The figures of one valid trial, its energy being that of `domains`."""
    result = result.timed
    generate, idle, load = (result.section(name) for name in ("generate", "idle", "load"))
    energies = section_energies(generate, domains)
    idle_powers = section_powers(idle, domains)
    energy = total_j(energies)
    idle_power = sum(idle_powers.values()) if idle_powers is not None else None
    duration = generate.duration_s if generate else 0.0
    tokens = generate.tokens_out if generate else 0
    requests = _requests(result, generate)
    prefill = _prefill_j(result, domains)
    active = energy - idle_power * duration if energy is not None and idle_power is not None else None
    times = result.times
    return TrialFigures(
        block=result.trial.block,
        energy_j_per_token=_ratio(energy, tokens),
        energy_j_per_request=_ratio(energy, requests),
        active_j_per_token=_ratio(active, tokens),
        grades=tuple(e.grade for e in energies or ()),
        error_share=_ratio(sum(e.error_j for e in energies), energy or 0.0) if energies is not None else None,
        load_energy_j=total_j(section_energies(load, domains)),
        load_s=load.duration_s if load else None,
        idle_power_w=idle_power,
        phases=trial_phases(result, domains),
        prefill_j_per_token=_ratio(prefill, tokens),
        decode_j_per_token=_ratio(energy - prefill if energy is not None and prefill is not None else None, tokens),
        tokens_per_s=_ratio(tokens, duration),
        ttft_p50_s=times.ttft_p50_s,
        ttft_p95_s=times.ttft_p95_s,
        inter_token_mean_s=times.inter_token_mean_s,
        inter_token_p50_s=times.inter_token_p50_s,
        inter_token_p95_s=times.inter_token_p95_s,
        inter_token_p99_s=times.inter_token_p99_s,
        request_p50_s=times.request_p50_s,
        request_p95_s=times.request_p95_s,
        cpu_percent=_ratio(100 * generate.own_cpu_s, duration) if generate else None,
        gpu_percent=_gpu_percent(result, generate),
    )


def energy_j_per_token(result: Result, domains: frozenset[str]) -> float | None:
    """Energy of one valid trial per generated token, of `domains`; None where one of them was not metered."""
    generate = result.section("generate")
    return _ratio(total_j(section_energies(generate, domains)), generate.tokens_out if generate else 0)


def trial_phases(result: Result, domains: frozenset[str]) -> tuple[PhasePart, ...]:
    """Energy of the generation section split into idle, prefill and decode; the parts add up to the whole.

    Idle is the loaded machine's power over the section's time. Prefill is the `prefill` section's power above idle
    over the time to first token of every generation; decode is the rest. Without a prefill section decode holds
    all that is above idle; without an idle section there is no split. Noise can make a part negative: it is kept.
    """
    generate = result.section("generate")
    energies = section_energies(generate, domains)
    idle = section_energies(result.section("idle"), domains)
    idle_powers = section_powers(result.section("idle"), domains)
    if generate is None or energies is None or idle is None or idle_powers is None or generate.tokens_out <= 0:
        return ()
    prefill = section_energies(result.section("prefill"), domains)
    prefill_powers = section_powers(result.section("prefill"), domains)
    prefill_s = result.times.ttft_sum_s
    joules: dict[tuple[str, Component], float] = {}
    grades: dict[tuple[str, Component], list[Grade]] = {}

    def add(phase: str, component: Component, energy_j: float, grade: Grade) -> None:
        joules[phase, component] = joules.get((phase, component), 0.0) + energy_j
        grades.setdefault((phase, component), []).append(grade)

    idle_grades = {e.domain: e.grade for e in idle}
    prefill_grades = {e.domain: e.grade for e in prefill or ()}
    for energy in energies:
        at_rest = idle_powers[energy.domain] * generate.duration_s
        before_first = 0.0
        add("idle", energy.component, at_rest, idle_grades[energy.domain])
        if prefill_powers is not None:
            before_first = (prefill_powers[energy.domain] - idle_powers[energy.domain]) * prefill_s
            add("prefill", energy.component, before_first, prefill_grades[energy.domain])
        add("decode", energy.component, energy.energy_j - at_rest - before_first, energy.grade)
    if not all(map(math.isfinite, joules.values())):
        return ()
    return tuple(
        PhasePart(phase, component, energy_j / generate.tokens_out, worst(grades[phase, component]))
        for (phase, component), energy_j in joules.items()
    )


def requests_per_pass(result: Result) -> int:
    """Rows generated in one pass: every prompt, and those repeated to fill the last batch."""
    return len(result.trial.workload.prompts) + result.repeated_rows


def _requests(result: Result, generate: Section | None) -> int:
    """Rows generated in the section `generate`; slices need not make up whole passes."""
    if result.slices:
        return sum(one.batches for one in result.slices if not one.fault) * result.trial.configuration.batch
    return generate.passes * requests_per_pass(result) if generate else 0


def _prefill_j(result: Result, domains: frozenset[str]) -> float | None:
    """All that `domains` drew until the first tokens: the power of prefill over the time marks of the generation."""
    powers = section_powers(result.section("prefill"), domains)
    return sum(powers.values()) * result.times.ttft_sum_s if powers is not None else None


def summarise(
    configuration: Configuration,
    results: Sequence[Result],
    domains: frozenset[str],
    confidence: float,
    output_agreement: float | None,
) -> ConfigurationSummary:
    """One configuration over its blocks: medians, intervals and the statuses of all its trials.

    `results` are all its trials; `domains` those whose energy counts.
    """
    valid = valid_trials(results)
    statuses = status_counts(results)
    if not valid:
        return ConfigurationSummary(configuration, statuses, 0)
    figures = [trial_figures(result, domains) for result in valid]

    def over_blocks(pick: Callable[[TrialFigures], float | None]) -> Interval | None:
        return _typical((pick(f) for f in figures), confidence)

    return ConfigurationSummary(
        configuration=configuration,
        statuses=statuses,
        blocks=len(valid),
        energy_j_per_token=over_blocks(lambda f: f.energy_j_per_token),
        energy_j_per_request=over_blocks(lambda f: f.energy_j_per_request),
        active_j_per_token=over_blocks(lambda f: f.active_j_per_token),
        energy_grade=grade_line(grade for f in figures for grade in f.grades),
        energy_error_share=_largest(f.error_share for f in figures),
        load_energy_j=over_blocks(lambda f: f.load_energy_j),
        load_s=over_blocks(lambda f: f.load_s),
        idle_power_w=over_blocks(lambda f: f.idle_power_w),
        phases=_phases([f.phases for f in figures], confidence),
        prefill_j_per_token=over_blocks(lambda f: f.prefill_j_per_token),
        decode_j_per_token=over_blocks(lambda f: f.decode_j_per_token),
        tokens_per_s=over_blocks(lambda f: f.tokens_per_s),
        ttft_s=over_blocks(lambda f: f.ttft_p50_s),
        ttft_p95_s=over_blocks(lambda f: f.ttft_p95_s),
        inter_token_mean_s=over_blocks(lambda f: f.inter_token_mean_s),
        inter_token_p50_s=over_blocks(lambda f: f.inter_token_p50_s),
        inter_token_p95_s=over_blocks(lambda f: f.inter_token_p95_s),
        inter_token_p99_s=over_blocks(lambda f: f.inter_token_p99_s),
        request_p50_s=over_blocks(lambda f: f.request_p50_s),
        request_p95_s=over_blocks(lambda f: f.request_p95_s),
        peak_rss_bytes=_largest(r.peak_rss_bytes for r in valid),
        peak_gpu_bytes=_largest(r.peak_gpu_bytes for r in valid),
        cpu_percent=_median(f.cpu_percent for f in figures),
        gpu_percent=_median(f.gpu_percent for f in figures),
        output_agreement=output_agreement,
        facts=valid[-1].facts,
        block_energy_j_per_token=tuple(
            (f.block, f.energy_j_per_token) for f in figures if f.energy_j_per_token is not None
        ),
        repeated_rows=valid[-1].repeated_rows,
    )


def valid_trials(results: Iterable[Result]) -> tuple[Result, ...]:
    """The last valid attempt of each block of one configuration, by block."""
    last: dict[int, Result] = {}
    for result in sorted(results, key=lambda r: r.trial.attempt):
        if result.status is Status.OK:
            last[result.trial.block] = result
    return tuple(last[block] for block in sorted(last))


def status_counts(results: Iterable[Result]) -> tuple[StatusCount, ...]:
    """How the trials ended: valid ones first, then the most frequent."""
    reasons: dict[Status, list[str]] = {}
    for result in results:
        reasons.setdefault(result.status, []).append(result.reason)
    counts = [StatusCount(s, len(r), Counter(r).most_common(1)[0][0]) for s, r in reasons.items()]
    return tuple(sorted(counts, key=lambda c: (c.status is not Status.OK, -c.count, c.status.value)))


def _phases(trials: Sequence[tuple[PhasePart, ...]], confidence: float) -> tuple[PhaseEnergy, ...]:
    """Phases over blocks; nothing where the trials were not all split alike, for parts must add up to one whole."""
    kinds = {tuple(sorted((p.phase, p.component) for p in parts)) for parts in trials}
    if len(kinds) != 1:
        return ()
    gathered: dict[tuple[str, Component], list[PhasePart]] = {}
    for part in (p for parts in trials for p in parts):
        gathered.setdefault((part.phase, part.component), []).append(part)
    order = list(Component)
    return tuple(
        PhaseEnergy(
            phase, component, typical([p.j_per_token for p in parts], confidence), worst(p.grade for p in parts)
        )
        for (phase, component), parts in sorted(
            gathered.items(), key=lambda item: (PHASES.index(item[0][0]), order.index(item[0][1]))
        )
    )


def _gpu_percent(result: Result, section: Section | None) -> float | None:
    if section is None:
        return None
    spans = [(one.start_s, one.start_s + one.work_s) for one in result.slices if not one.fault]
    spans = spans or [(section.start_s, section.start_s + section.duration_s)]
    inside = [
        sample.gpu_percent
        for sample in result.utilisation
        if sample.gpu_percent is not None and any(start_s <= sample.time_s <= end_s for start_s, end_s in spans)
    ]
    return statistics.fmean(inside) if inside else None


def _ratio(value: float | None, by: float) -> float | None:
    if value is None or not by > 0:
        return None
    ratio = value / by
    return ratio if math.isfinite(ratio) else None


def _typical(values: Iterable[float | None], confidence: float) -> Interval | None:
    known = [v for v in values if v is not None and math.isfinite(v)]
    return typical(known, confidence) if known else None


def _median(values: Iterable[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return statistics.median(known) if known else None


def _largest(values: Iterable[Number | None]) -> Number | None:
    return max((v for v in values if v is not None), default=None)
