"""The tables of the report in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from servewatt.records import Weights
from servewatt.report import batches, http_share, limits, units
from servewatt.report.quality import quality_columns
from servewatt.report.units import Quantity
from servewatt.report.view import Mark, Row, View
from servewatt.stats.records import Analysis

_WIDE = 112
"""From this width configurations are ranked by their full keys and columns stand further apart."""

_LEAST_NAME = 14
_GOOD_NAME = 28
_MOST_RANKED = 10
_SHORT = {"perplexity": "perpl."}


def energy_table(shown: View, analysis: Analysis, width: int = 80) -> Table:
    """The ranking by energy per generated token."""
    table = _table(_title("Energy per generated token", shown, analysis), pad=2 if width >= _WIDE else 1)
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("configuration", min_width=_LEAST_NAME)
    table.add_column(f"{shown.units.energy.unit}/token", no_wrap=True)
    table.add_column("#1 saves %", no_wrap=True)
    energies = _with_intervals([r.energy for r in shown.rows])
    savings = _with_intervals([r.saving for r in shown.rows])
    texts = zip(energies, savings, shown.rows, strict=True)
    most = max((e.cell_len + s.cell_len + len(r.grade) for e, s, r in texts), default=0)
    quality = _quality_cells(analysis, width - most - _GOOD_NAME - 16)
    for head, _ in quality:
        table.add_column(head, no_wrap=True)
    table.add_column("joules are", no_wrap=True)
    if most + _cells_width(quality) > width - _LEAST_NAME - 16:
        savings = [Text(r.saving.estimate) for r in shown.rows]
    for index, (row, energy, saving) in enumerate(zip(shown.rows, energies, savings, strict=True)):
        undecided = row.verdict.startswith("undecided")
        table.add_row(
            _rank(row),
            _key(row, row.key if width >= _WIDE else row.label),
            energy,
            Text("") if not row.verdict else Text("undecided", style="yellow") if undecided else saving,
            *(cells[index] for _, cells in quality),
            Text(row.grade, style="yellow" if row.estimated else ""),
            style=_style(row),
        )
    return table


def _quality_cells(analysis: Analysis, room: int) -> list[tuple[str, list[Text]]]:
    """Head and cells of each column of quality; where there is not enough room, the first one's estimates alone."""
    columns = quality_columns(analysis)
    whole = [(f"{c.head}\n{c.below}", _with_intervals(c.cells)) for c in columns]
    if _cells_width(whole) <= room:
        return whole
    return [(f"{_SHORT.get(c.head, c.head)}\n{c.below}", [Text(q.estimate) for q in c.cells]) for c in columns[:1]]


def _cells_width(columns: Sequence[tuple[str, Sequence[Text]]]) -> int:
    """What columns take, with the space behind each."""
    return sum(2 + max(len(head.partition("\n")[0]), *(c.cell_len for c in cells)) for head, cells in columns)


def resource_table(shown: View, analysis: Analysis, width: int = 80) -> Table:
    """Time, memory and utilisation, in the same order."""
    scales, wide, gpu = shown.units, width >= _WIDE, shown.has_gpu
    memory = scales.memory.unit
    columns: list[tuple[str, list[str]]] = [
        ("tokens\n/s", _column([r.tokens_per_s for r in shown.rows])),
        (f"TTFT\n{scales.ttft.unit}", _column([r.ttft for r in shown.rows])),
        (
            f"{'inter-token' if wide else 'token'} {scales.inter_token.unit}\nmean/p95",
            [_pair(r.inter_token_mean, r.inter_token_p95) for r in shown.rows],
        ),
        (f"{'request' if wide else 'req.'}\np95 {scales.request.unit}", _column([r.request_p95 for r in shown.rows])),
        (f"{'memory' if wide else 'mem.'}\n{memory}", units.align_points([r.memory for r in shown.rows])),
        *([(f"GPU\n{memory}", units.align_points([r.gpu_memory for r in shown.rows]))] if gpu else []),
        ("CPU\n%", [r.cpu for r in shown.rows]),
        *([("GPU\n%", [r.gpu for r in shown.rows])] if gpu else []),
        ("trials\nok" if wide else "ok/\nall", [r.trials for r in shown.rows]),
        ("same\noutput, %" if wide else "same\n%", [r.agreement.removesuffix(" %") for r in shown.rows]),
    ]
    table = _table(_title("Time and resources", shown, analysis), pad=2 if wide else 0)
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("configuration", min_width=_LEAST_NAME)
    for head, _ in columns:
        table.add_column(head, justify="right", no_wrap=True)
    for index, row in enumerate(shown.rows):
        table.add_row(_rank(row), _key(row, row.label), *(cells[index] for _, cells in columns), style=_style(row))
    return table


def ranking_table(shown: View) -> Table:
    """The order inside each boundary, side by side."""
    table = _table(Text("The order depends on the boundary", style="bold"), pad=2)
    table.add_column("#", justify="right")
    for ranking in shown.rankings:
        table.add_column(ranking.boundary.value)
    labels = {r.key: r.label for r in shown.rows}
    length = max(len(r.keys) for r in shown.rankings)
    for place in range(min(length, _MOST_RANKED)):
        keys = (r.keys[place] if place < len(r.keys) else "" for r in shown.rankings)
        table.add_row(str(place + 1), *(Text(labels.get(key, key)) for key in keys))
    if length > _MOST_RANKED:
        table.add_row("", f"… and {length - _MOST_RANKED} more")
    return table


