"""The report in a terminal: the answer first, then the ranking, then what a careful reader must know."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from servewatt.recommend.records import Recommendation
from servewatt.records import Weights
from servewatt.report import batches, http_share, limits, units
from servewatt.report.units import Quantity
from servewatt.report.view import Mark, Note, Row, View, boundary_line, view
from servewatt.stats.records import Analysis

_WIDE = 112
"""From this width configurations are ranked by their full keys and columns stand further apart."""

_LEAST_NAME = 14
_MOST_RANKED = 10

_LEFT_BAR = box.Box("    \n▌   \n    \n▌   \n    \n    \n    \n    \n")


def render_terminal(console: Console, analysis: Analysis, recommendation: Recommendation) -> None:
    """Print the whole report to `console`."""
    console.print(terminal_report(analysis, recommendation, console.width))


def terminal_report(analysis: Analysis, recommendation: Recommendation, width: int = 80) -> RenderableType:
    """The whole report as one renderable, laid out for a terminal of `width` columns."""
    shown = view(analysis, recommendation)
    parts: list[RenderableType] = [_head(analysis), _answer(shown, recommendation)]
    if shown.rows:
        parts += [energy_table(shown, analysis, width), Text(), resource_table(shown, analysis, width)]
        parts += [Text(), _legend(shown)]
    if shown.rankings:
        parts += [Text(), ranking_table(shown)]
    if analysis.batch_curves:
        parts += [Text(), batch_rows_table(shown, analysis, width)]
        parts += [_hanging("  ", Text(sentence)) for sentence in batches.batch_table(analysis).sentences]
    if any(s.limit is not None for s in analysis.summaries):
        parts += [Text(), limit_rows_table(analysis, width)]
        parts += [_hanging("  ", Text("; ".join(limits.limit_table(analysis).notes), style="dim"))]
    if analysis.http_shares:
        parts += [Text(), http_rows_table(analysis)]
        parts += [_hanging("  ", Text(note, style="dim")) for note in http_share.http_table(analysis).notes]
    parts += _notes("Excluded", shown.excluded)
    parts += _notes("Without energy", shown.unmeasured)
    parts += _notes("Trials left out", shown.failures)
    if shown.warnings:
        parts += [Text(), Text("Warnings", style="bold yellow")]
        parts += [_hanging("! ", Text(warning), "yellow") for warning in shown.warnings]
    parts += [Text(), _foot(analysis)]
    return Group(*parts)


def energy_table(shown: View, analysis: Analysis, width: int = 80) -> Table:
    """The ranking by energy per generated token."""
    table = _table(_title("Energy per generated token", shown, analysis), pad=2 if width >= _WIDE else 1)
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("configuration", min_width=_LEAST_NAME)
    table.add_column(f"{shown.units.energy.unit}/token", no_wrap=True)
    table.add_column("#1 saves %", no_wrap=True)
    table.add_column("joules are", no_wrap=True)
    energies = _with_intervals([r.energy for r in shown.rows])
    savings = _with_intervals([r.saving for r in shown.rows])
    texts = zip(energies, savings, shown.rows, strict=True)
    if max((e.cell_len + s.cell_len + len(r.grade) for e, s, r in texts), default=0) > width - _LEAST_NAME - 16:
        savings = [Text(r.saving.estimate) for r in shown.rows]
    for row, energy, saving in zip(shown.rows, energies, savings, strict=True):
        undecided = row.verdict.startswith("undecided")
        table.add_row(
            _rank(row),
            _key(row, row.key if width >= _WIDE else row.label),
            energy,
            Text("") if not row.verdict else Text("undecided", style="yellow") if undecided else saving,
            Text(row.grade, style="yellow" if row.estimated else ""),
            style=_style(row),
        )
    return table


def resource_table(shown: View, analysis: Analysis, width: int = 80) -> Table:
    """Time, memory and utilisation, in the same order."""
    scales, wide, gpu = shown.units, width >= _WIDE, shown.has_gpu
    memory = scales.memory.unit
    columns: list[tuple[str, list[str]]] = [
        ("tokens\n/s", _column([r.tokens_per_s for r in shown.rows])),
        (f"TTFT\n{scales.ttft.unit}", _column([r.ttft for r in shown.rows])),
        (
            f"{'inter-token' if wide else 'token'} {scales.inter_token.unit}\np50/p95",
            [_pair(r.inter_token_p50, r.inter_token_p95) for r in shown.rows],
        ),
        (f"{'request' if wide else 'req.'}\np95 {scales.request.unit}", _column([r.request_p95 for r in shown.rows])),
        (f"{'memory' if wide else 'mem.'}\n{memory}", units.align_points([r.memory for r in shown.rows])),
        *([(f"GPU\n{memory}", units.align_points([r.gpu_memory for r in shown.rows]))] if gpu else []),
        ("CPU\n%", [r.cpu for r in shown.rows]),
        *([("GPU\n%", [r.gpu for r in shown.rows])] if gpu else []),
        ("trials\nok" if wide else "ok/\nall", [r.trials for r in shown.rows]),
        ("same\noutput" if wide else "same\nout", [r.agreement.replace(" %", "%") for r in shown.rows]),
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


def http_rows_table(analysis: Analysis) -> Table:
    """What HTTP adds to each configuration that was measured through it."""
    found = http_share.http_table(analysis)
    table = _table(Text(f"{http_share.TITLE}  in per cent", style="bold"), pad=2)
    table.add_column("configuration")
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


def _head(analysis: Analysis) -> Text:
    plan = analysis.run.plan
    head = Text("servewatt  ", style="bold")
    blocks = plan.procedure.blocks
    head.append(plan.model.name, style="bold cyan")
    facts = [
        f"{len(plan.workload.prompts)} prompts ({plan.workload.name}), {plan.workload.new_tokens} new tokens",
        f"{len(analysis.summaries)} configurations in {blocks} {'block' if blocks == 1 else 'blocks'}",
        f"run {analysis.run.id}",
    ]
    head.append("\n" + " · ".join(facts), style="dim")
    return head


def _answer(shown: View, recommendation: Recommendation) -> RenderableType:
    """The sentence, set off by a bar on its left."""
    colour = "yellow" if recommendation.choice is None else "green"
    answer = Text(shown.sentence, style=f"bold {colour}")
    if shown.weights.startswith("weights: random"):
        answer.append(f"\n{shown.weights}", style="not bold yellow")
    return Panel(answer, box=_LEFT_BAR, style="", border_style=colour, padding=(0, 1))


def _legend(shown: View) -> Text:
    marks = {r.mark: f"{r.mark.symbol} {r.mark.value}" for r in shown.rows if r.mark.symbol}
    parts = [*marks.values(), f"[low, high]: {shown.interval}"]
    if shown.has_estimate:
        parts.append("~ contains an estimated energy")
    if shown.shared:
        parts.append(f"all configurations: {shown.shared}")
    return Text(" · ".join(parts), style="dim")


def _foot(analysis: Analysis) -> Text:
    shown = analysis.run.environment
    where = [shown.cpu, f"{shown.cpu_count} CPUs", *(g.name for g in shown.gpus), shown.system]
    if shown.virtual_machine:
        where.append(f"virtual machine ({shown.virtual_machine})")
    boundary = boundary_line(analysis.boundary, shown)
    return Text(" · ".join(where) + f"\n{boundary}", style="dim")


def _rank(row: Row) -> Text:
    return Text(f"{row.mark.symbol}{row.rank}")


def _key(row: Row, text: str) -> Text:
    return Text(text, style="bold" if row.mark is Mark.CHOICE else "", overflow="fold")


def _style(row: Row) -> str:
    if row.mark is Mark.CHOICE:
        return "green"
    return "dim" if row.mark is Mark.EXCLUDED or row.missing else ""


def _notes(title: str, notes: Iterable[Note]) -> list[RenderableType]:
    listed = list(notes)
    if not listed:
        return []
    lines: list[RenderableType] = [Text(), Text(title, style="bold")]
    lines += [_hanging("  ", Text.assemble(note.key, "  ", (note.text, "dim"))) for note in listed]
    return lines


def _hanging(lead: str, text: Text, style: str = "") -> RenderableType:
    grid = Table.grid()
    grid.add_column(width=len(lead))
    grid.add_column(overflow="fold")
    grid.add_row(Text(lead, style=style), text)
    return grid
