"""Describe, compare, test: pure functions over results."""

from servewatt.stats.analyse import analyse

__all__ = ["analyse"]
