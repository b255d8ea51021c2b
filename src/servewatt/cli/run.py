"""`servewatt run`: plan, show, prepare, measure, store, decide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from servewatt.cli.options import json_option, names_list, store_option, subject_options

EXAMPLES = """\b
Examples:
  servewatt run                                        the bundled model in every engine
  servewatt run --model EleutherAI/pythia-410m --engine torch,onnx --blocks 7
  servewatt run --model pythia-410m --weights random --prompts bundled:4 --new-tokens 32
  servewatt run --engine torch,onnx --batch 1,4,16     energy per token against batch
  servewatt run --configuration onnx/fp32,openvino/int4/activations=int8,torch/bf16
  servewatt run --engine torch --via process,http      what serving over HTTP adds
  servewatt run examples/demo.yaml --report demo-output
"""


def _each(_context: click.Context, _option: click.Parameter, value: tuple[str, ...]) -> list[str] | None:
    return list(value) or None


@click.command("run", epilog=EXAMPLES)
@click.argument("file", required=False, type=click.Path(path_type=Path))
@subject_options
@click.option(
    "--via", "configurations__via", multiple=True, callback=names_list, help="process, http: engine or server."
)
@click.option("--blocks", "procedure__blocks", type=int, metavar="N", help="Repetitions of every configuration.")
@click.option("--seed", "procedure__seed", type=int, metavar="N", help="Seed of the order of trials.")
@click.option("--window", "procedure__window_s", type=float, metavar="SECONDS", help="Least measured time.")
@click.option("--idle", "procedure__idle_s", type=float, metavar="SECONDS", help="Least idle time measured.")
@click.option("--timeout", "procedure__timeout_s", type=float, metavar="SECONDS", help="Most time of a trial.")
@click.option("--meter", "procedure__meters", multiple=True, callback=_each, help="Meters.  [default: all available]")
@click.option("--cpu-watts", metavar="IDLE,MAX", help="The CPU's power idle and at full load, for the estimate.")
@click.option("--boundary", "procedure__boundary", type=click.Choice(["machine", "cpu", "gpu"]), help="What counts.")
@click.option("--report", "report_folder", type=click.Path(path_type=Path), help="Write all reports to this folder.")
@click.option("--fresh", is_flag=True, help="Start a new run even if the same one can be continued.")
@click.option("--plan", "plan_only", is_flag=True, help="Show the plan and stop.")
@store_option
@json_option
def command(file: Path | None, report_folder: Path | None, store: str | None, **options: Any) -> int:
    """Measure a model in serving configurations, and recommend one.

    FILE is a study file (YAML); options override it. The same command again continues a run that was stopped.
    """
    from servewatt.cli import running

    asked = running.read_request(file, options)
    flags = running.Flags(
        store=store,
        report_folder=report_folder,
        fresh=options["fresh"],
        plan_only=options["plan_only"],
        as_json=options["as_json"],
    )
    return running.run(asked, flags)
