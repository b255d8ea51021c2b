"""What `servewatt study analyse` reads, and how it shows what it found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servewatt.errors import InputError
from servewatt.study.data.csv_table import CsvTable, read_csv
from servewatt.study.data.observations import Observation
from servewatt.study.tests.analyses import Analysis

_INPUTS = "give results files, or --csv FILE --value COLUMN --group COLUMN"


@dataclass(frozen=True)
class Document:
    """The JSON that is printed."""

    notes: tuple[str, ...]
    analyses: tuple[Analysis, ...]


def read_table(path: Path, results: Sequence[Path], options: Mapping[str, Any]) -> CsvTable:
    """The CSV file, by the command's `options`.

    Raises InputError if they do not go together, or the file cannot be read.
    """
    if results:
        raise InputError(f"both --csv and results files are given: {results[0]}", _INPUTS)
    for name, option in (("variables", "--variable"), ("without_jit", "--without-jit")):
        if options[name]:
            raise InputError(f"{option} goes with results files, not with --csv", _INPUTS)
    for name in ("value", "group"):
        if not options[name]:
            raise InputError(f"--csv needs --{name}", "name the columns: --value COLUMN --group COLUMN")
    if options["value"] in (options["group"], options["subject"]):
        raise InputError(
            f"the values and what groups them are both column {options['value']!r}",
            "--value names the column of measured numbers, --group that of configurations, --subject that of models",
        )
    if options["group"] == options["subject"]:
        raise InputError(
            f"--group and --subject are both column {options['group']!r}, so no subject has two groups to compare",
            "leave out --subject, or name another column",
        )
    return read_csv(path, options["value"], options["group"], options["subject"])


def read_observations(results: Sequence[Path], options: Mapping[str, Any]) -> tuple[Observation, ...]:
    """The observations of results files.

    Raises InputError if none are given, or an option of --csv is.
    """
    from servewatt.study.data.results_file import read_all

    for name in ("value", "group", "subject"):
        if options[name]:
            raise InputError(f"--{name} goes with --csv", _INPUTS)
    if not results:
        raise InputError("there is nothing to analyse", _INPUTS)
    return read_all(results).observations


@contextmanager
def busy() -> Iterator[None]:
    """Says that tests are computed, which takes about half a second for each model and variable."""
    from rich.console import Console

    from servewatt.cli.progress import step

    with step(Console(stderr=True), "computing tests"):
        yield


def show(analyses: Sequence[Analysis], notes: Sequence[str]) -> None:
    """Print to the terminal."""
    from rich.console import Console

    from servewatt.study.tables.battery import render_analyses

    render_analyses(Console(), analyses, notes)
