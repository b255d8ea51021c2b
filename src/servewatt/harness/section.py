"""Inside a worker: the marks between which a section's joules, time and CPU are counted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from servewatt.errors import RefusedError, UnavailableError
from servewatt.meters.base import Meter
from servewatt.meters.cpu_times import SystemCpu, counts_cpu_time, known_system_cpu, process_cpu_s
from servewatt.meters.energy import added_up, domain_energies
from servewatt.meters.plausible import NOT_KEPT_HINT, STILL_QUANTA
from servewatt.records import Domain, DomainEnergy, Grade, PowerSample, Reading, Section, UtilisationSample


@dataclass(frozen=True)
class Mark:
    """Counters read at one moment."""

    time_s: float
    readings: tuple[Reading, ...]
    own_cpu_s: float
    system: SystemCpu | None
    """None where the kernel does not tell the machine's CPU times."""
    unmoved: tuple[str, ...] = ()
    """Counters that were waited for and did not step."""
    suspended_s: float = 0.0
    """Time the machine has spent suspended since boot; only differences mean anything."""


@dataclass(frozen=True)
class Stretch:
    """A section before its power samples are known."""

    name: str
    first: Mark
    last: Mark
    passes: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    alone: bool = True
    """Whether the readings are of this process's work only."""


def take_mark(meters: Sequence[Meter], pids: Sequence[int] = ()) -> Mark:
    """Read everything once; `pids` are other processes that belong to the measured one.

    The time is taken before the counters at both ends of a section, so a slow counter (4 ms on some GPUs) delays
    both ends alike and the section's duration equals the span of its readings.
    """
    now_s = time.monotonic()
    readings = tuple(reading for meter in meters for reading in meter.read())
    return Mark(now_s, readings, own_cpu_s(pids), known_system_cpu(), suspended_s=suspended_s())


def suspended_s() -> float:
    """Time the machine has spent suspended since boot: CLOCK_MONOTONIC stands still then, CLOCK_BOOTTIME does not."""
    for _ in range(10):
        before_s = time.monotonic()
        boot_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        if time.monotonic() - before_s < SUSPENDED_FROM_S / 10:  # else we were held up between the two
            break
    return boot_s - before_s


def own_cpu_s(pids: Sequence[int]) -> float:
    """CPU time of this process and, to a tick of the kernel's clock (10 ms), of the processes `pids`."""
    return time.process_time() + sum(process_cpu_s(pid) for pid in pids)


POLLS_PER_STEP = 50

SUSPENDED_FROM_S = 0.5
"""Least time of a suspend: less is the time between reading two clocks."""


def take_mark_at_step(meters: Sequence[Meter], domain: Domain | None, pids: Sequence[int] = ()) -> Mark:
    """Read everything once, just after the counter of `domain` has stepped, so that its reading is fresh.

    Sleeps between looks. Without a domain this is `take_mark`, and if its counter does not step in STILL_QUANTA quanta,
    the mark says so.
    """
    meter = next((m for m in meters if domain in m.domains()), None)
    if meter is None or domain is None:
        return take_mark(meters, pids)
    before_s = time.monotonic()
    before = _energy_of(domain, meter.read())
    give_up_s = before_s + STILL_QUANTA * domain.quantum_s
    while before_s < give_up_s:
        time.sleep(domain.quantum_s / POLLS_PER_STEP)
        now_s = time.monotonic()
        readings = meter.read()
        if _energy_of(domain, readings) != before:
            age_s = time.monotonic() - before_s
            fresh = tuple(replace(r, age_s=age_s) if r.domain == domain.name else r for r in readings)
            others = tuple(reading for m in meters if m is not meter for reading in m.read())
            return Mark(now_s, fresh + others, own_cpu_s(pids), known_system_cpu(), suspended_s=suspended_s())
        before_s = now_s
    return replace(take_mark(meters, pids), unmoved=(domain.name,))


def _energy_of(domain: Domain, readings: Sequence[Reading]) -> float | None:
    return next((r.energy_j for r in readings if r.domain == domain.name), None)


