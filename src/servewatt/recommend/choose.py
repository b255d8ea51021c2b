"""From an analysis and a user's limits to one reasoned choice, or "undecided"."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from servewatt.errors import InputError, counted
from servewatt.recommend.records import Constraints, Exclusion, Recommendation
from servewatt.recommend.sentence import (
    describe_limit,
    nothing_feasible,
    only_one,
    serve_with,
    undecided,
)
from servewatt.records import Configuration, Grade, Provider, Status, Via
from servewatt.stats.compare import compare, comparison_alpha
from servewatt.stats.records import Analysis, Comparison, ConfigurationSummary, Verdict


@dataclass(frozen=True)
class Limit:
    """One limit and how a configuration stands to it."""

    name: str
    value: float | None
    """None where the run did not measure it."""
    limit: float
    unit: str

    @property
    def excess(self) -> float:
        """How far beyond the limit, as a share of it; at most 0 where it is met, infinite where unknown."""
        return self.value / self.limit - 1 if self.value is not None else float("inf")


def choose(analysis: Analysis, constraints: Constraints) -> Recommendation:
    """The configuration of least energy per token among those that meet `constraints`, if that is certain enough.

    Latency and memory are judged by their estimates. Comparisons are made again among the feasible configurations,
    corrected for their number (see `servewatt.stats.compare.comparison_alpha`; the feasible ones are taken as
    given). A configuration is chosen if it is shown to need less than every other; otherwise all that cannot be told
    from the leader are candidates.

    Raises InputError if a limit is not a positive number.
    """
    _check(constraints)
    feasible: list[ConfigurationSummary] = []
    exclusions: list[Exclusion] = []
    measured = {s.configuration for s in analysis.summaries if s.blocks}
    for summary in analysis.summaries:
        reason = exclusion_reason(summary, constraints) or _twin_reason(summary.configuration, measured)
        if reason is None:
            feasible.append(summary)
        else:
            exclusions.append(Exclusion(summary.configuration, reason))
    if not feasible:
        sentence = nothing_feasible(*_nearest_miss(analysis.summaries, constraints), analysis)
        return Recommendation(constraints, None, (), None, tuple(exclusions), sentence, None)
    if len(feasible) == 1:
        alone = feasible[0]
        sentence = only_one(alone, exclusions, constraints, analysis.boundary)
        return Recommendation(
            constraints, alone.configuration, (alone.configuration,), None, tuple(exclusions), sentence, 0
        )
    return _decide(analysis, constraints, feasible, tuple(exclusions))


def _check(constraints: Constraints) -> None:
    values = {
        "latency": constraints.max_latency_p95_s,
        "time to first token": constraints.max_ttft_s,
        "memory": constraints.max_memory_bytes,
    }
    if constraints.concurrency is not None and constraints.concurrency < 1:
        raise InputError(f"a concurrency of {constraints.concurrency} makes no sense", "give a whole number from 1")
    for name, value in values.items():
        if value is not None and not value > 0:
            raise InputError(f"a limit of {value:g} on {name} can never be met", "give a positive number, or no limit")


def exclusion_reason(summary: ConfigurationSummary, constraints: Constraints) -> str | None:
    """Why a configuration is out of the question; None if it is not."""
    unasked = _unasked(summary.configuration, constraints)
    if unasked is not None:
        return unasked
    if summary.blocks == 0:
        return _why_not_measured(summary)
    if summary.energy_j_per_token is None:
        return "its energy was not metered"
    if summary.energy_j_per_token.estimate <= 0:
        return "its energy reads as zero: the counter is too coarse for the window"
    broken = [limit for limit in limits(summary, constraints) if limit.excess > 0]
    return "; ".join(describe_limit(b.name, b.value, b.limit, b.unit) for b in broken) or None


def _unasked(configuration: Configuration, constraints: Constraints) -> str | None:
    """Why a configuration does not suit the user whatever it measures; None if it may."""
    provider, batch, concurrency = configuration.provider, configuration.batch, constraints.concurrency
    if constraints.provider is not None and provider is not constraints.provider:
        return f"runs on {provider.value}, not {constraints.provider.value}"
    if concurrency is not None and batch > concurrency:
        return f"a batch of {batch} is never full with {counted(concurrency, 'request')} at a time"
    return None


def _why_not_measured(summary: ConfigurationSummary) -> str:
    worst = next((c for c in summary.statuses if c.status is not Status.OK), None)
    if worst is None:
        return "not measured yet"
    return f"{worst.status.value.replace('_', ' ')}{': ' + worst.reason if worst.reason else ''}"


def _twin_reason(configuration: Configuration, measured: Collection[Configuration]) -> str | None:
    """Measured both ways, an engine is one choice, not two rivals: the way in is reported as HTTP's share."""
    twin = replace(configuration, via=Via.PROCESS)
    if configuration.via is Via.PROCESS or twin not in measured:
        return None
    return f"is {twin.key} through HTTP"


