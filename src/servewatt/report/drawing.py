"""What the figures share: canvases, titles, labels that keep out of each other's way."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

from servewatt.records import Weights
from servewatt.report.figures import INK, QUIET
from servewatt.report.view import grade_is_estimated, short_labels
from servewatt.stats.records import Analysis, ConfigurationSummary, Interval


def blank(width: float, height: float) -> Any:
    """An empty figure of `width` x `height` inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Drawing

    drawing = Drawing(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(drawing)
    return drawing


def canvas(width: float, height: float) -> tuple[Any, Any]:
    """A figure and its only axes; matplotlib's object interface, so no global state."""
    drawing = blank(width, height)
    return drawing, drawing.subplots()


def rgb(colour: str) -> tuple[float, float, float]:
    """A hex colour as three numbers from 0 to 1."""
    return (int(colour[1:3], 16) / 255, int(colour[3:5], 16) / 255, int(colour[5:7], 16) / 255)


def caption(analysis: Analysis, shown: Sequence[ConfigurationSummary]) -> str:
    """What must be said wherever these results are shown."""
    model = analysis.run.plan.model
    parts = [model.name, f"{analysis.boundary.value} boundary"]
    if model.weights is Weights.RANDOM:
        parts.insert(1, "weights: random")
    if any(grade_is_estimated(s.energy_grade) for s in shown):
        parts.append("~ estimated")
    return " · ".join(parts)


def labelled(summary: ConfigurationSummary, analysis: Analysis) -> str:
    """The configuration's short label."""
    return short_labels([s.configuration for s in analysis.summaries])[summary.configuration.key]


def heads(axes: Any, title: str, note: str, names: Sequence[str], handles: Sequence[Any]) -> None:
    """Title and note above the figure, flush left, and the legend beneath it."""
    figure = axes.figure
    titled(figure, title, note)
    if handles:
        figure.legend(handles, names, loc="outside lower left", ncols=3, fontsize=9, handlelength=1.6)


def titled(figure: Any, title: str, note: str) -> None:
    """Title, and beneath it what must be said wherever these results are shown, flush left."""
    height = figure.get_size_inches()[1]
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - 0.55 / height))
    figure.text(0.008, 1 - 0.06 / height, title, va="top", fontsize=12, fontweight="bold", in_layout=False)
    figure.text(0.008, 1 - 0.31 / height, note, va="top", fontsize=9, color=QUIET, in_layout=False)


def wrapped(label: str, width: int = 28) -> str:
    """A long label over several lines."""
    return "\n".join(textwrap.wrap(label, width)) or label


def name_rows(axes: Any, shown: Sequence[ConfigurationSummary], analysis: Analysis) -> None:
    """Configurations down the side, the first on top."""
    axes.set_yticks(range(len(shown)), [wrapped(labelled(s, analysis)) for s in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


def whisker(axes: Any, interval: Interval, row: float, divisor: float) -> None:
    """The total as a tick across the end of its bar, its interval as a line through it."""
    axes.plot([interval.estimate / divisor], [row], color=INK, marker="|", markersize=9)
    if interval.low is None or interval.high is None or not math.isfinite(interval.high - interval.low):
        return
    axes.plot([interval.low / divisor, interval.high / divisor], [row, row], color=INK, linewidth=1.4)


def error_bar(axes: Any, x: float, y: float, interval: Interval, divisor: float, horizontal: bool) -> None:
    """The interval of one coordinate through a point."""
    if interval.low is None or interval.high is None or not math.isfinite(interval.high - interval.low):
        return
    span = [interval.low / divisor, interval.high / divisor]
    axes.plot(span if horizontal else [x, x], [y, y] if horizontal else span, color=QUIET, linewidth=1, zorder=2)


def plain_ticks(axis: Any) -> None:
    """Tick labels as ordinary numbers, also on a log axis, where 1, 2 and 5 are named as long as there is room."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if axis.get_scale() == "log":
        low, high = sorted(axis.get_view_interval())
        axis.set_major_locator(LogLocator(subs=(1.0,) if high > 200 * low > 0 else (1.0, 2.0, 5.0)))
        axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))


def place_ends(drawing: Any, axes: Any, ends: Sequence[tuple[float, float, str]]) -> None:
    """Name each line at its right end, pushed apart where they would touch."""
    drawing.draw_without_rendering()
    # One line of 9 point text, in pixels.
    gap = 12.5 * drawing.dpi / 72
    spots = sorted((axes.transData.transform((x, y))[1], x, y, text) for x, y, text in ends)
    last = -math.inf
    for pixel, _, y, text in spots:
        last = max(pixel, last + gap)
        axes.annotate(
            wrapped(text, 60),
            (1.0, y),
            xycoords=axes.get_yaxis_transform(),
            xytext=(4, (last - pixel) * 72 / drawing.dpi),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )


def place_labels(
    drawing: Any, axes: Any, points: Sequence[tuple[float, float]], labels: Sequence[tuple[float, float, str]]
) -> None:
    """Put each label beside its point, where it covers the fewest points and labels already placed."""
    drawing.draw_without_rendering()
    renderer = drawing.canvas.get_renderer()
    frame = axes.get_window_extent(renderer)
    spots = [axes.transData.transform(p) for p in points]
    taken: list[Any] = []
    # Diagonals first: along the axes run the whiskers.
    offsets = ((6, 5), (6, -5), (-6, 5), (-6, -5), (9, 14), (9, -14), (-9, 14), (-9, -14), (9, 0), (-9, 0))
    for x, y, text in labels:
        best: tuple[float, Any] | None = None
        for dx, dy in offsets:
            align = "left" if dx > 0 else "right" if dx < 0 else "center"
            side = "bottom" if dy > 0 else "top" if dy < 0 else "center"
            label = axes.annotate(
                text, (x, y), xytext=(dx, dy), textcoords="offset points", ha=align, va=side, fontsize=9
            )
            box = label.get_window_extent(renderer)
            cost = 4.0 * sum(box.overlaps(other) for other in taken)
            cost += sum(box.x0 - 4 < px < box.x1 + 4 and box.y0 - 4 < py < box.y1 + 4 for px, py in spots)
            cost += 9.0 * (box.x0 < frame.x0 or box.x1 > frame.x1 or box.y0 < frame.y0 or box.y1 > frame.y1)
            if best is None or cost < best[0]:
                if best is not None:
                    best[1].remove()
                best = (cost, label)
            else:
                label.remove()
            if cost == 0:
                break
        if best is not None:
            taken.append(best[1].get_window_extent(renderer))
            best[1].set_in_layout(False)
