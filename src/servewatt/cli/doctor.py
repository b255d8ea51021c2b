"""`servewatt doctor`: what this machine is, what it can measure, and whether now is a good time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from servewatt.cli.hints import worded
from servewatt.cli.options import json_option
from servewatt.errors import counted

if TYPE_CHECKING:
    from servewatt.experiment.diagnosis import Diagnosis

EXAMPLES = """\b
Examples:
  servewatt doctor
  servewatt doctor --json
"""

_STYLES = {"fine": "green", "note": "cyan", "warning": "yellow", "unfit": "bold red"}
"""By severity."""


@click.command("doctor", epilog=EXAMPLES)
@json_option
def command(as_json: bool) -> int:
    """Tell whether this machine can measure, and what would mend it. Takes about three seconds.

    Exits with 1 if it is unfit for measuring now.
    """
    from servewatt import wire
    from servewatt.experiment.diagnosis import diagnose

    found = diagnose()
    if as_json:
        click.echo(wire.document(found))
    else:
        show(found)
    return 0 if found.fit else 1


def show(found: Diagnosis, console: Console | None = None) -> None:
    """The findings as tables."""
    console = console or Console()
    console.print(_machine(found))
    console.print(_meters(found))
    console.print(_engines(found))
    console.print(_findings(found))
    if found.fit:
        console.print("This machine is fit for measuring now.", style="green")
    else:
        console.print("This machine is not fit for measuring now; see the findings in red.", style="bold red")


def _table(title: str, *columns: str) -> Table:
    return Table(
        *columns, title=title, title_justify="left", title_style="bold", box=None, show_header=False, pad_edge=False
    )


def _machine(found: Diagnosis) -> Table:
    environment = found.environment
    bandwidth = environment.memory_bandwidth_bytes_s
    memory = f"{environment.memory_bytes / 2**30:.1f} GiB" if environment.memory_bytes else "size not told"
    gpus = [
        f"{g.name}, {f'{g.memory_bytes / 2**30:.0f} GiB' if g.memory_bytes else 'memory not told'},"
        f" driver {g.driver or 'not told'}"
        for g in environment.gpus
    ]
    rows = [
        ("CPU", f"{environment.cpu}, {counted(environment.cpu_count, 'CPU')}, {' '.join(environment.cpu_features)}"),
        ("memory", f"{memory}, reads {bandwidth / 1e9:.1f} GB/s" if bandwidth else memory),
        ("GPU", "\n".join(gpus) or "none seen"),
        ("system", f"{environment.system}, kernel {environment.kernel}, Python {environment.python}"),
        ("governor", environment.governor or "not told"),
        ("virtual machine", environment.virtual_machine or "none seen"),
        ("container", environment.container or "none seen"),
        ("load of others", f"{100 * found.idle_load_share:.1f} % of the CPUs"),
    ]
    table = _table("Machine", "what", "state")
    for name, state in rows:
        table.add_row(name, escape(state))
    return table


def _meters(found: Diagnosis) -> Table:
    table = _table("\nMeters", "meter", "state")
    for meter in found.meters:
        if meter.reason:
            state = Text.assemble((meter.reason, "yellow"), "\n" if meter.hint else "", (worded(meter.hint), "dim"))
        else:
            state = Text(", ".join(f"{d.name} ({d.grade.value})" for d in meter.domains), style="green")
        remarks = [*meter.remarks, *(f"{name} stands still: it gives no energy" for name in meter.still)]
        state.append_text(Text("".join(f"\n{remark}" for remark in remarks), style="yellow"))
        table.add_row(meter.name, state)
    return table


def _engines(found: Diagnosis) -> Table:
    table = _table("\nEngines", "engine", "version")
    for engine in found.engines:
        version = Text(engine.version, style="green") if engine.version else Text(engine.install, style="yellow")
        table.add_row(engine.name, version)
    return table


def _findings(found: Diagnosis) -> Table:
    table = _table("\nFindings", "severity", "topic", "state")
    for finding in found.findings:
        state = Text.assemble(finding.state, "\n" if finding.advice else "", (worded(finding.advice), "dim"))
        table.add_row(Text(finding.severity.value, style=_STYLES[finding.severity]), finding.topic, state)
    return table
