"""The most power a domain can draw, and the differences and readings that are implausible for it. Pure functions.

Counters start again from about zero after a suspend or a reload of their driver, and some sensors give values that
cannot be a power. Both look like energy, so every difference and every reading is compared with what the domain can
draw in that time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from servewatt.errors import RefusedError, UnavailableError
from servewatt.records import Component, Domain, PowerSample, Reading

CEILING_W: Mapping[Component, float] = {
    Component.CPU: 1000.0,
    Component.DRAM: 600.0,
    Component.GPU: 3000.0,
    Component.MACHINE: 30_000.0,
}
"""Ceiling by kind of domain, for domains without a stated limit: about twice the largest of today. CPU packages reach
500 W (EPYC 9005, Xeon 6900), a socket's memory 24 modules of some 15 W, a GPU board 1400 W (B300), a server of eight
such boards 14.5 kW."""

HEADROOM = 2.0
"""How many times its own limit a domain is believed to draw. A package's limit holds for the mean over its time window
(up to some 30 s for the lower one, milliseconds for the upper, and the highest of them is taken here). A GPU exceeds
its limit for moments: an H200 of 700 W told 900 W, and never more than 690 W over a section. Changing a limit between
opening a meter and reading it may raise either. A counter that was reset is mostly off by hundreds of times the limit.
"""

BURST_S = 0.1
"""Time for which a domain may go on beyond any limit before the limit takes hold, added to every duration."""

STILL_QUANTA = 3
"""Quanta after which a counter that has not stepped is taken to stand still."""
STILL_LEAST_S = 0.1

NOT_KEPT_HINT = (
    "its driver, firmware or hypervisor does not keep it: name meters that work with --meter "
    "(servewatt doctor lists them)"
)
"""Hint for a counter that does not count, or a sensor that always reads zero."""

LEAST_SAMPLES = 5
LEAST_SHARE = 0.1
"""A counter whose mean power is less than this share of the lowest of its power readings missed energy. Boards draw
more than this share of their peak at rest, so not even samples that all met with bursts are so far above the mean."""
AGREEMENT = 2.0
"""How many times more or less than its own readings in between a counter with a range may hold."""


def most_power_w(domain: Domain) -> float:
    """Most mean power that is believed of a domain: its own limit with headroom, or its kind's ceiling."""
    ceiling_w = CEILING_W[domain.component]
    if not domain.max_power_w:
        return ceiling_w
    return max(domain.max_power_w, min(HEADROOM * domain.max_power_w, ceiling_w))


def is_power(domain: Domain, power_w: float) -> bool:
    """Whether a reading of the domain's power can be one: finite, not negative, not beyond what it can draw."""
    return math.isfinite(power_w) and 0 <= power_w <= most_power_w(domain)


def believable(domain: Domain, samples: Sequence[PowerSample]) -> list[PowerSample]:
    """The domain's own samples in order of time, without implausible ones."""
    own = [s for s in samples if s.domain == domain.name and is_power(domain, s.power_w)]
    return sorted(own, key=lambda s: s.time_s)


def difference_j(domain: Domain, first: Reading, last: Reading) -> float:
    """Joules between two readings of a counter, one wrap corrected.

    Raises RefusedError when the counter went backwards and has no range, when it might have wrapped once more than
    the readings show, and when the domain cannot have drawn that much in that time.
    """
    duration_s = last.time_s - first.time_s
    if duration_s < 0:
        raise RefusedError(f"{domain.name}: the last reading is older than the first")
    moved_j = last.energy_j - first.energy_j
    if not math.isfinite(moved_j):
        raise RefusedError(f"{domain.name}: the energy counter gave {last.energy_j} J", "measure again")
    if domain.range_j is None:
        if moved_j < 0:
            raise RefusedError(
                f"{domain.name}: the energy counter went backwards by {-moved_j:.3g} J",
                "its driver was reloaded or the machine suspended during the measurement; measure again",
            )
        _check_power(domain, moved_j, duration_s, f"moved by {moved_j:,.0f} J")
        return moved_j
    energy_j = moved_j + domain.range_j if moved_j < 0 else moved_j
    limit_w = _limit_w(domain)
    if energy_j < 0 or energy_j + domain.range_j <= limit_w * duration_s:
        raise RefusedError(
            f"{domain.name}: in {duration_s:.0f} s at up to {limit_w:.0f} W the energy counter may have wrapped "
            f"(it does every {domain.range_j:.0f} J) more often than two readings show",
            f"use windows below {domain.range_j / limit_w:.0f} s",
        )
    how = f"went backwards by {-moved_j:,.0f} J" if moved_j < 0 else f"moved by {moved_j:,.0f} J"
    _check_power(domain, energy_j, duration_s, how)
    return energy_j


