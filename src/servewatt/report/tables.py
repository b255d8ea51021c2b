"""Rows of the HTML report's tables, as text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from servewatt.errors import counted
from servewatt.recommend.records import Constraints
from servewatt.records import Domain, Environment, Facts, Grade, Result, Status
from servewatt.report import units
from servewatt.report.plain_text import brief, plain
from servewatt.report.units import DASH, Quantity
from servewatt.report.view import Row, View, comparison_for, grade_is_estimated, short_labels, verdict_text
from servewatt.stats.records import Analysis, Interval


@dataclass(frozen=True)
class Micro:
    """An interval drawn in a table cell, in hundredths of the cell's width."""

    low: float
    at: float
    high: float


@dataclass(frozen=True)
class Ranked:
    """A row of the ranked table with its drawing."""

    row: Row
    micro: Micro | None


@dataclass(frozen=True)
class DetailRow:
    """Further measures of one configuration, with their units."""

    label: str
    cells: tuple[Quantity, ...]


@dataclass(frozen=True)
class Compared:
    """A row of the comparisons table."""

    label: str
    key: str
    saving: Quantity
    ratio: Quantity
    verdict: str
    blocks: int


@dataclass(frozen=True)
class TrialRow:
    """A row of the table of trials."""

    block: int
    order: int
    attempt: int
    label: str
    status: str
    ok: bool
    reason: str
    energy: str
    duration: str


@dataclass(frozen=True)
class Pair:
    """A name and its value."""

    name: str
    value: str


@dataclass(frozen=True)
class Proof:
    """What really ran in one configuration."""

    label: str
    facts: tuple[str, ...]


DETAIL_HEADS = (
    "active J/token",
    "energy/request",
    "counter error",
    "idle power",
    "load energy",
    "load time",
    "TTFT p95",
    "inter-token p99",
    "request p50",
)
PROOF_HEADS = ("device", "weights", "computes in", "threads", "KV cache", "versions", "more")


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


def environment_pairs(environment: Environment) -> tuple[Pair, ...]:
    """The machine and its software, as name and value."""
    bandwidth = environment.memory_bandwidth_bytes_s
    pairs = [
        Pair("CPU", f"{environment.cpu}, {counted(environment.cpu_count, 'CPU')} usable"),
        Pair("Instruction sets", " ".join(environment.cpu_features) or DASH),
        Pair("Last-level cache", units.memory(environment.cache_bytes)),
        Pair("Memory", units.memory(environment.memory_bytes or None)),
        Pair("Memory reads", DASH if bandwidth is None else units.with_unit(bandwidth, units.si([bandwidth], "B/s"))),
    ]
    for gpu in environment.gpus:
        limit = "" if gpu.power_limit_w is None else f", limit {units.number(gpu.power_limit_w)} W"
        memory = units.memory(gpu.memory_bytes) if gpu.memory_bytes else "memory not told"
        text = f"{gpu.name}, {memory}, driver {gpu.driver or DASH}{limit}"
        pairs.append(Pair(f"GPU {gpu.index}", text))
    pairs += [
        Pair("Governor", environment.governor or "unknown"),
        Pair("Virtual machine", environment.virtual_machine or "no, or unknown"),
        Pair("Container", environment.container or "no, or unknown"),
        Pair("System", f"{environment.system}, kernel {environment.kernel}"),
        Pair("Python", environment.python),
        Pair("Packages", ", ".join(f"{name} {version}" for name, version in environment.packages) or DASH),
        Pair("Energy domains", ", ".join(map(_domain_text, environment.domains)) or "none: no meter was available"),
        Pair("Fingerprint", environment.fingerprint),
    ]
    return tuple(pairs)


def _domain_text(domain: Domain) -> str:
    sign = "~" if domain.grade is Grade.ESTIMATED else ""
    inside = f", within {domain.within}" if domain.within else ""
    return f"{sign}{domain.name} ({domain.grade.value}, quantum {units.duration(domain.quantum_s)}{inside})"


def ranked(shown: View) -> tuple[Ranked, ...]:
    """The ranked table, each row with its interval drawn on a scale from zero that all share."""
    intervals = [r.summary.energy_j_per_token for r in shown.rows]
    known = [i for i in intervals if i is not None]
    most = max((max((i.estimate, *(units.drawn_bounds(i) or ()))) for i in known), default=0.0)
    return tuple(Ranked(row, _micro(i, most)) for row, i in zip(shown.rows, intervals, strict=True))


def _micro(interval: Interval | None, most: float) -> Micro | None:
    if interval is None or not 0 < most < float("inf"):
        return None

    low, high = units.drawn_bounds(interval) or (interval.estimate, interval.estimate)
    places = [round(2 + 96 * min(max(v, 0.0), most) / most, 2) for v in (low, interval.estimate, high)]
    return Micro(*places)


def ranking_rows(shown: View) -> tuple[tuple[str, ...], ...]:
    """Labels by place, one column a boundary."""
    labels = {r.key: r.label for r in shown.rows}
    length = max((len(r.keys) for r in shown.rankings), default=0)
    return tuple(
        tuple(labels.get(r.keys[i], r.keys[i]) if i < len(r.keys) else "" for r in shown.rankings)
        for i in range(length)
    )


