"""Every measured column of a configuration, in one place: its name in CSV, title, unit, and how it is read.

The ranking, the table of batches, the further measures and the CSV export select from these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from servewatt.records import Status
from servewatt.report import units
from servewatt.report.run.cells import amount, measured, per_token
from servewatt.report.table import Column, Entry, Form
from servewatt.report.units import DASH, PERCENT, PLAIN, Quantity, Scale
from servewatt.report.view import grade_is_estimated
from servewatt.stats.records import ConfigurationSummary, Interval

Summaries = Sequence[ConfigurationSummary]
Filled = tuple[Column, tuple[Entry, ...]]
"""A column with its entries, in the order of the summaries."""


@dataclass(frozen=True)
class _Measure:
    """A field of `ConfigurationSummary` that has an interval."""

    name: str
    title: str
    unit: str
    like: tuple[str, ...] = ()
    """The fields that decide the unit's prefix; empty: itself."""
    per_token: bool = False
    digits: int = 3
    short: str = ""
    short_unit: str = ""


_ENERGY = ("energy_j_per_token",)
_TTFT = ("ttft_s",)
_INTER_TOKEN = ("inter_token_mean_s", "inter_token_p95_s")
_REQUEST = ("request_p95_s",)
_MEASURES = (
    _Measure("energy_j_per_token", "energy", "J", _ENERGY, per_token=True, digits=5),
    _Measure("energy_j_per_request", "energy/request", "J", digits=4),
    _Measure("active_j_per_token", "active energy", "J", _ENERGY, per_token=True, digits=4),
    _Measure("prefill_j_per_token", "prefill", "J", _ENERGY, per_token=True),
    _Measure("decode_j_per_token", "decode", "J", _ENERGY, per_token=True),
    _Measure("load_energy_j", "load energy", "J", digits=4),
    _Measure("load_s", "load time", "s", digits=4),
    _Measure("idle_power_w", "idle power", "W", digits=4),
    _Measure("tokens_per_s", "tokens/s", "", short="tok/s"),
    _Measure("ttft_s", "TTFT", "s", _TTFT),
    _Measure("ttft_p95_s", "TTFT p95", "s", _TTFT, digits=4),
    _Measure("inter_token_mean_s", "inter-token mean", "s", _INTER_TOKEN, short="token mean"),
    _Measure("inter_token_p50_s", "inter-token p50", "s", _INTER_TOKEN),
    _Measure("inter_token_p95_s", "inter-token p95", "s", _INTER_TOKEN),
    _Measure("inter_token_p99_s", "inter-token p99", "s", _INTER_TOKEN, digits=4),
    _Measure("request_p50_s", "request p50", "s", _REQUEST, digits=4),
    _Measure("request_p95_s", "request p95", "s", _REQUEST),
)
INTERVALS = tuple(m.name for m in _MEASURES)
"""The fields of a ConfigurationSummary that have an interval."""

PAIR = "inter_token_s"
"""The column of the inter-token mean and p95 in one cell."""


def interval_columns(summaries: Summaries) -> tuple[Filled, ...]:
    """One column a measure, each in one unit; `~` before energies that contain an estimate."""
    return tuple(_interval_column(m, summaries) for m in _MEASURES)


