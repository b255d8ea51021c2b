"""A table as text, CSV and HTML."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from html import escape
from typing import TYPE_CHECKING

from servewatt.report.latex import to_latex
from servewatt.report.plain_text import cleaned
from servewatt.report.table import Column, Entry, Form, Table, letters, shown_rows
from servewatt.report.text_layout import layout
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
    table = cleaned(table)
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
    """The table for a terminal of `width` columns; see `text_layout.py` for what happens where it is wider."""
    from rich import box
    from rich.console import Group
    from rich.table import Table as Grid
    from rich.text import Text

    table = cleaned(table)
    title = Text(table.title, style="bold")
    parts: list[RenderableType] = [title]
    shown_as = layout(table, width)
    # The box adds one more space between two columns.
    padding = (0, shown_as.gap - 1, 0, 0)
    for panel in shown_as.panels:
        grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, padding=padding, pad_edge=False, header_style="dim")
        for column in panel:
            # The cells carry their own padding: rich strips it from what it sets flush right.
            grid.add_column(Text("\n".join(column.head)), width=column.width, overflow="fold")
        for index, shown in enumerate(shown_rows(table)):
            if shown.begins:
                grid.add_row()
            grid.add_row(*(Text(column.cells[index]) for column in panel))
        parts += [grid] if len(parts) == 1 else [Text(), grid]
    notes = [*table.notes, *(f"{letters(i)}  {n}" for i, n in enumerate(table.footnotes))]
    parts += [Text(), *(Text(line, style="dim") for line in notes)] if notes else []
    return Group(*parts)


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
