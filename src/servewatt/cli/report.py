"""`servewatt report`: a run, finished or still running, in every form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from servewatt.cli.options import FILE, FOLDER, boundary_option, json_option, quality_option, store_option

if TYPE_CHECKING:
    from servewatt.experiment.deciding import Decided

EXAMPLES = """\b
Examples:
  servewatt report latest
  servewatt report 20260314-1022 --html report.html
  servewatt report latest --csv trials.csv --figures figures
  servewatt report latest --export run.json.gz
"""


@click.command("report", epilog=EXAMPLES)
@click.argument("run", default="latest")
@click.option("--html", type=FILE, help="Write a self-contained page to this file.")
@click.option("--csv", type=FILE, help="Write one row per trial to this file.")
@click.option("--summary-csv", type=FILE, help="Write one row per configuration to this file.")
@click.option("--latex", type=FILE, help="Write the tables as LaTeX to this file.")
@click.option("--figures", type=FOLDER, help="Write the figures as SVG and PNG to this folder.")
@click.option("--folder", type=FOLDER, help="Write all of the above to this folder.")
@click.option("--export", type=FILE, help="Write the run with all its trials to one file (.json.gz).")
@click.option("--markdown", is_flag=True, help="Print Markdown.")
@click.option("--list", "list_runs", is_flag=True, help="List the runs in the store.")
@click.option("--against", metavar="KEY", help="What the choice's energy is set beside.  [default: torch in fp32]")
@quality_option
@boundary_option
@store_option
@json_option
def command(run: str, store: str | None, boundary: str | None, **options: Any) -> None:
    """Show a run: RUN is an id, the beginning of one, `latest`, or an exported file."""
    from rich.console import Console

    from servewatt.api.writing import WRITERS
    from servewatt.cli.progress import ConsoleObserver
    from servewatt.cli.runs import show_list
    from servewatt.experiment.deciding import decide
    from servewatt.experiment.gathering import find, tell_damage
    from servewatt.records import Boundary
    from servewatt.report.markdown import to_markdown

    if options["list_runs"]:
        show_list(store, as_json=options["as_json"])
        return
    forms = {name: options[name] for name in WRITERS if options[name] is not None}
    found = find(run, store, with_samples=bool(forms), quality=options["quality_file"])
    tell_damage(found.damaged, ConsoleObserver(Console(stderr=True)))
    decided = decide(found, boundary=Boundary(boundary) if boundary else None, against=options["against"])
    for name, path in forms.items():
        WRITERS[name](decided, path)
        click.echo(f"wrote {path}", err=True)
    if options["markdown"] and not options["as_json"]:
        click.echo(to_markdown(decided.analysis, decided.recommendation))
    elif options["as_json"] or not forms:
        show(decided, as_json=options["as_json"])


def show(decided: Decided, *, as_json: bool) -> None:
    """The report on the terminal, or one JSON document."""
    from rich.console import Console

    from servewatt.report import export
    from servewatt.report.terminal import render_terminal

    if as_json:
        click.echo(export.to_json(decided.analysis, decided.recommendation, decided.results))
    else:
        render_terminal(Console(), decided.analysis, decided.recommendation)
