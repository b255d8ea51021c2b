"""The report for other programs: CSV and JSON, each as one string."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from servewatt.recommendation.records import Recommendation
from servewatt.records import Configuration, Facts, Model, Result, Status
from servewatt.report.run.ranking import configuration_table
from servewatt.report.table_forms import to_csv
from servewatt.stats.energy import counted_domains, grade_line, section_energies, total_j
from servewatt.stats.records import Analysis

_CONFIGURATION = ("configuration", "engine", "provider", "precision", "batch", "threads", "options", "via")
_SECTIONS = ("load", "idle", "prefill", "generate")


@dataclass(frozen=True)
class TrialOutcome:
    """How one trial ended; the whole result is in the store, and in `servewatt report --export`."""

    id: str
    block: int
    position: int
    attempt: int
    configuration: str
    status: Status
    reason: str
    hint: str
    log: str = ""
    """The end of what its process wrote to standard output and error, of a trial that is not ok."""


@dataclass(frozen=True)
class Document:
    """What the JSON export holds; the run is `analysis.run`."""

    analysis: Analysis
    recommendation: Recommendation
    trials: tuple[TrialOutcome, ...]


def to_json(analysis: Analysis, recommendation: Recommendation, results: Sequence[Result] = ()) -> str:
    """One JSON document: the analysis with the run inside, the recommendation, and how every trial ended."""
    from servewatt import wire

    return wire.document(Document(analysis, recommendation, tuple(map(_outcome, results))))


def configurations_csv(analysis: Analysis) -> str:
    """One row a configuration, in the order of the ranking; SI base units, empty where nothing was measured."""
    return to_csv(configuration_table(analysis), notes=False)


def trials_csv(results: Sequence[Result], analysis: Analysis | None = None) -> str:
    """One row a trial, whatever its status; each domain's joules in a column `SECTION_energy_j:DOMAIN`.

    With the run's analysis also the joules inside its boundary, over the generation and per generated token.
    """
    inside = _counted_inside(results, analysis) if analysis is not None else frozenset[str]()
    domains = sorted({e.domain for r in results for s in r.sections for e in s.energy})
    heads = ["run", "model", "weights", "block", "position", "attempt", *_CONFIGURATION, "status", "reason", "hint"]
    heads += ["started_at", "passes", "tokens_in", "tokens_out", "own_cpu_s", "foreign_cpu_s", "stolen_cpu_s"]
    heads += [f"{section}_s" for section in _SECTIONS]
    for section in _SECTIONS:
        heads += [f"{section}_energy_j:{domain}" for domain in domains]
    heads += [f"grade:{domain}" for domain in domains]
    heads += ["peak_rss_bytes", "peak_gpu_bytes", "output_digest", "engine_version"]
    heads += ["tokens", "boundary", "energy_j", "energy_j_per_token", "energy_grade"]
    boundary = analysis.boundary.value if analysis is not None else None
    return _csv(heads, ([*_trial(r, domains), *_per_token(r, boundary, inside)] for r in results))


def _counted_inside(results: Sequence[Result], analysis: Analysis) -> frozenset[str]:
    """The domains whose joules the analysis adds up."""
    valid = [r for r in results if r.status is Status.OK]
    return counted_domains(analysis.boundary, analysis.run.environment.domains, valid or results)


def _per_token(result: Result, boundary: str | None, domains: frozenset[str]) -> list[object]:
    """Tokens read and generated, the boundary, and the joules inside it; empty where a domain was not metered."""
    section = result.section("generate")
    if section is None:
        return [None, boundary, None, None, None]
    energies = section_energies(section, domains)
    energy = total_j(energies)
    share = energy / section.tokens_out if energy is not None and section.tokens_out > 0 else None
    grade = grade_line(e.grade for e in energies) if energies is not None else None
    return [section.tokens_in + section.tokens_out, boundary, energy, share, grade]


def _outcome(result: Result) -> TrialOutcome:
    trial = result.trial
    return TrialOutcome(
        trial.id,
        trial.block,
        trial.position,
        trial.attempt,
        trial.configuration.key,
        result.status,
        result.reason,
        result.hint,
        result.log if result.status is not Status.OK else "",
    )


def _csv(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return buffer.getvalue()


def _cell(value: object) -> object:
    """Empty for what is not a finite number."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _run(run_id: str, model: Model) -> list[object]:
    return [run_id, model.name, model.weights.value]


def _configuration(configuration: Configuration) -> list[object]:
    options = ";".join(f"{name}={value}" for name, value in configuration.options)
    return [
        configuration.key,
        configuration.engine,
        configuration.provider.value,
        configuration.precision.value,
        configuration.batch,
        configuration.threads,
        options,
        configuration.via.value,
    ]


def _trial(result: Result, domains: Sequence[str]) -> list[object]:
    trial, work = result.trial, result.section("generate")
    row: list[object] = [*_run(trial.run_id, trial.model), trial.block, trial.position, trial.attempt]
    row += [*_configuration(trial.configuration), result.status.value, result.reason, result.hint, result.started_at]
    if work is None:
        row += [None] * 6
    else:
        row += [work.passes, work.tokens_in, work.tokens_out, work.own_cpu_s, work.foreign_cpu_s, work.stolen_cpu_s]
    sections = [result.section(name) for name in _SECTIONS]
    row += [None if s is None else s.duration_s for s in sections]
    for section in sections:
        joules = {} if section is None else {e.domain: e.energy_j for e in section.energy}
        row += [joules.get(domain) for domain in domains]
    grades = {e.domain: e.grade.value for s in result.sections for e in s.energy}
    row += [grades.get(domain) for domain in domains]
    facts: Facts | None = result.facts
    return [
        *row,
        result.peak_rss_bytes,
        result.peak_gpu_bytes,
        result.output_digest,
        None if facts is None else facts.engine_version,
    ]
