"""`servewatt study run`: model after model in the study's serving configurations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from servewatt.cli.options import split_names

EXAMPLES = """\b
Examples:
  servewatt study run --protocol quick --models tiny-starcoder --weights random --prompts bundled
  servewatt study run --weights random --provider cuda --precision fp32,bf16
  servewatt study run --protocol published
  servewatt study run --explain --markdown
"""


def _names(_context: click.Context, _option: click.Parameter, value: str | None) -> list[str] | None:
    return split_names(value) if value is not None else None


@click.command("run", epilog=EXAMPLES)
@click.option("--protocol", default="sound", show_default=True, help="sound, published or quick.")
@click.option("--models", callback=_names, metavar="NAMES", help="Which of the twelve.  [default: all]")
@click.option("--weights", type=click.Choice(["trained", "random"]), default="trained", show_default=True,
              help="Trained weights from the hub, or the same shapes with seeded random ones.")  # fmt: skip
@click.option("--prompts", metavar="SOURCE", help="Any source of `servewatt run`.  [default: humaneval-line.jsonl]")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Use the first N prompts.")
@click.option("--new-tokens", type=click.IntRange(min=1), metavar="N", help="Tokens out per prompt.")
@click.option("--engine", "engines", callback=_names, metavar="NAMES", help="Any engine.  [default: the study's four]")
@click.option("--configuration", "named", callback=_names, metavar="NAMES",
              help="Exactly these, as reports name them: onnx/int4/activations=int8 ...")  # fmt: skip
@click.option("--batch", "batches", callback=_names, metavar="NUMBERS", help="Prompts at a time.")
@click.option("--provider", "providers", callback=_names, metavar="NAMES", help="cpu, cuda.")
@click.option("--precision", "precisions", callback=_names, metavar="NAMES", help="fp32, bf16 ...")
@click.option("--via", callback=_names, metavar="WAYS", help="process, http.")
@click.option("--blocks", type=click.IntRange(min=1), metavar="N", help="Repetitions of every configuration.")
@click.option("--seed", type=int, metavar="N", help="Seed of the order of trials.")
@click.option("--idle", "idle_s", type=float, metavar="SECONDS", help="Least idle time measured.")
@click.option("--window", "window_s", type=float, metavar="SECONDS", help="Least measured time.")
@click.option("--timeout", "timeout_s", type=float, metavar="SECONDS", help="Most time of a trial.")
@click.option("--foreign-limit", type=float, metavar="SHARE", help="Other load on the machine that is let pass.")
@click.option("--meter", "meters", multiple=True, help="Meters.  [default: all available]")
@click.option("--boundary", type=click.Choice(["machine", "cpu", "gpu"]), help="Which joules count.")
@click.option("--evict", is_flag=True, help="Free the cache of a model's exports and random weights once it is done.")
@click.option("--no-prepare", is_flag=True, help="Do not try configurations out first: all was prepared before.")
@click.option("--fresh", is_flag=True, help="Measure again what was measured before, as new runs.")
@click.option("--plan", "plan_only", is_flag=True, help="Show the plans and stop.")
@click.option("--explain", is_flag=True, help="Show what differs between the protocols, line by line, and stop.")
@click.option("--markdown", is_flag=True, help="With --explain: print Markdown.")
@click.option("--store", metavar="URL|FILE", help="Results store.  [default: study.db in the user's data folder]")
def command(protocol: str, explain: bool, markdown: bool, **options: Any) -> int:
    """Measure the study's models in its serving configurations.

    Each model is a run of its own in the study's store; the same command again goes on where it was stopped.
    """
    from servewatt.cli.study import running

    if explain:
        running.explain(markdown=markdown)
        return 0
    return running.run_study(running.request(protocol, options))


def default_store() -> Path:
    """Where the study's runs lie unless `--store` says otherwise: beside the other results."""
    from servewatt.store.reader import default_path

    return default_path().with_name("study.db")
