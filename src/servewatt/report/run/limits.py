"""How far each configuration is from what memory and arithmetic allow."""

from __future__ import annotations

from collections.abc import Sequence

from servewatt.report import units
from servewatt.report.run.cells import CONFIGURATION, amount, measured, names, per_token
from servewatt.report.run.measures import Filled
from servewatt.report.table import Column, Entry, Form, Table
from servewatt.report.units import DASH, PERCENT, PLAIN, Quantity
from servewatt.stats.records import Analysis, Limit

TITLE = "How far from the limit"
EXPLANATION = (
    "Floor: bytes that a decode step must read over the memory's bandwidth, or its operations over the peak rate, "
    "whichever takes longer. Bandwidth: share of it that these bytes took up in the time measured"
)
_SHOWN = (
    "configuration",
    "floor_s_per_token",
    "bound_by",
    "decode_s_per_token",
    "times_floor",
    "bandwidth_share",
    "bytes_per_token",
    "decode_flops_per_token",
)


def limit_columns(limits: Sequence[Limit | None]) -> tuple[Filled, ...]:
    """Every column of the limit, those for people and those for other programs."""
    known = [limit for limit in limits if limit is not None]
    time = units.seconds([limit.decode_s_per_token.estimate for limit in known])
    size = units.si([limit.bytes_per_token for limit in known], "B")
    flops = units.si([limit.decode_flops_per_token for limit in known], "FLOP")
    quantity = Form.QUANTITY
    columns = (
        Column("weight_bytes_per_step", "weights/step", quantity),
        Column("cache_bytes_per_step", "KV cache/step", quantity),
        Column("bytes_per_token", "reads", quantity, per_token(size), short_unit=size.unit),
        Column("decode_flops_per_token", "computes", quantity, per_token(flops), short_unit=flops.unit),
        Column("prefill_flops_per_prompt", "prefill computes", quantity),
        Column("bandwidth_bytes_s", "bandwidth", quantity),
        Column("floor_s_per_token", "floor", quantity, per_token(time), short_unit=time.unit),
        Column("bound_by", "bound by"),
        Column("decode_s_per_token", "decode", quantity, per_token(time), True, short_unit=time.unit, spare=True),
        Column("times_floor", "times the floor", quantity, bounds=True, short="times floor", spare=True),
        Column("bandwidth_share", "bandwidth", quantity, PERCENT, bounds=True, short="bandw.", spare=True),
    )
    scales = {"decode_s_per_token": time, "times_floor": PLAIN, "bandwidth_share": PERCENT}
    shown = {"bytes_per_token": size, "decode_flops_per_token": flops, "floor_s_per_token": time}

    def entry(name: str, limit: Limit | None) -> Entry:
        value = getattr(limit, name, None)
        if name == "bound_by":
            return Entry(value, text=Quantity(value or DASH))
        return measured(value, scales[name]) if name in scales else amount(value, shown.get(name, PLAIN))

    return tuple((column, tuple(entry(column.name, limit) for limit in limits)) for column in columns)


def limit_table(analysis: Analysis) -> Table:
    """Configurations in the order of the ranking; no rows where nothing is known of the model's shape.

    Times are per generated token while decoding. The notes tell where the bandwidth is known from, and why some
    configurations have no floor.
    """
    known = [(s.configuration.key, s.limit) for s in analysis.summaries if s.limit is not None]
    named = names(analysis)
    filled = limit_columns([limit for _, limit in known])
    rows = zip([named[key] for key, _ in known], *(entries for _, entries in filled), strict=True)
    notes = dict.fromkeys(note for _, limit in known for note in _notes(limit))
    return Table(
        "limits",
        TITLE,
        (CONFIGURATION, *(column for column, _ in filled)),
        tuple(rows),
        told=("while decoding",),
        notes=tuple(notes),
        grouped=0,
    ).selected(_SHOWN)


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
