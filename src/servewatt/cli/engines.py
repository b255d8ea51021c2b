"""`servewatt engines`: what can run here; `add`, `remove` and `doctor` look after the engines' own environments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from servewatt.cli.options import json_option

if TYPE_CHECKING:
    from servewatt.engines.environments.doctor import Finding

EXAMPLES = """\b
Examples:
  servewatt engines
  servewatt engines add ctranslate2
  servewatt engines doctor
"""


@click.group("engines", invoke_without_command=True, epilog=EXAMPLES)
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """List the runtime engines; add, remove and check environments of their own."""
    if context.invoked_subcommand is None:
        show_engines(as_json=as_json)


@command.command("list", epilog="Example: servewatt engines list --json")
@json_option
def list_engines(as_json: bool) -> None:
    """List the runtime engines, their versions and install lines."""
    show_engines(as_json=as_json)


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
        show_findings(findings, free)
    wrong = {Condition.BROKEN, Condition.ABSENT} if names else {Condition.BROKEN}
    return int(any(f.condition in wrong for f in findings))


def show_engines(*, as_json: bool) -> None:
    """The list, as a table or JSON."""
    import json

    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from servewatt.engines import ENGINES

    if as_json:
        rows = [
            {
                "name": e.name,
                "summary": e.summary,
                "version": e.version(),
                "install": e.install_line,
                "environment": str(environment.folder) if (environment := e.environment()) else None,
                "problem": environment.problem if environment else "",
                "supports": [{"provider": p, "precision": t} for p, t in e.supports],
            }
            for e in ENGINES.values()
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    table = Table("engine", "version", "runs", "what it is", box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    for e in ENGINES.values():
        version, problem = e.version(), e.problem()
        providers = dict.fromkeys(provider for provider, _ in e.supports)
        runs = "\n".join(f"{p.value}: " + " ".join(t.value for q, t in e.supports if q is p) for p in providers)
        if problem:
            table.add_row(e.name, "broken", runs, escape(f"{problem}: {e.install_line}"))
        else:
            what = e.summary if version else e.install_line
            table.add_row(e.name, version or "not installed", runs, escape(what))
    Console().print(table)


def show_findings(findings: list[Finding], free: int) -> None:
    """What the doctor found, as a table, and the free disk space below it."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from servewatt.engines.environments import state
    from servewatt.engines.environments.doctor import LITTLE_SPACE_BYTES, Condition
    from servewatt.models.cache import format_bytes

    styles = {Condition.OK: "green", Condition.ABSENT: "yellow", Condition.BROKEN: "bold red"}
    table = Table("engine", "state", "version", "where", "what to do", box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    for f in findings:
        where = f"its own, {format_bytes(f.size_bytes)}" if f.size_bytes is not None else "servewatt's own"
        advice = Text(f"{f.problem}\n" if f.condition is Condition.BROKEN else "").append(f.remedy, "bold")
        absent = f.condition is Condition.ABSENT
        table.add_row(
            f.engine,
            Text(f.condition.value, styles[f.condition]),
            f.version or "-",
            "-" if absent else where,
            advice,
        )
    console = Console()
    console.print(table)
    note = ", little for an engine with CUDA libraries" if free < LITTLE_SPACE_BYTES else ""
    console.print(f"\n{format_bytes(free)} free for environments in {state.root()}{note}", highlight=False)
