"""The entry point: finds the command, runs it, and turns errors into two lines."""

from __future__ import annotations

import gc
import sys
from typing import Any

import click

from servewatt import __version__
from servewatt.cli.lazy import LazyGroup
from servewatt.errors import ServewattError

COMMANDS = {
    "run": "Measure a model in serving configurations, and recommend one.",
    "report": "Show a run: table, HTML, CSV, JSON, Markdown, figures.",
    "quality": "Compare what configurations say with what a reference says.",
    "recommend": "Choose the configuration of least energy within your limits.",
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


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 a finding, 2 an error the user can mend, 130 interrupted."""
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit code."""
    # Imports allocate so much that collecting garbage meanwhile takes a fifth of the time to answer.
    gc.set_threshold(100_000)
    try:
        code: Any = command.main(arguments, prog_name="servewatt", standalone_mode=False)
        return int(code or 0)
    except ServewattError as error:
        click.echo(f"error: {error.message}", err=True)
        if error.hint:
            click.echo(f"hint: {error.hint}", err=True)
        return 2
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return 130
    except BrokenPipeError:  # the reader of our output has seen enough
        sys.stderr.close()
        return 0


if __name__ == "__main__":
    main()
