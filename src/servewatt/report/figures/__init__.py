"""Figures of a run for its page, for papers and talks; `canvas.py` says how one is drawn, `files.py` writes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from servewatt.recommendation.records import Recommendation
from servewatt.records import Result
from servewatt.report.figures.canvas import Figure
from servewatt.report.figures.files import FORMATS, save, write_to
from servewatt.report.plain_text import cleaned
from servewatt.stats.records import Analysis

__all__ = ["FORMATS", "Figure", "figures", "save", "write_to"]


def figures(
    analysis: Analysis, results: Sequence[Result] = (), recommendation: Recommendation | None = None
) -> tuple[Figure, ...]:
    """Every figure that the data allow; those without data are left out. That of a race needs the recommendation."""
    from servewatt.report.figures import batches, comparisons, over_time
    from servewatt.report.figures.race import race

    # Trials are found by their configuration, so theirs is cleaned alike.
    analysis = cleaned(analysis)
    results = [replace(r, trial=replace(r.trial, configuration=cleaned(r.trial.configuration))) for r in results]
    found = (
        race(analysis, cleaned(recommendation)) if recommendation is not None else None,
        comparisons.energy_bars(analysis),
        comparisons.energy_latency(analysis),
        batches.batch_energy(analysis),
        comparisons.ratios(analysis),
        comparisons.blocks(analysis),
        over_time.power(analysis, results),
        over_time.utilisation(analysis, results),
    )
    return tuple(figure for figure in found if figure is not None)
