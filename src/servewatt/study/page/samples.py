"""The page of findings on samples, with its tables and figures as files beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from servewatt.errors import counted
from servewatt.study.data.samples import title_of
from servewatt.study.figures.samples import sample_figures
from servewatt.study.page.findings import Findings
from servewatt.study.page.parts import Fact, Page, write_page
from servewatt.study.tables.samples import sample_tables
from servewatt.study.tests.examine import Examination

_MOST_SENTENCES = 12
"""Conclusions of a variable that the head of the page tells; the table has all."""


def write_samples(
    examinations: Sequence[Examination],
    folder: Path,
    *,
    subject: str = "subject",
    notes: Sequence[str] = (),
    command: str = "",
) -> tuple[Path, ...]:
    """Write every table in every form, every figure as SVG and PNG, and `index.html`; returns the paths.

    `notes` are about the whole input. Raises ServewattError if the folder cannot be written.
    """
    page = samples_page(examinations, subject=subject, notes=notes, command=command)
    return write_page(page, sample_tables(examinations, subject), sample_figures(examinations), folder)


def samples_page(
    examinations: Sequence[Examination], *, subject: str = "subject", notes: Sequence[str] = (), command: str = ""
) -> Page:
    """What the page says besides its tables and figures."""
    variables = list(dict.fromkeys(e.battery.variable for e in examinations))
    subjects = list(dict.fromkeys(e.battery.subject for e in examinations))
    groups = list(dict.fromkeys(name for e in examinations for name, _ in e.battery.groups))
    observations = sum(n for e in examinations for _, n in e.battery.groups)
    paired = all(d.paired for e in examinations for d in e.differences)
    what = title_of(variables[0]) if len(variables) == 1 else counted(len(variables), "variable")
    return Page(
        title=f"{what[:1].upper()}{what[1:]} of {counted(len(groups), 'group')}",
        lead=f"{counted(len(subjects), subject)}, {counted(observations, 'observation')}.",
        findings=tuple(_findings(examinations, variable) for variable in variables),
        facts_heading="What was analysed",
        facts=(
            Fact("Groups", ", ".join(groups[:8]), f"and {len(groups) - 8} more" if len(groups) > 8 else ""),
            Fact("Compared", "within blocks" if paired else "without blocks", "" if paired else "not paired"),
            Fact("Level", f"{examinations[0].battery.alpha:g}", "for all comparisons of a sample together"),
        ),
        notes=tuple(notes),
        command=command,
    )


def _findings(examinations: Sequence[Examination], variable: str) -> Findings:
    own = [e for e in examinations if e.battery.variable == variable]
    told = [e.conclusion if len(own) == 1 else f"{e.battery.subject}: {e.conclusion}" for e in own[:_MOST_SENTENCES]]
    told += [f"And {len(own) - _MOST_SENTENCES} more, in the table of conclusions."] if len(own) > len(told) else []
    return Findings(title_of(variable), tuple(told))