def unwrapped(domain: Domain, first: Reading, last: Reading, samples: Sequence[PowerSample]) -> Reading | None:
    """The last reading as a counter without range would give it; None if the samples do not determine it. They do if
    they cover a window that is long enough for more wraps than two readings show, at intervals in which the counter can
    wrap once at most: each is the mean between two readings of it.
    """
    duration_s = last.time_s - first.time_s
    own = believable(domain, samples)
    steps = [(a, b) for a, b in pairwise(own) if b.time_s > first.time_s and a.time_s < last.time_s]
    if domain.range_j is None or _limit_w(domain) * duration_s < domain.range_j or not _covered(own, first, last):
        return None
    if max(b.time_s - a.time_s for a, b in steps) * most_power_w(domain) >= domain.range_j:
        return None
    sampled_j = math.fsum(b.power_w * (min(b.time_s, last.time_s) - max(a.time_s, first.time_s)) for a, b in steps)
    wraps = round((sampled_j - (last.energy_j - first.energy_j)) / domain.range_j)
    return replace(last, energy_j=last.energy_j + wraps * domain.range_j)


def stood_still(domain: Domain, first: Reading, last: Reading) -> bool:
    """Whether a counter did not move for so long that it cannot be counting: every device draws some power."""
    duration_s = last.time_s - first.time_s
    return last.energy_j == first.energy_j and duration_s > _long_s(domain)


def check_against_power(
    domain: Domain, energy_j: float, first: Reading, last: Reading, samples: Sequence[PowerSample]
) -> None:
    """Raise RefusedError where a counter's energy contradicts the domain's own power samples.

    It does where its mean power is far below the lowest of five or more samples inside. Where the counter has a range,
    samples are means between two readings of it, so that its energy lies between what those inside the section and
    those that reach into it add up to: there it also does where it is far from both, as that of a counter that was set
    back and is taken for wrapped. There a reading of 0 W shows besides that the counter stood still for as long:
    UnavailableError.
    """
    duration_s = last.time_s - first.time_s
    own = believable(domain, samples)
    inside = [s.power_w for s in own if first.time_s < s.time_s <= last.time_s]
    if len(inside) >= LEAST_SAMPLES and energy_j < LEAST_SHARE * min(inside) * duration_s:
        raise _contradiction(domain, energy_j / duration_s, inside)
    if domain.range_j is None or not inside:
        return
    steps = list(pairwise(own))
    pauses = [
        b.time_s - a.time_s for a, b in steps if b.power_w == 0 and first.time_s <= a.time_s <= b.time_s <= last.time_s
    ]
    if max(pauses, default=0.0) > _long_s(domain):
        raise UnavailableError(
            f"{domain.name}: the energy counter stood still for {max(pauses):.3g} s, where it should step every "
            f"{domain.quantum_s:g} s",
            NOT_KEPT_HINT,
        )
    least_j = math.fsum(_step_j(a, b) for a, b in steps if a.time_s >= first.time_s and b.time_s <= last.time_s)
    most_j = math.fsum(_step_j(a, b) for a, b in steps if b.time_s > first.time_s and a.time_s < last.time_s)
    slack_j = most_power_w(domain) * (domain.quantum_s + BURST_S)
    if AGREEMENT * energy_j + slack_j < least_j or (
        _covered(own, first, last) and energy_j > AGREEMENT * most_j + slack_j
    ):
        raise _contradiction(domain, energy_j / duration_s, inside)


def _long_s(domain: Domain) -> float:
    """Time within which a counter must have stepped."""
    return max(STILL_QUANTA * domain.quantum_s, STILL_LEAST_S)


def _limit_w(domain: Domain) -> float:
    """The limit that the domain states, or its kind's ceiling."""
    return domain.max_power_w or CEILING_W[domain.component]


def _covered(own: Sequence[PowerSample], first: Reading, last: Reading) -> bool:
    return bool(own) and own[0].time_s <= first.time_s and own[-1].time_s >= last.time_s


def _step_j(earlier: PowerSample, later: PowerSample) -> float:
    """Energy between two samples, each of which is the mean since the one before."""
    return later.power_w * (later.time_s - earlier.time_s)


def _check_power(domain: Domain, energy_j: float, duration_s: float, how: str) -> None:
    # A reading is up to a quantum old, so the difference may hold the energy of a quantum more.
    most_w = most_power_w(domain)
    if energy_j > most_w * (duration_s + domain.quantum_s + BURST_S):
        limit = f"states at most {domain.max_power_w:g} W" if domain.max_power_w else f"can draw {most_w:g} W at most"
        raise RefusedError(
            f"{domain.name}: the energy counter {how} in {duration_s:.3g} s, as if it had drawn "
            f"{energy_j / max(duration_s, domain.quantum_s, 1e-3):,.0f} W, but it {limit}",
            "the counter was reset (the machine was suspended, or a driver reloaded); measure again",
        )


def _contradiction(domain: Domain, counter_w: float, powers_w: Sequence[float]) -> RefusedError:
    return RefusedError(
        f"{domain.name}: the energy counter tells {counter_w:,.3g} W on average, the power readings "
        f"{min(powers_w):,.3g} to {max(powers_w):,.3g} W",
        "one of them does not work or was reset meanwhile; measure again",
    )
