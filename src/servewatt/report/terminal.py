"""The report in a terminal: the answer first, then the ranking, then what a careful reader must know."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from servewatt.errors import counted
from servewatt.recommend.records import Recommendation
from servewatt.report import batches, http_share, limits
from servewatt.report.plain_text import GLUE, cleaned, glued
from servewatt.report.quality import quality_notes
from servewatt.report.terminal_tables import (
    batch_rows_table,
    energy_table,
    http_rows_table,
    limit_rows_table,
    ranking_table,
    resource_table,
)
from servewatt.report.view import Note, View, boundary_line, view
from servewatt.stats.records import Analysis

_LEFT_BAR = box.Box("    \n▌   \n    \n▌   \n    \n    \n    \n    \n")


def render_terminal(console: Console, analysis: Analysis, recommendation: Recommendation) -> None:
    """Print the whole report to `console`."""
    console.print(terminal_report(analysis, recommendation, console.width))


def terminal_report(analysis: Analysis, recommendation: Recommendation, width: int = 80) -> RenderableType:
    """The whole report as one renderable, laid out for a terminal of `width` columns."""
    analysis, recommendation = cleaned(analysis), cleaned(recommendation)
    shown = view(analysis, recommendation)
    parts: list[RenderableType] = [_head(analysis), _answer(shown, recommendation)]
    if shown.rows:
        parts += [energy_table(shown, analysis, width), Text(), resource_table(shown, analysis, width)]
        parts += [Text(), _legend(shown), *(Text(note, style="dim") for note in quality_notes(analysis))]
    if shown.rankings:
        parts += [Text(), ranking_table(shown)]
    if analysis.batch_curves:
        parts += [Text(), batch_rows_table(shown, analysis, width)]
        parts += [_hanging("  ", Text(glued(sentence))) for sentence in batches.batch_table(analysis).sentences]
    if any(s.limit is not None for s in analysis.summaries):
        parts += [Text(), limit_rows_table(analysis, width)]
        parts += [_hanging("  ", Text(glued("; ".join(limits.limit_table(analysis).notes)), style="dim"))]
    if analysis.http_shares:
        parts += [Text(), http_rows_table(analysis, width)]
        parts += [_hanging("  ", Text(note, style="dim")) for note in http_share.http_table(analysis).notes]
    parts += _notes("Excluded", shown.excluded)
    parts += _notes("Without energy", shown.unmeasured)
    parts += _notes("Trials left out", shown.failures)
    if shown.warnings:
        parts += [Text(), Text("Warnings", style="bold yellow")]
        parts += [_hanging("! ", Text(glued(warning)), "yellow") for warning in shown.warnings]
    parts += [Text(), _foot(analysis)]
    return _Unglued(Group(*parts))


class _Unglued:
    """What is laid out with `GLUE` between numbers and units, shown with spaces there."""

    def __init__(self, inner: RenderableType) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._inner, options):
            yield Segment(segment.text.replace(GLUE, " "), segment.style, segment.control)


def _head(analysis: Analysis) -> Text:
    plan = analysis.run.plan
    head = Text("servewatt  ", style="bold")
    head.append(plan.model.name, style="bold cyan")
    facts = [
        f"{counted(len(plan.workload.prompts), 'prompt')} ({plan.workload.name}), "
        + counted(plan.workload.new_tokens, "new token"),
        f"{counted(len(analysis.summaries), 'configuration')} in {counted(plan.procedure.blocks, 'block')}",
        f"run {analysis.run.id}",
    ]
    head.append("\n" + " · ".join(facts), style="dim")
    return head


def _answer(shown: View, recommendation: Recommendation) -> RenderableType:
    """The sentence, set off by a bar on its left."""
    colour = "yellow" if recommendation.choice is None else "green"
    answer = Text(glued(shown.sentence), style=f"bold {colour}")
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
    return Text(glued(" · ".join(parts)), style="dim")


def _foot(analysis: Analysis) -> Text:
    shown = analysis.run.environment
    where = [shown.cpu, counted(shown.cpu_count, "CPU"), *(g.name for g in shown.gpus), shown.system]
    if shown.virtual_machine:
        where.append(f"virtual machine ({shown.virtual_machine})")
    boundary = boundary_line(analysis.boundary, shown)
    return Text(" · ".join(where) + f"\n{boundary}", style="dim")


def _notes(title: str, notes: Iterable[Note]) -> list[RenderableType]:
    listed = list(notes)
    if not listed:
        return []
    lines: list[RenderableType] = [Text(), Text(title, style="bold")]
    lines += [_hanging("  ", Text.assemble(note.key, "  ", (glued(note.text), "dim"))) for note in listed]
    return lines


def _hanging(lead: str, text: Text, style: str = "") -> RenderableType:
    grid = Table.grid()
    grid.add_column(width=len(lead))
    grid.add_column(overflow="fold")
    grid.add_row(Text(lead, style=style), text)
    return grid
