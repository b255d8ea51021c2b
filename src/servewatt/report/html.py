"""The report as one HTML file that needs nothing else: no network, no other file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from servewatt.errors import counted
from servewatt.recommend.records import Recommendation
from servewatt.records import Result
from servewatt.report import batches, http_share, limits, tables, units
from servewatt.report.figures import BLUE, GREEN, INK, ORANGE, PURPLE, QUIET, RULE, SKY, Figure, figures
from servewatt.report.plain_text import cleaned, glued
from servewatt.report.quality import quality_columns, quality_notes
from servewatt.report.units import DASH
from servewatt.report.view import Mark, view
from servewatt.stats.records import Analysis

if TYPE_CHECKING:
    from jinja2 import Environment as Templates

_THEME = {
    INK: "var(--ink)",
    QUIET: "var(--quiet)",
    RULE: "var(--rule)",
    BLUE: "var(--blue)",
    SKY: "var(--sky)",
    ORANGE: "var(--orange)",
    GREEN: "var(--green)",
    PURPLE: "var(--purple)",
    "#ffffff": "var(--paper)",
}
_EXPLANATIONS = {
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
    drawn = figures(analysis, results)
    analysis, recommendation = cleaned(analysis), cleaned(recommendation)
    shown = view(analysis, recommendation)
    template = templates().get_template("report.html.j2")
    return template.render(
        analysis=analysis,
        run=analysis.run,
        plan=analysis.run.plan,
        recommendation=recommendation,
        constraints=tables.constraint_texts(recommendation.constraints),
        view=shown,
        random=shown.weights.startswith("weights: random"),
        confidence=units.percent(analysis.confidence),
        choice=next((r for r in shown.rows if r.mark is Mark.CHOICE), None),
        ranked=tables.ranked(shown),
        ranking_rows=tables.ranking_rows(shown),
        figures=[(f, themed(f), _EXPLANATIONS[f.name]) for f in drawn],
        compared=tables.compared(analysis),
        limits=limits.limit_table(analysis),
        limits_title=limits.TITLE,
        limits_explanation=limits.EXPLANATION,
        batches=batches.batch_table(analysis),
        batches_title=batches.TITLE,
        batches_explanation=batches.EXPLANATION,
        http=http_share.http_table(analysis),
        quality=quality_columns(analysis),
        quality_notes=quality_notes(analysis),
        details=tables.details(analysis),
        detail_heads=tables.DETAIL_HEADS,
        trials=tables.trials(analysis, results),
        proofs=tables.proofs(analysis),
        proof_heads=tables.PROOF_HEADS,
        environment=tables.environment_pairs(analysis.run.environment),
        command=command,
        counted=counted,
        glued=lambda text: glued(text, "\N{NO-BREAK SPACE}"),
        dash=DASH,
        shown_warnings=4,
    )


def themed(figure: Figure) -> str:
    """The figure's SVG for inlining in a page: no prolog or namespaces, colours from the page's palette."""
    svg = figure.svg[figure.svg.index("<svg") :]
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'<svg ([^>]*?)width="[^"]*" height="[^"]*"', r"<svg \1", svg, count=1)
    for colour, variable in _THEME.items():
        svg = svg.replace(colour, variable)
    return svg


def templates(*packages: str) -> Templates:
    """The templates of our pages, and those of other packages; everything they are given is escaped."""
    from jinja2 import ChoiceLoader, PackageLoader, StrictUndefined
    from jinja2 import Environment as Templates

    # The file's name ends in .j2, which select_autoescape would not take for HTML: escape always.
    return Templates(
        loader=ChoiceLoader([PackageLoader(name) for name in (*packages, "servewatt.report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
