"""Constraints, feasible set, one reasoned choice or "undecided"."""
