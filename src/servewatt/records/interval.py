"""An estimate over several observations, with its interval."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """A point estimate with a confidence interval; the bounds are None where data are too few for one."""

    estimate: float
    low: float | None
    high: float | None
    n: int
    """Number of independent observations (blocks)."""
