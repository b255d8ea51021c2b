"""`servewatt run`: plan, show, prepare, measure, store, decide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from servewatt.cli.options import json_option, split_names, store_option

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


def _list(_context: click.Context, _option: click.Parameter, value: tuple[str, ...]) -> list[str] | None:
    names = [name for text in value for name in split_names(text)]
    return names or None


def _each(_context: click.Context, _option: click.Parameter, value: tuple[str, ...]) -> list[str] | None:
    return list(value) or None


@click.command("run", epilog=EXAMPLES)
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--model", "model__name", metavar="NAME", help="bundled, a folder, a hub id, or a catalogue name.")
@click.option("--weights", "model__weights", type=click.Choice(["trained", "random"]), help="Trained or seeded random.")
@click.option("--revision", "model__revision", metavar="COMMIT", help="Revision of a hub model.")
@click.option("--prompts", "workload__prompts", metavar="SOURCE", help="bundled[:N], a text file, or HumanEval JSONL.")
@click.option("--limit", "workload__limit", type=int, metavar="N", help="Use the first N prompts.")
@click.option("--new-tokens", "workload__new_tokens", type=int, metavar="N", help="Tokens out per prompt.")
@click.option("--stop", "workload__stop", type=click.Choice(["length", "eos"]), help="Fixed length, or end of text.")
@click.option("--engine", "configurations__engines", multiple=True, callback=_list, help="Runtime engines.")
@click.option("--configuration", "configurations__named", multiple=True, callback=_list, metavar="NAMES",
              help="Exactly these, as reports name them: onnx/int4/activations=int8 ...")  # fmt: skip
@click.option("--provider", "configurations__providers", multiple=True, callback=_list, help="cpu, cuda.")
@click.option("--precision", "configurations__precisions", multiple=True, callback=_list, help="fp32, bf16 ...")
@click.option("--batch", "configurations__batches", multiple=True, callback=_list, help="Prompts at a time: 1,4,16 ...")
@click.option("--via", "configurations__via", multiple=True, callback=_list, help="process, http: engine or server.")
@click.option("--threads", "configurations__threads", type=int, metavar="N", help="CPU threads.  [default: all]")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="An engine's own option.")
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
