"""A table as text, Markdown and CSV, and every form by its name."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from servewatt.records import Grade
from servewatt.report.html_table import to_page
from servewatt.report.latex import to_latex
from servewatt.report.plain_text import cleaned, glued
from servewatt.report.table import Column, Entry, Form, Mark, Table, letters, shown_rows
from servewatt.report.text_layout import layout
from servewatt.stats.records import Interval

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

_MOST_COLUMNS = 400
_MARKDOWN = str.maketrans({c: f"\\{c}" for c in "\\|`*[]#"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;", "\n": " "})
_WARNINGS = ("weights: random", "~")
"""How what a reader must not overlook in a table's title begins."""


def to_csv(table: Table, notes: bool = True) -> str:
    """The table as CSV: plain numbers in SI base units, empty where there is none, and why in the column `notes`."""
    heads: list[str] = []
    for column in table.columns:
        heads.append(column.name)
        heads += [f"{column.name}_low", f"{column.name}_high"] if column.bounds else []
        heads += [f"{column.name}_grade"] if column.graded else []
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*heads, "notes"] if notes else heads)
    for row in table.rows:
        cells: list[object] = []
        for column, entry in zip(table.columns, row, strict=True):
            cells += map(_finite, _csv_cells(column, entry))
        if notes:
            cells.append("; ".join(dict.fromkeys(n for entry in row for n in entry.notes)))
        writer.writerow(cells)
    return buffer.getvalue()


def to_markdown(table: Table) -> str:
    """The table as Markdown (pipes), without its title; its notes follow as a list."""
    table = cleaned(table)
    heads = [f"{c.title}, {c.scale.unit}" if c.scale.unit else c.title for c in table.columns]
    name = _name_column(table)
    lines = [_markdown_row(heads), "|" + " --- |" * len(heads)]
    for place, (shown, row) in enumerate(zip(shown_rows(table), table.rows, strict=True)):
        mark = table.mark(place)
        cells = []
        for index, (text, entry) in enumerate(zip(shown.texts, row, strict=True)):
            references = ",".join(table.references(entry))
            said = f"{markdown_text(text.estimate)} {text.interval}".strip()
            said += f"<sup>{references}</sup>" if references else ""
            if index == name and mark.symbol:
                said = f"{said} ({mark.value})"
                said = f"**{said}**" if mark is Mark.CHOICE else said
            cells.append(said)
        lines.append(_markdown_row(cells))
    notes = [*table.notes, *(f"{letters(i)}: {n}" for i, n in enumerate(table.footnotes))]
    lines += ["", *(f"- {markdown_text(note)}" for note in notes)] if notes else []
    return "\n".join(lines) + "\n"


def markdown_pairs(table: Table) -> str:
    """A table of two columns, a name and what is said of it, as a Markdown list."""
    lines = (
        f"- {markdown_text(row.texts[0].estimate)}: {markdown_text(row.texts[1].estimate)}"
        for row in shown_rows(cleaned(table))
    )
    return "\n".join(lines) + "\n"


def markdown_text(text: str) -> str:
    """`text` with everything escaped that Markdown would take for markup."""
    # An underscore inside a word is no emphasis in Markdown.
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text.translate(_MARKDOWN))


def to_text(table: Table) -> str:
    """The table as plain text, as wide as it needs to be."""
    from rich.console import Console

    console = Console(file=io.StringIO(), width=_MOST_COLUMNS, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(renderable(table))
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def renderable(table: Table, width: int = _MOST_COLUMNS, *, short: bool = False) -> RenderableType:
    """The table for a terminal of `width` columns; see `text_layout.py` for what happens where it is wider.

    `short`: with the short names of its rows.
    """
    from rich import box
    from rich.console import Group
    from rich.table import Table as Grid
    from rich.text import Text

    from servewatt.report.terminal_text import Unglued

    table = cleaned(table)
    parts: list[RenderableType] = [_title(table)]
    shown_as = layout(table, width, short)
    # The box adds one more space between two columns.
    padding = (0, shown_as.gap - 1, 0, 0)
    for panel in shown_as.panels:
        grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, padding=padding, pad_edge=False, header_style="dim")
        for column in panel:
            # The cells carry their own padding: rich strips it from what it sets flush right.
            grid.add_column(Text("\n".join(column.head)), width=column.width, overflow="fold")
        for index, shown in enumerate(shown_rows(table, short)):
            if shown.begins:
                grid.add_row()
            styles = (_cell_style(table, index, column.index) for column in panel)
            cells = (Text(column.cells[index], style=style) for column, style in zip(panel, styles, strict=True))
            grid.add_row(*cells, style=_ROW_STYLES.get(table.mark(index), ""))
        parts += [grid] if len(parts) == 1 else [Text(), grid]
    notes = [*table.notes, *(f"{letters(i)}  {n}" for i, n in enumerate(table.footnotes))]
    parts += [Text(), *(Text(glued(line), style="dim") for line in notes)] if notes else []
    return Unglued(Group(*parts))


FORMS: dict[str, Callable[[Table], str]] = {
    "text": to_text,
    "markdown": to_markdown,
    "latex": to_latex,
    "csv": to_csv,
    "html": to_page,
}
"""`--format` -> the whole table in that form."""

SUFFIXES = {"text": "txt", "markdown": "md", "latex": "tex", "csv": "csv", "html": "html"}
"""`--format` -> ending of a file's name."""

_ROW_STYLES = {Mark.CHOICE: "green", Mark.EXCLUDED: "dim", Mark.LEFT_OUT: "dim"}


def _title(table: Table) -> Text:
    from rich.text import Text

    title = Text(table.title, style="bold")
    for index, part in enumerate(table.told):
        lead = "  " if index == 0 else " · "
        title.append(lead + part, style="not bold yellow" if part.startswith(_WARNINGS) else "not bold dim")
    return title


def _cell_style(table: Table, row: int, column: int) -> str:
    if column == _name_column(table) and table.mark(row) is Mark.CHOICE:
        return "bold"
    estimated = table.rows[row][column].grade is Grade.ESTIMATED
    return "yellow" if estimated and not table.columns[column].numeric else ""


def _name_column(table: Table) -> int:
    """Where the names of the rows stand."""
    return next((i for i, column in enumerate(table.columns) if not column.numeric), 0)


def _markdown_row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _csv_cells(column: Column, entry: Entry) -> Iterable[object]:
    value = entry.value
    if isinstance(value, Interval):
        yield value.estimate
        if column.bounds:
            yield from (value.low, value.high)
    else:
        yield round(value) if column.form is Form.COUNT and isinstance(value, float) else value
        if column.bounds:
            yield from (None, None)
    if column.graded:
        yield None if entry.grade is None or entry.number is None else entry.grade.value


def _finite(value: object) -> object:
    """Empty for what is not a finite number."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
