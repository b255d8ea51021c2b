"""`servewatt study prompts`: HumanEval's tasks as prompts, by the study's rule or whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from servewatt.cli.options import FILE, json_option
from servewatt.errors import InputError, counted

if TYPE_CHECKING:
    from servewatt.study.protocol.prompts import PromptsRecord

EXAMPLES = """\b
Examples:
  servewatt study prompts
  servewatt study prompts --source HumanEval.jsonl.gz --seed 1 --out lines.jsonl
  servewatt study prompts --rule whole --limit 20
  servewatt study prompts --tokenizer Salesforce/codet5-base --tokens 9-14
  servewatt run --model pythia-410m --prompts humaneval-line.jsonl
"""

DEFAULT_TOKENS = "10-15"


@click.command("prompts", epilog=EXAMPLES)
@click.option("--rule", type=click.Choice(["line", "whole"]), default="line", show_default=True, help="What is kept.")
@click.option("--source", type=FILE, help="HumanEval as .jsonl, .jsonl.gz or .parquet.  [default: from the hub]")
@click.option("--revision", metavar="COMMIT", help="Revision of the hub's data set.  [default: a pinned commit]")
@click.option("--tokenizer", default="bundled", show_default=True, help="What counts tokens: a folder, hub id or name.")
@click.option("--tokens", metavar="LEAST-MOST", help=f"Tokens of a line that are kept.  [default: {DEFAULT_TOKENS}]")
@click.option(
    "--seed", type=click.IntRange(-(2**63), 2**63 - 1), metavar="N", help="Seed of lines and lengths.  [default: 0]"
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Use the first N tasks.")
@click.option("--out", type=FILE, help="Write to this file.  [default: humaneval-RULE.jsonl]")
@click.option("--force", is_flag=True, help="Replace a file that was made otherwise.")
@json_option
def command(out: Path | None, force: bool, as_json: bool, **options: object) -> None:
    """Make the study's prompts from HumanEval.

    Rule `line` is the study's: of each task one random line, cut to its first 10 to 15 tokens, both drawn by --seed.
    Rule `whole` keeps the prompts as they are, as users send them. How they were made is written beside them, to
    FILE.meta.json; the same command again finds that and does nothing.
    """
    from servewatt.cli.study.files import pretty, write_text
    from servewatt.study.protocol.prompt_file import Asked, find_made, make, prepare, record_path

    asked = Asked(**options)  # type: ignore[arg-type]
    path = out or Path(f"humaneval-{asked.rule}.jsonl")
    if path.suffix.lower() != ".jsonl":
        raise InputError(f"{path} would be read as one prompt a line", "name it .jsonl")
    recipe, problems, tokenizer = prepare(asked)
    record = None if force else find_made(path, recipe)
    if record is None:
        text, record = make(recipe, problems, tokenizer)
        write_text(path, text)
        write_text(record_path(path), pretty(record))
        click.echo(f"wrote {path} and {record_path(path)}", err=True)
    else:
        click.echo(f"{path} is made already: nothing to do", err=True)
    show(record, path, as_json=as_json)


def show(record: PromptsRecord, path: Path, *, as_json: bool) -> None:
    """The record, in two lines or as JSON."""
    from servewatt import wire
    from servewatt.input_files import shown
    from servewatt.study.protocol.prompts import Rule

    if as_json:
        click.echo(wire.document(record))
        return
    what = "lines" if record.recipe.rule is Rule.LINE else "prompts"
    lengths = f"{record.shortest_tokens} to {record.longest_tokens} tokens, median {record.median_tokens:g}"
    click.echo(f"{counted(record.prompts, 'prompt')} of {lengths}; {record.uncut} are whole {what}")
    click.echo(f"next: servewatt run --prompts {shown(path)}")
