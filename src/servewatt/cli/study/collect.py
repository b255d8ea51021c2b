"""`servewatt study collect`: runs of the store as one compact results file."""

from __future__ import annotations

from pathlib import Path

import click

from servewatt.cli.options import json_option
from servewatt.errors import InputError

EXAMPLES = """\b
Examples:
  servewatt study collect --out results.parquet
  servewatt study collect --out h200.parquet --campaign h200 --add h200.parquet
  servewatt study collect --out both.parquet run.json.gz other.json.gz
"""


@click.command("collect", epilog=EXAMPLES)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The file to write.")
@click.option("--campaign", metavar="NAME", help="What to call this campaign.  [default: the name of the file]")
@click.option(
    "--add", "added", multiple=True, type=click.Path(path_type=Path), help="A results file to take in as well."
)
@click.option("--run", "runs", multiple=True, metavar="ID", help="Only these runs of the store.  [default: all]")
@click.option("--store", metavar="URL|FILE", help="Results store.  [default: study.db in the user's data folder]")
@json_option
def command(
    files: tuple[Path, ...],
    out: Path,
    campaign: str | None,
    added: tuple[Path, ...],
    runs: tuple[str, ...],
    store: str | None,
    as_json: bool,
) -> None:
    """Gather runs into a results file: Parquet, one row a trial, with plans, environments and proofs inside.

    Takes every run of the study's store, or the exported run FILES if any are given. Prompts are kept by digest only.
    """
    import json

    from servewatt.cli.study.run import default_store
    from servewatt.store import StoreReader, read_file
    from servewatt.study import results_file

    name = campaign or out.stem
    if files:
        gathered = results_file.gather([read_file(path) for path in files], name)
    else:
        with StoreReader.open(store or default_store()) as opened:
            wanted = [opened.run(id_) for id_ in runs] if runs else opened.runs()[::-1]
            gathered = results_file.gather([(run, opened.results(run.id, with_samples=True)) for run in wanted], name)
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
    trials, of_runs = _counted(counts["observations"], "trial"), _counted(counts["runs"], "run")
    click.echo(f"wrote {out}: {trials} of {of_runs}, {counts['bytes'] / 1000:.0f} kB")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
