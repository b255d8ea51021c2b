"""Describe, compare, test: pure functions over results."""
