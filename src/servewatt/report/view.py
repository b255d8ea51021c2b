"""The parts of a report beside its tables, for every form: the answer, the order, what is left out and why."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from servewatt.errors import counted
from servewatt.recommendation.records import Constraints, Recommendation
from servewatt.recommendation.sentence import share
from servewatt.records import Boundary, Component, Configuration, Domain, Environment, Grade, Model, Status, Weights
from servewatt.report import units
from servewatt.report.plain_text import MOST_CHARACTERS, plain
from servewatt.report.table import Mark
from servewatt.report.units import DASH, MISSING, Quantity
from servewatt.stats.records import Analysis, BoundaryRanking, Comparison, ConfigurationSummary, Verdict


@dataclass(frozen=True)
class Row:
    """One configuration of the ranking: what is concluded of it. What was measured is in its summary."""

    rank: str
    """Place by energy, from 1, among those in question; empty where excluded, a dash for one without energy."""
    key: str
    label: str
    """The key without what all configurations share."""
    mark: Mark
    saving: Quantity
    """What the best saves against this configuration."""
    verdict: str
    estimated: bool
    missing: str
    """Why there is no energy; empty where there is."""
    summary: ConfigurationSummary


@dataclass(frozen=True)
class Note:
    """A configuration and something to say about it."""

    key: str
    text: str


@dataclass(frozen=True)
class View:
    """The report before layout."""

    sentence: str
    rows: tuple[Row, ...]
    weights: str
    boundary: str
    interval: str
    rankings: tuple[BoundaryRanking, ...]
    """The order inside each boundary; empty where the boundary changes nothing."""
    excluded: tuple[Note, ...]
    unmeasured: tuple[Note, ...]
    """Configurations without energy that the recommendation does not already exclude, and why."""
    failures: tuple[Note, ...]
    """Trials that were not valid, of configurations that have valid ones."""
    warnings: tuple[str, ...]
    """Those that could overturn the choice first, then others about the choice, then those about single numbers."""
    runner_up: str
    candidates: tuple[str, ...]
    shared: str
    """What all configurations have in common, such as `cpu, b1`."""

    @property
    def has_estimate(self) -> bool:
        return any(r.estimated for r in self.rows)


def view(analysis: Analysis, recommendation: Recommendation) -> View:
    """Everything the report says about a run, as text in chosen units."""
    labels = short_labels([s.configuration for s in analysis.summaries])
    rows: list[Row] = []
    for summary in analysis.summaries:
        place = DASH
        if summary.has_energy:
            out = _mark(summary.configuration, recommendation) is Mark.EXCLUDED
            place = "" if out else str(1 + sum(r.rank not in {DASH, ""} for r in rows))
        rows.append(_row(summary, place, labels[summary.configuration.key], analysis, recommendation))
    if not any(r.rank.isdigit() for r in rows):
        # Without a #1 there is nothing that it saves.
        rows = [replace(r, saving=MISSING, verdict="") for r in rows]
    excluded = tuple(Note(e.configuration.key, plain(e.reason, MOST_CHARACTERS)) for e in recommendation.exclusions)
    known = {n.key for n in excluded}
    return View(
        sentence=recommendation.sentence,
        rows=tuple(rows),
        weights=weights_line(analysis.run.plan.model),
        boundary=boundary_line(analysis.boundary, analysis.run.environment),
        interval=f"{units.percent(analysis.confidence)} confidence intervals",
        rankings=_rankings(analysis, {r.key for r in rows if r.mark is Mark.EXCLUDED}),
        excluded=excluded,
        unmeasured=tuple(Note(r.key, r.missing) for r in rows if r.missing and r.key not in known),
        failures=tuple(
            Note(s.configuration.key, _failed(s)) for s in analysis.summaries if s.blocks > 0 and _failed(s)
        ),
        warnings=tuple(
            plain(w, MOST_CHARACTERS) for w in (*(w.told for w in recommendation.warnings), *analysis.warnings)
        ),
        runner_up=_runner_up(recommendation.runner_up),
        candidates=tuple(c.key for c in recommendation.candidates),
        shared=shared_parts([s.configuration for s in analysis.summaries]),
    )


def length(analysis: Analysis) -> str:
    """How long it was measured: `5 blocks` as they were planned, or `3 episodes` of a race so far."""
    plan = analysis.run.plan
    if plan.race is None:
        return counted(plan.procedure.blocks, "block")
    return counted(len(analysis.all_costs.episodes), "episode")


def weights_line(model: Model) -> str:
    """`weights: trained`, or what random ones mean for the reader."""
    if model.weights is Weights.RANDOM:
        seed = "" if model.seed is None else f" (seed {model.seed})"
        return f"weights: random{seed}; energy and time as with trained ones, outputs without meaning"
    return "weights: trained"


def boundary_line(boundary: Boundary, environment: Environment) -> str:
    """The boundary and the domains metered on this machine, each with its grade."""
    domains = ", ".join(_domain(d) for d in environment.domains) or "none"
    return f"boundary: {boundary.value}; metered: {domains}"


def constraint_texts(constraints: Constraints) -> tuple[str, ...]:
    """The user's limits in words; empty if there are none."""
    limits = []
    if constraints.max_latency_p95_s is not None:
        limits.append(f"request p95 at most {units.duration(constraints.max_latency_p95_s)}")
    if constraints.max_ttft_s is not None:
        limits.append(f"TTFT p95 at most {units.duration(constraints.max_ttft_s)}")
    if constraints.max_memory_bytes is not None:
        limits.append(f"memory at most {units.memory(constraints.max_memory_bytes)}")
    if constraints.provider is not None:
        limits.append(f"provider {constraints.provider.value}")
    if constraints.concurrency is not None:
        limits.append(f"at most {constraints.concurrency} at a time")
    return tuple(limits)


