"""The table that tells what HTTP adds, as text."""

from __future__ import annotations

from dataclasses import dataclass, replace

from servewatt.records import Via
from servewatt.report import units
from servewatt.report.units import PERCENT, Quantity
from servewatt.report.view import grade_is_estimated, short_labels
from servewatt.stats.records import Analysis, HttpShare, Interval

TITLE = "HTTP's share"
_WITHIN = (
    "Outside engine: the part of a request's time in which the engine does not work, both timed in the same trial. It "
    "is time, not energy, and does not hold what waiting between requests costs the engine itself"
)
_BETWEEN = (
    "Energy, time: 1 - process / http per token, the same configuration in both ways, paired by block. It holds "
    "whatever else differs between two trials"
)


@dataclass(frozen=True)
class HttpRow:
    """One configuration that was measured through HTTP."""

    key: str
    """As in process."""
    label: str
    shares: tuple[Quantity, ...]
    """In per cent, one for each head of the table."""
    blocks: int
    """Blocks that have what is shown."""


@dataclass(frozen=True)
class HttpTable:
    """The rows in the order of the ranking; columns that would be empty are left out."""

    heads: tuple[str, ...]
    rows: tuple[HttpRow, ...]
    notes: tuple[str, ...]
    """What the columns are, and are not."""


def http_table(analysis: Analysis) -> HttpTable:
    """HTTP's share of each configuration; without rows where nothing went through HTTP."""
    shares = analysis.http_shares
    labels = short_labels([s.configuration for s in analysis.summaries])
    # Older results do not have the engine's seconds, and what was measured through HTTP alone has no pair.
    within = any(s.outside_engine is not None for s in shares)
    between = any(s.process is not None for s in shares)
    rows = []
    for share in shares:
        alone = (_percent(share.outside_engine),) * within
        paired = (_energy(share, analysis), _percent(share.time)) * between
        found = (share.outside_engine, share.energy, share.time)
        blocks = max((i.n for i in found if i is not None), default=0)
        key = replace(share.http, via=Via.PROCESS).key
        rows.append(HttpRow(key, labels[(share.process or share.http).key], alone + paired, blocks))
    heads = ("outside engine",) * within + ("energy/token", "time/token") * between
    return HttpTable(heads, tuple(rows), (_WITHIN,) * within + (_BETWEEN,) * between)


def _energy(share: HttpShare, analysis: Analysis) -> Quantity:
    """Per cent of the energy per token, with `~` where it is estimated."""
    shown = _percent(share.energy)
    grades = (s.energy_grade for s in analysis.summaries if s.configuration in (share.process, share.http))
    if share.energy is None or not any(map(grade_is_estimated, grades)):
        return shown
    return Quantity(f"~{shown.estimate}", shown.interval, shown.value)


def _percent(share: Interval | None) -> Quantity:
    """As many digits as the interval supports, however near to zero the share itself is."""
    if share is None or share.low is None or share.high is None:
        return units.quantity(share, PERCENT, most=3)
    if units.share_says_nothing(share):
        return Quantity(units.TOO_FEW, value=share.estimate / PERCENT.divisor)
    values = [value / PERCENT.divisor for value in (share.estimate, share.low, share.high)]
    digits = units.decimals(100.0, (values[2] - values[1]) / 2)
    estimate, low, high = (units.number(value, digits) for value in values)
    return Quantity(estimate, f"[{low}, {high}]", values[0])
