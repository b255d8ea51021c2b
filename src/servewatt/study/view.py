"""The data behind the study's tables and figures, and the remarks that accompany them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from servewatt.errors import InputError, nearest
from servewatt.records import Grade, Weights
from servewatt.report import units
from servewatt.report.units import Scale
from servewatt.study.data.cells import Cell, cells_of
from servewatt.study.data.names import STUDY
from servewatt.study.data.observations import VARIABLES, Observation, Variable, usable
from servewatt.study.data.results_file import RunNote
from servewatt.study.data.summaries import Summary, from_cells, summarise
from servewatt.study.published import medians as published
from servewatt.study.tests.examine import Examination, examine_observations

ALPHA = 0.05
"""The study's level of significance."""


@dataclass(frozen=True)
class StudyView:
    """Observations with everything computed from them; or the published cells alone, and then no observations."""

    observations: tuple[Observation, ...]
    summaries: tuple[Summary, ...]
    cells: tuple[Cell, ...]
    """The same medians as cells: what savings and ranks are made of."""
    published: tuple[Cell, ...] = ()
    """The published cells, to set beside ours."""
    runs: tuple[RunNote, ...] = ()
    """What was run where."""
    examinations: tuple[Examination, ...] = ()
    """The study's tests, variable by variable and model by model; empty where they were not asked for."""
    work: str = "token"
    """What energies and times are of."""

    @property
    def is_published(self) -> bool:
        """Whether this shows the published cells alone."""
        return not self.observations

    @property
    def sources(self) -> tuple[str, ...]:
        """The campaigns, in alphabetical order."""
        return tuple(sorted({s.source for s in self.summaries}))

    @property
    def models(self) -> tuple[str, ...]:
        """The models, by number of parameters."""
        return tuple(dict.fromkeys(s.model for s in self.summaries))

    @property
    def has_estimate(self) -> bool:
        """Whether any energy contains an estimate."""
        return any(m.grade is Grade.ESTIMATED for s in self.summaries for m in s.measures)

    @property
    def all_random(self) -> bool:
        """Whether every model was measured with random weights."""
        return all(s.weights is Weights.RANDOM for s in self.summaries)

    def of(self, source: str, model: str) -> tuple[Summary, ...]:
        """The summaries of one model of one campaign, in the order of configurations."""
        return tuple(s for s in self.summaries if (s.source, s.model) == (source, model))


def variable(name: str) -> Variable:
    """A response variable by its name.

    Raises InputError for an unknown name.
    """
    found = next((v for v in VARIABLES if v.name == name), None)
    if found is None:
        raise InputError(f"unknown variable {name!r}", nearest(name, [v.name for v in VARIABLES]))
    return found


def scale_of(name: str, values: Iterable[float | None], work: str = "") -> Scale:
    """The unit in which a variable's values are shown: one for all, `mJ/token` with `work` given."""
    one = variable(name)
    per = f"/{work}" if work else ""
    if "energy" in one.name:
        fitted = units.si(values, "J")
        return Scale(fitted.unit + per, fitted.divisor)
    if one.name.startswith("s_"):
        fitted = units.seconds(values)
        return Scale(fitted.unit + per, fitted.divisor)
    return Scale(one.unit, 1 / one.scale)


def caption(view: StudyView, variables: Sequence[str] = ()) -> str:
    """What must be said wherever these results (of these variables, or of all) are shown, in one line."""
    if view.is_published:
        return f"published medians: {STUDY}"
    counts = sorted({s.ok for s in view.summaries if s.ok})
    span = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}" if counts else "0"
    names = ", ".join(view.sources)
    machines = len({o.machine for o in view.observations})
    parts = [
        f"{names}: {machines} machines" if machines > 1 else names,
        f"{span} block{'' if counts == [1] else 's'}",
    ]
    if view.all_random:
        parts.append("weights: random")
    elif any(s.weights is Weights.RANDOM for s in view.summaries):
        parts.append("some weights random")
    measures = [m for s in view.summaries for m in s.measures if not variables or m.variable in variables]
    if any(m.grade is Grade.ESTIMATED for m in measures):
        parts.append("~ estimated" if all(m.grade is Grade.ESTIMATED for m in measures) else "~ partly estimated")
    return " · ".join(parts)


def observed(observations: Sequence[Observation], runs: Sequence[RunNote] = (), *, tested: bool = False) -> StudyView:
    """The view of observations; with `tested`, the study's tests as well, which take a while.

    Raises InputError if there are no observations.
    """
    if not observations:
        raise InputError("there are no observations", "`servewatt study run` measures some")
    return StudyView(
        observations=tuple(observations),
        summaries=summarise(observations),
        cells=cells_of(observations),
        published=published.cells(),
        examinations=_examinations(observations) if tested else (),
        runs=tuple(runs),
    )


def published_alone(models: Sequence[str] = ()) -> StudyView:
    """The view of the published cells, without observations; of these models, or of all if none is named.

    Raises InputError for a model that was not published.
    """
    known = {m.name for m in published.models()}
    for name in models:
        if name not in known:
            raise InputError(f"model {name!r} is not among the published ones", f"known: {', '.join(sorted(known))}")
    cells = tuple(c for c in published.cells() if not models or c.model in models)
    return StudyView((), from_cells(cells, published.parameters()), cells, work="pass")


def from_the_top(view: StudyView) -> str:
    """Which campaign's rows stand above which, for figures that draw a line between them; empty for a single one."""
    return f" · from the top: {', '.join(view.sources)}" if len(view.sources) > 1 else ""


def select(observations: Sequence[Observation], models: Sequence[str]) -> tuple[Observation, ...]:
    """The observations of these models; of all if none is named.

    Raises InputError for a model that was not measured.
    """
    known = {o.model for o in observations}
    for name in models:
        if name not in known:
            raise InputError(f"no observation of model {name!r}", nearest(name, known))
    return tuple(o for o in observations if not models or o.model in models)


def _examinations(observations: Sequence[Observation]) -> tuple[Examination, ...]:
    """Those of `servewatt study analyse`, so that both show the same numbers; none without a valid trial."""
    return examine_observations(observations, alpha=ALPHA) if usable(observations) else ()
