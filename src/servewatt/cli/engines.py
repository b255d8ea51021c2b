"""`servewatt engines`: what can run here; `add`, `remove` and `doctor` look after the engines' own environments."""

from __future__ import annotations

import click

from servewatt.cli.options import json_option

EXAMPLES = """\b
Examples:
  servewatt engines
  servewatt engines --model pythia-410m
  servewatt engines show llama-cpp
  servewatt engines add ctranslate2
  servewatt engines doctor
"""


@click.group("engines", invoke_without_command=True, epilog=EXAMPLES)
@click.option("--model", metavar="NAME", help="Tell which engines run this model, and why the others do not.")
@json_option
@click.pass_context
def command(context: click.Context, model: str | None, as_json: bool) -> None:
    """List the runtime engines; add, remove and check environments of their own."""
    from servewatt.cli import engine_views

    if context.invoked_subcommand is not None:
        if model is not None:
            raise click.UsageError(f"--model goes with the list, not with `engines {context.invoked_subcommand}`")
        return
    if model is None:
        engine_views.show_engines(as_json=as_json)
    else:
        engine_views.show_suitable(model, as_json=as_json)


@command.command("list", epilog="Example: servewatt engines list --json")
@json_option
def list_engines(as_json: bool) -> None:
    """List the runtime engines, their versions and install lines."""
    from servewatt.cli import engine_views

    engine_views.show_engines(as_json=as_json)


@command.command(epilog="Example: servewatt engines show torch-graph")
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show the engine NAME: how it is installed, what it runs, which options it has."""
    from servewatt.cli import engine_views

    engine_views.show_engine(name, as_json=as_json)


@command.command(epilog="Example: servewatt engines add ctranslate2 llama-cpp")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--python", metavar="PYTHON", help="Interpreter to build with.  [default: the one that runs servewatt]")
@click.option(
    "--pip-argument",
    "pip_arguments",
    multiple=True,
    metavar="ARGUMENT",
    help="Goes to pip as it is, such as --pip-argument=--no-index; may be given again.",
)
@click.option("--rebuild", is_flag=True, help="Build anew even what is in order.")
def add(names: tuple[str, ...], python: str | None, pip_arguments: tuple[str, ...], rebuild: bool) -> int:
    """Build an environment for each engine NAME, with its exact versions.

    One that is in order stays; one that is broken, or of other versions than this servewatt asks for, is built anew.
    An environment takes the place of its predecessor only when it is complete.
    """
    from servewatt.cli.environments import add_environments

    return add_environments(names, python, pip_arguments, rebuild=rebuild)


@command.command(epilog="Example: servewatt engines remove ctranslate2")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def remove(names: tuple[str, ...]) -> None:
    """Remove the environment of each engine NAME."""
    from servewatt.cli.environments import remove_environments

    remove_environments(names)


@command.command(epilog="Example: servewatt engines doctor ctranslate2")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@json_option
def doctor(names: tuple[str, ...], as_json: bool) -> int:
    """Compare each engine with its versions and import it where it runs (default: every engine).

    Exits with 1 if an installed engine is broken, or one that was named is not installed.
    """
    import json
    from dataclasses import asdict

    from rich.console import Console

    from servewatt import engines
    from servewatt.cli import engine_views
    from servewatt.cli.progress import step
    from servewatt.engines.environments.doctor import Condition, examine, free_bytes

    for name in names:
        engines.entry(name)
    findings = []
    for name in names or engines.ENGINES:
        with step(Console(stderr=True), f"importing {name}"):
            findings.append(examine(name))
    free = free_bytes()
    if as_json:
        click.echo(json.dumps({"free_bytes": free, "engines": [asdict(f) for f in findings]}, indent=2))
    else:
        engine_views.show_findings(findings, free)
    wrong = {Condition.BROKEN, Condition.ABSENT} if names else {Condition.BROKEN}
    return int(any(f.condition in wrong for f in findings))
