"""Rows of the table that tells HTTP's share, as text."""

from __future__ import annotations

from dataclasses import dataclass

from servewatt.report import units
from servewatt.report.units import PERCENT, Quantity
from servewatt.report.view import grade_is_estimated, short_labels
from servewatt.stats.records import Analysis, Interval

TITLE = "HTTP's share"
EXPLANATION = (
    "of what a token takes through HTTP, in per cent: 1 - process / http, the same configuration in both ways, paired "
    "by block"
)


@dataclass(frozen=True)
class HttpRow:
    """One configuration that was measured both in process and through HTTP."""

    key: str
    label: str
    energy: Quantity
    """Per cent of the energy per token, with `~` where it is estimated."""
    time: Quantity
    """Per cent of the time per token."""
    blocks: int
    """Blocks that have both."""


def http_rows(analysis: Analysis) -> tuple[HttpRow, ...]:
    """HTTP's share of each configuration, in the order of the ranking; empty where nothing was measured both ways."""
    labels = short_labels([s.configuration for s in analysis.summaries])
    grades = {s.configuration: s.energy_grade for s in analysis.summaries}
    rows = []
    for share in analysis.http_shares:
        energy = _percent(share.energy)
        if share.energy is not None and any(grade_is_estimated(grades[c]) for c in (share.process, share.http)):
            energy = Quantity(f"~{energy.estimate}", energy.interval, energy.value)
        blocks = max((i.n for i in (share.energy, share.time) if i is not None), default=0)
        key = share.process.key
        rows.append(HttpRow(key, labels[key], energy, _percent(share.time), blocks))
    return tuple(rows)


def _percent(share: Interval | None) -> Quantity:
    return units.quantity(share, PERCENT, most=3)
