"""The figure of energy per token against batch."""

from __future__ import annotations

import math
from typing import Any

from servewatt.report import units
from servewatt.report.drawing import blank, caption, titled
from servewatt.report.figures import BLUE, GREEN, INK, ORANGE, PURPLE, SKY, Figure, finished
from servewatt.report.run.batches import family_labels
from servewatt.stats.records import Analysis, BatchCurve, Interval

_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, INK)
_MARKERS = "osD^vPX"
_TITLE = "Energy per token against batch"


def batch_energy(analysis: Analysis) -> Figure | None:
    """Energy per token over batch, both logarithmic: all of it on the left, prefill and decode apart on the right."""
    curves = analysis.batch_curves
    if not curves:
        return None
    labels = family_labels(analysis)
    points = [p for curve in curves for p in curve.points]
    scale = units.si([p.energy_j_per_token.estimate for p in points if p.energy_j_per_token is not None], "J")
    split = any(p.prefill_j_per_token is not None for p in points)
    drawing = blank(7.0, 3.9 + 0.2 * math.ceil(len(curves) / 3))
    panels = drawing.subplots(1, 2 if split else 1, squeeze=False, sharey=True)[0]
    handles: dict[str, Any] = {}
    for index, (curve, label) in enumerate(zip(curves, labels, strict=True)):
        colour, marker = _COLOURS[index % len(_COLOURS)], _MARKERS[index % len(_MARKERS)]
        handles[label] = _line(panels[0], curve, "energy_j_per_token", scale.divisor, colour, marker, "-")
        if split:
            _line(panels[1], curve, "decode_j_per_token", scale.divisor, colour, marker, "-")
            _line(panels[1], curve, "prefill_j_per_token", scale.divisor, colour, marker, ":")
    batches = sorted({p.configuration.batch for p in points})
    for axes, title in zip(panels, ("whole", "decode (solid), prefill (dotted)"), strict=False):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(batches, [str(b) for b in batches])
        axes.minorticks_off()
        axes.set_xlabel("batch", fontsize=9)
        axes.set_title(title, loc="left", fontsize=9)
        axes.tick_params(labelsize=9)
        axes.margins(x=0.07, y=0.08)
    _name_decades(panels[0].yaxis)
    panels[0].set_ylabel(f"{scale.unit} per generated token")
    titled(drawing, _TITLE, f"{caption(analysis, points)} · ring: least of its line")
    drawing.legend(list(handles.values()), list(handles), loc="outside lower left", ncols=3, fontsize=9)
    said = "; ".join(
        f"{label} "
        + ", ".join(
            f"batch {p.configuration.batch} {units.energy(p.energy_j_per_token.estimate)}"
            for p in curve.points
            if p.energy_j_per_token is not None
        )
        for curve, label in zip(curves, labels, strict=True)
    )
    alt = f"Line chart of energy per generated token over batch, both logarithmic: {said}. {caption(analysis, points)}."
    return finished("batch", _TITLE, alt, drawing)


def _line(axes: Any, curve: BatchCurve, name: str, divisor: float, colour: str, marker: str, dash: str) -> Any:
    known: list[tuple[int, Interval]] = [
        (p.configuration.batch, interval)
        for p in curve.points
        if (interval := getattr(p, name)) is not None and interval.estimate > 0
    ]
    for batch, interval in known:
        if interval.low is not None and interval.high is not None and interval.low > 0:
            axes.plot([batch, batch], [interval.low / divisor, interval.high / divisor], color=colour, linewidth=1)
        if name == "energy_j_per_token" and batch == curve.best.batch:
            axes.plot(
                [batch],
                [interval.estimate / divisor],
                marker="o",
                markersize=13,
                markerfacecolor="none",
                markeredgecolor=INK,
                linestyle="",
            )
    values = [interval.estimate / divisor for _, interval in known]
    return axes.plot(
        [b for b, _ in known],
        values,
        color=colour,
        marker=marker,
        markersize=5,
        linewidth=1.4,
        linestyle=dash,
    )[0]


def _name_decades(axis: Any) -> None:
    """1, 2 and 5 of each decade as ordinary numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = sorted(axis.get_view_interval())
    axis.set_major_locator(LogLocator(subs=(1.0,) if high > 1000 * low > 0 else (1.0, 2.0, 5.0)))
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
