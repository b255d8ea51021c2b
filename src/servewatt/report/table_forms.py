"""A table as text, CSV and HTML."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from servewatt.report import units
from servewatt.report.latex import to_latex
from servewatt.report.table import Column, Entry, Form, Table, letters, shown_rows
from servewatt.report.units import Quantity
from servewatt.stats.records import Interval

if TYPE_CHECKING:
    from rich.console import RenderableType

_MOST_COLUMNS = 400


def to_csv(table: Table) -> str:
    """The table as CSV: plain numbers in SI base units, empty where there is none, and why in the column `notes`."""
    heads: list[str] = []
    for column in table.columns:
        heads.append(column.name)
        heads += [f"{column.name}_low", f"{column.name}_high"] if column.bounds else []
        heads += [f"{column.name}_grade"] if column.graded else []
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*heads, "notes"])
    for row in table.rows:
        cells: list[object] = []
        for column, entry in zip(table.columns, row, strict=True):
            cells += _csv_cells(column, entry)
        notes = dict.fromkeys(n for entry in row for n in entry.notes)
        writer.writerow([*cells, "; ".join(notes)])
    return buffer.getvalue()


def to_html(table: Table, sortable: bool = False) -> str:
    """The table as an HTML fragment: the table, then its notes."""
    heads = "".join(_html_head(c, sortable) for c in table.columns)
    lines = [
        f'<div class="scroll" role="region" aria-label="{escape(table.title)}" tabindex="0">',
        f'<table class="study{" sortable" if sortable else ""}">',
        f'<caption><span class="cap">{escape(table.title)}</span></caption>',
        f"<thead><tr>{heads}</tr></thead>",
        "<tbody>",
    ]
    for shown, row in zip(shown_rows(table), table.rows, strict=True):
        cells = []
        for index, (column, text, entry) in enumerate(zip(table.columns, shown.texts, row, strict=True)):
            classes = ["num"] if column.numeric else []
            classes += ["same"] if index < shown.same else []
            kind = f' class="{" ".join(classes)}"' if classes else ""
            tag, scope = ("th", ' scope="row"') if index < max(1, table.grouped) else ("td", "")
            inner = _html_cell(text, ",".join(table.references(entry)))
            cells.append(f"<{tag}{scope}{kind}{_sort_key(entry, sortable)}>{inner}</{tag}>")
        begins = ' class="begins"' if shown.begins else ""
        lines.append(f"<tr{begins}>{''.join(cells)}</tr>")
    lines += ["</tbody>", "</table>", "</div>", *_html_notes(table)]
    return "\n".join(lines) + "\n"


def to_page(table: Table) -> str:
    """The table as one HTML document."""
    from servewatt.report.html import templates

    return templates().get_template("table.html.j2").render(title=table.title, body=to_html(table))


def to_text(table: Table) -> str:
    """The table as plain text, as wide as it needs to be."""
    from rich.console import Console

    console = Console(file=io.StringIO(), width=_MOST_COLUMNS, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(renderable(table))
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def renderable(table: Table, width: int = _MOST_COLUMNS) -> RenderableType:
    """The table for a terminal; intervals are left out where they would not fit into `width`."""
    from rich import box
    from rich.console import Group
    from rich.table import Table as Grid
    from rich.text import Text

    columns = _text_columns(table, intervals=True)
    if sum(_width(c) for c in columns) > width:
        columns = _text_columns(table, intervals=False)
    grid = Grid(
        title=Text(table.title, style="bold"),
        title_justify="left",
        title_style="",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 2, 0, 0),
        pad_edge=False,
        header_style="dim",
    )
    for cells in columns:
        # The cells carry their own padding: rich strips it from what it sets flush right.
        grid.add_column(Text(cells[0]))
    for index, shown in enumerate(shown_rows(table), start=1):
        if shown.begins:
            grid.add_row()
        grid.add_row(*(Text(cells[index]) for cells in columns))
    notes = [*table.notes, *(f"{letters(i)}  {n}" for i, n in enumerate(table.footnotes))]
    return Group(grid, *([Text(), *(Text(line, style="dim") for line in notes)] if notes else []))


FORMS: dict[str, Callable[[Table], str]] = {"text": to_text, "latex": to_latex, "csv": to_csv, "html": to_page}
"""`--format` -> the whole table in that form."""

SUFFIXES = {"text": "txt", "latex": "tex", "csv": "csv", "html": "html"}
"""`--format` -> ending of a file's name."""


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


def _html_head(column: Column, sortable: bool) -> str:
    unit = f"<small>{escape(column.scale.unit)}</small>" if column.scale.unit else ""
    text = escape(column.title) + unit
    inner = f'<button type="button">{text}</button>' if sortable else text
    kind = ' class="num"' if column.numeric else ""
    return f'<th scope="col"{kind}>{inner}</th>'


def _html_cell(text: Quantity, references: str) -> str:
    mark = f'<sup class="ref">{references}</sup>' if references else ""
    interval = f' <span class="i">{escape(text.interval)}</span>' if text.interval else ""
    return f'<span class="n">{escape(text.estimate)}</span>{mark}{interval}'


def _sort_key(entry: Entry, sortable: bool) -> str:
    if not sortable:
        return ""
    value = entry.value if isinstance(entry.value, str) else entry.number
    return f' data-sort="{"" if value is None else escape(str(value))}"'


def _html_notes(table: Table) -> list[str]:
    lines = [f'<p class="quiet small">{escape(note)}</p>' for note in table.notes]
    if table.footnotes:
        items = "".join(f"<li><sup>{letters(i)}</sup> {escape(n)}</li>" for i, n in enumerate(table.footnotes))
        lines.append(f'<ul class="footnotes small">{items}</ul>')
    return lines


def _text_columns(table: Table, *, intervals: bool) -> list[list[str]]:
    """Each column as its head and its cells, padded so that points stand in line, with intervals behind them."""
    rows = shown_rows(table)
    columns = []
    for index, column in enumerate(table.columns):
        texts = ["" if index < row.same else row.texts[index].estimate for row in rows]
        marks = [",".join(table.references(row[index])) for row in table.rows]
        head = [column.title, column.scale.unit] if column.scale.unit else [column.title]
        if column.numeric:
            room = max(map(len, marks), default=0)
            texts = [t + m.ljust(room) for t, m in zip(units.align_points(texts), marks, strict=True)]
            wide = max(map(len, [*texts, *([] if column.bounds else head)]), default=0)
            texts = [t.rjust(wide) for t in texts]
            head = head if column.bounds else [line.rjust(wide) for line in head]
        else:
            texts = [f"{t} {m}".rstrip() if t else "" for t, m in zip(texts, marks, strict=True)]
        bounds = [f" {row.texts[index].interval}" if intervals and row.texts[index].interval else "" for row in rows]
        columns.append(["\n".join(head), *(t + b for t, b in zip(texts, bounds, strict=True))])
    return columns


def _width(cells: Sequence[str]) -> int:
    return max(len(line) for cell in cells for line in (cell.split("\n") or [""])) + 2
