"""Parts of a page of the study, and the page with its files as a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from servewatt.errors import ServewattError
from servewatt.report.figures import Figure, save
from servewatt.report.html_table import to_html
from servewatt.report.page_templates import templates
from servewatt.report.plain_text import cleaned
from servewatt.report.table import Table
from servewatt.report.table_forms import FORMS, SUFFIXES
from servewatt.study.page.findings import Findings
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
    explanation: str = ""
    rows: int = 0
    note: str = ""
    """What must be said wherever a figure is shown."""

    @property
    def folded(self) -> bool:
        return self.rows > _OPEN_ROWS

    @property
    def tall(self) -> bool:
        return self.rows > _TALL_ROWS


@dataclass(frozen=True)
class Gap:
    """What has no result, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Machine:
    """Where a campaign ran."""

    title: str
    pairs: str
    """HTML."""


@dataclass(frozen=True)
class Page:
    """Everything that a page says, besides its tables and figures."""

    title: str
    lead: str
    """What it is, in a line below the title."""
    findings: tuple[Findings, ...]
    facts_heading: str
    facts: tuple[Fact, ...]
    notes: tuple[str, ...] = ()
    """What must be known of the input, such as rows that were left out."""
    gaps: tuple[Gap, ...] = ()
    machines: tuple[Machine, ...] = ()
    command: str = ""
    """The line that makes it again."""


def render_page(page: Page, tables: Sequence[Table], figures: Sequence[tuple[Figure, str]]) -> str:
    """The page as one HTML document that needs nothing else; figures come with how to read them."""
    page = cleaned(page)
    return (
        templates("servewatt.study.page")
        .get_template("study.html.j2")
        .render(
            page=page,
            figures=[Part(f.name, f.title, f.for_page(), explanation, note=f.note) for f, explanation in figures],
            tables=[Part(t.name, t.title, to_html(t, sortable=True), rows=len(t.rows)) for t in tables],
            suffixes=tuple(SUFFIXES.values()),
        )
    )


def write_page(
    page: Page, tables: Sequence[Table], figures: Sequence[tuple[Figure, str]], folder: Path
) -> tuple[Path, ...]:
    """Write every table in every form, every figure as SVG and PNG, and `index.html`; returns the paths.

    Raises ServewattError if the folder cannot be written.
    """
    written = []
    try:
        (folder / "tables").mkdir(parents=True, exist_ok=True)
        for table in tables:
            for form, render in FORMS.items():
                path = folder / "tables" / f"{table.name}.{SUFFIXES[form]}"
                write_whole(path, render(table))
                written.append(path)
        for figure, _ in figures:
            written += save(figure, folder / "figures")
        index = folder / "index.html"
        write_whole(index, render_page(page, tables, figures))
    except OSError as error:
        raise ServewattError(
            f"cannot write to {folder}: {error.strerror}", "name another folder, or free some space"
        ) from error
    return (*written, index)
