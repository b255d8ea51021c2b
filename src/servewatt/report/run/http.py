"""Table of HTTP's share for each configuration that was measured through it."""

from __future__ import annotations

from dataclasses import replace

from servewatt.records import Grade, Via
from servewatt.report import units
from servewatt.report.run.cells import CONFIGURATION, told
from servewatt.report.table import Column, Entry, Form, Table
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


def http_table(analysis: Analysis) -> Table:
    """HTTP's share in the order of the ranking, without rows where nothing went through HTTP.

    Columns that would be empty are left out. The notes tell what the columns are, and are not.
    """
    shares = analysis.http_shares
    labels = short_labels([s.configuration for s in analysis.summaries])
    rows = []
    for share in shares:
        found = (share.outside_engine, share.energy, share.time)
        blocks = max((i.n for i in found if i is not None), default=0)
        name = Entry(replace(share.http, via=Via.PROCESS).key, short=labels[(share.process or share.http).key])
        cells = (_percent(share.outside_engine), _energy(share, analysis), _percent(share.time))
        rows.append((name, *cells, Entry(blocks)))
    # Older results do not have the engine's seconds, and what was measured through HTTP alone has no pair.
    within = any(s.outside_engine is not None for s in shares)
    between = any(s.process is not None for s in shares)
    quantity = Form.QUANTITY
    columns = (
        CONFIGURATION,
        Column("outside_engine", "outside engine", quantity, PERCENT, bounds=True),
        Column("energy", "energy/token", quantity, PERCENT, bounds=True),
        Column("time", "time/token", quantity, PERCENT, bounds=True),
        Column("blocks", "blocks", Form.COUNT),
    )
    shown = ("configuration", *("outside_engine",) * within, *("energy", "time") * between, "blocks")
    notes = (_WITHIN,) * within + (_BETWEEN,) * between
    return Table("http", TITLE, columns, tuple(rows), notes=notes, grouped=0, told=told(analysis)).selected(shown)


def _energy(share: HttpShare, analysis: Analysis) -> Entry:
    """The share of the energy per token, with `~` where it is estimated."""
    shown = _percent(share.energy)
    grades = (s.energy_grade for s in analysis.summaries if s.configuration in (share.process, share.http))
    if share.energy is None or shown.text is None or not any(map(grade_is_estimated, grades)):
        return shown
    return replace(shown, grade=Grade.ESTIMATED, text=replace(shown.text, estimate=f"~{shown.text.estimate}"))


def _percent(share: Interval | None) -> Entry:
    """As many digits as the interval supports, however near to zero the share itself is."""
    if share is None or share.low is None or share.high is None:
        return Entry(share, text=units.quantity(share, PERCENT, most=3))
    if units.share_says_nothing(share):
        return Entry(share, text=Quantity(units.TOO_FEW, value=share.estimate))
    values = [value / PERCENT.divisor for value in (share.estimate, share.low, share.high)]
    digits = units.decimals(100.0, (values[2] - values[1]) / 2)
    estimate, low, high = (units.number(value, digits) for value in values)
    return Entry(share, text=Quantity(estimate, f"[{low}, {high}]", share.estimate))
