"""`servewatt quality`: what a narrower precision costs in output quality."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from servewatt.cli.options import PATH, json_option, store_option, subject_options
from servewatt.cli.ranges import Finite

EXAMPLES = """\b
Examples:
  servewatt quality --engine torch,openvino --precision fp32,bf16,int8
  servewatt recommend latest --max-perplexity-ratio 1.02
  servewatt quality --model EleutherAI/pythia-410m --engine onnx --precision int4 --limit 20 --documents 8
  servewatt quality --engine torch --precision bf16 --run-tests --out quality.json
"""


@click.command("quality", epilog=EXAMPLES)
@subject_options
@click.option(
    "--reference",
    default="torch/cpu/fp32",
    show_default=True,
    metavar="ENGINE/PROVIDER/PRECISION",
    help="What the others are compared with, at the first batch and the threads given.",
)
@click.option(
    "--text",
    type=PATH,
    metavar="FOLDER",
    help="Held-out code.  [default: part of Python's standard library]",
)
@click.option(
    "--documents", type=click.IntRange(2, 100_000), default=24, show_default=True, help="Files of it to score."
)
@click.option(
    "--text-tokens", type=click.IntRange(2, 1_000_000), default=256, show_default=True, help="Tokens of each file."
)
@click.option(
    "--seed",
    type=click.IntRange(-(2**63), 2**63 - 1),
    default=0,
    show_default=True,
    help="Seed of the choice of text and of the bootstrap.",
)
@click.option(
    "--run-tests",
    is_flag=True,
    help="Run the generated answers with the problems' tests, in a sandbox if user namespaces work, else as you.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=Finite(0, 604_800, min_open=True),
    default=3600.0,
    show_default=True,
    help="Most seconds for each.",
)
@click.option("--out", type=PATH, metavar="FILE", help="Write the result as JSON.")
@store_option
@json_option
def command(out: Path | None, store: str | None, as_json: bool, **asked: Any) -> int:
    """Compare what configurations say with what a reference says: agreement, perplexity ratio, pass rate.

    Nothing is metered here. The result is kept in the store, where report and recommend find it. Exits with 1 if no
    configuration answered.
    """
    from rich.console import Console

    from servewatt import wire
    from servewatt.cli.progress import ConsoleObserver
    from servewatt.cli.request import read_request
    from servewatt.experiment import quality_file
    from servewatt.experiment.assessing import Questions, assess_quality
    from servewatt.records import Status
    from servewatt.report.run.quality import render_quality
    from servewatt.store import Store

    with Store.open(store) as opened:
        request = read_request(None, asked)
        questions = Questions(**{field.name: asked[field.name] for field in fields(Questions)})
        quality = assess_quality(request, questions, ConsoleObserver(Console(stderr=True)))
        opened.add_quality(quality)
    if out is not None:
        quality_file.write(quality, out)
    if as_json:
        click.echo(wire.document(quality))
    else:
        render_quality(Console(highlight=False), quality)
    return 0 if any(a.status is Status.OK for a in quality.assessments) else 1
