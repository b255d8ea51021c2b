"""Constraints, feasible set, one reasoned choice or "undecided"."""

from servewatt.recommend.choose import choose

__all__ = ["choose"]
