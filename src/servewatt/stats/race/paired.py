"""Where a race of pairs stands: two builds of each configuration, compared with each other and with nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from servewatt.stats.race.costs import Costs
from servewatt.stats.race.pairs import bound_of
from servewatt.stats.race.rules import Standing

LEAST_EPISODES = 2


@dataclass(frozen=True)
class PairStanding(Standing):
    """Standing of a race that ends once each pair is told; `choice` only names who stays through an episode."""

    pairs: int = 0
    open: tuple[tuple[str, str], ...] = ()
    """(base, head) keys of those that are not told yet."""


def pair_standing(
    costs: Costs, pairs: Sequence[tuple[str, str]], *, tie: float, confidence: float
) -> PairStanding | None:
    """Where `pairs` of (base, head) keys stand; None without any episode.

    A pair is told once its head is shown to cost at most a `tie` more than its base, or more than that. Each has an
    equal part of the error.
    """
    if not costs.episodes or not pairs:
        return None
    error, edge = (1 - confidence) / len(pairs), math.log1p(tie)
    left = tuple(pair for pair in pairs if not _told(costs, pair, error, edge))
    racing = tuple(key for pair in left for key in pair)
    return PairStanding(
        choice=(left or pairs)[0][0],
        promise=0.0,
        runner_up=None,
        racing=racing,
        decided=not left,
        pairs=len(pairs),
        open=left,
    )


def _told(costs: Costs, pair: tuple[str, str], error: float, edge: float) -> bool:
    base, head = pair
    bound = bound_of(costs, head, base)
    if bound is None or bound.episodes < LEAST_EPISODES:
        return False
    half = bound.half_width(error)
    return bound.difference + half <= edge or bound.difference - half > edge
