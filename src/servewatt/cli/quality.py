"""`servewatt quality`: what a narrower precision costs in output quality."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from servewatt.cli.options import json_option, split_names

EXAMPLES = """\b
Examples:
  servewatt quality --engine torch,openvino --precision fp32,bf16,int8 --out quality.json
  servewatt quality --model EleutherAI/pythia-410m --engine onnx --precision int4 --limit 20 --documents 8
  servewatt quality --engine torch --precision bf16 --run-tests
  servewatt recommend latest --quality quality.json --max-perplexity-ratio 1.02
"""


def _list(_context: click.Context, _option: click.Parameter, value: tuple[str, ...]) -> list[str] | None:
    names = [name for text in value for name in split_names(text)]
    return names or None


@click.command("quality", epilog=EXAMPLES)
@click.option("--model", "model__name", metavar="NAME", help="bundled, a folder, a hub id, or a catalogue name.")
@click.option("--weights", "model__weights", type=click.Choice(["trained", "random"]), help="Trained or seeded random.")
@click.option("--revision", "model__revision", metavar="COMMIT", help="Revision of a hub model.")
@click.option("--prompts", "workload__prompts", metavar="SOURCE", help="bundled[:N], a text file, or HumanEval JSONL.")
@click.option("--limit", "workload__limit", type=int, metavar="N", help="Use the first N prompts.")
@click.option("--new-tokens", "workload__new_tokens", type=int, metavar="N", help="Tokens out per prompt.")
@click.option("--stop", "workload__stop", type=click.Choice(["length", "eos"]), help="Fixed length, or end of text.")
@click.option("--engine", "configurations__engines", multiple=True, callback=_list, help="Runtime engines.")
@click.option("--provider", "configurations__providers", multiple=True, callback=_list, help="cpu, cuda.")
@click.option("--precision", "configurations__precisions", multiple=True, callback=_list, help="fp32, bf16 ...")
@click.option("--batch", "configurations__batches", multiple=True, callback=_list, help="Prompts at a time: 1,4,16 ...")
@click.option("--threads", "configurations__threads", type=int, metavar="N", help="CPU threads.  [default: all]")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="An engine's own option.")
@click.option(
    "--reference",
    default="torch/cpu/fp32",
    show_default=True,
    metavar="ENGINE/PROVIDER/PRECISION",
    help="What the others are compared with, at the first batch and the threads given.",
)
@click.option(
    "--text",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Held-out code.  [default: part of Python's standard library]",
)
@click.option("--documents", type=click.IntRange(min=2), default=24, show_default=True, help="Files of it to score.")
@click.option("--text-tokens", type=click.IntRange(min=2), default=256, show_default=True, help="Tokens of each file.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the choice of text and of the bootstrap.")
@click.option("--run-tests", is_flag=True, help="Run the generated answers with the problems' tests, as you.")
@click.option("--timeout", "timeout_s", type=float, default=3600.0, show_default=True, help="Most seconds for each.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write the result as JSON.")
@json_option
def command(out: Path | None, as_json: bool, **asked: Any) -> int:
    """Compare what configurations say with what a reference says: agreement, perplexity ratio, pass rate.

    Nothing is metered here. Exits with 1 if no configuration answered.
    """
    from servewatt import wire
    from servewatt.cli import assessing
    from servewatt.records import Status

    quality = assessing.run(asked)
    if out is not None:
        assessing.write(quality, out)
    if as_json:
        click.echo(wire.dump(quality))
    else:
        assessing.show(quality)
    return 0 if any(a.status is Status.OK for a in quality.assessments) else 1