def http_rows_table(analysis: Analysis, width: int = 80) -> Table:
    """What HTTP adds to each configuration that was measured through it."""
    found = http_share.http_table(analysis)
    table = _table(Text(f"{http_share.TITLE}  in per cent", style="bold"), pad=2 if width >= _WIDE else 1)
    table.add_column("configuration", min_width=_LEAST_NAME)
    for head in found.heads:
        table.add_column(head, no_wrap=True)
    table.add_column("blocks", justify="right")
    columns = [_with_intervals([row.shares[i] for row in found.rows]) for i in range(len(found.heads))]
    for index, row in enumerate(found.rows):
        table.add_row(Text(row.label), *(cells[index] for cells in columns), str(row.blocks))
    return table


def batch_rows_table(shown: View, analysis: Analysis, width: int = 80) -> Table:
    """Energy per token against batch, prefill and decode apart."""
    found = batches.batch_table(analysis)
    rows, unit, wide = found.rows, found.energy.unit, width >= _WIDE
    table = _table(_title(batches.TITLE, shown, analysis), pad=2 if wide else 1)
    table.add_column("configuration", min_width=_LEAST_NAME)
    columns: list[tuple[str, Sequence[str | Text]]] = [
        ("batch", [f"▸{r.batch}" if r.best else str(r.batch) for r in rows]),
        (f"{unit}/token", _with_intervals([r.energy for r in rows]) if wide else _column([r.energy for r in rows])),
        (f"prefill\n{unit}", _column([r.prefill for r in rows])),
        (f"decode\n{unit}", _column([r.decode for r in rows])),
        ("tokens\n/s", _column([r.tokens_per_s for r in rows])),
        (f"token\n{found.inter_token.unit}", _column([r.inter_token for r in rows])),
        (f"req. p95\n{found.request.unit}", _column([r.request_p95 for r in rows])),
    ]
    for head, _ in columns:
        table.add_column(head, justify="right", no_wrap=True)
    for index, row in enumerate(rows):
        table.add_row(Text(row.family if row.begins else ""), *(cells[index] for _, cells in columns))
    return table


def limit_rows_table(analysis: Analysis, width: int = 80) -> Table:
    """How far each configuration is from what memory and arithmetic allow."""
    found = limits.limit_table(analysis)
    rows, wide = found.rows, width >= _WIDE
    table = _table(Text(f"{limits.TITLE}  while decoding, per token", style="bold"), pad=2 if wide else 1)
    table.add_column("configuration", min_width=_LEAST_NAME)
    columns: list[tuple[str, Sequence[str | Text]]] = [
        (f"floor\n{found.time.unit}", units.align_points([r.floor for r in rows])),
        (f"decode\n{found.time.unit}", _column([r.measured for r in rows])),
        ("times\nfloor", _with_intervals([r.times for r in rows]) if wide else _column([r.times for r in rows])),
        ("bandw.\n%", _column([r.bandwidth for r in rows])),
        ("bound\nby", [r.bound_by for r in rows]),
        (f"reads\n{found.bytes_.unit}", units.align_points([r.bytes_per_token for r in rows])),
        (f"computes\n{found.flops.unit}", units.align_points([r.flops_per_token for r in rows])),
    ]
    for head, _ in columns:
        table.add_column(head, justify="right", no_wrap=True)
    for index, row in enumerate(rows):
        table.add_row(Text(row.label), *(cells[index] for _, cells in columns))
    return table


def _with_intervals(quantities: Sequence[Quantity]) -> list[Text]:
    """Estimates with their decimal points in line, each followed by its interval."""
    estimates = units.align_points([q.estimate for q in quantities])
    width = max(map(len, estimates), default=0)
    return [
        Text.assemble(estimate.rjust(width), (f" {q.interval}", "dim"))
        for estimate, q in zip(estimates, quantities, strict=True)
    ]


def _column(quantities: Sequence[Quantity]) -> list[str]:
    return units.align_points([q.estimate for q in quantities])


def _pair(first: Quantity, second: Quantity) -> str:
    return units.DASH if first.value is None else f"{first.estimate}/{second.estimate}"


def _table(title: Text, pad: int = 1) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, pad, 0, 0),
        pad_edge=False,
        header_style="dim",
    )


def _title(text: str, shown: View, analysis: Analysis) -> Text:
    title = Text(text, style="bold")
    title.append(f"  {analysis.boundary.value} boundary", style="not bold dim")
    if analysis.run.plan.model.weights is Weights.RANDOM:
        title.append("  weights: random", style="bold yellow")
    if shown.has_estimate:
        title.append("  ~ estimated", style="not bold yellow")
    return title


def _rank(row: Row) -> Text:
    return Text(f"{row.mark.symbol}{row.rank}")


def _key(row: Row, text: str) -> Text:
    return Text(text, style="bold" if row.mark is Mark.CHOICE else "", overflow="fold")


def _style(row: Row) -> str:
    if row.mark is Mark.CHOICE:
        return "green"
    return "dim" if row.mark is Mark.EXCLUDED or row.missing else ""
