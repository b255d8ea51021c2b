"""Entries that the tables of a run share: names of configurations, measured values, and what is told of all of them."""

from __future__ import annotations

from dataclasses import replace

from servewatt.records import Grade, Weights
from servewatt.report import units
from servewatt.report.table import Column, Entry
from servewatt.report.units import DASH, PLAIN, Quantity, Scale
from servewatt.report.view import grade_is_estimated, short_labels
from servewatt.stats.records import Analysis, Interval

CONFIGURATION = Column("configuration", "configuration")


def names(analysis: Analysis) -> dict[str, Entry]:
    """Key -> the configuration's name, with its short one."""
    labels = short_labels([s.configuration for s in analysis.summaries])
    return {key: Entry(key, short=label) for key, label in labels.items()}


def told(analysis: Analysis, *, boundary: bool = True) -> tuple[str, ...]:
    """What must be said wherever results of this run are shown."""
    parts = [f"{analysis.boundary.value} boundary"] if boundary else []
    if analysis.run.plan.model.weights is Weights.RANDOM:
        parts.append("weights: random")
    if any(grade_is_estimated(s.energy_grade) for s in analysis.summaries):
        parts.append("~ estimated")
    return tuple(parts)


def measured(interval: Interval | None, scale: Scale = PLAIN, most: int = 3, *, estimated: bool = False) -> Entry:
    """A measured value with as many digits as its interval supports, at most `most`; `~` before an estimate."""
    quantity = units.quantity(interval, scale, most)
    if estimated and quantity.estimate != DASH:
        quantity = replace(quantity, estimate=f"~{quantity.estimate}")
    return Entry(interval, Grade.ESTIMATED if estimated and interval is not None else None, text=quantity)


def amount(value: float | None, scale: Scale = PLAIN, digits: int | None = None) -> Entry:
    """A number without an interval, with three significant digits or `digits` after the point."""
    shown = units.number(None if value is None else value / scale.divisor, digits)
    return Entry(value, text=Quantity(shown, value=value))


def per_token(scale: Scale) -> Scale:
    """The unit of a quantity per generated token."""
    return Scale(f"{scale.unit}/token", scale.divisor)
