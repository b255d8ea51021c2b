"""Energy per token against batch, as text."""

from __future__ import annotations

from dataclasses import dataclass

from servewatt.report import units
from servewatt.report.units import Quantity, Scale
from servewatt.report.view import grade_is_estimated, short_labels
from servewatt.stats.records import Analysis, BatchCurve, ConfigurationSummary, Verdict

TITLE = "Energy against batch"
EXPLANATION = (
    "Per generated token, idle power included. Prefill: power of prefill over the time to the first tokens; decode: "
    "the rest of the same window"
)


@dataclass(frozen=True)
class BatchRow:
    """One batch of a family."""

    key: str
    family: str
    """Engine and what else tells the families apart."""
    begins: bool
    """Whether it is the first of its family."""
    best: bool
    batch: int
    energy: Quantity
    prefill: Quantity
    decode: Quantity
    tokens_per_s: Quantity
    inter_token: Quantity
    request_p95: Quantity


@dataclass(frozen=True)
class BatchTable:
    """The table with the units of its columns, and what it says of each family."""

    rows: tuple[BatchRow, ...]
    energy: Scale
    inter_token: Scale
    request: Scale
    sentences: tuple[str, ...]


def family_labels(analysis: Analysis) -> list[str]:
    """A name for each batch curve: the configuration's label without its batch."""
    families = [curve.best for curve in analysis.batch_curves]
    bare = {c.key: c for c in families}
    labels = short_labels(list(bare.values()))
    return [" ".join(part for part in labels[c.key].split(" ") if part != f"b{c.batch}") or c.engine for c in families]


def batch_table(analysis: Analysis) -> BatchTable:
    """Every family that was measured at more than one batch; no rows where there is none."""
    points = [p for curve in analysis.batch_curves for p in curve.points]
    energy = units.si([p.energy_j_per_token.estimate for p in points if p.energy_j_per_token is not None], "J")
    inter_token = units.seconds([p.inter_token_mean_s.estimate for p in points if p.inter_token_mean_s is not None])
    request = units.seconds([p.request_p95_s.estimate for p in points if p.request_p95_s is not None])
    rows, sentences = [], []
    for curve, family in zip(analysis.batch_curves, family_labels(analysis), strict=True):
        sentences.append(_sentence(curve, family))
        for point in curve.points:
            graded = grade_is_estimated(point.energy_grade)
            joules = (point.energy_j_per_token, point.prefill_j_per_token, point.decode_j_per_token)
            total, prefill, decode = (_signed(units.quantity(j, energy, most=3), graded) for j in joules)
            rows.append(
                BatchRow(
                    key=point.configuration.key,
                    family=family,
                    begins=point is curve.points[0],
                    best=point.configuration == curve.best,
                    batch=point.configuration.batch,
                    energy=total,
                    prefill=prefill,
                    decode=decode,
                    tokens_per_s=units.quantity(point.tokens_per_s, most=3),
                    inter_token=units.quantity(point.inter_token_mean_s, inter_token, most=3),
                    request_p95=units.quantity(point.request_p95_s, request, most=3),
                )
            )
    return BatchTable(tuple(rows), energy, inter_token, request, tuple(sentences))


def _sentence(curve: BatchCurve, family: str) -> str:
    """The batch of least energy with its uncertainty, and the latency it costs."""
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


def _signed(quantity: Quantity, estimated: bool) -> Quantity:
    if not estimated or quantity.value is None:
        return quantity
    return Quantity(f"~{quantity.estimate}", quantity.interval, quantity.value)
