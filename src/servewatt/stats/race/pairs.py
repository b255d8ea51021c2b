"""A run's configurations beside each other, by the bound that all its blocks share."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from servewatt.records import Configuration, Interval
from servewatt.stats.intervals import exponential
from servewatt.stats.race.bound import PairBound, pair_bound
from servewatt.stats.race.costs import TRIAL_SD, Costs
from servewatt.stats.race.episode import PROCESS_SD, additive_fit
from servewatt.stats.race.rules import TIE, Standing, error_of_each, standing
from servewatt.stats.records import Comparison, Verdict

MOST_BLOCKS = 1000
"""More than so many are no answer to how many would tell."""


def process_sd(costs: Costs) -> float:
    """What a configuration's log cost scatters by from block to block, before any is seen."""
    return PROCESS_SD if costs.duet else TRIAL_SD


def standing_of(
    costs: Costs, configurations: Collection[str], *, confidence: float, tie: float = TIE
) -> Standing | None:
    """Where the configurations of `costs` stand after its blocks; None without any.

    `configurations`: keys of all that were compared from the beginning, whose number fixes the error of each pair.
    """
    known = {key for episode in costs.episodes for key in episode.log_cost}
    if not known:
        return None
    return standing(
        costs.episodes,
        [*(key for key in configurations if key in known), *(key for key in configurations if key not in known)],
        tie=tie,
        confidence=confidence,
        process_sd=process_sd(costs),
        alone=not costs.duet,
        floor=costs.least_claim,
    )


def bound_of(costs: Costs, first: str, second: str) -> PairBound | None:
    """The difference of two configurations' log costs; None if they share no block."""
    if not costs.episodes:
        return None
    return pair_bound(first, second, costs.episodes, costs.scatter, process_sd=process_sd(costs), alone=not costs.duet)


def compare_costs(
    costs: Costs, first: Configuration, second: Configuration, *, error: float, tie: float = TIE
) -> Comparison | None:
    """The cost of `first` over that of `second`, with the two-sided interval at `error`.

    Without an interval where they share no block; None if one was in none. Undecided where the difference may be
    smaller than a twin's.
    """
    bound = bound_of(costs, first.key, second.key)
    if bound is None:
        levels = [[e.log_cost[c.key] for e in costs.episodes if c.key in e.log_cost] for c in (first, second)]
        if not all(levels):
            return None
        ratio = Interval(exponential(statistics.fmean(levels[0]) - statistics.fmean(levels[1])), None, None, 0)
        return Comparison(first, second, ratio, Verdict.UNDECIDED, None)
    half = bound.half_width(error)
    bounded = math.isfinite(half)
    ratio = Interval(
        exponential(bound.difference),
        exponential(bound.difference - half) if bounded else None,
        exponential(bound.difference + half) if bounded else None,
        bound.episodes,
    )
    least = exponential(costs.least_claim)
    if ratio.high is not None and ratio.high * least < 1:
        verdict, more = Verdict.LOWER, 0
    elif ratio.low is not None and ratio.low > least:
        verdict, more = Verdict.HIGHER, 0
    else:
        return Comparison(first, second, ratio, Verdict.UNDECIDED, blocks_until_told(bound, error, tie))
    return Comparison(first, second, ratio, verdict, more)


def blocks_until_told(bound: PairBound, error: float, tie: float = TIE) -> int | None:
    """How many more blocks would likely tell a pair apart, or that it is a tie; None for more than MOST_BLOCKS.

    Of blocks like those so far, with the same difference and variance.
    """
    for more in range(1, MOST_BLOCKS + 1):
        later = replace(bound, episodes=bound.episodes + more, degrees=bound.degrees + more)
        half = later.half_width(error)
        if half < abs(bound.difference) or bound.difference + later.half_width(error) < math.log1p(tie):
            return more
    return None


def by_cost(costs: Costs) -> tuple[str, ...]:
    """Keys by cost, least first: of levels fitted over all blocks, so that those of few blocks compare with the rest.

    Least squares of log cost on block and configuration.
    """
    effects = additive_fit([episode.log_cost for episode in costs.episodes]).columns
    return tuple(sorted(effects, key=lambda key: (round(effects[key], 12), key)))


def in_order(costs: Costs, reached: Standing | None) -> tuple[str, ...]:
    """Keys in the order in which they are shown: the choice, those that it may not beat, and what it was shown to."""
    order = by_cost(costs)
    if reached is None:
        return order
    return tuple(sorted(order, key=lambda key: (key != reached.choice, key in reached.dropped, order.index(key))))


def compare_all(
    costs: Costs, order: Sequence[Configuration], configurations: int, *, confidence: float
) -> tuple[Comparison, ...]:
    """The first of `order` beside each other one, corrected for the number of `configurations` that were compared."""
    error = error_of_each(confidence, configurations)
    known: Iterable[Configuration] = order[1:]
    found = (compare_costs(costs, order[0], other, error=error) for other in known) if order else ()
    return tuple(comparison for comparison in found if comparison is not None)
