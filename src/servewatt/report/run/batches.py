"""Energy per token against batch."""

from __future__ import annotations

from servewatt.report import units
from servewatt.report.run.cells import told
from servewatt.report.run.measures import interval_columns
from servewatt.report.table import Column, Entry, Form, Table
from servewatt.report.units import Quantity
from servewatt.report.view import short_labels
from servewatt.stats.records import Analysis, BatchCurve, ConfigurationSummary, Verdict

TITLE = "Energy against batch"
EXPLANATION = (
    "Per generated token, idle power included. Prefill: power of prefill over the time to the first tokens; decode: "
    "the rest of the same window"
)
_MEASURES = (
    "energy_j_per_token",
    "prefill_j_per_token",
    "decode_j_per_token",
    "tokens_per_s",
    "inter_token_mean_s",
    "request_p95_s",
)


def family_labels(analysis: Analysis) -> list[str]:
    """A name for each batch curve: the configuration's label without its batch."""
    families = [curve.best for curve in analysis.batch_curves]
    bare = {c.key: c for c in families}
    labels = short_labels(list(bare.values()))
    return [" ".join(part for part in labels[c.key].split(" ") if part != f"b{c.batch}") or c.engine for c in families]


def batch_table(analysis: Analysis) -> Table:
    """Every family that was measured at more than one batch; no rows where there is none.

    `▸` marks the batch of least energy in its family.
    """
    points = [p for curve in analysis.batch_curves for p in curve.points]
    families = family_labels(analysis)
    pairs = list(zip(analysis.batch_curves, families, strict=True))
    names = [Entry(family) for curve, family in pairs for _ in curve.points]
    best = [p.configuration == curve.best for curve in analysis.batch_curves for p in curve.points]
    batches = [_batch(p.configuration.batch, chosen) for p, chosen in zip(points, best, strict=True)]
    keys = [Entry(p.configuration.key) for p in points]
    filled = interval_columns(points)
    columns = (
        Column("family", "configuration"),
        Column("batch", "batch", Form.COUNT),
        Column("configuration", "key"),
        *(column for column, _ in filled),
    )
    rows = tuple(zip(names, batches, keys, *(entries for _, entries in filled), strict=True))
    shown = Table("batches", TITLE, columns, rows, told=told(analysis)).selected(("family", "batch", *_MEASURES))
    return shown.estimates("tokens_per_s", "inter_token_mean_s", "request_p95_s")


def batch_sentences(analysis: Analysis) -> tuple[str, ...]:
    """Of each family the batch of least energy with its uncertainty, and the latency it costs."""
    return tuple(map(_sentence, analysis.batch_curves, family_labels(analysis)))


def _batch(batch: int, best: bool) -> Entry:
    return Entry(batch, text=Quantity(f"▸{batch}" if best else str(batch), value=batch))


def _sentence(curve: BatchCurve, family: str) -> str:
    by_configuration = {p.configuration: p for p in curve.points}
    best, smallest = by_configuration[curve.best], curve.points[0]
    others = [str(c.batch) for c in curve.candidates if c != curve.best]
    told = f"{family}: least energy per token at batch {curve.best.batch}"
    if others:
        told += f", not told apart from {', '.join(others)}"
    parts = [told]
    if curve.against_smallest is not None:
        share = units.saved(curve.against_smallest.ratio)
        doubt = " (undecided)" if curve.against_smallest.verdict is Verdict.UNDECIDED else ""
        against = f"against batch {smallest.configuration.batch}{doubt}"
        known = share.estimate != units.TOO_FEW
        parts.append(f"saves {share.estimate} % {share.interval} {against}" if known else f"{share.estimate} {against}")
    if best is not smallest:
        parts.append(f"{_waits(best)} between tokens instead of {_waits(smallest)}")
    return "; ".join(parts)


def _waits(point: ConfigurationSummary) -> str:
    step = point.inter_token_mean_s
    return units.duration(step.estimate if step is not None else None)