def limits(summary: ConfigurationSummary, constraints: Constraints) -> tuple[Limit, ...]:
    """Every numeric limit of `constraints` with the configuration's own value."""
    found: list[Limit] = []
    if constraints.max_latency_p95_s is not None:
        value = summary.request_p95_s.estimate if summary.request_p95_s else None
        found.append(Limit("request latency p95", value, constraints.max_latency_p95_s, "s"))
    if constraints.max_ttft_s is not None:
        value = summary.ttft_p95_s.estimate if summary.ttft_p95_s else None
        found.append(Limit("time to first token p95", value, constraints.max_ttft_s, "s"))
    if constraints.max_memory_bytes is not None:
        found.append(Limit("peak memory", summary.peak_rss_bytes, constraints.max_memory_bytes, "bytes"))
        if summary.configuration.provider is not Provider.CPU:
            found.append(Limit("peak GPU memory", summary.peak_gpu_bytes, constraints.max_memory_bytes, "bytes"))
    return tuple(found)


def _decide(
    analysis: Analysis,
    constraints: Constraints,
    feasible: Sequence[ConfigurationSummary],
    exclusions: tuple[Exclusion, ...],
) -> Recommendation:
    """Among two or more feasible configurations with known energy, least estimate first."""
    alpha = comparison_alpha(analysis.confidence, len(feasible))

    def beaten(summary: ConfigurationSummary) -> bool:
        comparisons = (compare(summary, other, alpha) for other in feasible if other is not summary)
        return any(c is not None and c.verdict is Verdict.HIGHER for c in comparisons)

    # The least median may belong to a configuration that paired blocks show to need more than another.
    leader = next((s for s in feasible if not beaten(s)), feasible[0])
    others = [s for s in feasible if s is not leader]
    comparisons = [c for c in (compare(leader, other, alpha) for other in others) if c is not None]
    rivals = [c for c in comparisons if c.verdict is not Verdict.LOWER]
    grades = {s.configuration: s.energy_grade for s in feasible}
    if not rivals:
        runner_up = comparisons[0]
        sentence = serve_with(runner_up, _grade(runner_up, grades), analysis.boundary, constraints)
        return Recommendation(
            constraints, leader.configuration, (leader.configuration,), runner_up, exclusions, sentence, 0
        )
    needed = [c.more_blocks for c in rivals]
    more = None if None in needed else max(n for n in needed if n is not None)
    candidates = (leader.configuration, *(c.second for c in rivals))
    sentence = undecided(candidates, rivals[0], more, _grade(rivals[0], grades), analysis.boundary)
    return Recommendation(constraints, None, candidates, rivals[0], exclusions, sentence, more)


def _grade(comparison: Comparison, grades: dict[Configuration, str]) -> str:
    """What to call the joules of a comparison where not all were counted: `estimated`, `partly estimated` ..."""
    kinds = [kind for key in (comparison.first, comparison.second) for kind in grades[key].split(" + ")]
    order = [grade.value for grade in Grade]
    least = max(kinds, key=order.index)
    if least == Grade.COUNTER.value:
        return ""
    return least if set(kinds) == {least} else f"partly {least}"


def _nearest_miss(
    summaries: Sequence[ConfigurationSummary], constraints: Constraints
) -> tuple[Configuration | None, str, float]:
    """Of the configurations that only limits exclude, the one nearest to meeting them, its worst limit, its excess."""
    best: tuple[float, Configuration, str] | None = None
    for summary in summaries:
        energy = summary.energy_j_per_token
        if _unasked(summary.configuration, constraints) is not None or energy is None or energy.estimate <= 0:
            continue
        worst = max(limits(summary, constraints), key=lambda limit: limit.excess, default=None)
        if worst is None or worst.value is None or (best is not None and worst.excess >= best[0]):
            continue
        text = describe_limit(worst.name, worst.value, worst.limit, worst.unit)
        best = (worst.excess, summary.configuration, text)
    return (best[1], best[2], best[0]) if best else (None, "", 0.0)
