"""A table before layout: columns with units, rows of values in SI base units, and what must be said about them.

The forms (`table_forms.py`, `html_table.py`, `latex.py`) show the same record as text, Markdown, CSV, HTML and LaTeX.
A value is written once, as an `Entry`; how it reads follows from its column, unless the entry brings its own text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

from servewatt.records import Grade
from servewatt.report import units
from servewatt.report.units import DASH, Quantity, Scale
from servewatt.stats.records import Interval


class Form(StrEnum):
    """How a column's values are written."""

    TEXT = "text"
    QUANTITY = "quantity"
    """A measured value, with as many digits as its interval supports, or three significant ones."""
    COUNT = "count"
    PERCENT = "percent"
    """A share, shown in percent with two digits after the point."""
    P_VALUE = "p-value"
    EFFECT = "effect"
    """A signed effect size between -1 and 1, two digits after the point."""


class Mark(StrEnum):
    """What is said of a whole row."""

    CHOICE = "recommended"
    CANDIDATE = "still in question"
    EXCLUDED = "excluded"
    LEFT_OUT = "does not count"
    NONE = ""

    @property
    def symbol(self) -> str:
        """One character, so that no meaning hangs on colour; empty where another column tells it."""
        return {Mark.CHOICE: "▸", Mark.CANDIDATE: "≈", Mark.EXCLUDED: "\N{MULTIPLICATION SIGN}"}.get(self, "")


@dataclass(frozen=True)
class Column:
    """One column."""

    name: str
    """Head of the CSV column: the quantity with its SI base unit, such as `energy_j_per_token`."""
    title: str
    form: Form = Form.TEXT
    scale: Scale = units.PLAIN
    """The unit in which people read it."""
    bounds: bool = False
    """Whether its values carry intervals: two more CSV columns, `NAME_low` and `NAME_high`."""
    ratio: bool = False
    """Whether its values are ratios: an interval that leaves out 1 says something however wide it is."""
    graded: bool = False
    """Whether its values carry a grade: one more CSV column, `NAME_grade`."""
    short: str = ""
    """The title where a terminal is narrow; empty: the same."""
    short_unit: str = ""
    """The unit there; empty: the same."""
    spare: bool = False
    """Whether a terminal leaves its intervals out, rather than show the table in two parts."""
    unbroken: bool = False
    """Whether its texts stay in one line in a terminal, however narrow."""
    drawn: bool = False
    """Whether a page draws its intervals in a column of their own, on a scale from zero that all rows share."""

    @property
    def numeric(self) -> bool:
        return self.form is not Form.TEXT


@dataclass(frozen=True)
class Entry:
    """One value, in SI base units, and what a reader must know about it."""

    value: Interval | float | str | None = None
    """None for a value that is missing; `notes` then says why."""
    grade: Grade | None = None
    notes: tuple[str, ...] = ()
    text: Quantity | None = None
    """How it reads, where its column would write it otherwise."""
    short: str = ""
    """A name without what the table's other names share; empty: the same."""
    detail: str = ""
    """More about it, for a page, which shows it when pointed at."""

    @property
    def number(self) -> float | None:
        """The value as a number, if it is one."""
        if isinstance(self.value, Interval):
            return self.value.estimate
        return None if isinstance(self.value, str) else self.value


Row = tuple[Entry, ...]


