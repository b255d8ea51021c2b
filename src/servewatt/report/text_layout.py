"""How the columns of a table share the width of a terminal.

Numbers are never cut and never left out, and neither are their intervals where the column does not say that they may
be. No word is split as long as there is another way. A table that is too wide first lets names and heads go over
several lines, then takes the short heads of its columns and stands closer, then leaves out the intervals of columns
that may spare them. Where that is not enough, it is shown as several tables below one another, each with the names.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace

from servewatt.report import units
from servewatt.report.table import Table, shown_rows

_WIDE_GAP, _GAP, _NARROW_GAP = 3, 2, 1
_LEAST_NAME = 4
_GOOD_NAME = 14
"""Characters of a line that a name keeps as long as short heads and closer columns make room."""


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
    unbroken: bool
    index: int
    """Its place in the table."""

    @property
    def least(self) -> int:
        """The width below which a number or a word would be cut."""
        if self.numeric or self.unbroken:
            return self.whole
        return max((len(word) for text in (*self.head, *self.cells) for word in text.split()), default=0)


@dataclass(frozen=True)
class Layout:
    """A table as the tables that show it below one another."""

    panels: tuple[tuple[TextColumn, ...], ...]
    gap: int
    """Spaces between two columns."""


def layout(table: Table, width: int, short: bool = False) -> Layout:
    """How `table` is shown in `width` characters, with the short names of its rows where asked for.

    Names are broken between words, or inside them where a column of numbers would not fit beside them otherwise. Only
    where even four letters of each name leave no room for a number and its interval do these go over lines too.
    """
    columns = _columns(table, short, fold=False)
    if _total(columns, _WIDE_GAP) <= width:
        return Layout((tuple(columns),), _WIDE_GAP)
    columns = _columns(table, short, fold=True)
    if (found := _in_one(columns, width, _GAP)) is not None:
        return found
    if any(c.short or c.spare for c in table.columns):
        columns = _columns(table, short, fold=True, brief=True)
        spared = _columns(table, short, fold=True, brief=True, spare=True)
        for least in (_GOOD_NAME, 0):
            for shown, gap in ((columns, _GAP), (columns, _NARROW_GAP), (spared, _GAP), (spared, _NARROW_GAP)):
                if (found := _in_one(shown, width, gap, least)) is not None:
                    return found
    return _in_several(columns, width)


def _in_one(columns: Sequence[TextColumn], width: int, gap: int, least_name: int = 0) -> Layout | None:
    """One table with names and heads over several lines; None where that is too wide."""
    narrowed = [
        replace(column, width=max(column.least, 0 if column.numeric else min(least_name, column.whole)))
        for column in columns
    ]
    return Layout((_spread(narrowed, width, gap),), gap) if _total(narrowed, gap) <= width else None


def _in_several(columns: Sequence[TextColumn], width: int) -> Layout:
    """Tables below one another, each with the names."""
    # A place such as 1 or 2 stands before the names, and belongs to them.
    first = next((i for i, column in enumerate(columns) if not column.numeric), 0)
    leading = next((i for i, column in enumerate(columns) if i > first and column.numeric), len(columns))
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


def _columns(table: Table, short: bool, *, fold: bool, brief: bool = False, spare: bool = False) -> list[TextColumn]:
    """Each column; with `fold`, the heads of numbers are no wider than the numbers or their longest word.

    `brief`: with short heads. `spare`: without the intervals of columns that may spare them.
    """
    rows = shown_rows(table, short)
    columns = []
    for index, column in enumerate(table.columns):
        texts = ["" if index < row.same else row.texts[index].estimate for row in rows]
        marks = [",".join(table.references(row[index])) for row in table.rows]
        title, unit = column.title, column.scale.unit
        if brief:
            title, unit = column.short or title, column.short_unit or unit
        head = [title, unit] if unit else [title]
        if column.numeric:
            room = max(map(len, marks), default=0)
            texts = [t + m.ljust(room) for t, m in zip(_aligned(texts), marks, strict=True)]
        else:
            texts = [f"{t} {m}".rstrip() if t else "" for t, m in zip(texts, marks, strict=True)]
        bounds = [f" {row.texts[index].interval}" if row.texts[index].interval else "" for row in rows]
        if spare and column.spare:
            bounds = [""] * len(rows)
        if column.numeric:
            digits = max(map(len, texts), default=0)
            if fold:
                head = _folded(head, max((digits + len(b) for b in bounds), default=0))
            flush_left = column.bounds and any(bounds)
            wide = digits if flush_left else max(map(len, [*texts, *head]), default=0)
            texts = [t.rjust(wide) for t in texts]
            head = head if flush_left else [line.rjust(wide) for line in head]
        cells = tuple(t + b for t, b in zip(texts, bounds, strict=True))
        whole = max(map(len, [*head, *cells]))
        columns.append(TextColumn(tuple(head), cells, whole, whole, column.numeric, column.unbroken, index))
    return columns


def _aligned(texts: Sequence[str]) -> list[str]:
    """With their points in line; two numbers in a cell have no such line."""
    return list(texts) if any("/" in text for text in texts) else units.align_points(texts)


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
        if max(widths, default=0) <= _LEAST_NAME:
            break
        most = widths.index(max(widths))
        found[most] = replace(found[most], width=widths[most] - 1)
    return found


def _spread(columns: Sequence[TextColumn], width: int, gap: int = _GAP) -> tuple[TextColumn, ...]:
    """The columns with what is left of `width` given, letter by letter, to those that miss most."""
    found = list(columns)
    for _ in range(width - _total(columns, gap)):
        missing = [column.whole - column.width for column in found]
        if max(missing) == 0:
            break
        most = missing.index(max(missing))
        found[most] = replace(found[most], width=found[most].width + 1)
    return tuple(found)


def _total(columns: Sequence[TextColumn], gap: int = _GAP) -> int:
    return sum(column.width for column in columns) + gap * (len(columns) - 1)
