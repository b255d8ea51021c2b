"""`servewatt study tables`: the paper's tables and figures, each from a command."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from servewatt.cli.options import FILE, FOLDER, PATH
from servewatt.errors import InputError, counted

if TYPE_CHECKING:
    from servewatt.report.table import Table
    from servewatt.study.view import StudyView

EXAMPLES = """\b
Examples:
  servewatt study tables results.parquet
  servewatt study tables results.parquet --table size-groups --format latex
  servewatt study tables h200.parquet cpu.parquet --figure energy-boxes --out energy.svg
  servewatt study tables results.parquet --folder study
  servewatt study tables --published --table savings
"""
_FORMS = click.Choice(["text", "markdown", "latex", "csv", "html"])


@click.command("tables", epilog=EXAMPLES)
@click.argument("files", nargs=-1, type=PATH)
@click.option("--published", is_flag=True, help="Show the published medians instead of a results file.")
@click.option("--table", default="energy", show_default=True, metavar="NAME", help="The table to print; see --list.")
@click.option("--format", "form", type=_FORMS, default="text", show_default=True, help="How to print the table.")
@click.option("--figure", metavar="NAME", help="Draw this figure into the file of --out; see --list.")
@click.option("--out", type=FILE, help="File for --figure: .svg, .png or .pdf.")
@click.option("--folder", type=FOLDER, help="Write all tables, all figures and a page that shows them to this folder.")
@click.option("--model", "models", multiple=True, metavar="NAME", help="Only this model; may be given again.")
@click.option("--list", "list_names", is_flag=True, help="List the tables and figures, and what each needs.")
def command(files: tuple[Path, ...], published: bool, table: str, form: str, **options: Any) -> None:
    """Tables and figures of results FILES (several count as one), or of the published study."""
    from servewatt.cli.study.files import write_figure
    from servewatt.study import outputs

    if options["list_names"]:
        _show_names()
        return
    figure, out, folder = options["figure"], options["out"], options["folder"]
    if (figure is None) != (out is None):
        raise click.UsageError("--figure and --out go together: --figure energy-boxes --out energy.svg")
    tested = folder is not None or outputs.needs_tests(table if figure is None else "", figure or "")
    view = _find_view(files, published=published, models=options["models"], tested=tested)
    if folder is not None:
        _write_folder(view, folder, files, published=published)
    elif figure is not None:
        write_figure(outputs.draw(view, figure), out)
    else:
        _print_table(outputs.make_table(view, table), form)


def _find_view(files: Sequence[Path], *, published: bool, models: Sequence[str], tested: bool) -> StudyView:
    """The data of the tables: the results files as one, or the published medians."""
    from servewatt.study.data import results_file
    from servewatt.study.view import observed, published_alone, select

    if published:
        if files:
            raise InputError(
                "--published shows the published medians alone, without results files", "leave out one of the two"
            )
        return published_alone(models)
    if not files:
        raise InputError(
            "no results file was named", "`servewatt study collect --out FILE` writes one; or show --published"
        )
    found = results_file.read_all(files)
    return observed(select(found.observations, models), found.runs, tested=tested)


def _show_names() -> None:
    """The tables and figures, and which of them `--published` cannot fill."""
    from rich.console import Console
    from rich.table import Table as Grid

    from servewatt.study import outputs

    grid = Grid("name", "what it shows", "needs", box=None, header_style="dim", padding=(0, 2, 0, 0))
    for heading, kinds in (("tables", outputs.TABLES), ("figures", outputs.FIGURES)):
        grid.add_row(f"[bold]{heading}[/bold]")
        for name, kind in kinds.items():
            needs = "observations" if kind.observations else "observations or --published"
            grid.add_row(f"  {name}", kind.title, needs)
    Console().print(grid)


def _print_table(table: Table, form: str) -> None:
    """One table on standard output."""
    from rich.console import Console

    from servewatt.report.table_forms import FORMS, renderable

    console = Console()
    if form == "text" and console.is_terminal:
        console.print(renderable(table, console.width))
    else:
        click.echo(FORMS[form](table), nl=False)


def _write_folder(view: StudyView, folder: Path, files: Sequence[Path], *, published: bool) -> None:
    """Everything into a folder."""
    from servewatt.study.page.folder import write_folder

    words = ["servewatt", "study", "tables", *(["--published"] if published else map(str, files))]
    written = write_folder(view, folder, f"{shlex.join(words)} --folder {shlex.quote(str(folder))}")
    click.echo(f"wrote {counted(len(written), 'file')}; open {folder / 'index.html'}", err=True)