def compared(analysis: Analysis) -> tuple[Compared, ...]:
    """The comparisons, in the order of the ranking."""
    labels = short_labels([s.configuration for s in analysis.summaries])
    return tuple(
        Compared(
            labels.get(c.second.key, c.second.key),
            c.second.key,
            units.saved(c.ratio),
            units.compared(c.ratio),
            verdict_text(c),
            c.ratio.n,
        )
        for summary in analysis.summaries
        if (c := comparison_for(analysis, summary.configuration)) is not None
    )


def details(analysis: Analysis) -> tuple[DetailRow, ...]:
    """One row a configuration, in the order of DETAIL_HEADS; each value carries its unit."""
    labels = short_labels([s.configuration for s in analysis.summaries])
    rows = []
    for s in analysis.summaries:
        sign = "~" if grade_is_estimated(s.energy_grade) else ""
        times = (s.load_s, s.ttft_p95_s, s.inter_token_p99_s, s.request_p50_s)
        load, ttft, inter_token, request = (_timed(t) for t in times)
        cells = (
            _alone(s.active_j_per_token, "J", sign),
            _alone(s.energy_j_per_request, "J", sign),
            Quantity(DASH if s.energy_error_share is None else f"≤ {units.percent(s.energy_error_share)}"),
            _alone(s.idle_power_w, "W", sign),
            _alone(s.load_energy_j, "J", sign),
            load,
            ttft,
            inter_token,
            request,
        )
        rows.append(DetailRow(labels[s.configuration.key], cells))
    return tuple(rows)


def _alone(interval: Interval | None, unit: str, sign: str) -> Quantity:
    if interval is None:
        return units.MISSING
    scale = units.si([interval.estimate], unit)
    made = units.quantity(interval, scale, most=4)
    return Quantity(f"{sign}{made.estimate} {scale.unit}", made.interval, made.value)


def _timed(interval: Interval | None) -> Quantity:
    if interval is None:
        return units.MISSING
    scale = units.seconds([interval.estimate])
    made = units.quantity(interval, scale, most=4)
    return Quantity(f"{made.estimate} {scale.unit}", made.interval, made.value)


def trials(analysis: Analysis, results: Iterable[Result]) -> tuple[TrialRow, ...]:
    """Every trial, in the order in which they ran."""
    labels = short_labels([s.configuration for s in analysis.summaries])
    ordered = sorted(results, key=lambda r: (r.trial.block, r.trial.position, r.trial.attempt))
    rows = []
    for result in ordered:
        section = result.section("generate")
        reason = brief(result.reason) + (f" ({brief(result.hint)})" if result.hint else "")
        key = plain(result.trial.configuration.key)
        rows.append(
            TrialRow(
                block=result.trial.block,
                order=result.trial.position,
                attempt=result.trial.attempt,
                label=labels.get(key, key),
                status=result.status.value.replace("_", " "),
                ok=result.status is Status.OK,
                reason=reason,
                energy=_domains_text(result),
                duration=DASH if section is None else units.duration(section.duration_s),
            )
        )
    return tuple(rows)


def _domains_text(result: Result) -> str:
    """Joules of each domain over the generation; not added up, as that would be a new number."""
    section = result.section("generate")
    if section is None or not section.energy:
        return DASH
    return ", ".join(
        f"~{e.domain} {units.energy(e.energy_j)} estimated"
        if e.grade is Grade.ESTIMATED
        else f"{e.domain} {units.energy(e.energy_j)}"
        for e in section.energy
    )


def proofs(analysis: Analysis) -> tuple[Proof, ...]:
    """What each loaded engine showed, in the order of the ranking."""
    labels = short_labels([s.configuration for s in analysis.summaries])
    return tuple(Proof(labels[s.configuration.key], _proof(s.facts)) for s in analysis.summaries)


def _weights_text(facts: Facts) -> str:
    """Types and sizes of the weights, with how much of each is only looked up in."""
    looked_up = dict(facts.lookup_dtypes)
    parts = []
    for kind, size in facts.weight_dtypes:
        tables = f" ({units.memory(looked_up[kind])} only looked up)" if kind in looked_up else ""
        parts.append(f"{kind} {units.memory(size)}{tables}")
    return ", ".join(parts) or DASH


def _proof(facts: Facts | None) -> tuple[str, ...]:
    if facts is None:
        return (DASH,) * len(PROOF_HEADS)
    cache = {True: "yes", None: "undecided", False: "no"}[facts.kv_cache]
    if facts.kv_cache is not False and facts.kv_cache_dtype:
        cache += f", {facts.kv_cache_dtype}"
    versions = ", ".join(f"{name} {version}" for name, version in facts.libraries)
    return (
        ", ".join(f"{device} ({count})" for device, count in facts.devices) or DASH,
        _weights_text(facts),
        facts.compute_dtype or DASH,
        DASH if facts.threads is None else str(facts.threads),
        cache,
        versions or facts.engine_version or DASH,
        ", ".join(f"{name}: {value}" for name, value in facts.detail) or DASH,
    )
