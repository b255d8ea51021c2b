"""What `servewatt doctor` finds, and how it shows it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from servewatt.engines import ENGINES
from servewatt.errors import counted
from servewatt.harness import fitness
from servewatt.harness.environment import describe
from servewatt.harness.fitness import Finding, Severity
from servewatt.meters import survey
from servewatt.records import Domain, Environment

_STYLES = {Severity.FINE: "green", Severity.NOTE: "cyan", Severity.WARNING: "yellow", Severity.UNFIT: "bold red"}


@dataclass(frozen=True)
class MeterDiagnosis:
    """A meter, and what it reads or why not."""

    name: str
    summary: str
    domains: tuple[Domain, ...]
    reason: str
    hint: str
    remarks: tuple[str, ...] = ()
    """What of it is left out, and why."""
    still: tuple[str, ...] = ()
    """Domains whose counter stands still."""


@dataclass(frozen=True)
class EngineDiagnosis:
    """An engine, and its version or what would install it."""

    name: str
    version: str | None
    install: str


@dataclass(frozen=True)
class Diagnosis:
    """Everything the doctor looked at."""

    environment: Environment
    idle_load_share: float
    meters: tuple[MeterDiagnosis, ...]
    engines: tuple[EngineDiagnosis, ...]
    findings: tuple[Finding, ...]
    fit: bool


def diagnose() -> Diagnosis:
    """Look at the machine: two seconds of watching others' load and measuring memory bandwidth."""
    meters = tuple(
        MeterDiagnosis(s.entry.name, s.entry.summary, s.domains, s.reason, s.hint, s.remarks, s.still) for s in survey()
    )
    load = fitness.idle_load(1.0)
    domains = tuple(domain for meter in meters for domain in meter.domains)
    environment = describe(domains, fitness.memory_bandwidth_bytes_s(1.0))
    still = tuple(name for meter in meters for name in meter.still)
    findings = fitness.assess(environment, replace(fitness.machine_state(), still_counters=still), load)
    engines = tuple(
        EngineDiagnosis(e.name, None if e.problem() else e.version(), e.install_line) for e in ENGINES.values()
    )
    return Diagnosis(environment, load.busy_share, meters, engines, findings, fitness.is_fit(findings))


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
            state = Text.assemble((meter.reason, "yellow"), "\n" if meter.hint else "", (meter.hint, "dim"))
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
        state = Text.assemble(finding.state, "\n" if finding.advice else "", (finding.advice, "dim"))
        table.add_row(Text(finding.severity.value, style=_STYLES[finding.severity]), finding.topic, state)
    return table
