"""The study as one HTML page that needs nothing else, and everything it shows as files beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from servewatt.errors import InputError, ServewattError, counted
from servewatt.records import Weights
from servewatt.report.figures import save
from servewatt.report.html import templates
from servewatt.report.html_table import html_pairs, to_html
from servewatt.report.run.environment import environment_table
from servewatt.report.table import Table
from servewatt.report.table_forms import FORMS, SUFFIXES
from servewatt.study import outputs as study_outputs
from servewatt.study.data.names import STUDY
from servewatt.study.figures.drawing import Drawn
from servewatt.study.outputs import FIGURES, TABLES
from servewatt.study.view import StudyView
from servewatt.whole_files import write_whole

_OPEN_ROWS = 180
"""Longer tables are folded up in the page."""

_TALL_ROWS = 50
"""Longer ones scroll inside a frame."""


@dataclass(frozen=True)
class Fact:
    """A line of the page's head."""

    name: str
    value: str
    more: str = ""


@dataclass(frozen=True)
class Part:
    """A table or a figure in the page."""

    name: str
    title: str
    body: str
    """HTML."""
    explanation: str
    rows: int = 0

    @property
    def folded(self) -> bool:
        return self.rows > _OPEN_ROWS

    @property
    def tall(self) -> bool:
        return self.rows > _TALL_ROWS


@dataclass(frozen=True)
class Gap:
    """A model in a configuration without any valid trial, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Machine:
    """Where a campaign ran."""

    title: str
    pairs: str
    """HTML."""


def write_folder(view: StudyView, folder: Path, command: str = "") -> tuple[Path, ...]:
    """Write every table in every form, every figure as SVG and PNG, and `index.html`; returns the paths.

    Raises ServewattError if the folder cannot be written.
    """
    names, drawn = _everything(view)
    written = []
    try:
        (folder / "tables").mkdir(parents=True, exist_ok=True)
        for table in names:
            for form, render in FORMS.items():
                path = folder / "tables" / f"{table.name}.{SUFFIXES[form]}"
                write_whole(path, render(table))
                written.append(path)
        for figure in drawn:
            written += save(figure, folder / "figures")
        index = folder / "index.html"
        write_whole(index, render_page(view, names, drawn, command))
    except OSError as error:
        raise ServewattError(
            f"cannot write to {folder}: {error.strerror}", "name another folder, or free some space"
        ) from error
    return (*written, index)


def render_page(view: StudyView, shown: Sequence[Table], drawn: Sequence[Drawn], command: str = "") -> str:
    """The page with these tables and figures; `command` is the line that makes it again."""
    gaps = [
        Gap(f"{s.model} {s.configuration}" + (f" ({s.source})" if len(view.sources) > 1 else ""), s.failure)
        for s in view.summaries
        if s.failure
    ]
    return (
        templates("servewatt.study.page")
        .get_template("study.html.j2")
        .render(
            view=view,
            study=STUDY,
            title=_title(view),
            facts=_facts(view),
            gaps=gaps,
            figures=[Part(f.name, f.title, f.inline(), FIGURES[f.name].explanation) for f in drawn],
            tables=[Part(t.name, t.title, to_html(t, sortable=True), "", len(t.rows)) for t in shown],
            suffixes=tuple(SUFFIXES.values()),
            machines=_machines(view),
            command=command,
        )
    )


def _everything(view: StudyView) -> tuple[list[Table], list[Drawn]]:
    names, figures = study_outputs.possible(view)
    drawn = []
    for name in figures:
        try:
            drawn.append(study_outputs.draw(view, name))
        except InputError:  # nothing that it shows was measured
            continue
    return [TABLES[name].make(view) for name in names], drawn


def _title(view: StudyView) -> str:
    configurations = len({s.configuration for s in view.summaries})
    models = len(view.models)
    return f"{counted(models, 'code model')} in {counted(configurations, 'serving configuration')}"


def _facts(view: StudyView) -> list[Fact]:
    if view.is_published:
        return [Fact("Source", "published medians", STUDY)]
    valid = sum(s.ok for s in view.summaries)
    empty = sum(not s.ok for s in view.summaries)
    weights = {s.weights for s in view.summaries}
    told = "random" if weights == {Weights.RANDOM} else "trained" if weights == {Weights.TRAINED} else "some random"
    facts = [
        Fact("Campaigns", ", ".join(view.sources), _dates(view)),
        Fact("Trials", f"{valid} valid", f"of {len(view.observations)}"),
        Fact(
            "Models x configurations",
            f"{len(view.summaries) - empty} of {len(view.summaries)}",
            f"{empty} without result",
        ),
        Fact("Weights", told, "time and energy as with trained ones" if told != "trained" else ""),
    ]
    boundaries = sorted({r.procedure.boundary.value for r in view.runs})
    if boundaries:
        facts.append(Fact("Energy boundary", ", ".join(boundaries), "~ marks estimates" if view.has_estimate else ""))
    work = sorted(
        {
            f"{counted(r.workload.prompts, 'prompt')} ({r.workload.name}), "
            + counted(r.workload.new_tokens, "new token")
            for r in view.runs
        }
    )
    if work:
        facts.append(Fact("Workload", work[0], "" if len(work) == 1 else f"and {len(work) - 1} more"))
    return facts


def _dates(view: StudyView) -> str:
    days = sorted(o.started_at[:10] for o in view.observations if o.started_at)
    if not days:
        return ""
    return days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"


def _machines(view: StudyView) -> list[Machine]:
    found = {}
    for run in view.runs:
        key = (run.campaign, run.environment.fingerprint)
        if key not in found:
            gpus = ", ".join(g.name for g in run.environment.gpus)
            title = f"{run.campaign}: {gpus or run.environment.cpu}"
            found[key] = Machine(title, html_pairs(environment_table(run.environment)))
    return list(found.values())
