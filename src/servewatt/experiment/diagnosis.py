"""Diagnoses this machine: its hardware, its meters, and whether it is fit for measuring now."""

from __future__ import annotations

from dataclasses import dataclass, replace

from servewatt.engines import ENGINES
from servewatt.harness import fitness
from servewatt.harness.environment import describe
from servewatt.harness.fitness import Finding
from servewatt.meters import survey
from servewatt.records import Domain, Environment


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
