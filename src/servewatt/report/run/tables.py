"""All tables of a run, for papers."""

from __future__ import annotations

from servewatt.recommendation.records import Recommendation
from servewatt.report.latex import to_latex
from servewatt.report.plain_text import cleaned
from servewatt.report.run import answer, batches, http, limits, race, ranking, trials
from servewatt.report.table import Table
from servewatt.report.view import view
from servewatt.stats.records import Analysis


def run_tables(analysis: Analysis, recommendation: Recommendation) -> tuple[Table, ...]:
    """Every table of the run that has rows but the one of its trials, in the order of the report; the answer last."""
    analysis, recommendation = cleaned(analysis), cleaned(recommendation)
    shown = view(analysis, recommendation)
    found = (
        ranking.energy_table(shown, analysis),
        ranking.resource_table(shown, analysis),
        ranking.boundary_table(shown),
        race.race_table(analysis, recommendation),
        ranking.detail_table(analysis),
        batches.batch_table(analysis),
        limits.limit_table(analysis),
        ranking.comparison_table(analysis),
        http.http_table(analysis),
        *trials.left_out(shown),
        answer.answer_table(analysis, recommendation),
    )
    return tuple(table for table in found if table.rows)


def run_latex(analysis: Analysis, recommendation: Recommendation) -> str:
    """These tables as one LaTeX file, to be read in by `\\input`; each says which packages it needs."""
    return "\n".join(map(to_latex, run_tables(analysis, recommendation)))
