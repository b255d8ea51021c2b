"""`servewatt run`: plan, show, prepare, measure, store, decide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from servewatt.cli.options import PATH, json_option, names_list, procedure_options, store_option, subject_options

EXAMPLES = """\b
Examples:
  servewatt run                                        the bundled model in every engine
  servewatt run --model EleutherAI/pythia-410m --engine torch,onnx --blocks 7
  servewatt run --model pythia-410m --weights random --prompts bundled:4 --new-tokens 32
  servewatt run --engine torch,onnx --batch 1,4,16     energy per token against batch
  servewatt run --configuration onnx/fp32,openvino/int4/activations=int8,torch/bf16
  servewatt run --engine torch --via process,http      what serving over HTTP adds
  servewatt run --engine all --precision all --plan    all that this machine can run
  servewatt run examples/demo.yaml --report demo-output
"""


@click.command("run", epilog=EXAMPLES)
@click.argument("file", required=False, type=PATH)
@subject_options
@click.option(
    "--via", "configurations__via", multiple=True, callback=names_list, help="process, http: engine or server."
)
@procedure_options
@click.option("--report", "report_folder", type=PATH, help="Write all reports to this folder.")
@click.option("--fresh", is_flag=True, help="Start a new run even if the same one can be continued.")
@click.option("--plan", "plan_only", is_flag=True, help="Show the plan and stop.")
@click.option("--verbose", is_flag=True, help="Name every configuration that is left out, with the reason.")
@store_option
@json_option
def command(file: Path | None, report_folder: Path | None, store: str | None, **options: Any) -> int:
    """Measure a model in serving configurations, and recommend one.

    FILE is a study file (YAML); options override it. The same command again continues a run that was stopped.
    """
    from rich.console import Console

    from servewatt import wire
    from servewatt.api.writing import write_folder
    from servewatt.cli.progress import ConsoleObserver, say
    from servewatt.cli.report import show
    from servewatt.cli.request import read_request
    from servewatt.cli.signals import terminated_as_interrupt
    from servewatt.experiment.deciding import decide
    from servewatt.experiment.measuring import design, measure, outlook, unfinished
    from servewatt.models.cache import ArtefactCache
    from servewatt.store import Store

    asked, fresh, as_json = read_request(file, options), options["fresh"], options["as_json"]
    console = Console(stderr=True)
    observer = ConsoleObserver(console, verbose=options["verbose"])
    with ArtefactCache() as cache:
        experiment = design(asked, cache, observer, draw=not options["plan_only"])
        with Store.open(store) as opened:
            if options["plan_only"]:
                view = outlook(experiment, opened, observer, fresh=fresh)
                if as_json:
                    click.echo(wire.dump(view))
                return 0
            try:
                with terminated_as_interrupt():
                    measured = measure(experiment, opened, observer, fresh=fresh)
            except KeyboardInterrupt:
                if (so_far := unfinished(experiment, opened)) is not None:
                    show(decide(so_far), as_json=as_json)
                raise
            decided = decide(measured.found(opened))
    show(decided, as_json=as_json)
    if report_folder is not None:
        write_folder(decided, report_folder)
        say(console, f"report: {report_folder / 'report.html'}")
    if (problem := measured.keeper.problem()) is not None:
        raise problem
    return 0 if measured.succeeded else 1
