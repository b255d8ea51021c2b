"""How the columns of a table share the width of a terminal.

Numbers and their intervals are never cut and never left out. A table that is too wide first lets names and heads go
over several lines; where that is not enough, it is shown as several tables below one another, each with the names.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace

from servewatt.report import units
from servewatt.report.table import Table, shown_rows

_WIDE_GAP, _GAP = 3, 2
_LEAST_NAME = 4


@dataclass(frozen=True)
class TextColumn:
    """One column as text; its cells are padded so that points stand in line, with intervals behind them."""

    head: tuple[str, ...]
    """The lines of the head."""
    cells: tuple[str, ...]
    width: int
    """Characters it takes, without the gap behind it."""
    whole: int
    """The width at which no line of it goes over several."""
    numeric: bool

    @property
    def least(self) -> int:
        """The width below which a number or a word would be cut."""
        if self.numeric:
            return self.whole
        return max((len(word) for text in (*self.head, *self.cells) for word in text.split()), default=0)


@dataclass(frozen=True)
class Layout:
    """A table as the tables that show it below one another."""

    panels: tuple[tuple[TextColumn, ...], ...]
    gap: int
    """Spaces between two columns."""


def layout(table: Table, width: int) -> Layout:
    """How `table` is shown in `width` characters.

    Names are broken between words, or inside them where a column of numbers would not fit beside them otherwise. Only
    where even four letters of each name leave no room for a number and its interval do these go over lines too.
    """
    columns = _columns(table, fold=False)
    if _total(columns, _WIDE_GAP) <= width:
        return Layout((tuple(columns),), _WIDE_GAP)
    columns = _columns(table, fold=True)
    if _total(_narrowed(columns)) <= width:
        return Layout((_spread(_narrowed(columns), width),), _GAP)
    leading = next((i for i, column in enumerate(columns) if column.numeric), 1)
    names, others = columns[:leading], columns[leading:]
    room = width - max((column.least + _GAP for column in others), default=0)
    if _total(names) > room:
        names = _squeezed(_narrowed(names), room)
    found: list[list[TextColumn]] = [[]]
    for column in _narrowed(others):
        if found[-1] and _total([*names, *found[-1], column]) > width:
            found.append([])
        found[-1].append(column)
    return Layout(tuple(_spread([*names, *panel], width) for panel in found), _GAP)


def _columns(table: Table, *, fold: bool) -> list[TextColumn]:
    """Each column; with `fold`, the heads of numbers are no wider than the numbers or their longest word."""
    rows = shown_rows(table)
    columns = []
    for index, column in enumerate(table.columns):
        texts = ["" if index < row.same else row.texts[index].estimate for row in rows]
        marks = [",".join(table.references(row[index])) for row in table.rows]
        head = [column.title, column.scale.unit] if column.scale.unit else [column.title]
        if column.numeric:
            room = max(map(len, marks), default=0)
            texts = [t + m.ljust(room) for t, m in zip(units.align_points(texts), marks, strict=True)]
        else:
            texts = [f"{t} {m}".rstrip() if t else "" for t, m in zip(texts, marks, strict=True)]
        bounds = [f" {row.texts[index].interval}" if row.texts[index].interval else "" for row in rows]
        if column.numeric:
            digits = max(map(len, texts), default=0)
            if fold:
                head = _folded(head, max((digits + len(b) for b in bounds), default=0))
            wide = digits if column.bounds else max(map(len, [*texts, *head]), default=0)
            texts = [t.rjust(wide) for t in texts]
            head = head if column.bounds else [line.rjust(wide) for line in head]
        cells = tuple(t + b for t, b in zip(texts, bounds, strict=True))
        whole = max(map(len, [*head, *cells]))
        columns.append(TextColumn(tuple(head), cells, whole, whole, column.numeric))
    return columns


def _folded(lines: Sequence[str], width: int) -> list[str]:
    """The lines broken at spaces to `width`, or to their longest word where that is longer."""
    width = max(width, *(len(word) for line in lines for word in line.split()), 1)
    return [part for line in lines for part in textwrap.wrap(line, width, break_on_hyphens=False)]


def _narrowed(columns: Sequence[TextColumn]) -> list[TextColumn]:
    return [replace(column, width=column.least) for column in columns]


def _squeezed(names: Sequence[TextColumn], room: int) -> list[TextColumn]:
    """The columns with letters taken from the widest until they fit into `room`."""
    found = list(names)
    while _total(found) > room:
        widths = [column.width for column in found]
        if max(widths) <= _LEAST_NAME:
            break
        most = widths.index(max(widths))
        found[most] = replace(found[most], width=widths[most] - 1)
    return found


def _spread(columns: Sequence[TextColumn], width: int) -> tuple[TextColumn, ...]:
    """The columns with what is left of `width` given, letter by letter, to those that miss most."""
    found = list(columns)
    for _ in range(width - _total(columns)):
        missing = [column.whole - column.width for column in found]
        if max(missing) == 0:
            break
        most = missing.index(max(missing))
        found[most] = replace(found[most], width=found[most].width + 1)
    return tuple(found)


def _total(columns: Sequence[TextColumn], gap: int = _GAP) -> int:
    return sum(column.width for column in columns) + gap * (len(columns) - 1)
