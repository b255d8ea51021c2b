"""The report for other programs: CSV, JSON and Markdown, each as one string."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from servewatt.recommend.records import Recommendation
from servewatt.records import Configuration, Facts, Model, Result, Status, Weights
from servewatt.report import batches, limits
from servewatt.report.http_share import http_table
from servewatt.report.tables import environment_pairs
from servewatt.report.units import DASH, Quantity
from servewatt.report.view import Row, comparison_for, view
from servewatt.stats.records import Analysis, Interval

INTERVALS = (
    "energy_j_per_token",
    "energy_j_per_request",
    "active_j_per_token",
    "prefill_j_per_token",
    "decode_j_per_token",
    "load_energy_j",
    "load_s",
    "idle_power_w",
    "tokens_per_s",
    "ttft_s",
    "ttft_p95_s",
    "inter_token_mean_s",
    "inter_token_p50_s",
    "inter_token_p95_s",
    "inter_token_p99_s",
    "request_p50_s",
    "request_p95_s",
)
"""The measures of a ConfigurationSummary that have an interval: three columns each."""

_CONFIGURATION = ("configuration", "engine", "provider", "precision", "batch", "threads", "options", "via")
_LIMIT = (
    "weight_bytes_per_step",
    "cache_bytes_per_step",
    "bytes_per_token",
    "decode_flops_per_token",
    "prefill_flops_per_prompt",
    "bandwidth_bytes_s",
    "floor_s_per_token",
    "bound_by",
)
_LIMIT_INTERVALS = ("decode_s_per_token", "times_floor", "bandwidth_share")
_SECTIONS = ("load", "idle", "prefill", "generate")
_SPECIAL = str.maketrans({c: f"\\{c}" for c in "\\|`*[]#"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;", "\n": " "})


@dataclass(frozen=True)
class TrialOutcome:
    """How one trial ended; the whole result is in the store, and in `servewatt report --export`."""

    id: str
    block: int
    position: int
    attempt: int
    configuration: str
    status: Status
    reason: str
    hint: str


@dataclass(frozen=True)
class Document:
    """What the JSON export holds; the run is `analysis.run`."""

    analysis: Analysis
    recommendation: Recommendation
    trials: tuple[TrialOutcome, ...]


def to_json(analysis: Analysis, recommendation: Recommendation, results: Sequence[Result] = ()) -> str:
    """One JSON document: the analysis with the run inside, the recommendation, and how every trial ended."""
    from servewatt import wire

    return wire.dump(Document(analysis, recommendation, tuple(map(_outcome, results))))


def configurations_csv(analysis: Analysis) -> str:
    """One row a configuration, in the order of the ranking; SI base units, empty where nothing was measured."""
    heads = ["run", "model", "weights", "boundary", "rank", *_CONFIGURATION, "blocks", "trials", "energy_grade"]
    for name in INTERVALS:
        heads += [name, f"{name}_low", f"{name}_high"]
    heads += ["energy_error_share", "peak_rss_bytes", "peak_gpu_bytes", "cpu_percent", "gpu_percent"]
    heads += ["output_agreement", "on_pareto_front", "best_over_this", "best_over_this_low", "best_over_this_high"]
    heads += ["best_needs", *_LIMIT]
    for name in _LIMIT_INTERVALS:
        heads += [name, f"{name}_low", f"{name}_high"]
    rows: list[list[object]] = []
    rank = 0
    for summary in analysis.summaries:
        measured = summary.energy_j_per_token is not None
        rank += measured
        row: list[object] = [
            *_run(analysis.run.id, analysis.run.plan.model),
            analysis.boundary.value,
            rank if measured else None,
        ]
        row += [*_configuration(summary.configuration), summary.blocks, sum(c.count for c in summary.statuses)]
        row += [summary.energy_grade]
        for name in INTERVALS:
            row += _bounds(getattr(summary, name))
        row += [summary.energy_error_share, summary.peak_rss_bytes, summary.peak_gpu_bytes, summary.cpu_percent]
        row += [summary.gpu_percent, summary.output_agreement, summary.on_pareto_front]
        comparison = comparison_for(analysis, summary.configuration)
        row += _bounds(comparison.ratio if comparison else None)
        row += [comparison.verdict.value if comparison else None]
        row += [getattr(summary.limit, name, None) for name in _LIMIT]
        for name in _LIMIT_INTERVALS:
            row += _bounds(getattr(summary.limit, name, None))
        rows.append(row)
    return _csv(heads, rows)


def trials_csv(results: Sequence[Result]) -> str:
    """One row a trial, whatever its status; each domain's joules in a column `SECTION_energy_j:DOMAIN`."""
    domains = sorted({e.domain for r in results for s in r.sections for e in s.energy})
    heads = ["run", "model", "weights", "block", "position", "attempt", *_CONFIGURATION, "status", "reason", "hint"]
    heads += ["started_at", "passes", "tokens_in", "tokens_out", "own_cpu_s", "foreign_cpu_s", "stolen_cpu_s"]
    heads += [f"{section}_s" for section in _SECTIONS]
    for section in _SECTIONS:
        heads += [f"{section}_energy_j:{domain}" for domain in domains]
    heads += [f"grade:{domain}" for domain in domains]
    heads += ["peak_rss_bytes", "peak_gpu_bytes", "output_digest", "engine_version"]
    return _csv(heads, (_trial(r, domains) for r in results))


