"""Observations from any CSV file, as groups for the study's tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from servewatt.errors import InputError, counted
from servewatt.input_files import shown
from servewatt.study.data.csv_cells import alike_notes, decimal_comma_note, numbers, read_cells


@dataclass(frozen=True)
class CsvSubject:
    """One subject's observations; NaN where the file has none."""

    name: str
    groups: Mapping[str, tuple[float, ...]]
    """Every group of the file in its order of appearance, empty where this subject has no row of it."""
    blocks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Group -> the block of each of its values; empty if no block column was named."""


@dataclass(frozen=True)
class CsvTable:
    """The observations of a file."""

    subjects: tuple[CsvSubject, ...]
    """In order of appearance; one, named after the file, if no subject column was named."""
    notes: tuple[str, ...] = ()
    """Rows that are left out, and why; how numbers and labels were understood where that is not plain."""


def read_csv(path: Path, value: str, group: str, subject: str | None = None, block: str | None = None) -> CsvTable:
    """The column `value` of a CSV file by the columns `group` and `subject`, paired by the column `block`.

    The first line names the columns; `csv_cells.read_cells` finds what separates them. An empty cell, `NaN` or `NA` is
    kept as NaN, so that tests can tell about it; a row that names no group, subject or block is left out with a note.
    Labels that are equal as numbers, or but for capitals, are different ones, with a note. Raises InputError if the
    file cannot be read, lacks a column, or has a value that is not a finite number.
    """
    named = {
        word: name for word, name in (("group", group), ("subject", subject), ("block", block)) if name is not None
    }
    cells = read_cells(path, list(dict.fromkeys([value, *named.values()])))
    unnamed = [line for line, row in cells.rows if not all(row[name] for name in named.values())]
    left_out = set(unnamed)
    rows = [(line, row) for line, row in cells.rows if line not in left_out]
    if not rows:
        raise InputError(f"{shown(path)} has no observations", "put one on each line below the names of the columns")
    written = [row[value] for _, row in rows]
    values = numbers(path, [line for line, _ in rows], written, value, cells.separator)
    found: dict[str, dict[str, list[tuple[float, str]]]] = {}
    for (_, row), number in zip(rows, values, strict=True):
        who = shown(path.stem) if subject is None else row[subject]
        pair = (number, "" if block is None else row[block])
        found.setdefault(who, {}).setdefault(row[group], []).append(pair)
    groups = list(dict.fromkeys(row[group] for _, row in rows))
    subjects = (_subject(who, of_it, groups, has_blocks=block is not None) for who, of_it in found.items())
    short = sorted(set(cells.short) - left_out)
    return CsvTable(
        tuple(subjects),
        (
            *_row_notes(unnamed, f"without a {_either(list(named))} left out"),
            *_row_notes(short, "with fewer cells than the first line"),
            *decimal_comma_note(written, values, value),
            *alike_notes(groups, "groups"),
            *(alike_notes(list(found), "subjects") if subject is not None else ()),
        ),
    )


def _subject(
    name: str, found: Mapping[str, Sequence[tuple[float, str]]], groups: Sequence[str], *, has_blocks: bool
) -> CsvSubject:
    values = {g: tuple(number for number, _ in found.get(g, ())) for g in groups}
    blocks = {g: tuple(block for _, block in found.get(g, ())) for g in groups} if has_blocks else {}
    return CsvSubject(name, values, blocks)


def _either(words: Sequence[str]) -> str:
    """`group`, `group or subject`, `group, subject or block`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _row_notes(lines: Sequence[int], what: str) -> tuple[str, ...]:
    if not lines:
        return ()
    told = ", ".join(map(str, lines[:5])) + (" ..." if len(lines) > 5 else "")
    return (f"{counted(len(lines), 'row')} {what} (line{'s' if len(lines) > 1 else ''} {told})",)
