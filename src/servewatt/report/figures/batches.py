"""The figure of energy per token against batch."""

from __future__ import annotations

from servewatt.report import units
from servewatt.report.figures.canvas import (
    INK,
    LINE_COLOURS,
    SHAPES,
    Figure,
    Row,
    Specification,
    caption,
    described,
    is_narrow,
    layered,
    legend,
    palette,
    plot,
    said,
    side_by_side,
)
from servewatt.report.figures.scales import Extent, extent, reach, ticked
from servewatt.report.run.batches import family_labels
from servewatt.stats.records import Analysis, BatchCurve, Interval

_TITLE = "Energy per token against batch"
_WHOLE, _DECODE, _PREFILL = "whole", "decode", "prefill"
_FIELDS = {_WHOLE: "energy_j_per_token", _DECODE: "decode_j_per_token", _PREFILL: "prefill_j_per_token"}
_DASHES = {_DECODE: [1, 0], _PREFILL: [2, 3]}


def batch_energy(analysis: Analysis) -> Figure | None:
    """Energy per token over batch, both logarithmic: all of it, and prefill and decode apart."""
    curves = analysis.batch_curves
    if not curves:
        return None
    families = family_labels(analysis)
    points = [p for curve in curves for p in curve.points]
    scale = units.si([p.energy_j_per_token.estimate for p in points if p.energy_j_per_token is not None], "J")
    pairs = list(zip(curves, families, strict=True))
    rows = [row for curve, family in pairs for part in _FIELDS for row in _rows(curve, family, part, scale)]
    batches = sorted({p.configuration.batch for p in points})
    split = any(p.prefill_j_per_token is not None for p in points)
    known = [i for p in points for name in _FIELDS.values() if (i := getattr(p, name)) is not None and i.estimate > 0]

    def draw(width: int) -> Specification:
        narrow = is_narrow(width)
        inner = width - 62 if narrow or not split else (width - 110) / 2
        xs = extent([float(b) for b in batches], inner, log=True)
        ys = extent(reach(known, scale.divisor), 200 if narrow else 260, log=True)
        whole = _panel(rows, (_WHOLE,), families, xs, ys, batches, scale.unit, "whole")
        if not split:
            return whole
        parts = _panel(rows, (_DECODE, _PREFILL), families, xs, ys, batches, scale.unit, "decode and prefill")
        return side_by_side([whole, parts], 1 if narrow else 2)

    told = "; ".join(
        f"{family} "
        + ", ".join(
            f"batch {p.configuration.batch} {units.energy(p.energy_j_per_token.estimate)}"
            for p in curve.points
            if p.energy_j_per_token is not None
        )
        for curve, family in pairs
    )
    alt_text = (
        f"Line chart of energy per generated token over batch, both logarithmic: {told}. {caption(analysis, points)}."
    )
    return Figure("batch", _TITLE, alt_text, f"{caption(analysis, points)} · ring: least of its line", draw)


def _panel(
    rows: list[Row],
    parts: tuple[str, ...],
    families: list[str],
    xs: Extent,
    ys: Extent,
    batches: list[int],
    unit: str,
    title: str,
) -> Specification:
    import altair as alt

    x = alt.X("x:Q", title="batch", scale=xs.scale, axis=ticked(batches, len(batches), "d"))
    y = alt.Y("y:Q", title=f"{unit} per generated token", scale=ys.scale, axis=ticked(ys.ticks(7), 6))
    key = legend(2 if xs.pixels > 290 else 3)
    colour = alt.Color("family:N", scale=palette(families, LINE_COLOURS), legend=key)
    shape = alt.Shape("family:N", scale=palette(families, SHAPES), legend=key)
    dash_key = None if len(parts) == 1 else legend(2)
    dash = alt.StrokeDash("part:N", scale=palette(parts, [_DASHES.get(p, [1, 0]) for p in parts]), legend=dash_key)
    own = [row for row in rows if row["part"] in parts]
    data = plot(own)
    layers = [
        data.mark_rule(aria=False).encode(x=x, y=alt.Y("low:Q", scale=ys.scale), y2="high:Q", color=colour),
        data.mark_line(strokeWidth=1.4, aria=False).encode(
            x=x, y=y, color=colour, strokeDash=dash, detail=["family:N", "part:N"]
        ),
        data.mark_point(filled=True, size=46, opacity=1).encode(
            x=x, y=y, color=colour, shape=shape, description=described()
        ),
        plot([row for row in own if row["best"]])
        .mark_point(size=210, stroke=INK, strokeWidth=1, fill=None, aria=False)
        .encode(x=x, y=y),
    ]
    return layered(*layers, width=xs.pixels, height=ys.pixels, title=title)


def _rows(curve: BatchCurve, family: str, part: str, scale: units.Scale) -> list[Row]:
    rows: list[Row] = []
    for point in curve.points:
        interval: Interval | None = getattr(point, _FIELDS[part])
        if interval is None or not interval.estimate > 0:
            continue
        bounds = units.drawn_bounds(interval)
        low, high = bounds if bounds is not None and bounds[0] > 0 else (interval.estimate, interval.estimate)
        quantity = units.quantity(interval, scale, most=3)
        batch = point.configuration.batch
        told = f"{quantity.estimate} {scale.unit} per token {quantity.interval}".strip()
        rows.append(
            {
                "x": batch,
                "y": interval.estimate / scale.divisor,
                "low": low / scale.divisor,
                "high": high / scale.divisor,
                "family": family,
                "part": part,
                "best": part == _WHOLE and batch == curve.best.batch,
                "said": said(family, f"batch {batch}", part, told),
            }
        )
    return rows
