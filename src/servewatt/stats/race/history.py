"""How a race came to its choice: the bounds of each configuration beside the choice, after each episode."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from servewatt.records import Interval, Result
from servewatt.stats.intervals import exponential
from servewatt.stats.race.costs import Costs
from servewatt.stats.race.pairs import bound_of
from servewatt.stats.race.raced import Raced, Step
from servewatt.stats.race.rules import error_of_each, looks


@dataclass(frozen=True)
class PairWidths:
    """What is known of two configurations' log costs, first less second, at the error of each comparison."""

    first: str
    second: str
    difference: float
    half_width: float
    """Of the two-sided interval."""
    upper_width: float
    """From the difference to the one-sided upper bound of a promise."""


def history(
    costs: Costs,
    choice: str,
    configurations: Collection[str],
    *,
    confidence: float,
    measured_s: Mapping[str, float] | None = None,
) -> tuple[Raced, ...]:
    """The way of each of `configurations` with costs; the choice among them. Bounds after as many episodes as `looks`.

    `configurations`: keys of all that were compared, whose number fixes the error of each pair. `measured_s`: see
    `measured_seconds`.
    """
    error = error_of_each(confidence, len(configurations))
    so_far = [replace(costs, episodes=costs.episodes[:n], blocks=costs.blocks[:n]) for n in looks(len(costs.episodes))]
    found = []
    for key in configurations:
        episodes = sum(key in episode.log_cost for episode in costs.episodes)
        spent_s = (measured_s or {}).get(key, 0.0)
        if key == choice:
            found.append(Raced(key, episodes, spent_s))
        elif episodes:
            steps = tuple(step for part in so_far if (step := _step(part, key, choice, error)) is not None)
            bound = bound_of(costs, choice, key)
            upper = None if bound is None else max(0.0, bound.upper(error), costs.least_claim)
            found.append(Raced(key, episodes, spent_s, steps, None if upper is None else -math.expm1(-upper)))
    return tuple(found)


def _step(costs: Costs, key: str, choice: str, error: float) -> Step | None:
    bound = bound_of(costs, key, choice)
    if bound is None:
        return None
    half = bound.half_width(error)
    ends = (None, None) if math.isinf(half) else (bound.difference - half, bound.difference + half)
    low, high = (None if end is None else exponential(end) for end in ends)
    return Step(len(costs.episodes), Interval(exponential(bound.difference), low, high, bound.episodes))


def pair_widths(costs: Costs, configurations: Sequence[str], *, confidence: float) -> tuple[PairWidths, ...]:
    """Every pair of `configurations` that shared an episode and whose interval has ends."""
    error = error_of_each(confidence, len(configurations))
    found = []
    for first, second in combinations(configurations, 2):
        bound = bound_of(costs, first, second)
        if bound is not None and math.isfinite(half := bound.half_width(error)):
            upper = bound.upper(error) - bound.difference
            found.append(PairWidths(first, second, bound.difference, half, upper))
    return tuple(found)


def measured_seconds(results: Sequence[Result]) -> dict[str, float]:
    """Key -> seconds that its processes were measured, from loading on; slices that were repeated count too."""
    spent: dict[str, float] = {}
    for result in results:
        key = result.trial.configuration.key
        sections = [s.duration_s for s in result.sections if s.name != "generate" or not result.slices]
        slices = [one.work_s + one.tail_s for one in result.slices]
        spent[key] = spent.get(key, 0.0) + math.fsum([*sections, *slices])
    return spent
