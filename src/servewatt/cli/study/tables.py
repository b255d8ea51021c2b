"""`servewatt study tables`: the paper's tables and figures, each from a command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from servewatt.report.study_view import StudyView

EXAMPLES = """\b
Examples:
  servewatt study tables results.parquet
  servewatt study tables results.parquet --table size-groups --format latex
  servewatt study tables h200.parquet cpu.parquet --figure energy-boxes --out energy.svg
  servewatt study tables results.parquet --folder study
  servewatt study tables --published --table savings
"""


@click.command("tables", epilog=EXAMPLES)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--published", is_flag=True, help="Show the published medians instead of a results file.")
@click.option("--table", default="energy", show_default=True, metavar="NAME", help="Which table to print; see --list.")
@click.option("--format", "form", type=click.Choice(["text", "latex", "csv", "html"]), default="text", show_default=True,
              help="How to print it.")  # fmt: skip
@click.option("--figure", metavar="NAME", help="Draw this figure into the file of --out; see --list.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File for --figure: .svg, .png or .pdf.")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False),
              help="Write all tables and figures in all formats to this folder, and a page that shows them.")  # fmt: skip
@click.option("--model", "models", multiple=True, metavar="NAME", help="Only this model; may be given again.")
@click.option("--list", "list_names", is_flag=True, help="List the tables and figures, and what each needs.")
def command(
    files: tuple[Path, ...],
    published: bool,
    table: str,
    form: str,
    figure: str | None,
    out: Path | None,
    folder: Path | None,
    models: tuple[str, ...],
    list_names: bool,
) -> None:
    """Tables and figures of results FILES (several count as one), or of the published study."""
    from servewatt.cli.study import showing_tables
    from servewatt.report import study_outputs

    if list_names:
        showing_tables.show_names()
        return
    if (figure is None) != (out is None):
        raise click.UsageError("--figure and --out go together: --figure energy-boxes --out energy.svg")
    tested = folder is not None or showing_tables.needs_tests(table if figure is None else None, figure)
    view: StudyView = showing_tables.find_view(files, published=published, models=models, tested=tested)
    if folder is not None:
        showing_tables.write_folder(view, folder, files, published=published)
    elif figure is not None and out is not None:
        showing_tables.write_figure(study_outputs.draw(view, figure), out)
    else:
        showing_tables.print_table(study_outputs.make_table(view, table), form)
