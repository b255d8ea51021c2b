"""A configuration measured against itself: what a bench makes of no difference at all.

A race's leader may have a second process in each episode, its twin, which takes turns like everybody else. Whatever
tells the two apart is the bench's: places in memory, who came after whom, drift. A difference below that is no finding.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from servewatt.records import Result, Slice, Status
from servewatt.records.slices import LEAST_SLICES
from servewatt.stats.race.episode import hodges_lehmann


@dataclass(frozen=True)
class Floor:
    """What twins differed by."""

    differences: tuple[float, ...]
    """Of each episode that had one: log cost of the twin less that of its original."""

    @property
    def mean(self) -> float:
        """The mean difference of log costs."""
        return statistics.fmean(self.differences)

    @property
    def size(self) -> float:
        """Log cost below which differences are the bench's own: the mean difference's size and its standard error."""
        n = len(self.differences)
        spread = statistics.stdev(self.differences) / math.sqrt(n) if n > 1 else 0.0
        return abs(self.mean) + spread


def twin_floor(results: Sequence[Result], cost: Callable[[Result, Slice], float | None]) -> Floor | None:
    """What the twins of a run differed by, by valid `results` and the cost of a slice; None where no episode had one.

    An episode's difference is the Hodges-Lehmann location over rounds of the log ratio of the two slices; it needs as
    many rounds with both as a trial needs slices.
    """
    found = []
    for result in sorted(results, key=lambda r: r.trial.block):
        if result.status is not Status.OK or not result.twin_slices:
            continue
        both = (result.slices, result.twin_slices)
        original, twin = ({s.round: v for s in part if (v := _cost(result, s, cost))} for part in both)
        rounds = sorted(original.keys() & twin.keys())
        if len(rounds) >= LEAST_SLICES:
            found.append(hodges_lehmann([math.log(twin[n] / original[n]) for n in rounds]))
    return Floor(tuple(found)) if found else None


def _cost(result: Result, one: Slice, cost: Callable[[Result, Slice], float | None]) -> float | None:
    return None if one.fault or one.round < 0 else cost(result, one)
