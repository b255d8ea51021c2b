"""Rows of the table that tells how far each configuration is from the physical limit, as text."""

from __future__ import annotations

from dataclasses import dataclass

from servewatt.report import units
from servewatt.report.units import DASH, PERCENT, PLAIN, Quantity, Scale
from servewatt.report.view import short_labels
from servewatt.stats.records import Analysis, Limit

TITLE = "How far from the limit"
EXPLANATION = (
    "Floor: bytes that a decode step must read over the memory's bandwidth, or its operations over the peak rate, "
    "whichever takes longer. Bandwidth: share of it that these bytes took up in the time measured"
)


@dataclass(frozen=True)
class LimitRow:
    """One configuration; times are per generated token while decoding."""

    key: str
    label: str
    floor: str
    bound_by: str
    measured: Quantity
    times: Quantity
    """Measured over floor."""
    bandwidth: Quantity
    """Per cent."""
    bytes_per_token: str
    flops_per_token: str


@dataclass(frozen=True)
class LimitTable:
    """The table with the units of its columns."""

    rows: tuple[LimitRow, ...]
    time: Scale
    bytes_: Scale
    flops: Scale
    notes: tuple[str, ...]
    """Where the bandwidth is known from, and why some have no floor."""


def limit_table(analysis: Analysis) -> LimitTable:
    """Configurations in the order of the ranking; no rows where nothing is known of the model's shape."""
    labels = short_labels([s.configuration for s in analysis.summaries])
    known = [(s.configuration.key, s.limit) for s in analysis.summaries if s.limit is not None]
    limits = [limit for _, limit in known]
    time = units.seconds([limit.decode_s_per_token.estimate for limit in limits])
    size = units.si([limit.bytes_per_token for limit in limits], "B")
    flops = units.si([limit.decode_flops_per_token for limit in limits], "FLOP")
    rows = tuple(
        LimitRow(
            key=key,
            label=labels[key],
            floor=units.in_unit(limit.floor_s_per_token, time),
            bound_by=limit.bound_by or DASH,
            measured=units.quantity(limit.decode_s_per_token, time, most=3),
            times=units.quantity(limit.times_floor, PLAIN, most=3),
            bandwidth=units.quantity(limit.bandwidth_share, PERCENT, most=3),
            bytes_per_token=units.in_unit(limit.bytes_per_token, size),
            flops_per_token=units.in_unit(limit.decode_flops_per_token, flops),
        )
        for key, limit in known
    )
    return LimitTable(rows, time, size, flops, tuple(dict.fromkeys(n for limit in limits for n in _notes(limit))))


def _notes(limit: Limit) -> list[str]:
    notes = []
    if limit.bandwidth_bytes_s is not None:
        rate = units.with_unit(limit.bandwidth_bytes_s, units.si([limit.bandwidth_bytes_s], "B/s"))
        notes.append(f"bandwidth {rate} ({limit.source})")
    if limit.peak_flops_s is not None:
        notes.append(f"peak {units.with_unit(limit.peak_flops_s, units.si([limit.peak_flops_s], 'FLOP/s'))}")
    if limit.spared_bytes_per_step and limit.floor_s_per_token is not None:
        spared = units.with_unit(limit.spared_bytes_per_step, units.si([limit.spared_bytes_per_step], "B"))
        notes.append(f"less {spared} a step that the last-level cache may keep")
    if limit.no_floor:
        notes.append(f"no floor where {limit.no_floor}")
    return notes
