"""Observations from any CSV file, as groups for the study's tests."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from servewatt.errors import InputError, counted, nearest

_NO_VALUE = frozenset({"", "na", "n/a", "nan", "null", "none", "-"})


@dataclass(frozen=True)
class CsvSubject:
    """One subject's observations; NaN where the file has none."""

    name: str
    groups: Mapping[str, tuple[float, ...]]
    """Every group of the file in its order of appearance, empty where this subject has no row of it."""


@dataclass(frozen=True)
class CsvTable:
    """The observations of a file."""

    subjects: tuple[CsvSubject, ...]
    """In order of appearance; one, named after the file, if no subject column was named."""
    notes: tuple[str, ...] = ()
    """Rows that are left out, and why."""


def read_csv(path: Path, value: str, group: str, subject: str | None = None) -> CsvTable:
    """The column `value` of a CSV file by the columns `group` and `subject`.

    The first line names the columns; they are separated by commas, semicolons or tabs, whichever the first line has
    most of. An empty cell, `NaN` or `NA` is kept as NaN, so that tests can tell about it; a row that names no group or
    subject is left out with a note. Raises InputError if the file is missing, empty or no text, lacks a column, or has
    a value that is not a number.
    """
    rows = _rows(path)
    header = next(rows, (0, []))[1]
    if not header:
        raise InputError(f"{path} is empty", "give a CSV file whose first line names the columns")
    columns = {name: _place(path, header, name) for name in (value, group, subject) if name is not None}
    found: dict[str, dict[str, list[float]]] = {}
    groups: dict[str, None] = {}
    unnamed: list[int] = []
    for line, row in rows:
        cells = {name: row[place].strip() if place < len(row) else "" for name, place in columns.items()}
        who = path.stem if subject is None else cells[subject]
        if not who or not cells[group]:
            unnamed.append(line)
            continue
        groups.setdefault(cells[group])
        number = _number(cells[value], path, line, value)
        found.setdefault(who, {}).setdefault(cells[group], []).append(number)
    if not found:
        raise InputError(f"{path} has no observations", "put one on each line below the names of the columns")
    subjects = (CsvSubject(who, {g: tuple(of_it.get(g, ())) for g in groups}) for who, of_it in found.items())
    return CsvTable(tuple(subjects), _notes(unnamed, subject))


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of every line that is not blank."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            file.seek(0)
            reader = csv.reader(file, delimiter=max(",;\t", key=first.count))
            for row in reader:
                if any(cell.strip() for cell in row):
                    yield reader.line_num, row
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}", "give the path of a CSV file") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}", "give the path of a CSV file") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no CSV text: {error}", "save it as comma-separated UTF-8") from error


def _place(path: Path, header: Sequence[str], name: str) -> int:
    names = [cell.strip() for cell in header]
    if names.count(name) > 1:
        raise InputError(f"{path} has {names.count(name)} columns {name!r}", "give each its own name")
    if name not in names:
        raise InputError(f"{path} has no column {name!r}", nearest(name, names))
    return names.index(name)


def _number(text: str, path: Path, line: int, column: str) -> float:
    if text.lower() in _NO_VALUE:
        return math.nan
    try:
        # Python reads 1_000 as a number; a CSV file that has it means something else.
        return float(text.replace("_", "?"))
    except ValueError as error:
        raise InputError(
            f"{path}, line {line}: {column} is {text!r}, which is not a number",
            "write numbers as 0.25 or 2.5e-1, and leave the cell empty where there is none",
        ) from error


def _notes(unnamed: Sequence[int], subject: str | None) -> tuple[str, ...]:
    if not unnamed:
        return ()
    shown = ", ".join(map(str, unnamed[:5])) + (" ..." if len(unnamed) > 5 else "")
    what = "group" if subject is None else "group or subject"
    return (
        f"{counted(len(unnamed), 'row')} without a {what} left out (line{'s' if len(unnamed) > 1 else ''} {shown})",
    )
