"""The report as one HTML file that needs nothing else: no network, no other file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from servewatt.errors import counted
from servewatt.recommendation.records import Recommendation
from servewatt.records import Result
from servewatt.report import units
from servewatt.report.figures import figures
from servewatt.report.figures.canvas import NARROW, WIDE, Figure
from servewatt.report.html_table import html_pairs, to_html
from servewatt.report.next_steps import next_steps
from servewatt.report.page_data import page_data
from servewatt.report.page_templates import templates
from servewatt.report.plain_text import cleaned, glued
from servewatt.report.run import batches, http, limits, race, ranking, trials
from servewatt.report.run.answer import answer_facts, headline
from servewatt.report.run.environment import environment_table
from servewatt.report.run.quality import quality_notes
from servewatt.report.table import Table
from servewatt.report.view import View, length, view
from servewatt.stats.records import Analysis

_EXPLANATIONS = {
    "race": "From top to bottom: what was known after each episode or block. The line at 1 is the choice. A cross: "
    "shown to need more, and out since. Dotted: nothing was known yet.",
    "energy": "Idle is what the loaded machine draws anyway over the same time; prefill and decode are what the work "
    "adds to it. The tick is the total, the whisker its interval.",
    "latency": "Round: on the Pareto front. For each square one, some other configuration is better in both.",
    "batch": "Lines are configurations that differ in batch alone; the ring marks the least energy of each.",
    "ratios": "Paired by block, so that drift cancels. An interval across 1 leaves the order open (hollow).",
    "blocks": "Lines that move together show drift of the machine, which comparing within blocks removes.",
    "power": "The earliest valid trial of each configuration. Shaded: load, prefill and generate.",
    "utilisation": "100 % is every CPU busy, or the whole GPU.",
}


def render_html(
    analysis: Analysis, recommendation: Recommendation, results: Sequence[Result] = (), command: str = ""
) -> str:
    """The whole report as one HTML document; `command` is the line that repeats the run."""
    drawn = figures(analysis, results, recommendation)
    analysis, recommendation = cleaned(analysis), cleaned(recommendation)
    shown = view(analysis, recommendation)
    ranked = ranking.ranking_table(shown, analysis)
    ranked = replace(ranked, title=f"By energy per generated token, least first; {shown.interval} over blocks")
    raced = race.race_table(analysis, recommendation)
    details, every = ranking.detail_table(analysis), trials.trial_table(analysis, results)
    compared, sections = ranking.comparison_table(analysis), _sections(analysis, shown)
    listed = (ranked, raced, ranking.boundary_table(shown), details, compared, every, trials.facts_table(analysis))
    return (
        templates()
        .get_template("report.html.j2")
        .render(
            analysis=analysis,
            run=analysis.run,
            plan=analysis.run.plan,
            recommendation=recommendation,
            view=shown,
            random=shown.weights.startswith("weights: random"),
            confidence=units.percent(analysis.confidence),
            facts=answer_facts(analysis, recommendation),
            headline=headline(shown.sentence),
            steps=next_steps(analysis, recommendation),
            raced=raced,
            race_figure=next((_placed(f) for f in drawn if f.name == "race"), None),
            length=length(analysis),
            ranked=ranked,
            boundaries=ranking.boundary_table(shown),
            details=details,
            sections=sections,
            compared=compared,
            data=page_data(analysis, recommendation, ranked, (*listed, *(s.table for s in sections))),
            figures=[_placed(f) for f in drawn if f.name != "race"],
            quality_notes=quality_notes(analysis),
            left_out=trials.left_out(shown),
            trials=every,
            proofs=trials.facts_table(analysis),
            environment=environment_table(analysis.run.environment),
            command=command,
            counted=counted,
            glued=lambda text: glued(text, "\N{NO-BREAK SPACE}"),
            table=to_html,
            pairs=html_pairs,
            shown_warnings=4,
        )
    )


def _placed(figure: Figure) -> tuple[Figure, str, str, str]:
    """A figure, its drawings for wide and narrow windows, and what explains it."""
    return figure, figure.inline(WIDE), figure.inline(NARROW), _EXPLANATIONS[figure.name]


@dataclass(frozen=True)
class _Section:
    """A part of the page that holds one table."""

    name: str
    title: str
    table: Table
    sentences: tuple[str, ...] = ()


def _sections(analysis: Analysis, shown: View) -> list[_Section]:
    """Batches and limits, where the run tells of them; HTTP's share stands further down, after the comparisons."""
    interval = f"{shown.interval} over blocks"
    found = [
        _Section(
            "batches",
            batches.TITLE,
            replace(batches.batch_table(analysis), title=f"{batches.EXPLANATION}; medians, {interval}"),
            batches.batch_sentences(analysis),
        ),
        _Section(
            "limit",
            limits.TITLE,
            replace(limits.limit_table(analysis), title=f"{limits.EXPLANATION}; {interval}"),
        ),
        _Section(
            "http",
            "What HTTP adds",
            replace(
                http.http_table(analysis),
                title=f"Shares in per cent; {units.percent(analysis.confidence)} intervals valid at every look, "
                "that hold together",
            ),
        ),
    ]
    return [section for section in found if section.table.rows]
