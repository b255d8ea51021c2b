"""Baseline files: what a gate compares with, small and readable in a diff; and runs as sides of a comparison.

docs/reference/files.md describes the format.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from servewatt import wire
from servewatt.errors import InputError, StoreError
from servewatt.experiment.gathering import Found
from servewatt.file_kinds import RUN_FORMAT
from servewatt.input_files import check_characters, decode, read_bytes, shown, unpack
from servewatt.recommendation.fingerprint import Fingerprint, fingerprint
from servewatt.recommendation.gate import Side, SideCosts
from servewatt.records import Boundary, Result, Status
from servewatt.stats.describe import energy_j_per_token, valid_trials
from servewatt.stats.energy import counted_domains
from servewatt.stats.race.costs import Costs, energy_cost, run_costs, time_cost
from servewatt.store.files import read_file
from servewatt.version import __version__
from servewatt.whole_files import write_whole

BASELINE_FORMAT = "servewatt-baseline"
FORMAT_VERSION = 1
DIGITS = 6
"""Significant digits of a cost in the file."""
_WRITES = "`servewatt gate --write-baseline FILE RUN` writes one"


@dataclass(frozen=True)
class Baseline:
    """A baseline file."""

    format: str
    format_version: int
    servewatt_version: str
    run: str
    """Id of the run that it is from."""
    created_at: str
    """When that run began: UTC, ISO 8601."""
    fingerprint: Fingerprint
    configurations: Mapping[str, SideCosts]
    absent: Mapping[str, str]


def side_of(found: Found, boundary: Boundary | None = None) -> Side:
    """A run as a side: its costs an episode, in the boundary of its plan unless given."""
    run, inside = found.run, boundary or found.run.plan.procedure.boundary
    by_key: dict[str, list[Result]] = {c.key: [] for c in run.plan.configurations}
    for result in found.results:
        by_key.setdefault(result.trial.configuration.key, []).append(result)
    valid = [result for own in by_key.values() for result in valid_trials(own)]
    domains = counted_domains(inside, run.environment.domains, valid)
    energy = run_costs(valid, energy_cost(domains), lambda result: energy_j_per_token(result, domains))
    seconds = run_costs(valid, time_cost, _s_per_token)
    grades = {e.domain: e.grade.value for r in valid for s in r.sections for e in s.energy if e.domain in domains}
    known: dict[str, SideCosts] = {}
    absent: dict[str, str] = {}
    for key, own in by_key.items():
        costs = SideCosts(_of(energy, key), _of(seconds, key), _engine_version(own))
        if costs.energy_j_per_token or costs.s_per_token:
            known[key] = costs
        else:
            absent[key] = _why(own)
    named = tuple(f"{name} ({grades[name]})" for name in sorted(grades))
    mark = fingerprint(run.plan, run.environment, boundary=inside.value, domains=named)
    return Side(f"run {run.id}", mark, run.id, known, absent)


def _of(costs: Costs, key: str) -> tuple[float, ...]:
    return tuple(math.exp(levels.log_cost[key]) for levels in costs.episodes if key in levels.log_cost)


def _s_per_token(result: Result) -> float | None:
    section = result.section("generate")
    return section.duration_s / section.tokens_out if section is not None and section.tokens_out else None


def _engine_version(results: Sequence[Result]) -> str:
    return next((r.facts.engine_version for r in results if r.facts is not None), "")


def _why(results: Sequence[Result]) -> str:
    worst = next((r for r in reversed(results) if r.status is not Status.OK), None)
    if worst is None:
        return "not measured" if not results else "its costs are not known"
    return f"{worst.status.value.replace('_', ' ')}{': ' + worst.reason if worst.reason else ''}"


def baseline_text(found: Found, boundary: Boundary | None = None) -> str:
    """The text of a baseline file for a run. InputError if nothing in it has a cost."""
    side = side_of(found, boundary)
    if not side.configurations:
        raise InputError(f"{side.name} has no configuration with a cost", "measure it first: servewatt run")
    rounded = {
        key: SideCosts(_rounded(costs.energy_j_per_token), _rounded(costs.s_per_token), costs.engine_version)
        for key, costs in sorted(side.configurations.items())
    }
    run = found.run
    content = Baseline(
        BASELINE_FORMAT,
        FORMAT_VERSION,
        __version__,
        run.id,
        run.created_at,
        side.fingerprint,
        rounded,
        side.absent,
    )
    return json.dumps(json.loads(wire.dump(content)), indent=1, ensure_ascii=False) + "\n"


def _rounded(costs: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(float(f"{cost:.{DIGITS}g}") for cost in costs)


def write_baseline(found: Found, path: Path, boundary: Boundary | None = None) -> None:
    """Write a baseline file, whole or not at all. StoreError where it cannot be written."""
    text = baseline_text(found, boundary)
    try:
        write_whole(path, text)
    except OSError as error:
        raise StoreError(
            f"cannot write {shown(path)}: {error.strerror or error}",
            "give a folder that exists and has space, or free some",
        ) from error


def read_side(path: Path, boundary: Boundary | None = None) -> Side:
    """The side that a file holds, a baseline or an exported run.

    Raises InputError if it is damaged, something else, or a baseline with another boundary than the one asked for;
    StoreError if it is of a newer version.
    """
    content = unpack(read_bytes(path, "give the path of a baseline or of an exported run"), path)
    if _is_run(content):
        return side_of(Found(*read_file(path)), boundary)
    known = _parse(decode(content, path), shown(path))
    stored = known.fingerprint.procedure.boundary
    if boundary is not None and boundary.value != stored:
        raise InputError(
            f"{shown(path)} is a baseline of the energy of the {stored}, not of the {boundary.value}",
            f"leave --boundary out, or write it anew: {_WRITES}",
        )
    return Side(f"{shown(path)} (run {known.run})", known.fingerprint, known.run, known.configurations, known.absent)


def _is_run(content: bytes) -> bool:
    try:
        first = json.loads(content.partition(b"\n")[0])
    except (ValueError, RecursionError):
        return False
    return isinstance(first, dict) and first.get("format") == RUN_FORMAT


def _parse(text: str, name: str) -> Baseline:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} is no baseline: it is not JSON ({_short(error)})", _WRITES) from error
    if not isinstance(document, dict) or document.get("format") != BASELINE_FORMAT:
        raise InputError(f"{name} is not a baseline file", _WRITES)
    version = document.get("format_version")
    if isinstance(version, int) and not isinstance(version, bool) and version > FORMAT_VERSION:
        raise StoreError(
            f"{name} is a baseline of version {_short(version)}; this servewatt reads up to version {FORMAT_VERSION}",
            "upgrade it: pip install --upgrade servewatt, or write the baseline anew",
        )
    check_characters(text, name)
    try:
        known = wire.load(Baseline, text)
    except InputError as error:
        raise InputError(f"{name} is damaged: {error.message}", f"restore it, or write it anew: {_WRITES}") from error
    if known.format_version < 1:
        raise InputError(f"{name} is damaged: it has version {known.format_version}", _WRITES)
    for key, costs in known.configurations.items():
        if any(not cost > 0 for cost in (*costs.energy_j_per_token, *costs.s_per_token)):
            raise InputError(f"{name} is damaged: a cost of {_short(key)} is not above zero", _WRITES)
    return known


def _short(value: object) -> str:
    try:
        return str(value)[:80]
    except ValueError:  # Python writes no number of thousands of digits
        return "a very large number"
