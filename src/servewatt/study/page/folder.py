"""The page of the study, or of the published figures alone, with everything it shows as files beside it."""

from __future__ import annotations

from pathlib import Path

from servewatt.errors import InputError, counted
from servewatt.records import Weights
from servewatt.report.figures import Figure
from servewatt.report.html_table import html_pairs
from servewatt.report.run.environment import environment_table
from servewatt.report.table import Table
from servewatt.study import outputs
from servewatt.study.data.names import STUDY
from servewatt.study.page.findings import findings
from servewatt.study.page.parts import Fact, Gap, Machine, Page, write_page
from servewatt.study.view import StudyView


def write_folder(view: StudyView, folder: Path, command: str = "") -> tuple[Path, ...]:
    """Write every table in every form, every figure as SVG and PNG, and `index.html`; returns the paths.

    `command` is the line that makes them again. Raises ServewattError if the folder cannot be written.
    """
    tables, figures = _everything(view)
    return write_page(study_page(view, command), tables, figures, folder)


def study_page(view: StudyView, command: str = "") -> Page:
    """What the page says besides its tables and figures."""
    several = len(view.sources) > 1
    return Page(
        title=_title(view),
        lead=f"The published figures of {STUDY}."
        if view.is_published
        else f"After {STUDY}; published figures beside ours where named.",
        findings=findings(view),
        facts_heading="What is shown" if view.is_published else "What was measured",
        facts=_facts(view),
        gaps=tuple(
            Gap(f"{s.model} {s.configuration}" + (f" ({s.source})" if several else ""), s.failure)
            for s in view.summaries
            if s.failure
        ),
        machines=_machines(view),
        command=command,
    )


def _everything(view: StudyView) -> tuple[list[Table], list[tuple[Figure, str]]]:
    names, figures = outputs.possible(view)
    drawn = []
    for name in figures:
        try:
            drawn.append((outputs.draw(view, name), outputs.FIGURES[name].explanation))
        except InputError:  # nothing that it shows was measured
            continue
    return [outputs.TABLES[name].make(view) for name in names], drawn


def _title(view: StudyView) -> str:
    configurations = len({s.configuration for s in view.summaries})
    models = len(view.models)
    return f"{counted(models, 'code model')} in {counted(configurations, 'serving configuration')}"


def _facts(view: StudyView) -> tuple[Fact, ...]:
    if view.is_published:
        return (Fact("Source", "published medians", STUDY),)
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
    return tuple(facts)


def _dates(view: StudyView) -> str:
    days = sorted(o.started_at[:10] for o in view.observations if o.started_at)
    if not days:
        return ""
    return days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"


def _machines(view: StudyView) -> tuple[Machine, ...]:
    found = {}
    for run in view.runs:
        key = (run.campaign, run.environment.fingerprint)
        if key not in found:
            gpus = ", ".join(g.name for g in run.environment.gpus)
            title = f"{run.campaign}: {gpus or run.environment.cpu}"
            found[key] = Machine(title, html_pairs(environment_table(run.environment)))
    return tuple(found.values())
