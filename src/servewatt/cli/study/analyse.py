"""`servewatt study analyse`: the study's battery of tests, with effect sizes, and servewatt's own decision."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from servewatt.cli.options import FILE, FOLDER, json_option
from servewatt.cli.ranges import Finite
from servewatt.errors import InputError, counted

if TYPE_CHECKING:
    from servewatt.study.data.csv_table import CsvTable
    from servewatt.study.data.observations import Observation
    from servewatt.study.tests.examine import Examination

_INPUTS = "give results files, or --csv FILE --value COLUMN --group COLUMN"
_FORMS = click.Choice(["text", "markdown", "latex", "csv", "html"])
EXAMPLES = """\b
Examples:
  servewatt study analyse h200.parquet
  servewatt study analyse h200.parquet --variable energy_j_per_token --model pythia-410m --without-jit
  servewatt study analyse --csv runs.csv --value energy --group configuration --subject model
  servewatt study analyse --csv runs.csv --value energy --group configuration --block day
"""


@click.command("analyse", epilog=EXAMPLES)
@click.argument("results", nargs=-1, type=FILE)
@click.option("--csv", "csv_file", type=FILE, help="Analyse this CSV file of observations, one on each line.")
@click.option("--value", metavar="COLUMN", help="Column of the CSV file that holds the observed values.")
@click.option("--group", metavar="COLUMN", help="Column of the CSV file that holds the groups to compare.")
@click.option("--subject", metavar="COLUMN", help="Column of the CSV file that holds the subjects, such as models.")
@click.option("--block", metavar="COLUMN", help="Column of the CSV file that holds what was measured together: pairs.")
@click.option("--variable", "variables", multiple=True, metavar="NAME", help="Only this variable; may be repeated.")
@click.option("--model", "models", multiple=True, metavar="NAME", help="Only this model or subject; may be repeated.")
@click.option("--without-jit", is_flag=True, help="Leave JIT out, as the published study did.")
@click.option(
    "--alpha",
    type=Finite(0, 1, min_open=True, max_open=True),
    default=0.05,
    show_default=True,
    help="Level of significance.",
)
@click.option("--table", metavar="NAME", help="Print only this table: conclusions, descriptives, tests or pairs.")
@click.option("--format", "form", type=_FORMS, help="Print tables in this form.")
@click.option("--figure", metavar="NAME", help="Draw this figure into the file of --out: boxes or differences.")
@click.option("--out", type=FILE, help="File for --figure: .svg, .png or .pdf.")
@click.option("--folder", type=FOLDER, help="Write all tables, all figures and a page that shows them to this folder.")
@json_option
def command(results: tuple[Path, ...], csv_file: Path | None, as_json: bool, **options: Any) -> None:
    """Test whether configurations differ: RESULTS are files that `servewatt study collect` writes, or take --csv.

    Shapiro-Wilk, Levene, Welch ANOVA, Kruskal-Wallis, Dunn-Holm and Games-Howell, each where it can be computed, with
    effect sizes and Holm's correction over everything analysed; then servewatt's own decision, which pairs blocks.
    """
    from servewatt import wire
    from servewatt.study.tests.examine import Document

    shown = [name for name in ("table", "form", "figure", "folder") if options[name]]
    if as_json and shown:
        raise InputError("--json prints everything that was found", f"leave out --{shown[0].replace('form', 'format')}")
    if bool(options["figure"]) != bool(options["out"]):
        raise InputError("--figure and --out go together", "such as --figure differences --out differences.svg")
    notes, examinations = _examine(results, csv_file, options)
    subject = "model" if csv_file is None else options["subject"] or "sample"
    if as_json:
        click.echo(wire.document(Document(notes, examinations)))
    elif options["folder"] is not None:
        _write_folder(examinations, options["folder"], subject, notes)
    elif options["figure"]:
        _write_figure(examinations, options["figure"], options["out"])
    elif options["table"] or options["form"]:
        _print_tables(examinations, subject, options["table"], options["form"] or "text")
    else:
        _show(examinations, notes)


def _examine(
    results: Sequence[Path], csv_file: Path | None, options: Mapping[str, Any]
) -> tuple[tuple[str, ...], tuple[Examination, ...]]:
    """Notes on the input, and what was found."""
    from servewatt.study.tests.examine import examine_csv, examine_observations

    alpha, models = options["alpha"], options["models"]
    if csv_file is not None:
        table = _read_table(csv_file, results, options)
        with _busy():
            return table.notes, examine_csv(table, options["value"], models, alpha)
    found = _read_observations(results, options)
    variables, without_jit = options["variables"], options["without_jit"]
    with _busy():
        return (), examine_observations(found, variables, models, without_jit=without_jit, alpha=alpha)


def _read_table(path: Path, results: Sequence[Path], options: Mapping[str, Any]) -> CsvTable:
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
    from servewatt.study.data.csv_table import read_csv

    if options["block"] is not None and options["block"] in [options[name] for name in ("value", "group", "subject")]:
        raise InputError(
            f"--block is column {options['block']!r}, which has another part already",
            "name the column that says what was measured together, such as a day or a repetition",
        )
    return read_csv(path, options["value"], options["group"], options["subject"], options["block"])


def _read_observations(results: Sequence[Path], options: Mapping[str, Any]) -> tuple[Observation, ...]:
    """The observations of results files.

    Raises InputError if none are given, or an option of --csv is.
    """
    for name in ("value", "group", "subject", "block"):
        if options[name]:
            raise InputError(f"--{name} goes with --csv", _INPUTS)
    if not results:
        raise InputError("there is nothing to analyse", _INPUTS)
    from servewatt.study.data.results_file import read_all

    return read_all(results).observations


@contextmanager
def _busy() -> Iterator[None]:
    """Says that tests are computed, which takes about half a second for each model and variable."""
    from rich.console import Console

    from servewatt.cli.progress import step

    with step(Console(stderr=True), "computing tests"):
        yield


def _show(analyses: Sequence[Examination], notes: Sequence[str]) -> None:
    """Print to the terminal."""
    from rich.console import Console

    from servewatt.study.tables.battery import render_examinations

    render_examinations(Console(), analyses, notes)


def _print_tables(examinations: Sequence[Examination], subject: str, name: str | None, form: str) -> None:
    """Tables on standard output: one, or all of them where none is named."""
    from rich.console import Console

    from servewatt.report.table_forms import FORMS, renderable
    from servewatt.study.tables.samples import sample_tables

    tables = sample_tables(examinations, subject, (name,) if name else ())
    if form == "csv" and len(tables) > 1:
        raise InputError("CSV holds one table", f"name it: --table {tables[0].name.partition('-')[0]}")
    console = Console()
    for index, table in enumerate(tables):
        if form == "text" and console.is_terminal:
            console.print(renderable(table, console.width))
        elif form == "markdown":
            click.echo(f"## {table.title}\n\n{FORMS[form](table)}", nl=False)
        else:
            click.echo(FORMS[form](table), nl=False)
        if index + 1 < len(tables):
            click.echo()


def _write_figure(examinations: Sequence[Examination], name: str, path: Path) -> None:
    """One figure, of the first variable where there are several, into a file whose ending says the format."""
    from servewatt.cli.study.files import write_figure
    from servewatt.study.figures.samples import sample_figures

    found = sample_figures(examinations, (name,))
    if not found:
        raise InputError(f"figure {name} is empty: nothing that it shows was observed", "see --table descriptives")
    if len(found) > 1:
        raise InputError("there are several variables, and a figure shows one", "name it with --variable")
    write_figure(found[0][0], path)


def _write_folder(examinations: Sequence[Examination], folder: Path, subject: str, notes: Sequence[str]) -> None:
    """Everything into a folder."""
    from servewatt.study.page.samples import write_samples

    command = shlex.join(["servewatt", *sys.argv[1:]])
    written = write_samples(examinations, folder, subject=subject, notes=notes, command=command)
    click.echo(f"wrote {counted(len(written), 'file')}; open {folder / 'index.html'}", err=True)
