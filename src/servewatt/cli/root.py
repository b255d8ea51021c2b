"""The root of the command line: the commands by name."""

from __future__ import annotations

import click

from servewatt.cli.lazy import LazyGroup
from servewatt.version import __version__

COMMANDS = {
    "run": "Measure a model in serving configurations, and recommend one.",
    "report": "Show a run: table, HTML, CSV, JSON, Markdown, figures.",
    "quality": "Compare what configurations say with what a reference says.",
    "recommend": "Choose the configuration of least energy within your limits.",
    "compare": "Set two runs, or two builds, beside each other: better, equal, worse, or undecided.",
    "gate": "Fail where a run costs more than its baseline.",
    "study": "The published study of twelve code models, stage by stage.",
    "doctor": "Tell whether this machine can measure, and what would mend it.",
    "models": "List the models at hand; prune what is cached.",
    "engines": "List the runtime engines; add, remove and check environments of their own.",
    "completion": "Print the shell completion script.",
}

INSTEAD = {
    "serve": "servewatt chooses what to serve with and leaves serving to the engine: "
    "`servewatt run --via http` measures configurations behind an HTTP server, `servewatt recommend` chooses one",
}


@click.command(
    cls=LazyGroup,
    package="servewatt.cli",
    summaries=COMMANDS,
    instead=INSTEAD,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: servewatt run --model bundled --blocks 3",
)
@click.version_option(__version__, prog_name="servewatt")
def command() -> None:
    """How do I serve this code model for the least energy, and how sure are you?

    servewatt measures energy, time and use of computing resources of a code language model in every serving
    configuration (engine x execution provider x precision x batch) that this machine can run, and decides.
    """
