"""One duet episode: what its slices tell of each configuration.

In a duet episode the processes of all configurations are loaded at once, and slices of about a second alternate in
random order within rounds. What disturbs the machine for a while disturbs neighbouring slices alike, so that it
cancels in their ratios. Source: L. Bulej et al., "Duet benchmarking" (arXiv 2001.05811); A. Abedi and T. Brecht,
"Conducting repeatable experiments in highly variable cloud computing environments" (doi 10.1145/3030207.3030229).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

PROCESS_SD = 0.04
"""Standard deviation of the log cost from one process of a configuration to the next, before any is seen: on a shared
virtual machine with two CPUs it was 0.02 to 0.05, on an H200 0.001."""
ROUNDS = 4, 24
"""Fewest and most rounds of an episode."""
EFFICIENCY = 1.05
"""Variance of the Hodges-Lehmann location over that of the mean, for Gaussian values (pi / 3)."""


@dataclass(frozen=True)
class Levels:
    """What one episode tells."""

    log_cost: Mapping[str, float]
    """Natural logarithm of each configuration's cost (such as joules a token), without what all shared round by round:
    only differences mean anything."""
    slice_variance: float
    """Variance of the log cost of a slice once round and configuration are taken off."""
    rounds: int

    @property
    def variance(self) -> float:
        """Variance of a level within its episode, by its slices' scatter: without what differs between processes."""
        return EFFICIENCY * self.slice_variance / self.rounds


def rounds_for(start_s: float, slice_s: float, slice_sd: float) -> int:
    """How many rounds an episode should have, so that time goes where the scatter comes from.

    `start_s`: seconds to start a process, paid once an episode; `slice_s`: seconds of a slice with the pause before it;
    `slice_sd`: standard deviation of a slice's log cost. The optimum of repetitions at two levels: T. Kalibera and
    R. Jones, "Rigorous benchmarking in reasonable time" (doi 10.1145/2464157.2464160), section 7.
    """
    least, most = ROUNDS
    best = math.ceil(math.sqrt(max(0.0, start_s) / slice_s) * slice_sd / PROCESS_SD)
    return min(most, max(least, best))


def episode_levels(rounds: Sequence[Mapping[str, float]]) -> Levels:
    """The level of each configuration in an episode.

    `rounds`: for each round the cost of each configuration's slice, positive, all in one unit; a configuration may be
    missing in some rounds. The level of a round is the median (of two: the mean) over its configurations of the
    deviation from each one's own median; the level of a configuration is the Hodges-Lehmann location, over its rounds,
    of log cost less the round's level. Both shrug off single disturbed slices.

    Raises ValueError if there is no round, or a cost is not a positive finite number.
    """
    if not rounds:
        raise ValueError("an episode needs at least one round")
    costs = [cost for costs in rounds for cost in costs.values()]
    if not all(math.isfinite(cost) and cost > 0 for cost in costs):
        raise ValueError("costs must be positive finite numbers")
    logs = [{name: math.log(cost) for name, cost in costs.items()} for costs in rounds]
    names = sorted({name for values in logs for name in values})
    middles = {name: statistics.median(v[name] for v in logs if name in v) for name in names}
    levels = []
    for values in logs:
        away = [value - middles[name] for name, value in values.items()]
        levels.append(statistics.median(away) if len(away) > 2 else statistics.fmean(away) if len(away) == 2 else 0.0)
    found = {
        name: hodges_lehmann([v[name] - level for v, level in zip(logs, levels, strict=True) if name in v])
        for name in names
    }
    squares, degrees = additive_residuals(logs)
    return Levels(found, squares / degrees if degrees > 0 else 0.0, len(rounds))


def hodges_lehmann(values: Sequence[float]) -> float:
    """The median of the means of all pairs of `values`, each with itself included.

    Source: J. L. Hodges and E. L. Lehmann, "Estimates of location based on rank tests", Ann. Math. Statist. 34 (1963).
    """
    return statistics.median((first + second) / 2 for first, second in combinations_with_replacement(values, 2))


def additive_residuals(table: Sequence[Mapping[str, float]]) -> tuple[float, int]:
    """(sum of squares, degrees of freedom) left in a table once an effect of each row and each column is taken off.

    Cells may be missing. The degrees are cells less the number of effects that can be told apart.
    """
    fit = additive_fit(table)
    return fit.squares, fit.degrees


@dataclass(frozen=True)
class AdditiveFit:
    """A table as the sum of an effect of each row and each column, by least squares."""

    columns: Mapping[str, float]
    """Effect of each column; only differences mean anything."""
    squares: float
    degrees: int


def additive_fit(table: Sequence[Mapping[str, float]]) -> AdditiveFit:
    """Fit rows and columns of a table in which cells may be missing."""
    names = sorted({name for row in table for name in row})
    rows = [row for row in table if row]
    if all(len(row) == len(names) for row in rows):
        # Importing NumPy takes longer than reading most runs, and a whole table needs it not.
        means = {name: statistics.fmean(row[name] for row in rows) for name in names}
        middle = statistics.fmean(means.values()) if means else 0.0
        levels = [statistics.fmean(row.values()) - middle for row in rows]
        squares = sum(
            (value - level - means[name]) ** 2
            for level, row in zip(levels, rows, strict=True)
            for name, value in row.items()
        )
        return AdditiveFit(means, squares, max(0, (len(rows) - 1) * (len(names) - 1)))
    return _fit_with_gaps(rows, names)


def _fit_with_gaps(rows: Sequence[Mapping[str, float]], names: Sequence[str]) -> AdditiveFit:
    """Least squares on indicator variables; the degrees are cells less the rank of the design."""
    import numpy as np

    places = {name: len(rows) + place for place, name in enumerate(names)}
    cells = [(number, places[name], value) for number, row in enumerate(rows) for name, value in row.items()]
    design = np.zeros((len(cells), len(rows) + len(names)))
    values = np.array([value for *_, value in cells])
    for index, (row, column, _) in enumerate(cells):
        design[index, row] = design[index, column] = 1.0
    fitted, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
    left = values - design @ fitted
    effects = {name: float(fitted[place]) for name, place in places.items()}
    return AdditiveFit(effects, float(left @ left), len(cells) - int(rank))
