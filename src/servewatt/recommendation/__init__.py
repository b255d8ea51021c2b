"""Constraints, feasible set, one reasoned choice or "undecided"."""

from servewatt.recommendation.choose import choose

__all__ = ["choose"]
