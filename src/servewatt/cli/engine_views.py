"""Views of `servewatt engines`: the list, one engine, what runs a model, what the doctor found."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from servewatt import wire
from servewatt.engines import ENGINES, EngineEntry, entry
from servewatt.engines.environments import state
from servewatt.engines.environments.doctor import LITTLE_SPACE_BYTES, Condition, Finding
from servewatt.engines.suitability import Suitability, suitable
from servewatt.models.cache import ArtefactCache, format_bytes
from servewatt.models.resolve import outline
from servewatt.records import Precision, Provider


def show_engines(*, as_json: bool) -> None:
    """The list, as a table or JSON."""
    if as_json:
        click.echo(json.dumps([_as_json(e) for e in ENGINES.values()], indent=2))
        return
    table = Table("engine", "version", "runs", "what it is", box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    for e in ENGINES.values():
        version, problem = e.version(), e.problem()
        if problem:
            table.add_row(e.name, "broken", _runs(e.supports), escape(f"{problem}: {e.install_line}"))
        else:
            what = e.summary if version else e.install_line
            table.add_row(e.name, version or "not installed", _runs(e.supports), escape(what))
    Console().print(table)


def show_engine(name: str, *, as_json: bool) -> None:
    """One engine as its entry describes it; InputError if there is none of this name."""
    e = entry(name)
    if as_json:
        click.echo(json.dumps(_as_json(e), indent=2))
        return
    facts = Table(box=None, pad_edge=False, show_header=False)
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    known = ", ".join(sorted(e.architectures)) if e.architectures is not None else "those of the library's model code"
    rows = [
        ("engine", f"{e.name}: {e.summary}"),
        ("version", "broken" if e.problem() else e.version() or "not installed"),
        ("install", e.install_line if e.packages else "nothing to install"),
        ("needs", ", ".join(e.packages) or "-"),
        *([("pins", ", ".join(e.pins))] if e.pins else []),
        ("runs", _runs(e.supports)),
        ("architectures", known if e.real else "any"),
    ]
    for label, text in rows:
        facts.add_row(label, escape(text))
    console = Console()
    console.print(facts, highlight=False)
    if not e.options:
        return
    table = Table("option", "values", "default", "what it does", box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    for option in e.options:
        table.add_row(option.name, escape(" ".join(option.values) or "any"), option.default or "-", escape(option.help))
    console.print()
    console.print(table, highlight=False)


def show_suitable(name: str, *, as_json: bool) -> None:
    """Which engines run the model called `name`, and why the others do not."""
    with ArtefactCache() as cache:
        model = outline(name, cache)
        found = suitable(model)
    if as_json:
        click.echo(wire.document(found))
        return
    table = Table("engine", "installed", "runs", "does not run", box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    for engine in found:
        installed = "yes" if entry(engine.engine).version() else "no"
        table.add_row(engine.engine, installed, _runs(engine.runs) or "-", escape(_refusals(engine)) or "-")
    console = Console()
    console.print(f"{model.name}: {model.architecture}, context {model.context_length:,}", highlight=False)
    console.print(table, highlight=False)


def show_findings(findings: list[Finding], free: int) -> None:
    """The doctor's findings as a table, and the free disk space below it."""
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


def _as_json(e: EngineEntry) -> dict[str, Any]:
    environment = e.environment()
    return {
        "name": e.name,
        "summary": e.summary,
        "version": e.version(),
        "install": e.install_line,
        "packages": list(e.packages),
        "pins": list(e.pins),
        "environment": str(environment.folder) if environment else None,
        "problem": environment.problem if environment else "",
        "supports": [{"provider": p, "precision": t} for p, t in e.supports],
        "architectures": sorted(e.architectures) if e.architectures is not None else None,
        "options": [
            {"name": o.name, "values": list(o.values), "default": o.default or None, "help": o.help} for o in e.options
        ],
    }


def _runs(pairs: Iterable[tuple[Provider, Precision]]) -> str:
    """A line a provider, such as `cpu: fp32 int4`."""
    by_provider: dict[Provider, list[str]] = {}
    for provider, precision in pairs:
        by_provider.setdefault(provider, []).append(precision.value)
    return "\n".join(f"{provider.value}: {' '.join(names)}" for provider, names in by_provider.items())


def _refusals(engine: Suitability) -> str:
    """A line a reason; where something runs, it says of which precisions it is the reason."""
    lines = []
    for refusal in engine.refusals:
        of = ", ".join(f"{p.value}/{t.value}" for p, t in refusal.precisions)
        lines.append(f"{of}: {refusal.reason}" if engine.runs else refusal.reason)
    return "\n".join(lines)
