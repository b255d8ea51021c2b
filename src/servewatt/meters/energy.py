"""Energy in joules with an error bound, from counter readings and power samples. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence, Set
from dataclasses import replace
from itertools import pairwise

from servewatt.errors import RefusedError, ServewattError, UnavailableError
from servewatt.meters.plausible import (
    NOT_KEPT_HINT,
    believable,
    check_against_power,
    difference_j,
    most_power_w,
    stood_still,
    unwrapped,
)
from servewatt.records import Component, Domain, DomainEnergy, Grade, PowerSample, Reading


def energy_between(domain: Domain, first: Reading, last: Reading) -> tuple[float, float]:
    """Energy between two readings of a counter, and the bound of its error, both in joules.

    A counter that wrapped once is corrected from its range. Raises RefusedError when it might have wrapped
    once more than the readings show, when a counter without a range went backwards, and when the difference is more
    than the domain can draw in that time.

    The error comes from the quantum: each reading is up to `quantum_s` old (or `age_s`, where that is known to be
    less). The two errors have opposite signs, so with ages of up to a and b the difference is low by between -a and b
    times the power: it is corrected by the middle, (b - a) / 2, and off by less than (a + b) / 2 times the power. The
    power itself is known only from the difference; the largest steady power that fits is E / (t - quantum), or the
    most the domain can draw.
    """
    energy_j = difference_j(domain, first, last)
    ages_s = [domain.quantum_s if r.age_s is None else min(r.age_s, domain.quantum_s) for r in (first, last)]
    duration_s = last.time_s - first.time_s
    error_j = _quantum_error(domain, energy_j, duration_s)
    if domain.quantum_s <= 0 or duration_s <= domain.quantum_s or energy_j == 0:
        return energy_j, error_j
    middle_s = (ages_s[1] - ages_s[0]) / 2
    return energy_j * (1 + middle_s / duration_s), error_j * sum(ages_s) / (2 * domain.quantum_s)


def integrate(domain: Domain, samples: Sequence[PowerSample], start_s: float, end_s: float) -> tuple[float, float]:
    """Energy of a domain from samples of its power, and the bound of its error, both in joules.

    Trapezoids, with the power interpolated at the borders. A border outside the samples takes the nearest one's power
    if that is at most twice the usual interval away; otherwise, or where a gap of more than five usual intervals opens
    inside, the samples do not cover the window and RefusedError is raised. Implausible samples (not finite, negative,
    beyond what the domain can draw) are left out.

    The error bound has two parts: each interval is off by at most half its width times the change of power in it
    (what a monotonic curve between the two samples could do), and each border by quantum x power, as the sensor
    may be that late.
    """
    own = believable(domain, samples)
    if end_s < start_s:
        raise RefusedError(f"{domain.name}: the window ends before it starts")
    if not own:
        raise RefusedError(
            f"{domain.name}: no power sample to integrate",
            "the board told no power, or the sampling process ended: measure again, or for longer",
        )
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
    unmoved: Collection[str] = (),
) -> tuple[DomainEnergy, ...]:
    """Energy of every domain over one section, in the order of `domains`.

    Counters and estimates come from `first` and `last`; integrated domains from `samples` between `start_s` and `end_s`
    (by default the times of the earliest first and the latest last reading). `counted` is true for the domains that no
    other of `domains` contains, so adding those never counts a joule twice. A domain that could not be read at both
    ends has grade `missing`: its zero is not a measurement, and it is not counted.

    A counter that did not move, or is in `unmoved` (known not to step), is not used: its `samples` are integrated
    instead. Raises RefusedError if an energy cannot be determined this time, UnavailableError if a counter did not move
    and no sensor gives its power. A fault in a domain that no boundary adds up (`added_up`) makes it `missing` only,
    because another domain contains its energy.
    """
    listed = tuple(domains)
    firsts = {r.domain: r for r in first}
    lasts = {r.domain: r for r in last}
    if start_s is None:
        start_s = min((r.time_s for r in firsts.values()), default=None)
    if end_s is None:
        end_s = max((r.time_s for r in lasts.values()), default=None)
    span_s = None if start_s is None or end_s is None else (start_s, end_s)
    added = added_up(listed)
    found = []
    for domain in listed:
        ends = firsts.get(domain.name), lasts.get(domain.name)
        try:
            energy_j, error_j, grade = _energy(domain, ends, samples, span_s, unmoved)
        except ServewattError:
            if domain.name in added:
                raise
            energy_j, error_j, grade = _MISSING
        found.append(DomainEnergy(domain.name, domain.component, energy_j, error_j, grade, counted=False))
    counted = outermost(listed, present={e.domain for e in found if e.grade is not Grade.MISSING})
    return tuple(replace(e, counted=e.domain in counted) for e in found)


_MISSING = (0.0, 0.0, Grade.MISSING)


def _energy(
    domain: Domain,
    ends: tuple[Reading | None, Reading | None],
    samples: Sequence[PowerSample],
    span_s: tuple[float, float] | None,
    unmoved: Collection[str],
) -> tuple[float, float, Grade]:
    """Joules, bound of their error and grade of one domain, from readings at both ends or samples over the span."""
    first, last = ends
    if domain.grade is Grade.INTEGRATED:
        return _MISSING if span_s is None else (*_integrated(domain, samples, span_s), Grade.INTEGRATED)
    if domain.grade is Grade.MISSING or (first is None and last is None):
        return _MISSING
    if first is None or last is None:
        raise RefusedError(
            f"{domain.name}: the energy counter could not be read at the {'end' if first else 'start'} of the section",
            "its device or driver failed meanwhile (look for errors in dmesg); measure again",
        )
    straight = unwrapped(domain, first, last, samples)
    if straight is None:
        energy_j, error_j = energy_between(domain, first, last)
    else:
        energy_j, error_j = energy_between(replace(domain, range_j=None), first, straight)
    if domain.grade is Grade.COUNTER and (domain.name in unmoved or stood_still(domain, first, last)):
        try:
            return (*_integrated(domain, samples, span_s or (first.time_s, last.time_s)), Grade.INTEGRATED)
        except ServewattError as error:
            if isinstance(error, RefusedError) and believable(domain, samples):
                raise  # there is a sensor: the next time its samples may cover the section
            raise UnavailableError(
                f"{domain.name}: the energy counter stands still (for {last.time_s - first.time_s:.3g} s it did not "
                f"step as it should), and no power reading tells what was drawn ({error.message})",
                NOT_KEPT_HINT,
            ) from None
    if domain.grade is Grade.COUNTER:
        check_against_power(domain, energy_j, first, last, samples)
    return energy_j, error_j, domain.grade


def _integrated(domain: Domain, samples: Sequence[PowerSample], span_s: tuple[float, float]) -> tuple[float, float]:
    """The integral, which must not be zero: a device that is on draws power."""
    energy_j, error_j = integrate(domain, samples, *span_s)
    if energy_j <= 0 < span_s[1] - span_s[0]:
        raise UnavailableError(
            f"{domain.name}: every power reading is 0 W",
            NOT_KEPT_HINT,
        )
    return energy_j, error_j


def added_up(domains: Iterable[Domain]) -> frozenset[str]:
    """Names of the domains that are added up within some boundary: a package within a platform is the CPU's energy."""
    listed = tuple(domains)
    return outermost(listed) | outermost(d for d in listed if d.component is not Component.MACHINE)


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
    most_w = domain.max_power_w
    if domain.grade is Grade.COUNTER and energy_j == 0:
        # Without a step the power is unknown: only the domain's maximum bounds it.
        return max(domain.quantum_s, duration_s) * (most_w or most_power_w(domain))
    if domain.quantum_s <= 0:
        return 0.0
    if duration_s <= domain.quantum_s:
        # The window may contain no step.
        return domain.quantum_s * (most_w or most_power_w(domain))
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
