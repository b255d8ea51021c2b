"""The report in a terminal: the answer first, then the ranking, then what a careful reader must know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rich import box
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from servewatt.errors import counted
from servewatt.recommendation.records import Recommendation
from servewatt.report.next_steps import next_steps
from servewatt.report.plain_text import cleaned, glued
from servewatt.report.run import batches, http, limits, race, ranking, trials
from servewatt.report.run.answer import answer_facts
from servewatt.report.run.quality import quality_notes
from servewatt.report.table import Entry, Table
from servewatt.report.table_forms import renderable
from servewatt.report.terminal_text import Unglued, hanging
from servewatt.report.view import View, boundary_line, length, view
from servewatt.stats.records import Analysis

_WIDE = 112
"""From this width configurations are ranked by their full keys."""

_MOST_RANKED = 10
"""Places by boundary that are shown."""

_NAMES = 12
"""Columns of the names on the first screen."""

_LEFT_BAR = box.Box("    \n▌   \n    \n▌   \n    \n    \n    \n    \n")


def render_terminal(console: Console, analysis: Analysis, recommendation: Recommendation) -> None:
    """Print the whole report to `console`."""
    console.print(terminal_report(analysis, recommendation, console.width))


def terminal_report(analysis: Analysis, recommendation: Recommendation, width: int = 80) -> RenderableType:
    """The whole report as one renderable, laid out for a terminal of `width` columns."""
    analysis, recommendation = cleaned(analysis), cleaned(recommendation)
    shown = view(analysis, recommendation)
    parts: list[RenderableType] = [_head(analysis), _answer(shown, recommendation)]
    parts += _first_screen(analysis, recommendation)
    if shown.rows:
        energy = renderable(ranking.energy_table(shown, analysis), width, short=width < _WIDE)
        parts += [energy, Text(), renderable(ranking.resource_table(shown, analysis), width, short=True)]
        parts += [Text(), _legend(shown), *(Text(note, style="dim") for note in quality_notes(analysis))]
    if shown.rankings:
        parts += [Text(), renderable(ranking.boundary_table(shown, most=_MOST_RANKED), width, short=True)]
    parts += _section(race.race_table(analysis, recommendation), width)
    parts += _section(batches.batch_table(analysis), width, batches.batch_sentences(analysis))
    parts += _section(limits.limit_table(analysis), width)
    parts += _section(http.http_table(analysis), width)
    for table in trials.left_out(shown):
        parts += [Text(), Text(table.title, style="bold"), *map(_pair, table.rows)]
    if shown.warnings:
        parts += [Text(), Text("Warnings", style="bold yellow")]
        parts += [hanging("! ", Text(glued(warning)), "yellow") for warning in shown.warnings]
    parts += [Text(), _foot(analysis)]
    return Unglued(Group(*parts))


def _first_screen(analysis: Analysis, recommendation: Recommendation) -> list[RenderableType]:
    """What the choice saves, what is promised and known of it, and what to type next."""
    lines: list[RenderableType] = []
    for name, text in answer_facts(analysis, recommendation):
        style = "bold yellow" if name == "in doubt" else ""
        lines.append(hanging(f"  {name:<{_NAMES}}", Text(glued(text), style=style), "dim"))
    for place, step in enumerate(next_steps(analysis, recommendation)):
        said = Text.assemble((step.command, "bold"), (f"  {glued(step.why)}", "dim"))
        lines.append(hanging(f"  {'' if place else 'next':<{_NAMES}}", said, "dim"))
    return [*lines, Text()]


def _section(table: Table, width: int, sentences: Sequence[str] = ()) -> list[RenderableType]:
    """A table with what it says beneath it; nothing where it has no rows."""
    if not table.rows:
        return []
    parts: list[RenderableType] = [Text(), renderable(replace(table, notes=()), width, short=True)]
    parts += [hanging("  ", Text(glued(sentence))) for sentence in sentences]
    return parts + [hanging("  ", Text(glued(note), style="dim")) for note in table.notes]


def _pair(row: Sequence[Entry]) -> RenderableType:
    name, reason = (str(entry.value) for entry in row)
    return hanging("  ", Text.assemble(name, "  ", (glued(reason), "dim")))


def _head(analysis: Analysis) -> Text:
    plan = analysis.run.plan
    head = Text("servewatt  ", style="bold")
    head.append(plan.model.name, style="bold cyan")
    facts = [
        f"{counted(len(plan.workload.prompts), 'prompt')} ({plan.workload.name}), "
        + counted(plan.workload.new_tokens, "new token"),
        f"{counted(len(analysis.summaries), 'configuration')} in {length(analysis)}",
        f"run {analysis.run.id}",
    ]
    head.append("\n" + " · ".join(facts), style="dim")
    return head


def _answer(shown: View, recommendation: Recommendation) -> RenderableType:
    """The sentence, set off by a bar on its left."""
    colour = "green" if recommendation.decided else "yellow"
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
