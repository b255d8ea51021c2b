"""Readings of meters and samplers at a moment."""

from __future__ import annotations

from dataclasses import dataclass

from servewatt.records.vocabulary import Component, Grade


@dataclass(frozen=True)
class Domain:
    """Something a meter can read the energy of."""

    name: str
    """Unique on the machine, such as `cpu:package-0`, `dram:0`, `gpu:0`, `machine:psys`."""
    component: Component
    grade: Grade
    quantum_s: float
    """Time between two changes of the counter (or between two power samples)."""
    within: str | None = None
    """The domain that already contains this one; only domains that are within none are added up."""
    range_j: float | None = None
    """Joules after which the counter wraps to zero; None if it does not wrap."""
    max_power_w: float | None = None
    """Most power the domain can draw, where known: tells how soon a counter can wrap."""


@dataclass(frozen=True)
class Reading:
    """A cumulative energy reading of one domain; only differences mean anything."""

    domain: str
    time_s: float
    energy_j: float
    age_s: float | None = None
    """Most time since the counter stepped to this value; None where only the domain's quantum bounds it."""


@dataclass(frozen=True)
class PowerSample:
    """Power of a domain at a moment."""

    domain: str
    time_s: float
    power_w: float


@dataclass(frozen=True)
class UtilisationSample:
    """Use of computing resources at a moment. None where it cannot be read."""

    time_s: float
    cpu_percent: float | None = None
    """Of the measured process since the previous sample; 100 is one CPU."""
    system_cpu_percent: float | None = None
    """Of the whole machine since the previous sample; 100 is every CPU."""
    rss_bytes: int | None = None
    pss_bytes: int | None = None
    read_bytes: int | None = None
    """Cumulative bytes read from storage by the measured process."""
    write_bytes: int | None = None
    gpu_percent: float | None = None
    gpu_memory_bytes: int | None = None
    """GPU memory used on the device, all processes."""
    gpu_clock_mhz: float | None = None
    gpu_temperature_c: float | None = None
    gpu_throttled: bool | None = None
    cpu_clock_mhz: float | None = None
