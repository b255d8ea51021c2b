"""From readings and power samples to joules and the bound of their error: pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence, Set
from dataclasses import replace
from itertools import pairwise

from servewatt.errors import RefusedError
from servewatt.records import Domain, DomainEnergy, Grade, PowerSample, Reading

UNKNOWN_MAX_POWER_W = 1000.0
"""Most power of a wrapping domain that does not tell its own: no CPU package or memory bank of today draws more."""


def energy_between(domain: Domain, first: Reading, last: Reading) -> tuple[float, float]:
    """Energy between two readings of a counter, and the bound of its error, both in joules.

    A counter that wrapped once is corrected from its range. Raises RefusedError when it might have wrapped
    once more than the readings show, or when a counter without a range went backwards.

    The error comes from the quantum: each reading is up to `quantum_s` old (or `age_s`, where that is known to be
    less). The two errors have opposite signs, so with ages of up to a and b the difference is low by between -a and b
    times the power: it is corrected by the middle, (b - a) / 2, and off by less than (a + b) / 2 times the power. The
    power itself is known only from the difference; the largest steady power that fits is E / (t - quantum), or the
    most the domain can draw.
    """
    difference_j = _difference(domain, first, last)
    ages_s = [domain.quantum_s if r.age_s is None else min(r.age_s, domain.quantum_s) for r in (first, last)]
    duration_s = last.time_s - first.time_s
    error_j = _quantum_error(domain, difference_j, duration_s)
    if domain.quantum_s <= 0 or duration_s <= domain.quantum_s:
        return difference_j, error_j
    middle_s = (ages_s[1] - ages_s[0]) / 2
    return difference_j * (1 + middle_s / duration_s), error_j * sum(ages_s) / (2 * domain.quantum_s)


def _difference(domain: Domain, first: Reading, last: Reading) -> float:
    """Joules between two readings, one wrap corrected."""
    duration_s = last.time_s - first.time_s
    if duration_s < 0:
        raise RefusedError(f"{domain.name}: the last reading is older than the first")
    difference_j = last.energy_j - first.energy_j
    if domain.range_j is None:
        if difference_j < 0:
            raise RefusedError(
                f"{domain.name}: the energy counter went backwards by {-difference_j:.3g} J",
                "its driver was reloaded during the measurement; measure again",
            )
        return difference_j
    if difference_j < 0:
        difference_j += domain.range_j
    max_power_w = domain.max_power_w or UNKNOWN_MAX_POWER_W
    if difference_j < 0 or difference_j + domain.range_j <= max_power_w * duration_s:
        raise RefusedError(
            f"{domain.name}: in {duration_s:.0f} s at up to {max_power_w:.0f} W the energy counter may have wrapped "
            f"(it does every {domain.range_j:.0f} J) more often than two readings show",
            f"use windows below {domain.range_j / max_power_w:.0f} s",
        )
    return difference_j


def energy_along(domain: Domain, readings: Sequence[Reading]) -> tuple[float, float]:
    """As `energy_between` for the first and last of many readings in order of time.

    Readings in between let a window be as long as one likes. They do not add to the error.
    """
    own = [r for r in readings if r.domain == domain.name]
    if len(own) < 2:
        raise RefusedError(f"{domain.name}: {len(own)} readings are too few to tell an energy")
    energy_j = math.fsum(_difference(domain, first, last) for first, last in pairwise(own))
    return energy_j, _quantum_error(domain, energy_j, own[-1].time_s - own[0].time_s)


def integrate(domain: Domain, samples: Sequence[PowerSample], start_s: float, end_s: float) -> tuple[float, float]:
    """Energy of a domain from samples of its power, and the bound of its error, both in joules.

    Trapezoids, with the power interpolated at the borders. A border outside the samples takes the nearest one's
    power if that is at most twice the usual interval away; otherwise, or where a gap of more than five usual
    intervals opens inside, the samples do not cover the window and RefusedError is raised.

    The error bound has two parts: each interval is off by at most half its width times the change of power in it
    (what a monotonic curve between the two samples could do), and each border by quantum x power, as the sensor
    may be that late.
    """
    own = sorted((s for s in samples if s.domain == domain.name), key=lambda s: s.time_s)
    if end_s < start_s:
        raise RefusedError(f"{domain.name}: the window ends before it starts")
    if not own:
        raise RefusedError(f"{domain.name}: no power sample to integrate", "measure for longer, or sample more often")
    steps = sorted(later.time_s - earlier.time_s for earlier, later in pairwise(own))
    usual_s = max(steps[len(steps) // 2] if steps else 0.0, domain.quantum_s)
    missing_s = max(own[0].time_s - start_s, start_s - own[-1].time_s, end_s - own[-1].time_s, own[0].time_s - end_s)
    inside = [later.time_s - earlier.time_s for earlier, later in pairwise(own)
              if later.time_s > start_s and earlier.time_s < end_s]  # fmt: skip
    if missing_s > 2 * usual_s or max(inside, default=0.0) > 5 * usual_s:
        raise RefusedError(
            f"{domain.name}: the power samples do not cover the window of {end_s - start_s:.3g} s",
            "something kept the sampler from running; measure again",
        )
    points = [
        (start_s, _power_at(own, start_s)),
        *((s.time_s, s.power_w) for s in own if start_s < s.time_s < end_s),
        (end_s, _power_at(own, end_s)),
    ]
    energy_j = math.fsum((t1 - t0) * (p0 + p1) / 2 for (t0, p0), (t1, p1) in pairwise(points))
    shape_j = math.fsum((t1 - t0) * abs(p1 - p0) / 2 for (t0, p0), (t1, p1) in pairwise(points))
    return energy_j, shape_j + domain.quantum_s * max(points[0][1], points[-1][1])


def domain_energies(
    domains: Iterable[Domain],
    first: Iterable[Reading],
    last: Iterable[Reading],
    samples: Sequence[PowerSample] = (),
    *,
    start_s: float | None = None,
    end_s: float | None = None,
) -> tuple[DomainEnergy, ...]:
    """Energy of every domain over one section, in the order of `domains`.

    Counters and estimates come from `first` and `last`; integrated domains from `samples` between `start_s` and
    `end_s` (by default the times of the earliest first and the latest last reading). `counted` is true for the
    domains that no other of `domains` contains, so adding those never counts a joule twice. A domain that could
    not be read at both ends has grade `missing`: its zero is no measurement, and it does not count.
    """
    listed = tuple(domains)
    firsts = {r.domain: r for r in first}
    lasts = {r.domain: r for r in last}
    if start_s is None:
        start_s = min((r.time_s for r in firsts.values()), default=None)
    if end_s is None:
        end_s = max((r.time_s for r in lasts.values()), default=None)
    found = []
    for domain in listed:
        grade = domain.grade
        energy_j = error_j = 0.0
        if grade is Grade.INTEGRATED and start_s is not None and end_s is not None:
            energy_j, error_j = integrate(domain, samples, start_s, end_s)
        elif grade in (Grade.COUNTER, Grade.ESTIMATED) and domain.name in firsts and domain.name in lasts:
            energy_j, error_j = energy_between(domain, firsts[domain.name], lasts[domain.name])
        else:
            grade = Grade.MISSING
        found.append(DomainEnergy(domain.name, domain.component, energy_j, error_j, grade, counted=False))
    counted = outermost(listed, present={e.domain for e in found if e.grade is not Grade.MISSING})
    return tuple(replace(e, counted=e.domain in counted) for e in found)


def outermost(domains: Iterable[Domain], present: Set[str] | None = None) -> frozenset[str]:
    """Names of the domains that no other of them contains, directly or not.

    With `present`, only those count, and only those contain: what a missing container held counts by itself.
    """
    within = {d.name: d.within for d in domains}
    names = within.keys() if present is None else present

    def contained(name: str | None) -> bool:
        container = within.get(name) if name else None
        return container is not None and (container in names or contained(container))

    return frozenset(name for name in within if name in names and not contained(name))


def _quantum_error(domain: Domain, energy_j: float, duration_s: float) -> float:
    """Bound of |true - read| for a counter that steps every `quantum_s`."""
    if domain.quantum_s <= 0:
        return 0.0
    most_w = domain.max_power_w
    if duration_s <= domain.quantum_s:
        # No step need have fallen into the window: only the most the domain can draw bounds it.
        return domain.quantum_s * (most_w or UNKNOWN_MAX_POWER_W)
    error_j = domain.quantum_s * energy_j / (duration_s - domain.quantum_s)
    return error_j if most_w is None else min(error_j, domain.quantum_s * most_w)


def _power_at(samples: Sequence[PowerSample], time_s: float) -> float:
    """Power at a moment: interpolated, or that of the nearest sample outside of them."""
    if time_s <= samples[0].time_s:
        return samples[0].power_w
    for earlier, later in pairwise(samples):
        if time_s <= later.time_s:
            width_s = later.time_s - earlier.time_s
            share = (time_s - earlier.time_s) / width_s if width_s else 1.0
            return earlier.power_w + share * (later.power_w - earlier.power_w)
    return samples[-1].power_w
