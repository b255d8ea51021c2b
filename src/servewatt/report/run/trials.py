"""Every trial, what really ran in each configuration, and what was left out."""

from __future__ import annotations

from collections.abc import Iterable

from servewatt.records import Facts, Grade, Result, Status
from servewatt.report import units
from servewatt.report.plain_text import MOST_CHARACTERS, plain
from servewatt.report.run.cells import CONFIGURATION, names, told
from servewatt.report.table import Column, Entry, Form, Mark, Row, Table
from servewatt.report.units import DASH, Quantity
from servewatt.report.view import Note, View
from servewatt.stats.records import Analysis

_FACTS = ("device", "weights", "computes in", "threads", "KV cache", "versions", "more")


def trial_table(analysis: Analysis, results: Iterable[Result]) -> Table:
    """Every trial, in the order in which they ran; energy and duration of the generation."""
    named = names(analysis)
    ordered = sorted(results, key=lambda r: (r.trial.block, r.trial.position, r.trial.attempt))
    columns = (
        Column("block", "block", Form.COUNT),
        Column("order", "order", Form.COUNT),
        CONFIGURATION,
        Column("status", "status"),
        Column("energy", "energy by domain"),
        Column("duration_s", "duration", Form.QUANTITY),
        Column("reason", "reason"),
    )
    return Table(
        "trials",
        "In the order in which they ran; energy and duration of the generation",
        columns,
        tuple(_trial(result, named) for result in ordered),
        told=told(analysis),
        grouped=0,
        marks=tuple(Mark.NONE if r.status is Status.OK else Mark.LEFT_OUT for r in ordered),
    )


def facts_table(analysis: Analysis) -> Table:
    """What each loaded engine showed, in the order of the ranking."""
    named = names(analysis)
    columns = (CONFIGURATION, *(Column(fact.replace(" ", "_").lower(), fact) for fact in _FACTS))
    rows = tuple((named[s.configuration.key], *(Entry(text) for text in _facts(s.facts))) for s in analysis.summaries)
    return Table("facts", "As each loaded engine showed it, not as it was asked for", columns, rows, grouped=0)


def left_out(shown: View) -> tuple[Table, ...]:
    """Configurations and trials that do not count, and why; tables without rows are not among them."""
    found = (
        _notes("excluded", "Excluded", shown.excluded),
        _notes("unmeasured", "Without energy", shown.unmeasured),
        _notes("failures", "Trials left out", shown.failures),
    )
    return tuple(table for table in found if table.rows)


def _notes(name: str, title: str, notes: Iterable[Note]) -> Table:
    columns = (CONFIGURATION, Column("reason", "reason"))
    return Table(name, title, columns, tuple((Entry(n.key), Entry(n.text)) for n in notes))


def _trial(result: Result, named: dict[str, Entry]) -> Row:
    trial, section = result.trial, result.section("generate")
    key = plain(trial.configuration.key)
    attempt = f"(attempt {trial.attempt + 1})" if trial.attempt else ""
    duration = None if section is None else section.duration_s
    reason = plain(result.reason, MOST_CHARACTERS)
    reason += f" ({plain(result.hint, MOST_CHARACTERS)})" if result.hint else ""
    return (
        Entry(trial.block),
        Entry(trial.position, text=Quantity(f"{trial.position} {attempt}".rstrip(), value=trial.position)),
        named.get(key, Entry(key)),
        Entry(result.status.value.replace("_", " ")),
        Entry(_joules(result)),
        Entry(duration, text=Quantity(units.duration(duration), value=duration)),
        Entry(reason),
    )


def _joules(result: Result) -> str:
    """Joules of each domain over the generation; not added up, as that would be a new number."""
    section = result.section("generate")
    if section is None or not section.energy:
        return DASH
    return ", ".join(
        f"~{e.domain} {units.energy(e.energy_j)} estimated"
        if e.grade is Grade.ESTIMATED
        else f"{e.domain} {units.energy(e.energy_j)}"
        for e in section.energy
    )


def _facts(facts: Facts | None) -> tuple[str, ...]:
    if facts is None:
        return (DASH,) * len(_FACTS)
    cache = {True: "yes", None: "undecided", False: "no"}[facts.kv_cache]
    if facts.kv_cache is not False and facts.kv_cache_dtype:
        cache += f", {facts.kv_cache_dtype}"
    versions = ", ".join(f"{name} {version}" for name, version in facts.libraries)
    return (
        ", ".join(f"{device} ({count})" for device, count in facts.devices) or DASH,
        _weights(facts),
        facts.compute_dtype or DASH,
        DASH if facts.threads is None else str(facts.threads),
        cache,
        versions or facts.engine_version or DASH,
        ", ".join(f"{name}: {value}" for name, value in facts.detail) or DASH,
    )


def _weights(facts: Facts) -> str:
    """Types and sizes of the weights, with how much of each is only looked up in."""
    looked_up = dict(facts.lookup_dtypes)
    parts = []
    for kind, size in facts.weight_dtypes:
        tables = f" ({units.memory(looked_up[kind])} only looked up)" if kind in looked_up else ""
        parts.append(f"{kind} {units.memory(size)}{tables}")
    return ", ".join(parts) or DASH
