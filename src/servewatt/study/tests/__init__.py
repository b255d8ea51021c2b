"""The study's tests, effect sizes, and servewatt's own decision on the same observations."""
