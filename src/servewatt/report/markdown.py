"""The report as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from servewatt.recommend.records import Recommendation
from servewatt.records import Weights
from servewatt.report import batches, limits
from servewatt.report.http_share import http_table
from servewatt.report.plain_text import cleaned
from servewatt.report.quality import quality_columns, quality_notes
from servewatt.report.tables import environment_pairs
from servewatt.report.units import DASH, Quantity
from servewatt.report.view import Row, view
from servewatt.stats.records import Analysis

_SPECIAL = str.maketrans({c: f"\\{c}" for c in "\\|`*[]#"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;", "\n": " "})


def to_markdown(analysis: Analysis, recommendation: Recommendation) -> str:
    """The recommendation, the ranked table, warnings and the environment."""
    analysis, recommendation = cleaned(analysis), cleaned(recommendation)
    shown = view(analysis, recommendation)
    plan = analysis.run.plan
    told = f"{analysis.boundary.value} boundary, {shown.interval}, {shown.weights}"
    lines = [f"# servewatt: {_text(plan.model.name)}", "", f"**{_text(shown.sentence)}**", ""]
    if plan.model.weights is Weights.RANDOM:
        lines += [f"**{_text(shown.weights)}**", ""]
    lines += [f"Energy per generated token; {_text(told)}.{' ~ marks estimated energy.' if shown.has_estimate else ''}"]
    scales = shown.units
    found = quality_columns(analysis)
    heads = ["#", "configuration", f"{scales.energy.unit}/token", "joules are", "#1 saves, %"]
    heads += [*(f"{c.head} {c.below}" for c in found), "tokens/s"]
    heads += [f"TTFT, {scales.ttft.unit}", f"inter-token mean / p95, {scales.inter_token.unit}"]
    heads += [
        f"request p95, {scales.request.unit}",
        f"memory, {scales.memory.unit}",
        f"GPU memory, {scales.memory.unit}",
    ]
    heads += ["CPU, %", "GPU, %", "trials ok", "same output"]
    lines += ["", _line(heads), "|" + " --- |" * len(heads)]
    lines += [
        _line(_markdown_cells(row, [column.cells[index] for column in found])) for index, row in enumerate(shown.rows)
    ]
    if found:
        lines += ["", *(f"- {_text(note)}" for note in quality_notes(analysis))]
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


def _markdown_cells(row: Row, quality: Sequence[Quantity]) -> list[str]:
    name = f"{_text(row.key)} ({row.mark.value})" if row.mark.value else _text(row.key)
    tokens = (
        DASH
        if row.inter_token_mean.value is None
        else (f"{row.inter_token_mean.estimate} / {row.inter_token_p95.estimate}")
    )
    saves = row.saving if row.verdict and not row.verdict.startswith("undecided") else Quantity(row.verdict)
    cells = [row.rank, _bold(row, name), _quantity(row.energy), row.grade, _quantity(saves)]
    cells += [*map(_quantity, quality), row.tokens_per_s.estimate]
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
