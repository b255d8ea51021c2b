"""Where a race of pairs stands."""

from __future__ import annotations

import math
import random

from servewatt.stats.race import Levels
from servewatt.stats.race.costs import Costs
from servewatt.stats.race.paired import PairStanding, pair_standing

PAIRS = [("a@base", "a@head"), ("b@base", "b@head")]


def race(ratios: tuple[float, float], episodes: int, seed: int = 0, sd: float = 0.003) -> Costs:
    """b costs ten times a; heads cost `ratios` times their bases."""
    chance = random.Random(seed)
    levels: dict[str, float] = {}
    for (base, head), cost, ratio in zip(PAIRS, (1.0, 10.0), ratios, strict=True):
        levels |= {base: math.log(cost), head: math.log(cost * ratio)}
    made = [
        Levels({key: level + chance.gauss(0, sd) for key, level in levels.items()}, 1e-6, 8) for _ in range(episodes)
    ]
    return Costs(tuple(made), tuple(range(episodes)), True)


def standing(costs: Costs) -> PairStanding | None:
    return pair_standing(costs, PAIRS, tie=0.03, confidence=0.95)


def test_each_pair_is_told_by_itself() -> None:
    """That b costs ten times a ends nothing; a pair that is told rests."""
    assert standing(Costs()) is None
    first = standing(race((1.5, 1.0), 1))
    assert first is not None and len(first.open) == 2 and not first.decided
    later = standing(race((1.5, 1.02), 6))
    assert later is not None and later.open == (PAIRS[1],) and not later.decided
    assert later.racing == PAIRS[1]
    assert later.choice == "b@base"
    told = standing(race((1.5, 1.0), 12))
    assert told is not None and told.decided and told.racing == ()


def test_equal_builds_are_called_worse_no_more_often_than_stated() -> None:
    """Heads that cost exactly the tie more: either verdict of a pair may be wrong in 5 % of races."""
    wrong = 0
    for seed in range(200):
        costs = race((1.03, 1.03), 12, seed, sd=0.03)
        looks = (standing(Costs(costs.episodes[:n], costs.blocks[:n], True)) for n in range(1, 13))
        wrong += any(found is not None and len(found.open) < 2 for found in looks)
    assert wrong <= 18
