"""The analysis of a run, the choice from it, and its figures."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from servewatt.api.tables import dataframe
from servewatt.errors import InputError, nearest
from servewatt.experiment.deciding import Decided, decide, within_quality
from servewatt.experiment.gathering import Found
from servewatt.recommendation.objective import Objective
from servewatt.recommendation.quality import QualityLimits
from servewatt.recommendation.records import Constraints, Recommendation
from servewatt.records import Boundary

if TYPE_CHECKING:
    import pandas

    from servewatt.report.figures import Figure


@dataclass(frozen=True)
class RunAnalysis(Decided):
    """A run's statistics: `analysis` (medians over blocks with intervals, comparisons), and the `recommendation`."""

    def to_dataframe(self) -> pandas.DataFrame:
        """One row a configuration, best first, in SI base units; the columns of `configurations.csv` (docs/reference).

        Raises UnavailableError where pandas is not installed.
        """
        from servewatt.report.export import configurations_csv

        return dataframe(configurations_csv(self.analysis))

    def plot(self, name: str = "energy") -> Plot:
        """A figure by its name: race, energy, latency, batch, ratios, blocks, power or utilisation.

        A notebook shows it, `save` writes it. A figure that the data do not allow is not there: only runs with several
        batch sizes have `batch`.

        Raises InputError, with the names of those that the data allow, for any other.
        """
        from servewatt.report.figures import figures

        drawn = {figure.name: figure for figure in figures(self.analysis, self.results, self.recommendation)}
        if name not in drawn:
            raise InputError(f"there is no figure {name!r} of this run", nearest(name, drawn))
        return Plot(drawn[name])

    def __str__(self) -> str:
        return self.recommendation.sentence

    def _repr_html_(self) -> str:
        """The answer in a sentence, and the ranking below it."""
        from servewatt.report.html_table import to_html
        from servewatt.report.run.ranking import ranking_table
        from servewatt.report.view import view

        table = ranking_table(view(self.analysis, self.recommendation), self.analysis)
        return f"<p><strong>{escape(self.recommendation.sentence)}</strong></p>{to_html(table)}"


@dataclass(frozen=True)
class Plot:
    """A drawn figure."""

    figure: Figure

    def _repr_svg_(self) -> str:
        return self.figure.svg

    def save(self, path: str | Path) -> None:
        """Write it as SVG, PNG or PDF, by the ending of `path`. Raises InputError for any other, or if it cannot be."""
        from servewatt.report.figures import FORMATS, write_to

        kind = Path(path).suffix.removeprefix(".").lower()
        if kind not in FORMATS:
            raise InputError(f"cannot write a figure as {path}", f"end its name in one of: {', '.join(FORMATS)}")
        write_to(self.figure, Path(path), kind)


def analyse(run: Found, *, boundary: Boundary | None = None, limits: Constraints | None = None) -> RunAnalysis:
    """The statistics of a run, and the choice from it within `limits`; computed anew in a fraction of a second.

    `run` is what `measure` or `load` gave. `boundary` is the part of the machine whose joules count, the plan's unless
    given.
    """
    decided = decide(run, boundary=boundary, limits=limits)
    return RunAnalysis(decided.found, decided.analysis, decided.recommendation)


def recommend(
    run: Found,
    limits: Constraints | None = None,
    *,
    quality: QualityLimits | None = None,
    boundary: Boundary | None = None,
    objective: str = "energy",
) -> Recommendation:
    """The configuration of least energy within the limits, in words too (`sentence`).

    `objective` is `energy`, `latency` (time of a request) or `throughput` (time over all rows of a batch).

    `limits` are on latency and time to first token (seconds, 95th percentile), memory (bytes), provider and
    concurrency; `quality` is on outputs, and needs `assess_quality` before. There is a choice wherever a configuration
    is shown to meet the limits, and of it is promised that nothing else saves more than the share `promise`; more
    blocks make that share smaller. Raises InputError for limits on quality where none is known, and for an objective
    that is unknown or that nothing was measured of.
    """
    limits = limits or Constraints()
    if objective not in set(Objective):
        raise InputError(f"there is no objective {objective!r}", nearest(objective, [o.value for o in Objective]))
    decided = decide(run, boundary=boundary, limits=limits, objective=Objective(objective))
    return within_quality(decided, limits, quality or QualityLimits())