def to_markdown(analysis: Analysis, recommendation: Recommendation) -> str:
    """The recommendation, the ranked table, warnings and the environment."""
    shown = view(analysis, recommendation)
    plan = analysis.run.plan
    told = f"{analysis.boundary.value} boundary, {shown.interval}, {shown.weights}"
    lines = [f"# servewatt: {_text(plan.model.name)}", "", f"**{_text(shown.sentence)}**", ""]
    if plan.model.weights is Weights.RANDOM:
        lines += [f"**{_text(shown.weights)}**", ""]
    lines += [f"Energy per generated token; {_text(told)}.{' ~ marks estimated energy.' if shown.has_estimate else ''}"]
    scales = shown.units
    heads = ["#", "configuration", f"{scales.energy.unit}/token", "joules are", "#1 saves, %", "tokens/s"]
    heads += [f"TTFT, {scales.ttft.unit}", f"inter-token p50 / p95, {scales.inter_token.unit}"]
    heads += [
        f"request p95, {scales.request.unit}",
        f"memory, {scales.memory.unit}",
        f"GPU memory, {scales.memory.unit}",
    ]
    heads += ["CPU, %", "GPU, %", "trials ok", "same output"]
    lines += ["", _line(heads), "|" + " --- |" * len(heads)]
    lines += [_line(_markdown_cells(row)) for row in shown.rows]
    if shown.rankings:
        lines += ["", "The order depends on the boundary:", ""]
        lines += [f"- {r.boundary.value}: {_text(', '.join(r.keys))}" for r in shown.rankings]
    lines += [*_batch_lines(analysis), *_limit_lines(analysis)]
    lines += _http_lines(analysis)
    for title, notes in (
        ("Excluded", shown.excluded),
        ("Without energy", shown.unmeasured),
        ("Trials left out", shown.failures),
    ):
        if notes:
            lines += ["", f"## {title}", "", *(f"- {_text(n.key)}: {_text(n.text)}" for n in notes)]
    if shown.warnings:
        lines += ["", "## Warnings", "", *(f"- {_text(w)}" for w in shown.warnings)]
    pairs = environment_pairs(analysis.run.environment)
    lines += ["", "## Environment", "", *(f"- {p.name}: {_text(p.value)}" for p in pairs)]
    lines += [
        "",
        f"Run {_text(analysis.run.id)}, {analysis.run.created_at}, servewatt {analysis.run.servewatt_version}.",
    ]
    return "\n".join(lines) + "\n"


def _batch_lines(analysis: Analysis) -> list[str]:
    if not analysis.batch_curves:
        return []
    found = batches.batch_table(analysis)
    unit = found.energy.unit
    heads = ["configuration", "batch", f"{unit}/token", f"prefill, {unit}/token", f"decode, {unit}/token", "tokens/s"]
    heads += [f"inter-token mean, {found.inter_token.unit}", f"request p95, {found.request.unit}"]
    lines = ["", f"## {batches.TITLE}", "", f"{batches.EXPLANATION}.", ""]
    lines += [_line(heads), "|" + " --- |" * len(heads)]
    for row in found.rows:
        cells = [_text(row.family), str(row.batch), *map(_quantity, (row.energy, row.prefill, row.decode))]
        lines.append(_line([*cells, *(q.estimate for q in (row.tokens_per_s, row.inter_token, row.request_p95))]))
    return [*lines, "", *(f"- {_text(sentence)}" for sentence in found.sentences)]