def comparison_for(analysis: Analysis, configuration: Configuration) -> Comparison | None:
    """The comparison of the best configuration with this one."""
    return next((c for c in analysis.comparisons if c.second == configuration), None)


def verdict_text(comparison: Comparison) -> str:
    """What the comparison says of its first configuration, or how many more blocks would likely tell."""
    if comparison.verdict is Verdict.LOWER:
        return "needs less"
    if comparison.verdict is Verdict.HIGHER:
        return "needs more"
    if comparison.ratio.n < 2:
        return f"undecided, {counted(comparison.ratio.n, 'common block')} cannot tell"
    return "undecided" + more_blocks_text(comparison.more_blocks)


def _verdict(comparison: Comparison, recommendation: Recommendation) -> str:
    """The same, unless the recommendation says that the other is beaten by a third, or is a tie."""
    if comparison.verdict is not Verdict.UNDECIDED:
        return verdict_text(comparison)
    beaten = next((b for b in recommendation.beaten if b.configuration == comparison.second), None)
    if beaten is not None:
        return f"{beaten.beaten_by.key} needs less"
    if recommendation.decided and comparison.second in recommendation.candidates:
        return f"saves {share(recommendation.promise or 0.0)} at most"
    return verdict_text(comparison)


def more_blocks_text(more: int | None) -> str:
    """The continuation of an undecided verdict."""
    if more is None:
        return ", no number of blocks in sight would tell"
    return f", {counted(more, 'more block')} would likely tell" if more else ""


def short_labels(configurations: Sequence[Configuration]) -> dict[str, str]:
    """Key -> engine and whatever differs between these configurations."""
    parts = {c.key: _parts(c) for c in configurations}
    common = set.intersection(*(set(p) for p in parts.values())) if len(parts) > 1 else set()
    return {key: " ".join(t for i, t in enumerate(p) if i == 0 or t not in common) for key, p in parts.items()}


def grade_is_estimated(grade: str) -> bool:
    """Whether any of the joules behind a grade such as `counter + estimated` is an estimate."""
    return Grade.ESTIMATED.value in grade


def _parts(configuration: Configuration) -> list[str]:
    # An option's value may itself hold a slash, so the key cannot simply be split.
    options = [f"{name}={value}" for name, value in configuration.options]
    return [*replace(configuration, options=()).key.split("/"), *options]


def shared_parts(configurations: Sequence[Configuration]) -> str:
    """What all of these configurations have in common but the engine, such as `cpu, b1`."""
    if len(configurations) < 2:
        return ""
    parts = [_parts(c) for c in configurations]
    common = set.intersection(*(set(p) for p in parts))
    return ", ".join(t for t in parts[0][1:] if t in common)


def _domain(domain: Domain) -> str:
    if domain.grade is Grade.ESTIMATED:
        return f"~{domain.name} (estimated)"
    return f"{domain.name} ({domain.grade.value})"


def _row(
    summary: ConfigurationSummary, rank: str, label: str, analysis: Analysis, recommendation: Recommendation
) -> Row:
    comparison = comparison_for(analysis, summary.configuration)
    return Row(
        rank=rank,
        key=summary.configuration.key,
        label=label,
        mark=_mark(summary.configuration, recommendation),
        saving=MISSING if comparison is None else units.saved(comparison.ratio),
        verdict="" if comparison is None else _verdict(comparison, recommendation),
        estimated=grade_is_estimated(summary.energy_grade),
        missing=_why_missing(summary, analysis),
        summary=summary,
    )


def _mark(configuration: Configuration, recommendation: Recommendation) -> Mark:
    if configuration == recommendation.choice:
        return Mark.CHOICE
    if configuration in recommendation.candidates:
        return Mark.CANDIDATE
    if any(e.configuration == configuration for e in recommendation.exclusions):
        return Mark.EXCLUDED
    return Mark.NONE


def _why_missing(summary: ConfigurationSummary, analysis: Analysis) -> str:
    if summary.energy_j_per_token is not None:
        return ""
    if summary.blocks == 0:
        return f"no valid trial: {_failed(summary) or 'none has run yet'}"
    domains = analysis.run.environment.domains
    if not domains:
        return "no energy: no meter was available on this machine"
    inside = {Boundary.CPU: {Component.CPU, Component.DRAM}, Boundary.GPU: {Component.GPU}}.get(analysis.boundary)
    if inside is not None and not any(d.component in inside for d in domains):
        return f"no energy: nothing was metered inside the {analysis.boundary.value} boundary"
    return "no energy: no meter gave a reading over the generation"


def _failed(summary: ConfigurationSummary) -> str:
    return "; ".join(
        f"{c.count} {c.status.value.replace('_', ' ')}" + (f": {plain(c.reason, MOST_CHARACTERS)}" if c.reason else "")
        for c in summary.statuses
        if c.status is not Status.OK and c.count
    )


def _rankings(analysis: Analysis, excluded: Collection[str]) -> tuple[BoundaryRanking, ...]:
    """The order inside each boundary, of those in question; nothing where it is the same in all."""
    found = [replace(r, keys=tuple(k for k in r.keys if k not in excluded)) for r in analysis.rankings]
    return tuple(found) if len({r.keys for r in found}) > 1 else ()


def _runner_up(comparison: Comparison | None) -> str:
    if comparison is None:
        return ""
    share = units.saved(comparison.ratio)
    what = f"saves {share.estimate} % {share.interval}".rstrip() if share.estimate[-1].isdigit() else share.estimate
    text = f"{comparison.second.key}; {comparison.first.key}: {what}"
    return text + (f", {verdict_text(comparison)}" if comparison.verdict is Verdict.UNDECIDED else " against it")
