"""How far apart two configurations are, over episodes: a bound that stays valid whenever one looks.

An episode yields one difference of log costs a pair, and two or three episodes say little of how much such differences
scatter. The scatter of a pair is therefore learnt from all pairs and from a stated prior as well, as in limma
(G. K. Smyth, Stat. Appl. Genet. Mol. Biol. 3 (2004), article 3): a moderated variance. What others lend is capped, so
that uneven noise is not averaged away.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from servewatt.stats.race.episode import PROCESS_SD, Levels, additive_residuals

PRIOR_DEGREES = 2
"""Degrees of freedom that the prior variance counts as."""
MOST_LENT = 12
"""Most degrees of freedom that prior and other pairs lend to a pair."""
SPENDING = ((0.9, 3.0), (0.1, 300.0))
"""(Share of the error, variance `g` of the prior on the standardised effect) of each mixture; the narrowest counts.

Large effects are found at once with a large g, small ones after many episodes with a small g."""


@dataclass(frozen=True)
class Scatter:
    """What all episodes tell of how much levels scatter."""

    squares: float
    """Sum of squares of levels once episode and configuration are taken off."""
    degrees: int
    within_variance: float
    """Mean variance of a level within its episode."""


@dataclass(frozen=True)
class PairBound:
    """The difference of two configurations' log costs, first less second."""

    difference: float
    episodes: int
    """Episodes that both were in."""
    variance: float
    """Of one episode's difference, moderated."""
    degrees: float
    own_variance: float | None = None
    """The same by this pair alone, without prior; None where the moderated one is all that is used.

    Each then has half of the error, and the narrower interval counts. A prior that is wide, as trials one after another
    need it, so does not keep a quiet machine from deciding."""

    def half_width(self, alpha: float) -> float:
        """Half the width of the two-sided interval at error `alpha`; infinite while every difference is possible.

        With probability 1 - alpha the true difference lies within it after every number of episodes at once.
        """
        if self.own_variance is None:
            return math.sqrt(self.variance) * widths(self.episodes, self.degrees, alpha)
        moderated = math.sqrt(self.variance) * widths(self.episodes, self.degrees, alpha / 2)
        if self.episodes < 2:
            return moderated
        return min(moderated, math.sqrt(self.own_variance) * widths(self.episodes, self.episodes - 1, alpha / 2))

    def low(self, alpha: float) -> float:
        """Lower bound of the two-sided interval at error `alpha`."""
        return self.difference - self.half_width(alpha)

    def upper(self, alpha: float) -> float:
        """One-sided upper bound at error `alpha`.

        A symmetric two-sided sequence at error A is crossed on one given side with probability at most A / (2 - A): of
        those that cross one side no more than a share A go on to cross the other. So A = 2 alpha / (1 + alpha).
        """
        return self.difference + self.half_width(2 * alpha / (1 + alpha))


@lru_cache(maxsize=4096)
def widths(n: float, degrees: float, alpha: float) -> float:
    """Half width in standard deviations of one of `n` values whose variance is known to `degrees` degrees of freedom.

    The narrowest of the mixtures of `SPENDING`, each at its share of `alpha`.
    """
    return min(mixture_width(n, degrees, share * alpha, variance) for share, variance in SPENDING)


def mixture_width(n: float, degrees: float, alpha: float, effect_variance: float) -> float:
    """The same for one mixture, with a prior N(0, `effect_variance`) on the standardised effect.

    For degrees = n - 1 it is `servewatt.stats.intervals.half_width`, the anytime-valid t interval of H. Wang and
    A. Ramdas (arXiv 2310.03722); further degrees come from elsewhere. For infinite degrees it is H. Robbins' normal
    mixture, Ann. Math. Statist. 41 (1970). Infinite while every mean is possible.
    """
    if n < 1:
        return math.inf
    log_shrink = math.log1p(n * effect_variance)
    exponent = (log_shrink - 2 * math.log(alpha)) / (degrees + 1)
    if exponent >= log_shrink:
        return math.inf
    return math.sqrt(degrees / n * math.expm1(exponent) / -math.expm1(exponent - log_shrink))


def pooled_scatter(episodes: Sequence[Levels]) -> Scatter:
    """The scatter over `episodes`. Raises ValueError if there are none."""
    if not episodes:
        raise ValueError("no episodes")
    squares, degrees = additive_residuals([episode.log_cost for episode in episodes])
    return Scatter(squares, degrees, statistics.fmean(episode.variance for episode in episodes))


def pair_bound(
    first: str,
    second: str,
    episodes: Sequence[Levels],
    scatter: Scatter,
    *,
    prior_degrees: float = PRIOR_DEGREES,
    process_sd: float = PROCESS_SD,
    alone: bool = False,
) -> PairBound | None:
    """The difference of two configurations over the episodes that both were in; None if they share none.

    `scatter` is that of all episodes; `process_sd` the prior standard deviation of a level between processes. `alone`:
    use the pair's own scatter too (`PairBound.own_variance`).
    """
    differences = [e.log_cost[first] - e.log_cost[second] for e in episodes if _both(e.log_cost, first, second)]
    if not differences:
        return None
    n = len(differences)
    mean = statistics.fmean(differences)
    own = sum((d - mean) ** 2 for d in differences)
    prior_variance = 2 * (process_sd**2 + scatter.within_variance)
    # A difference has twice the variance of a level.
    rest = max(0.0, 2 * scatter.squares - own)
    rest_degrees = max(0, scatter.degrees - (n - 1))
    centre = (prior_degrees * prior_variance + rest) / (prior_degrees + rest_degrees)
    lent = min(prior_degrees + rest_degrees, MOST_LENT)
    degrees = lent + n - 1
    alone_variance = own / (n - 1) if alone and n > 1 else 0.0
    return PairBound(mean, n, (lent * centre + own) / degrees, degrees, alone_variance if alone else None)


def _both(levels: Mapping[str, float], first: str, second: str) -> bool:
    return first in levels and second in levels