@dataclass(frozen=True)
class Table:
    """A table with everything that must be said wherever it is shown."""

    name: str
    """Short and fit for a file name."""
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    """Statements about the whole table; those about single values are in the entries."""
    grouped: int = 1
    """How many leading columns are shown only where they change; a rule stands where the first does."""
    told: tuple[str, ...] = ()
    """What must stand in its title wherever it is shown, such as the boundary."""
    marks: tuple[Mark, ...] = ()
    """One a row, or none at all."""

    def mark(self, row: int) -> Mark:
        """What is said of the row at this index."""
        return self.marks[row] if self.marks else Mark.NONE

    def column(self, name: str) -> tuple[Entry, ...]:
        """The entries of a column, from the first row to the last.

        Raises KeyError for a column that the table does not have.
        """
        index = self._index(name)
        return tuple(row[index] for row in self.rows)

    def head(self, name: str) -> Column:
        """The column itself.

        Raises KeyError for one that the table does not have.
        """
        return self.columns[self._index(name)]

    def selected(self, names: Sequence[str], **changes: Any) -> Table:
        """The same rows with these columns, in this order, those left out that the table does not have.

        `changes` are further fields of the new table, such as its title.
        """
        known = {column.name: index for index, column in enumerate(self.columns)}
        places = [known[name] for name in names if name in known]
        columns = tuple(self.columns[i] for i in places)
        rows = tuple(tuple(row[i] for i in places) for row in self.rows)
        return replace(self, columns=columns, rows=rows, **changes)

    def estimates(self, *names: str) -> Table:
        """The same without the intervals of these columns, which are shown elsewhere."""
        return replace(self, columns=tuple(replace(c, bounds=c.bounds and c.name not in names) for c in self.columns))

    def _index(self, name: str) -> int:
        for index, column in enumerate(self.columns):
            if column.name == name:
                return index
        raise KeyError(name)

    @cached_property
    def footnotes(self) -> tuple[str, ...]:
        """The texts that entries refer to, in the order of reading."""
        return tuple(dict.fromkeys(n for row in self.rows for entry in row for n in entry.notes))

    def references(self, entry: Entry) -> tuple[str, ...]:
        """The letters of an entry's footnotes: a, b ... z, aa, ab ..."""
        return tuple(letters(self.footnotes.index(note)) for note in entry.notes)


@dataclass(frozen=True)
class ShownRow:
    """A row as text."""

    texts: tuple[Quantity, ...]
    same: int
    """How many leading columns repeat the row before."""
    begins: bool
    """Whether a new group begins here, after another."""


def letters(index: int) -> str:
    """0 -> a, 25 -> z, 26 -> aa."""
    head, last = divmod(index, 26)
    return (letters(head - 1) if head else "") + chr(ord("a") + last)


def entry_text(column: Column, entry: Entry, short: bool = False) -> Quantity:
    """An entry as text in its column's unit; a dash where the value is missing.

    `short`: names without what all share.
    """
    value = entry.value
    if entry.text is not None:
        return entry.text if column.bounds else replace(entry.text, interval="")
    if isinstance(value, str) and short and entry.short:
        return Quantity(entry.short)
    if isinstance(value, str):
        return Quantity(value)
    if isinstance(value, Interval):
        decided = column.ratio and value.low is not None and value.high is not None and not value.low <= 1 <= value.high
        made = units.quantity(value, column.scale, most=4, decided=decided)
        # A median of one or two blocks has no interval; the count stands in the column of blocks.
        shown = made.interval if value.low is not None else ""
        return Quantity(_sign(entry) + made.estimate, shown, made.value)
    if value is None:
        return Quantity(DASH)
    return Quantity(_sign(entry) + _plain(column, value), value=value)


def shown_rows(table: Table, short: bool = False) -> tuple[ShownRow, ...]:
    """Each row as text, and how it continues the one before; see `entry_text` for `short`."""
    shown = []
    before: Sequence[str] = ()
    for row in table.rows:
        texts = tuple(entry_text(c, e, short) for c, e in zip(table.columns, row, strict=True))
        keys = [t.estimate for t in texts[: table.grouped]]
        same = 0
        while same < len(before) and keys[same] == before[same]:
            same += 1
        shown.append(ShownRow(texts, same, begins=bool(before) and same == 0))
        before = keys
    return tuple(shown)


def _sign(entry: Entry) -> str:
    return "~" if entry.grade is Grade.ESTIMATED else ""


def _plain(column: Column, value: float) -> str:
    scaled = value / column.scale.divisor
    match column.form:
        case Form.COUNT:
            return f"{round(scaled)}"
        case Form.PERCENT:
            return units.number(scaled, 2)
        case Form.EFFECT:
            return f"{scaled:+.2f}"
        case Form.P_VALUE:
            return "<0.001" if scaled < 0.001 else f"{scaled:.3f}"
    return units.number(scaled)
