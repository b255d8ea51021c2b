"""`servewatt study`: the published study, stage by stage."""

from __future__ import annotations

import click

from servewatt.cli.lazy import LazyGroup

STAGES = {
    "prompts": "Make the study's prompts from HumanEval.",
    "models": "The study's twelve models; select models from the hub as it did.",
    "run": "Measure models in the study's serving configurations.",
    "collect": "Gather runs of the store into one compact results file.",
    "analyse": "The study's battery of tests, and servewatt's own decision.",
    "compare": "Results beside the published ones.",
    "tables": "The paper's tables and figures as LaTeX, CSV, HTML, SVG, PNG.",
}


@click.command(
    "study",
    cls=LazyGroup,
    package=__name__,
    summaries=STAGES,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: servewatt study run --protocol quick --models tiny-starcoder --weights random",
)
def command() -> None:
    """The study of arXiv 2412.15441, free of its faults: each stage a command, each output a file.

    prompts -> models -> run -> collect -> analyse, compare, tables
    """
