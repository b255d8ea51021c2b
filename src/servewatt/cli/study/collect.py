"""`servewatt study collect`: runs of the store as one compact results file."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from servewatt.cli.options import FILE, PATH, json_option
from servewatt.errors import InputError, counted
from servewatt.input_files import is_there, shown

if TYPE_CHECKING:
    from servewatt.records import Result, Run

EXAMPLES = """\b
Examples:
  servewatt study collect --out results.parquet
  servewatt study collect --out h200.parquet --campaign h200 --add h200.parquet
  servewatt study collect --out both.parquet run.json.gz other.json.gz
"""


@click.command("collect", epilog=EXAMPLES)
@click.argument("files", nargs=-1, type=PATH)
@click.option("--out", required=True, type=FILE, help="The file to write (.parquet).")
@click.option("--campaign", metavar="NAME", help="What to call this campaign.  [default: the name of the file]")
@click.option("--add", "added", multiple=True, type=PATH, help="A results file to take in as well.")
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@click.option("--run", "runs", multiple=True, metavar="ID", help="Only these runs of the store.  [default: all]")
@click.option("--store", metavar="URL|FILE", help="Results store.  [default: study.db in the user's data folder]")
@json_option
def command(
    files: tuple[Path, ...],
    out: Path,
    campaign: str | None,
    added: tuple[Path, ...],
    force: bool,
    runs: tuple[str, ...],
    store: str | None,
    as_json: bool,
) -> None:
    """Gather runs into a results file: Parquet, one row a trial, with plans, environments and proofs inside.

    Takes every run of the study's store, or the exported run FILES if any are given. Prompts are kept by digest only.
    A file that is there is replaced only if it is among those of --add, or with --force.
    """
    import json

    from servewatt.store import read_file
    from servewatt.study.data import results_file

    check_out(out, added, force=force)
    name = campaign or shown(out.stem)
    if files:
        gathered = results_file.gather([read_file(path) for path in files], name)
    else:
        gathered = results_file.gather(from_store(store, runs), name)
    whole = results_file.merge([*(results_file.read(path) for path in added), gathered])
    if not whole.observations:
        raise InputError(
            "there are no trials to collect", "`servewatt study run` measures some; --store names its store"
        )
    results_file.write(out, whole)
    counts = {"observations": len(whole.observations), "runs": len(whole.runs), "bytes": out.stat().st_size}
    if as_json:
        click.echo(json.dumps({"file": str(out), "campaign": name, **counts}))
        return
    trials, of_runs = counted(counts["observations"], "trial"), counted(counts["runs"], "run")
    click.echo(f"wrote {out}: {trials} of {of_runs}, {counts['bytes'] / 1000:.0f} kB")


def check_out(out: Path, added: Sequence[Path], *, force: bool) -> None:
    """Refuse a name that readers would not take for Parquet, and a file whose results would be lost."""
    if out.suffix.lower() != ".parquet":
        raise InputError(f"{out} is no name for a results file", f"end it in .parquet: {out.with_suffix('.parquet')}")
    if is_there(out) and not force and out.resolve() not in [path.resolve() for path in added]:
        hint = f"keep its results with --add {shlex.quote(str(out))}, or replace it with --force"
        raise InputError(f"{out} is there", hint)


def from_store(store: str | None, ids: Sequence[str]) -> list[tuple[Run, list[Result]]]:
    """Runs of the study's store with their results, oldest first; all, unless some are asked for."""
    from servewatt.cli.study.run import default_store
    from servewatt.store import MissingStoreError, StoreReader

    try:
        with StoreReader.open(store or default_store()) as opened:
            wanted = [opened.run(id_) for id_ in ids] if ids else opened.runs()[::-1]
            found = [(run, opened.results(run.id, with_samples=True, skip_damaged=True)) for run in wanted]
            for damaged in opened.damaged:
                click.echo(f"warning: {damaged.sentence}", err=True)
            return found
    except MissingStoreError as error:
        raise InputError(error.message, "`servewatt study run` makes one") from error
