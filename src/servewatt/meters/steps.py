"""Finds counters that never move although they are present and answer without error."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from servewatt.errors import UnavailableError
from servewatt.meters.base import Meter
from servewatt.meters.energy import added_up
from servewatt.meters.plausible import NOT_KEPT_HINT, STILL_QUANTA
from servewatt.records import Grade

WATCHED_S = 0.3
LOOKS = 30


def standing_still(meters: Sequence[Meter], pause: Callable[[float], None] = time.sleep) -> tuple[str, ...]:
    """Summed domains whose counter does not move while watched, and that have no power reading either.

    Takes a hundredth of a second where all move, else three of the coarsest counter's quanta, or 0.3 s.
    """
    domains = [d for meter in meters for d in meter.domains()]
    added = added_up(domains)
    watched = {d.name: d for d in domains if d.grade is Grade.COUNTER and d.name in added}
    first = _energies(meters)
    for meter in meters:
        meter.power()  # its next call may give the mean since this one
    longest_s = max([WATCHED_S, *(STILL_QUANTA * d.quantum_s for d in watched.values())])
    for _ in range(LOOKS):
        if not watched:
            return ()
        pause(longest_s / LOOKS)
        now = _energies(meters)
        watched = {name: d for name, d in watched.items() if now.get(name) == first.get(name)}
    drawing = {s.domain for meter in meters for s in meter.power() if s.power_w > 0}
    return tuple(name for name in watched if name not in drawing)


def check_steps(meters: Sequence[Meter]) -> None:
    """Raise UnavailableError if a counter to be added up stands still, and no power reading can stand in for it."""
    still = standing_still(meters)
    if still:
        raise UnavailableError(
            f"{still[0]}: the energy counter stands still, and no power reading tells what is drawn", NOT_KEPT_HINT
        )


def _energies(meters: Sequence[Meter]) -> dict[str, float]:
    return {r.domain: r.energy_j for meter in meters for r in meter.read()}
