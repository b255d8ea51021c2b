"""How far apart one configuration's costs are in two runs that share no episode: a bound that stays valid whenever one
looks.

Within a run what disturbs the machine cancels in pairs; between two runs nothing cancels, so each run's own scatter
from episode to episode counts in full. The mixture is that of races (`servewatt.stats.race.bound`) for two samples: the
right-Haar prior on the common mean and scale, and a normal one on the standardised difference (M. F. Perez-Ortiz,
T. Lardy, R. de Heide and P. Grunwald, "E-statistics, group invariance and anytime-valid testing", Ann. Statist. 52
(2024)), with the effective number n = a b / (a + b) (J. N. Rouder et al., "Bayesian t tests for accepting and
rejecting the null hypothesis", Psychon. Bull. Rev. 16 (2009)). The two runs may scatter differently: variance and
degrees of freedom are those of B. L. Welch, Biometrika 34 (1947), which makes the bound approximate;
tests/stats/test_unpaired.py simulates its error. What shifts a whole run, such as another temperature of the room, is
in none of its episodes' scatter, and the bound does not know of it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from servewatt.stats.race.bound import PRIOR_DEGREES, widths
from servewatt.stats.race.costs import TRIAL_SD

LEAST_EPISODES = 2
"""Of each run: one start does not tell what starts differ by."""
LEAST_SD = 1e-3
"""Of a log cost from episode to episode: equal readings of a coarse counter are no proof of a smaller one."""


@dataclass(frozen=True)
class Sample:
    """The log costs of one configuration over a run's episodes, in short."""

    count: int
    mean: float
    squares: float
    """Sum of squared deviations from the mean."""


@dataclass(frozen=True)
class UnpairedBound:
    """The difference of two runs' log costs, `head` less `base`."""

    base: Sample
    head: Sample

    @property
    def difference(self) -> float:
        """Of the means."""
        return self.head.mean - self.base.mean

    def half_width(self, alpha: float) -> float:
        """Half the width of the two-sided interval at error `alpha`; infinite while every difference is possible.

        With probability 1 - alpha the true difference lies within it, however many episodes either run has when one
        looks. Half of the error goes to scatter moderated by a prior, which tells large differences early, and half to
        the runs' own scatter, which tells small ones on a quiet machine; the narrower interval counts.
        """
        if min(self.base.count, self.head.count) < LEAST_EPISODES:
            return math.inf
        moderated = self._width(alpha / 2, PRIOR_DEGREES, TRIAL_SD**2)
        return min(moderated, self._width(alpha / 2, 0, 0.0))

    def _width(self, alpha: float, prior_degrees: int, prior_variance: float) -> float:
        degrees = [prior_degrees + sample.count - 1 for sample in (self.base, self.head)]
        parts = [
            max((prior_degrees * prior_variance + sample.squares) / known, LEAST_SD**2) / sample.count
            for sample, known in zip((self.base, self.head), degrees, strict=True)
        ]
        welch = sum(parts) ** 2 / sum(part**2 / known for part, known in zip(parts, degrees, strict=True))
        # Welch's degrees follow the larger variance, which the shorter run may show too small by chance.
        certain = min(welch, 2 * min(degrees))
        effective = self.base.count * self.head.count / (self.base.count + self.head.count)
        return math.sqrt(sum(parts) * effective) * widths(effective, certain, alpha)


def unpaired_bound(base: Sequence[float], head: Sequence[float]) -> UnpairedBound | None:
    """The difference of log costs, natural logarithms with one value an episode; None where either run has none."""
    return UnpairedBound(_sample(base), _sample(head)) if base and head else None


def _sample(values: Sequence[float]) -> Sample:
    mean = statistics.fmean(values)
    return Sample(len(values), mean, math.fsum((value - mean) ** 2 for value in values))
