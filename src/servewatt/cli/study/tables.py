"""`servewatt study tables`: the paper's tables and figures, each from a command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from servewatt.cli.options import FILE, FOLDER, PATH

EXAMPLES = """\b
Examples:
  servewatt study tables results.parquet
  servewatt study tables results.parquet --table size-groups --format latex
  servewatt study tables h200.parquet cpu.parquet --figure energy-boxes --out energy.svg
  servewatt study tables results.parquet --folder study
  servewatt study tables --published --table savings
"""


_FORMS = click.Choice(["text", "latex", "csv", "html"])


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
    from servewatt.cli.study import showing_tables
    from servewatt.study import outputs as study_outputs

    if options["list_names"]:
        showing_tables.show_names()
        return
    figure, out, folder = options["figure"], options["out"], options["folder"]
    if (figure is None) != (out is None):
        raise click.UsageError("--figure and --out go together: --figure energy-boxes --out energy.svg")
    tested = folder is not None or study_outputs.needs_tests(table if figure is None else "", figure or "")
    view = showing_tables.find_view(files, published=published, models=options["models"], tested=tested)
    if folder is not None:
        showing_tables.write_folder(view, folder, files, published=published)
    elif figure is not None:
        showing_tables.write_figure(study_outputs.draw(view, figure), out)
    else:
        showing_tables.print_table(study_outputs.make_table(view, table), form)
