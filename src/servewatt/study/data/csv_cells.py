"""The cells of a CSV file as its writer meant them: which separator, which decimal mark."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from servewatt.errors import InputError, counted, nearest
from servewatt.input_files import read_text, shown

_SEPARATORS = ",;\t|"
_DECLARATION = re.compile(r"\s*\"?sep=(.)\"?\s*(\r\n|\r|\n|$)", re.IGNORECASE)
"""The first line by which spreadsheets tell each other the separator."""
_NO_VALUE = frozenset({"", "na", "n/a", "nan", "null", "none", "-"})
_DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+([eE][-+]?\d+)?")


@dataclass(frozen=True)
class Cells:
    """The named columns of a file."""

    rows: tuple[tuple[int, dict[str, str]], ...]
    """(line number, column -> cell without spaces around it) of every line that is not blank."""
    separator: str
    short: tuple[int, ...] = ()
    """Numbers of the lines that end before one of the columns."""


def read_cells(path: Path, names: Sequence[str]) -> Cells:
    """The columns `names` of a CSV file whose first line names the columns.

    The separator is the one that a line `sep=` states, or else the one of comma, semicolon, tab and bar by which the
    first line has all these names. Raises InputError if the file cannot be read, is empty or lacks a column, and for
    a quote that is not closed or a row longer than the first.
    """
    text = read_text(path, "give the path of a CSV file")
    body, stated, first = text, "", 1
    if declared := _DECLARATION.match(text):
        stated, body, first = declared[1], text[declared.end() :], 2
    separator = stated or _separator(body, names)
    rows = _parsed(path, body, separator, first)
    if not rows:
        raise InputError(f"{shown(path)} is empty", "give a CSV file whose first line names the columns")
    header = [cell.strip() for cell in rows[0][1]]
    places = {name: _place(path, header, name) for name in names}
    found, short = [], []
    for line, row in rows[1:]:
        if any(cell.strip() for cell in row[len(header) :]):
            raise InputError(
                f"{shown(path)}, line {line}: {counted(len(row), 'cell')} where the first line has {len(header)}",
                'put a text that has the separator in it in quotes: "a, b"; write decimals with a point: 0.25',
            )
        if len(row) <= max(places.values()):
            short.append(line)
        found.append((line, {name: row[at].strip() if at < len(row) else "" for name, at in places.items()}))
    return Cells(tuple(found), separator, tuple(short))


def numbers(path: Path, lines: Sequence[int], cells: Sequence[str], column: str, separator: str) -> list[float]:
    """The cells of a column as numbers, NaN where there is none.

    Where commas do not separate cells they may mark decimals, in all numbers of the column or in none.
    Raises InputError for a cell that is no finite number.
    """
    commas = {line: cell for line, cell in zip(lines, cells, strict=True) if _DECIMAL_COMMA.fullmatch(cell)}
    points = [line for line, cell in zip(lines, cells, strict=True) if "." in cell]
    as_decimal = bool(commas) and separator != "," and not points
    return [
        _number(cell.replace(",", ".") if as_decimal and line in commas else cell, path, line, column)
        for line, cell in zip(lines, cells, strict=True)
    ]


def decimal_comma_note(cells: Sequence[str], values: Sequence[float], column: str) -> tuple[str, ...]:
    """A note where decimal commas were read as such."""
    for cell, value in zip(cells, values, strict=True):
        if "," in cell and not math.isnan(value):
            return (f"{column} has decimal commas: {cell} is read as {value:g}",)
    return ()


def alike_notes(labels: Sequence[str], what: str) -> tuple[str, ...]:
    """A note on labels that differ in how they are written, but not as numbers or but for capitals and spaces."""
    first: dict[float | str, str] = {}
    notes = []
    for label in labels:
        other = first.setdefault(_meaning(label), label)
        if other != label:
            notes.append(f"{what} {other!r} and {label!r} are written differently, so they count as two")
    return tuple(notes)


def _meaning(label: str) -> float | str:
    try:
        value = float(label.replace("_", "?"))
    except ValueError:
        return " ".join(label.casefold().split())
    return label.casefold() if math.isnan(value) else value


def _separator(text: str, names: Sequence[str]) -> str:
    """The separator by which the first line names all columns asked for; else the one it has most of."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    fits = {s: cells for s in _SEPARATORS if set(names) <= set(cells := _header(first, s))}
    return max(fits, key=lambda s: len(fits[s])) if fits else max(_SEPARATORS, key=first.count)


def _header(line: str, separator: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])]
    except csv.Error:
        return []


def _parsed(path: Path, text: str, separator: str, first: int) -> list[tuple[int, list[str]]]:
    """(line number, cells) of every line that is not blank; `first` is the number of the text's first line."""
    before = csv.field_size_limit(max(len(text), 1))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    try:
        return [(first - 1 + reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise InputError(
            f"{shown(path)}, line {first - 1 + reader.line_num}: no CSV text: {error}",
            'close every quote, and write one within quotes twice: "say ""hello"""',
        ) from error
    finally:
        csv.field_size_limit(before)


def _place(path: Path, names: Sequence[str], name: str) -> int:
    if names.count(name) > 1:
        raise InputError(f"{shown(path)} has {names.count(name)} columns {name!r}", "give each its own name")
    if name not in names:
        hint = nearest(name, names)
        if any(_is_number(cell) for cell in names):
            hint = f"the first line must name the columns; it has {', '.join(names)[:200]}"
        raise InputError(f"{shown(path)} has no column {name!r}", hint)
    return names.index(name)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(text: str, path: Path, line: int, column: str) -> float:
    if text.lower() in _NO_VALUE:
        return math.nan
    try:
        # Python reads 1_000 as a number; a CSV file that has it means something else.
        value = float(text.replace("_", "?"))
    except ValueError:
        value = math.inf
    if math.isfinite(value):
        return value
    told = repr(text) if len(text) <= 60 else f"{text[:60]!r} ..."
    raise InputError(
        f"{shown(path)}, line {line}: {column} is {told}, which is not a {'finite ' if _is_number(text) else ''}number",
        "write numbers as 0.25 or 2.5e-1, and leave the cell empty where there is none",
    )
