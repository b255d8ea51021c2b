"""The report as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from servewatt.recommendation.records import Recommendation
from servewatt.records import Weights
from servewatt.report.next_steps import next_steps
from servewatt.report.plain_text import cleaned
from servewatt.report.run import batches, http, limits, race, ranking, trials
from servewatt.report.run.answer import answer_facts
from servewatt.report.run.environment import environment_table
from servewatt.report.run.quality import quality_notes
from servewatt.report.table import Table
from servewatt.report.table_forms import markdown_pairs
from servewatt.report.table_forms import markdown_text as _text
from servewatt.report.table_forms import to_markdown as to_pipes
from servewatt.report.view import view
from servewatt.stats.records import Analysis


def to_markdown(analysis: Analysis, recommendation: Recommendation) -> str:
    """The recommendation, the ranked table, warnings and the environment."""
    analysis, recommendation = cleaned(analysis), cleaned(recommendation)
    shown = view(analysis, recommendation)
    plan = analysis.run.plan
    told = f"{analysis.boundary.value} boundary, {shown.interval}, {shown.weights}"
    lines = [f"# servewatt: {_text(plan.model.name)}", "", f"**{_text(shown.sentence)}**", ""]
    if plan.model.weights is Weights.RANDOM:
        lines += [f"**{_text(shown.weights)}**", ""]
    lines += [f"- {_text(name)}: {_text(value)}" for name, value in answer_facts(analysis, recommendation)]
    lines += [f"- next: `{step.command}` ({_text(step.why)})" for step in next_steps(analysis, recommendation)]
    lines += [
        "",
        f"Energy per generated token; {_text(told)}.{' ~ marks estimated energy.' if shown.has_estimate else ''}",
    ]
    lines += ["", *to_pipes(ranking.ranking_table(shown, analysis)).splitlines()]
    if notes := quality_notes(analysis):
        lines += ["", *(f"- {_text(note)}" for note in notes)]
    if shown.rankings:
        lines += ["", "The order depends on the boundary:", ""]
        lines += [f"- {r.boundary.value}: {_text(', '.join(r.keys))}" for r in shown.rankings]
    lines += _section(race.race_table(analysis, recommendation))
    lines += _section(batches.batch_table(analysis), batches.EXPLANATION, batches.batch_sentences(analysis))
    lines += _section(limits.limit_table(analysis), limits.EXPLANATION)
    lines += _section(replace(http.http_table(analysis), title="Through HTTP"))
    for table in trials.left_out(shown):
        lines += ["", f"## {table.title}", "", *markdown_pairs(table).splitlines()]
    if shown.warnings:
        lines += ["", "## Warnings", "", *(f"- {_text(w)}" for w in shown.warnings)]
    environment = environment_table(analysis.run.environment)
    lines += ["", "## Environment", "", *markdown_pairs(environment).splitlines()]
    lines += [
        "",
        f"Run {_text(analysis.run.id)}, {analysis.run.created_at}, servewatt {analysis.run.servewatt_version}.",
    ]
    return "\n".join(lines) + "\n"


def _section(table: Table, explanation: str = "", sentences: Sequence[str] = ()) -> list[str]:
    """A table under its title, with what it says beneath it; nothing where it has no rows."""
    if not table.rows:
        return []
    lines = ["", f"## {table.title}", "", *([f"{explanation}.", ""] if explanation else [])]
    lines += to_pipes(table).splitlines()
    return [*lines, *([""] if sentences else []), *(f"- {_text(sentence)}" for sentence in sentences)]
