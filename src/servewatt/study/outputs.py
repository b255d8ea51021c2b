"""Every table and figure of the study by name, and what each needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from servewatt.errors import InputError, nearest
from servewatt.report.figures import Figure
from servewatt.report.table import Table
from servewatt.study.figures import boxes as study_boxes
from servewatt.study.figures import grids as study_grids
from servewatt.study.figures import medians as study_medians
from servewatt.study.tables import across as study_across
from servewatt.study.tables import http, savings, tests
from servewatt.study.tables import measurements as study_tables
from servewatt.study.tables import utilisation as study_published
from servewatt.study.tests.http_share import http_shares
from servewatt.study.view import StudyView


def _always(view: StudyView) -> bool:
    return True


@dataclass(frozen=True)
class TableKind:
    """A table that can be made."""

    title: str
    make: Callable[[StudyView], Table]
    observations: bool = False
    """Whether it needs observations: the published medians are not enough."""
    tested: bool = False
    """Whether it needs the study's tests, which take a while."""
    fits: Callable[[StudyView], bool] = _always
    """Whether observations can fill it, where more is needed than some of them."""


@dataclass(frozen=True)
class FigureKind:
    """A figure that can be drawn."""

    title: str
    make: Callable[[StudyView], Figure | None]
    explanation: str
    """How to read it, in a sentence or two."""
    observations: bool = False
    tested: bool = False
    fits: Callable[[StudyView], bool] = _always
    """Whether it says what no other figure says already."""


def _boxes(name: str, figure: str, title: str) -> FigureKind:
    make = partial(study_boxes.boxes, name=name, figure=figure, title=title)
    explanation = (
        "Each dot is one block, the box spans the quartiles, its line is the median, the whisker the extremes. "
        "A row without a box says why."
    )
    fits = _gpu_apart if name == "gpu_energy_j_per_token" else _always
    return FigureKind(title, make, explanation, observations=True, fits=fits)


def _grid(name: str, figure: str, title: str) -> FigureKind:
    make = partial(study_grids.test_grid, name=name, figure=figure)
    explanation = (
        "Below the diagonal, how surely the row's configuration needs less (blue) or more (orange) than the column's: "
        "Cliff's delta. Above it, which tests tell the two apart: where groups are separated completely, Dunn's test "
        "still cannot tell neighbours apart, Games-Howell can."
    )
    return FigureKind(title, make, explanation, observations=True, tested=True)


def _gpu_apart(view: StudyView) -> bool:
    """Whether the GPU's energy is another than the global one; they are one where the boundary is the GPU."""
    return any(s.estimate("gpu_energy_j_per_token") != s.estimate("energy_j_per_token") for s in view.summaries)


def _gpu_pairs(view: StudyView) -> bool:
    return _gpu_apart(view) and tests.has_pairs(view, "gpu_energy_j_per_token")


def _through_http(view: StudyView) -> bool:
    """Whether there is a share of HTTP to state."""
    return bool(http_shares(view.observations))


TABLES = {
    "energy": TableKind("energy and time by model and configuration", study_tables.energy_table),
    "size-groups": TableKind("means over the models of a size group", study_tables.size_group_table),
    "utilisation": TableKind("CPU, memory and GPU by model and configuration", study_published.utilisation_table),
    "savings": TableKind("ranges of savings, by definition", savings.savings_table),
    "across": TableKind(
        "pairs of configurations over all models", study_across.across_table, fits=study_across.can_compare
    ),
    "http": TableKind("the share of HTTP", http.http_table, observations=True, fits=_through_http),
    "tests": TableKind("tests over all configurations of a model", tests.variables_tested, True, True),
    "pairs-energy": TableKind(
        "pairs of configurations: energy",
        partial(tests.variable_pairs, name="energy_j_per_token", table="pairs-energy"),
        True,
        True,
        fits=partial(tests.has_pairs, name="energy_j_per_token"),
    ),
    "pairs-gpu-energy": TableKind(
        "pairs of configurations: GPU energy",
        partial(tests.variable_pairs, name="gpu_energy_j_per_token", table="pairs-gpu-energy"),
        True,
        True,
        fits=_gpu_pairs,
    ),
    "pairs-time": TableKind(
        "pairs of configurations: time",
        partial(tests.variable_pairs, name="s_per_token", table="pairs-time"),
        True,
        True,
        fits=partial(tests.has_pairs, name="s_per_token"),
    ),
}

FIGURES = {
    "energy-boxes": _boxes("energy_j_per_token", "energy-boxes", "Energy by model and configuration"),
    "gpu-energy-boxes": _boxes("gpu_energy_j_per_token", "gpu-energy-boxes", "GPU energy by model and configuration"),
    "time-boxes": _boxes("s_per_token", "time-boxes", "Execution time by model and configuration"),
    "energy-time": FigureKind(
        "Energy against time",
        study_medians.energy_time,
        "Each point is a configuration's median. Of two points at the same time, the upper one draws more power.",
    ),
    "size-groups": FigureKind(
        "Energy and time by size group",
        study_medians.size_groups,
        "As the study aggregates: the mean over models of their medians. A bar over fewer models than its neighbours "
        "says so, and does not compare with them.",
    ),
    "tests-energy": _grid("energy_j_per_token", "tests-energy", "Pairs of configurations: energy"),
    "tests-time": _grid("s_per_token", "tests-time", "Pairs of configurations: time"),
    "published": FigureKind(
        "Energy relative to the model's best: ours and published",
        study_grids.published_beside_ours,
        "1 is the configuration of least energy, in each source by itself, among those that both measured. Work and "
        "machines differ, so only ratios compare. JIT is left out: its published rows are one forward pass.",
        observations=True,
    ),
}


def make_table(view: StudyView, name: str) -> Table:
    """A table by its name.

    Raises InputError for an unknown name, and for a table that the data at hand cannot fill.
    """
    kind = TABLES.get(name)
    if kind is None:
        raise InputError(f"no table is called {name!r}", nearest(name, TABLES))
    if kind.observations and view.is_published:
        raise _needs_observations(f"table {name}")
    return kind.make(view)


def draw(view: StudyView, name: str) -> Figure:
    """A figure by its name.

    Raises InputError for an unknown name, and for a figure that the data at hand cannot fill.
    """
    kind = FIGURES.get(name)
    if kind is None:
        raise InputError(f"no figure is called {name!r}", nearest(name, FIGURES))
    if kind.observations and view.is_published:
        raise _needs_observations(f"figure {name}")
    drawn = kind.make(view)
    if drawn is None:
        raise InputError(f"figure {name} is empty: nothing that it shows was measured", "see `--table energy`")
    return drawn


def needs_tests(table: str, figure: str) -> bool:
    """Whether the study's tests must be computed for this table and this figure; empty names need nothing."""
    tables, figures = TABLES.get(table), FIGURES.get(figure)
    return bool((tables and tables.tested) or (figures and figures.tested))


def possible(view: StudyView) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the tables and of the figures that the data at hand can fill, but for empty figures.

    Those of the GPU's energy are left out where it is all of the energy.
    """
    tables = tuple(n for n, k in TABLES.items() if not (k.observations and view.is_published) and k.fits(view))
    figures = tuple(n for n, k in FIGURES.items() if not (k.observations and view.is_published) and k.fits(view))
    return tables, figures


def _needs_observations(what: str) -> InputError:
    return InputError(
        f"{what} needs single observations, and only the medians were published",
        "give a results file: `servewatt study collect --out FILE` writes one",
    )
