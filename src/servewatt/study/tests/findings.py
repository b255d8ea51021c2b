"""Records of a battery of tests: effects, findings, and all of one variable of one subject."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Effect:
    """How large a difference is, whatever its p-value."""

    name: str
    """`cliff's delta` or `omega squared`."""
    value: float
    magnitude: str
    """`negligible`, `small`, `medium`, `large`, by the thresholds that the function's docstring cites."""
    low: float | None = None
    """Bounds of its 95 % interval; None where there is none."""
    high: float | None = None


@dataclass(frozen=True)
class Finding:
    """One hypothesis test on one variable of one subject, or why it cannot be computed."""

    test: str
    """`shapiro-wilk`, `levene`, `welch-anova`, `kruskal-wallis`, `dunn-holm` or `games-howell`."""
    groups: tuple[str, ...]
    """One group for Shapiro-Wilk, all for an omnibus test, two for a pair."""
    statistic: float | None = None
    p_value: float | None = None
    """As the test's own procedure gives it: Holm-adjusted within the subject for dunn-holm."""
    p_family: float | None = None
    """Holm-adjusted over the whole family: all findings of the same test over subjects and variables."""
    effect: Effect | None = None
    refused: str = ""
    """Why it cannot be computed; then there is neither statistic nor p-value."""


@dataclass(frozen=True)
class Battery:
    """The study's battery of tests on one variable of one subject (a model)."""

    subject: str
    variable: str
    """Name of the variable, such as a column of Observation."""
    alpha: float
    groups: tuple[tuple[str, int], ...]
    """Each group's name and number of usable observations, in the order given."""
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    """What a reader must know, such as why Dunn's test cannot tell separated groups apart at this n."""