def resource_columns(summaries: Summaries) -> tuple[Filled, ...]:
    """Memory, utilisation, valid trials and agreement of outputs."""
    memory = units.binary([s.peak_rss_bytes for s in summaries] + [s.peak_gpu_bytes for s in summaries])
    percent = Scale("%", 1.0)
    return (
        _filled(
            Column("energy_error_share", "counter error", Form.PERCENT, PERCENT),
            summaries,
            lambda s: Entry(s.energy_error_share, text=_at_most(s.energy_error_share)),
        ),
        _filled(
            Column("peak_rss_bytes", "memory", Form.QUANTITY, memory),
            summaries,
            lambda s: amount(s.peak_rss_bytes, memory),
        ),
        _filled(
            Column("peak_gpu_bytes", "GPU memory", Form.QUANTITY, memory, short="GPU"),
            summaries,
            lambda s: amount(s.peak_gpu_bytes, memory),
        ),
        _filled(
            Column("cpu_percent", "CPU", Form.QUANTITY, percent), summaries, lambda s: amount(s.cpu_percent, digits=0)
        ),
        _filled(
            Column("gpu_percent", "GPU", Form.QUANTITY, percent), summaries, lambda s: amount(s.gpu_percent, digits=0)
        ),
        _filled(Column("blocks", "blocks", Form.COUNT), summaries, lambda s: Entry(s.blocks)),
        _filled(Column("trials", "trials ok", Form.COUNT), summaries, _trials),
        _filled(
            Column("output_agreement", "same tokens", Form.PERCENT, PERCENT, short="same"),
            summaries,
            lambda s: Entry(s.output_agreement, text=_percent(s.output_agreement)),
        ),
    )


def pace_column(summaries: Summaries) -> Filled:
    """The inter-token latency as `mean/p95`."""
    columns = {column.name: (column, entries) for column, entries in interval_columns(summaries)}
    (column, means), (_, tails) = columns["inter_token_mean_s"], columns["inter_token_p95_s"]
    head = Column(PAIR, "inter-token mean/p95", Form.QUANTITY, column.scale, short="token mean/p95")
    return head, tuple(map(_pair, means, tails))


def has_gpu(summaries: Summaries) -> bool:
    """Whether any of them tells of a GPU's memory or use."""
    return any(s.gpu_percent is not None or s.peak_gpu_bytes is not None for s in summaries)


def _filled(column: Column, summaries: Summaries, entry: Callable[[ConfigurationSummary], Entry]) -> Filled:
    return column, tuple(map(entry, summaries))


def _interval_column(measure: _Measure, summaries: Summaries) -> Filled:
    scale = _scale(measure, summaries)
    joules = measure.unit in {"J", "W"}

    def entry(summary: ConfigurationSummary) -> Entry:
        interval: Interval | None = getattr(summary, measure.name)
        estimated = joules and grade_is_estimated(summary.energy_grade)
        return measured(interval, scale, measure.digits, estimated=estimated)

    column = Column(
        measure.name,
        measure.title,
        Form.QUANTITY,
        per_token(scale) if measure.per_token else scale,
        bounds=True,
        short=measure.short,
        short_unit=measure.short_unit,
        drawn=measure.name == "energy_j_per_token",
    )
    return _filled(column, summaries, entry)


def _scale(measure: _Measure, summaries: Summaries) -> Scale:
    """One unit for the whole column; energies that are not above zero have no say in it."""
    found: list[float | None] = []
    for name in measure.like or (measure.name,):
        intervals: list[Interval | None] = [getattr(s, name) for s in summaries if s.has_energy or name not in _ENERGY]
        found += [i.estimate for i in intervals if i is not None]
    match measure.unit:
        case "s":
            return units.seconds(found)
        case "":
            return PLAIN
    return units.si(found, measure.unit)


def _trials(summary: ConfigurationSummary) -> Entry:
    total = sum(c.count for c in summary.statuses)
    ok = sum(c.count for c in summary.statuses if c.status is Status.OK)
    return Entry(total, text=Quantity(f"{ok}/{total}", value=ok))


def _percent(share: float | None) -> Quantity:
    return Quantity(units.percent(share).removesuffix(" %"), value=share)


def _at_most(share: float | None) -> Quantity:
    return Quantity(DASH if share is None else f"≤ {units.percent(share).removesuffix(' %')}", value=share)


def _pair(mean: Entry, tail: Entry) -> Entry:
    if mean.number is None or mean.text is None or tail.text is None:
        return Entry()
    return Entry(mean.number, text=Quantity(f"{mean.text.estimate}/{tail.text.estimate}", value=mean.number))