def _http_lines(analysis: Analysis) -> list[str]:
    found = http_table(analysis)
    if not found.rows:
        return []
    heads = ["configuration", *(f"{head}, %" for head in found.heads), "blocks"]
    lines = ["", "## Through HTTP", "", _line(heads), "|" + " --- |" * len(heads)]
    lines += [_line([_text(r.key), *map(_quantity, r.shares), str(r.blocks)]) for r in found.rows]
    return [*lines, "", *(f"- {_text(note)}" for note in found.notes)]


def _limit_lines(analysis: Analysis) -> list[str]:
    found = limits.limit_table(analysis)
    if not found.rows:
        return []
    heads = ["configuration", f"floor, {found.time.unit}/token", "bound by", f"decode, {found.time.unit}/token"]
    heads += ["times the floor", "bandwidth, %", f"reads, {found.bytes_.unit}/token"]
    heads += [f"computes, {found.flops.unit}/token"]
    lines = ["", f"## {limits.TITLE}", "", f"{limits.EXPLANATION}. {_text('; '.join(found.notes))}.", ""]
    lines += [_line(heads), "|" + " --- |" * len(heads)]
    for row in found.rows:
        cells = [_text(row.key), row.floor, row.bound_by, *map(_quantity, (row.measured, row.times, row.bandwidth))]
        lines.append(_line([*cells, row.bytes_per_token, row.flops_per_token]))
    return lines


def _outcome(result: Result) -> TrialOutcome:
    trial = result.trial
    return TrialOutcome(
        trial.id,
        trial.block,
        trial.position,
        trial.attempt,
        trial.configuration.key,
        result.status,
        result.reason,
        result.hint,
    )


def _markdown_cells(row: Row) -> list[str]:
    name = f"{_text(row.key)} ({row.mark.value})" if row.mark.value else _text(row.key)
    tokens = (
        DASH
        if row.inter_token_p50.value is None
        else (f"{row.inter_token_p50.estimate} / {row.inter_token_p95.estimate}")
    )
    saves = row.saving if row.verdict and not row.verdict.startswith("undecided") else Quantity(row.verdict)
    cells = [row.rank, _bold(row, name), _quantity(row.energy), row.grade, _quantity(saves), row.tokens_per_s.estimate]
    cells += [row.ttft.estimate, tokens, row.request_p95.estimate, row.memory, row.gpu_memory, row.cpu, row.gpu]
    return [*cells, row.trials, row.agreement]


def _bold(row: Row, text: str) -> str:
    return f"**{text}**" if row.mark.name == "CHOICE" else text


def _quantity(quantity: Quantity) -> str:
    return f"{quantity.estimate} {quantity.interval}".strip()


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _text(text: str) -> str:
    # An underscore inside a word is no emphasis in Markdown.
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text.translate(_SPECIAL))


def _csv(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows(rows)
    return buffer.getvalue()


def _run(run_id: str, model: Model) -> list[object]:
    return [run_id, model.name, model.weights.value]


def _configuration(configuration: Configuration) -> list[object]:
    options = ";".join(f"{name}={value}" for name, value in configuration.options)
    return [
        configuration.key,
        configuration.engine,
        configuration.provider.value,
        configuration.precision.value,
        configuration.batch,
        configuration.threads,
        options,
        configuration.via.value,
    ]


def _bounds(interval: Interval | None) -> list[object]:
    return [None, None, None] if interval is None else [interval.estimate, interval.low, interval.high]


def _trial(result: Result, domains: Sequence[str]) -> list[object]:
    trial, work = result.trial, result.section("generate")
    row: list[object] = [*_run(trial.run_id, trial.model), trial.block, trial.position, trial.attempt]
    row += [*_configuration(trial.configuration), result.status.value, result.reason, result.hint, result.started_at]
    if work is None:
        row += [None] * 6
    else:
        row += [work.passes, work.tokens_in, work.tokens_out, work.own_cpu_s, work.foreign_cpu_s, work.stolen_cpu_s]
    sections = [result.section(name) for name in _SECTIONS]
    row += [None if s is None else s.duration_s for s in sections]
    for section in sections:
        joules = {} if section is None else {e.domain: e.energy_j for e in section.energy}
        row += [joules.get(domain) for domain in domains]
    grades = {e.domain: e.grade.value for s in result.sections for e in s.energy}
    row += [grades.get(domain) for domain in domains]
    facts: Facts | None = result.facts
    return [
        *row,
        result.peak_rss_bytes,
        result.peak_gpu_bytes,
        result.output_digest,
        None if facts is None else facts.engine_version,
    ]
