"""`servewatt study compare`: results beside the published ones, or the published table checked by itself."""

from __future__ import annotations

from pathlib import Path

import click

from servewatt.cli.options import FILE, json_option

EXAMPLES = """\b
Examples:
  servewatt study compare
  servewatt study compare --by time
  servewatt study compare h200.parquet
  servewatt study compare h200.parquet cpu.parquet --model tinyllama
  servewatt study compare h200.parquet --markdown > comparison.md
"""


PIPED_WIDTH = 140
"""Columns of the output where it goes to a file or another program."""


@click.command("compare", epilog=EXAMPLES)
@click.argument("results", nargs=-1, type=FILE, metavar="[RESULTS.parquet]...")
@click.option(
    "--by", type=click.Choice(["energy", "time"]), default="energy", show_default=True, help="What is compared."
)
@click.option("--model", "models", multiple=True, metavar="NAME", help="Only this model; may be repeated.")
@click.option("--markdown", is_flag=True, help="Print Markdown.")
@json_option
def command(results: tuple[Path, ...], by: str, models: tuple[str, ...], markdown: bool, as_json: bool) -> None:
    """Set RESULTS, files of `servewatt study collect`, beside the published study.

    Per model the order of configurations by both and Kendall's tau; savings by several stated definitions; and for
    each headline figure whether the published table supports it, with the rows it comes from. Without files the
    published table is checked by itself.
    """
    from rich.console import Console

    from servewatt import wire
    from servewatt.study.data import results_file
    from servewatt.study.data.cells import By
    from servewatt.study.published.beside import set_beside
    from servewatt.study.tables.document import render_terminal, to_markdown

    found = set_beside(results_file.read_all(results) if results else None, By(by), models)
    if as_json:
        click.echo(wire.document(found))
    elif markdown:
        click.echo(to_markdown(found), nl=False)
    else:
        console = Console()
        render_terminal(console if console.is_terminal else Console(width=PIPED_WIDTH), found)
