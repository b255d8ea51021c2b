"""Groups of observations: what is usable of them, and what keeps them from a test."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ROUNDING = 1e-12
"""Values that differ by less than this share of their size differ by rounding alone."""


VARIANCE = "a variance needs two"


@dataclass(frozen=True)
class Group:
    """The usable observations of one group."""

    name: str
    values: tuple[float, ...]

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def is_constant(self) -> bool:
        """Whether no two values differ by more than rounding; a single one is constant, too."""
        return constant(self.values)


def constant(values: Sequence[float]) -> bool:
    """Whether no two values differ by more than rounding."""
    if not values:
        return True
    low, high = min(values), max(values)
    return high - low <= ROUNDING * max(abs(low), abs(high))


def clean(groups: Mapping[str, Sequence[float]]) -> tuple[tuple[Group, ...], tuple[str, ...]]:
    """The groups without observations that are no finite numbers, and notes that say which these were.

    They are left out rather than refused with their whole group: such a cell is a trial that yielded no number, and
    the others of the group are as good without it.
    """
    cleaned = tuple(Group(name, tuple(float(v) for v in values if math.isfinite(v))) for name, values in groups.items())
    dropped = []
    for name, values in groups.items():
        places = [str(i) for i, v in enumerate(values, 1) if not math.isfinite(v)]
        if places:
            dropped.append(f"{name} no. {', '.join(places)} of {len(values)}")
    notes = []
    if dropped:
        notes.append(f"observations that are not finite numbers are left out: {'; '.join(dropped)}")
    empty = [g.name for g in cleaned if not g.n]
    if empty and len(empty) < len(cleaned):
        notes.append(f"tests over all groups leave out those without observations: {'; '.join(empty)}")
    return cleaned, tuple(notes)


def scaled(groups: Sequence[Group]) -> tuple[Group, ...]:
    """The groups with the largest value between 1/2 and 1, so that no square of a value leaves a float's range.

    Division by a power of two is exact, and no test here depends on the unit.
    """
    largest = max((abs(v) for g in groups for v in g.values), default=0.0)
    exponent = math.frexp(largest)[1]
    return tuple(Group(g.name, tuple(math.ldexp(v, -exponent) for v in g.values)) for g in groups)


def observation_count(n: int) -> str:
    """`no observations`, `one observation`, `3 observations`."""
    return "no observations" if n == 0 else "one observation" if n == 1 else f"{n} observations"


def too_few(groups: Sequence[Group], least: int, because: str = "") -> str:
    """Which groups have fewer than `least` observations, and why that is too few; an empty text if none has."""
    few = [g for g in groups if g.n < least]
    told = []
    for n in dict.fromkeys(g.n for g in few):
        names = [g.name for g in few if g.n == n]
        each = " each" if n else ""
        count = observation_count(n)
        told.append(f"{names[0]} has {count}" if len(names) == 1 else f"{'; '.join(names)} have {count}{each}")
    return "; ".join([*told, because] if because and any(g.n for g in few) else told)
