"""`servewatt study models`: the study's twelve, and the funnel that selects models from the hub."""

from __future__ import annotations

from pathlib import Path

import click

from servewatt.cli.options import FILE, json_option
from servewatt.errors import InputError
from servewatt.input_files import is_there

EXAMPLES = """\b
Examples:
  servewatt study models
  servewatt study models --json
  servewatt study models --select --out selection.json
  servewatt study models --select --limit 0 --max-parameters 3e9
"""

DEFAULT_LIMIT = 5000
_PROGRESS_EVERY = 1000


@click.command("models", epilog=EXAMPLES)
@click.option("--select", is_flag=True, help="Query the hub, and select as the study did.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    metavar="N",
    help=f"Most downloaded N; 0 for all.  [default: {DEFAULT_LIMIT}]",
)
@click.option(
    "--max-parameters",
    type=float,
    metavar="N",
    help="Size limit, such as 3e9.  [default: 5e9]",
)
@click.option("--out", type=FILE, help="Write the selection to this JSON file.")
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@json_option
def command(
    select: bool, limit: int | None, max_parameters: float | None, out: Path | None, force: bool, as_json: bool
) -> None:
    """List the study's twelve models, exact in shape; or select models from the hub by the study's funnel.

    The funnel: models of the hub under text-generation, with safetensors, at most 5 billion parameters, a HumanEval
    result on their page (or gated, to be checked by hand), and for code. It tells how many remain after each, and
    where each of the twelve would be left out today.
    """
    from rich.console import Console

    from servewatt import wire
    from servewatt.cli.study.files import pretty, write_text
    from servewatt.study.protocol.hub import list_twelve, select_models
    from servewatt.study.tables.models import render_models, render_selection

    if not select:
        if limit is not None or max_parameters is not None or out is not None:
            raise InputError("--limit, --max-parameters and --out are for a selection", "add --select")
        models = list_twelve()
        click.echo(wire.document(models)) if as_json else render_models(Console(), models)
        return
    if out is not None and is_there(out) and not force:
        raise InputError(f"{out} is there", "name another file with --out, or replace it with --force")
    selection = select_models(DEFAULT_LIMIT if limit is None else limit or None, max_parameters, seen=_tell)
    if out is not None:
        write_text(out, pretty(selection))
        click.echo(f"wrote {out}", err=True)
    click.echo(wire.document(selection)) if as_json else render_selection(Console(), selection)


def _tell(number: int) -> None:
    """Says on standard error how many models were seen."""
    if number % _PROGRESS_EVERY == 0:
        click.echo(f"{number:,} models ...", err=True)
