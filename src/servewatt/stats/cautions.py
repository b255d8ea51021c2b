"""Warnings about the numbers of a run, one sentence each; `servewatt.recommendation.doubts` tells of its choice."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence

from servewatt.errors import counted
from servewatt.records import Configuration, Result, Run, Status, Weights
from servewatt.stats.energy import section_energies
from servewatt.stats.records import BoundaryRanking, ConfigurationSummary

STOLEN_LIMIT = 0.02
"""Share of the machine's CPU time stolen by a hypervisor from which on a warning is due."""
QUANTUM_LIMIT = 0.01
SCATTER_LIMIT = 0.05
"""Standard deviation of energy per token over blocks, as a share of its mean."""


def cautions(
    run: Run,
    valid: Mapping[Configuration, Sequence[Result]],
    summaries: Sequence[ConfigurationSummary],
    rankings: Sequence[BoundaryRanking],
    domains: frozenset[str],
) -> tuple[str, ...]:
    """Warnings about a run whose energy is that of `domains`; gravest kinds first, configurations in ranked order."""
    return (
        *_weights(run),
        *_energy(run, valid, summaries, domains),
        *_repeated(run, summaries),
        *_trials(run, summaries),
        *_machine(run, valid, summaries),
        *_rankings(rankings),
    )


def _weights(run: Run) -> Iterator[str]:
    if run.plan.model.weights is Weights.RANDOM:
        yield "the model's weights are random: time and energy are real, its answers mean nothing"


def _energy(
    run: Run,
    valid: Mapping[Configuration, Sequence[Result]],
    summaries: Sequence[ConfigurationSummary],
    domains: frozenset[str],
) -> Iterator[str]:
    if any(s.blocks for s in summaries) and not domains:
        yield "no energy domain was metered inside the boundary: energies are unknown"
    grades = {s.energy_grade for s in summaries if s.energy_grade}
    if len(grades) > 1 or any("+" in grade for grade in grades):
        yield f"energies of different grades are added or compared: {'; '.join(sorted(grades))}"
    for summary in summaries:
        key = summary.configuration.key
        trials = valid[summary.configuration]
        lacking = sum(section_energies(r.section("generate"), domains) is None for r in trials) if domains else 0
        if lacking:
            trial = counted(len(trials), "valid trial")
            lack = (
                "lacks a domain that others have; its" if len(trials) == 1 else "lack a domain that others have; their"
            )
            yield f"{key}: {lacking} of {trial} {lack} energy is unknown"
        error = summary.energy_error_share
        # A race has checks of its own: most of its slices begin and end at a step, and episodes share their drift.
        raced = run.plan.race is not None
        if not raced and error is not None and error > QUANTUM_LIMIT:
            share = _percent(error) if error < 1 else "all"
            yield f"{key}: the counter's step is up to {share} of the energy; longer windows would help"
        energies = [energy for _, energy in summary.block_energy_j_per_token]
        if any(energy <= 0 for energy in energies):
            yield f"{key}: a trial's energy reads as {min(energies):g} J per token; such blocks are not compared"
        elif len(energies) >= 3 and not raced:
            scatter = statistics.stdev(energies) / statistics.fmean(energies)
            if scatter > SCATTER_LIMIT:
                yield f"{key}: energy scatters by {100 * scatter:.0f} % between blocks"


def _repeated(run: Run, summaries: Sequence[ConfigurationSummary]) -> Iterator[str]:
    prompts = len(run.plan.workload.prompts)
    filled = sorted({(s.configuration.batch, s.repeated_rows) for s in summaries if s.repeated_rows})
    if filled:
        rows = "; ".join(
            f"batch {batch}: {repeated} of {counted(prompts + repeated, 'row')}" for batch, repeated in filled
        )
        yield f"prompts are repeated to fill the last batch of a pass over {counted(prompts, 'prompt')} ({rows})"


def _trials(run: Run, summaries: Sequence[ConfigurationSummary]) -> Iterator[str]:
    planned = run.plan.procedure.blocks
    for summary in summaries:
        key = summary.configuration.key
        for count in summary.statuses:
            if count.status is not Status.OK:
                why = f" ({count.reason})" if count.reason else ""
                yield f"{key}: {counted(count.count, 'trial')} {_ended(count.status)}{why}"
        if run.plan.race is None and summary.blocks < planned and (summary.blocks or not summary.statuses):
            have = "block has" if planned == 1 else "blocks have"
            yield f"{key}: {summary.blocks} of {planned} {have} a valid trial"


def _machine(
    run: Run, valid: Mapping[Configuration, Sequence[Result]], summaries: Sequence[ConfigurationSummary]
) -> Iterator[str]:
    cpus = run.environment.cpu_count
    stolen = [(stolen_share(r, cpus), s.configuration.key) for s in summaries for r in valid[s.configuration]]
    share, key = max(stolen, default=(0.0, ""))
    if share > STOLEN_LIMIT:
        yield f"the hypervisor gave up to {_percent(share)} of the CPU time to others (most in {key})"


def stolen_share(result: Result, cpu_count: int) -> float:
    """Share of `cpu_count` CPUs' time in the generation section that the hypervisor gave away; 0 where unknown."""
    section = result.section("generate")
    if section is None or not section.stolen_cpu_s or section.duration_s <= 0:
        return 0.0
    return section.stolen_cpu_s / (section.duration_s * cpu_count)


def _rankings(rankings: Sequence[BoundaryRanking]) -> Iterator[str]:
    known = [r for r in rankings if r.keys]
    for first, other in zip(known[:1] * len(known), known[1:], strict=False):
        if other.keys[:1] != first.keys[:1]:
            yield (
                f"the least energy depends on the boundary: {first.keys[0]} inside {first.boundary.value}, "
                f"{other.keys[0]} inside {other.boundary.value}"
            )
        elif other.keys != first.keys:
            yield f"the order differs between the boundaries {first.boundary.value} and {other.boundary.value}"


def _ended(status: Status) -> str:
    return {
        Status.INVALID: "invalid",
        Status.REFUSED: "refused",
        Status.FAILED: "failed",
        Status.CRASHED: "crashed",
        Status.OUT_OF_MEMORY: "ran out of memory",
        Status.TIMED_OUT: "timed out",
    }.get(status, status.value)


def _percent(share: float) -> str:
    """A share just below one never reads as 100 %."""
    text = f"{100 * share:.1f} %"
    return f"{100 * share:.4f} %" if text == "100.0 %" and share < 1 else text