def to_section(
    stretch: Stretch, domains: Sequence[Domain], power: Sequence[PowerSample], sampler_cpu_share: float
) -> Section:
    """The section's energies, and CPU time by who used it; the sampler's own is nobody's load.

    Raises RefusedError where this section cannot be measured (a suspend in it, a counter that was reset or failed),
    UnavailableError where a meter does not work at all.
    """
    first, last = stretch.first, stretch.last
    duration_s = last.time_s - first.time_s
    # The time of a process that ended unseen is lost.
    own_cpu_s = max(0.0, last.own_cpu_s - first.own_cpu_s)
    busy_s, stolen_s = _machine_cpu(first, last)
    energy = section_energy(stretch, domains, power, busy_s)
    return Section(
        name=stretch.name,
        start_s=first.time_s,
        duration_s=duration_s,
        energy=energy,
        own_cpu_s=own_cpu_s,
        foreign_cpu_s=None if busy_s is None else max(0.0, busy_s - own_cpu_s - sampler_cpu_share * duration_s),
        stolen_cpu_s=stolen_s,
        passes=stretch.passes,
        tokens_in=stretch.tokens_in,
        tokens_out=stretch.tokens_out,
    )


def section_energy(
    stretch: Stretch, domains: Sequence[Domain], power: Sequence[PowerSample], busy_s: float | None
) -> tuple[DomainEnergy, ...]:
    """Energy of every domain; `busy_s` is the machine's CPU time, None where it is not counted.

    Raises as `to_section` does.
    """
    first, last = stretch.first, stretch.last
    slept_s = last.suspended_s - first.suspended_s
    if domains and slept_s > SUSPENDED_FROM_S:
        raise RefusedError(
            f"the machine was suspended for {slept_s:.0f} s during section {stretch.name}",
            "keep it awake (systemd-inhibit --what=sleep:idle servewatt run ...); measure again",
        )
    unmoved = {*first.unmoved, *last.unmoved}
    energy = domain_energies(
        domains,
        first.readings,
        last.readings,
        power,
        start_s=first.time_s,
        end_s=last.time_s,
        unmoved=unmoved,
    )
    added = added_up(domains)
    missing = [e.domain for e in energy if e.grade is Grade.MISSING and e.domain in added]
    if missing:
        # A sum without it would look like a saving.
        raise RefusedError(
            f"{missing[0]} could not be read during section {stretch.name}",
            "its device or driver failed meanwhile (look for errors in dmesg); measure again",
        )
    estimated = {e.domain for e in energy if e.grade is Grade.ESTIMATED} if busy_s is None else set()
    if estimated & added:
        raise UnavailableError(
            "the CPU times in /proc/stat stand still while this process used CPU time, so no power can be estimated",
            "a sandbox (such as gVisor) keeps them back: run outside of it, or use a meter that counts energy",
        )
    # What is missing lies within another domain: it is left out, as its zero is no measurement.
    return tuple(e for e in energy if e.grade is not Grade.MISSING and e.domain not in estimated)


LEAST_READINGS = 10
LOAD_CHANGE_PERCENT = 50.0


def check_sensor(domain: Domain, power: Sequence[PowerSample], utilisation: Sequence[UtilisationSample]) -> None:
    """Raise UnavailableError where a board's power readings never moved although its load did.

    `domain` is that of the board whose utilisation was sampled. A working sensor gives a slightly other number each
    time, and one that stands still gives the same joules to whatever runs.
    """
    readings = [s.power_w for s in power if s.domain == domain.name]
    loads = [u.gpu_percent for u in utilisation if u.gpu_percent is not None]
    if len(readings) < LEAST_READINGS or len(set(readings)) > 1 or len(loads) < LEAST_READINGS:
        return
    if max(loads) - min(loads) >= LOAD_CHANGE_PERCENT:
        raise UnavailableError(
            f"{domain.name}: the power reading stood still at {readings[0]:g} W while the board's load went from "
            f"{min(loads):g} to {max(loads):g} %",
            NOT_KEPT_HINT,
        )


def _machine_cpu(first: Mark, last: Mark) -> tuple[float | None, float | None]:
    """Busy and stolen CPU time of the machine between two marks; None where the kernel does not count it."""
    if first.system is None or last.system is None:
        return None, None
    busy_s = last.system.busy_s - first.system.busy_s
    if not counts_cpu_time(busy_s, last.own_cpu_s - first.own_cpu_s):
        return None, None
    return busy_s, last.system.stolen_s - first.system.stolen_s
