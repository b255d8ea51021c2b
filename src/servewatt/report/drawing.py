"""What the figures share: canvases, titles, rows, whiskers and axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from servewatt.errors import counted
from servewatt.records import Weights
from servewatt.report import units
from servewatt.report.figures import INK, QUIET
from servewatt.report.labels import wrapped
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


def left_out(shown: Sequence[object], every: Sequence[object]) -> str:
    """What the note says where a figure has no room for all configurations."""
    if len(shown) == len(every):
        return ""
    return f" · {len(shown)} of {counted(len(every), 'configuration')} shown, least energy first"


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


def name_rows(axes: Any, shown: Sequence[ConfigurationSummary], analysis: Analysis) -> None:
    """Configurations down the side, the first on top."""
    axes.set_yticks(range(len(shown)), [wrapped(labelled(s, analysis)) for s in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


def whisker(axes: Any, interval: Interval, row: float, divisor: float) -> None:
    """The total as a tick across the end of its bar, its interval as a line through it."""
    axes.plot([interval.estimate / divisor], [row], color=INK, marker="|", markersize=9)
    bounds = units.drawn_bounds(interval)
    if bounds is None:
        return
    axes.plot([bound / divisor for bound in bounds], [row, row], color=INK, linewidth=1.4)


def error_bar(axes: Any, x: float, y: float, interval: Interval, divisor: float, horizontal: bool) -> None:
    """The interval of one coordinate through a point."""
    bounds = units.drawn_bounds(interval)
    if bounds is None:
        return
    span = [bound / divisor for bound in bounds]
    axes.plot(span if horizontal else [x, x], [y, y] if horizontal else span, color=QUIET, linewidth=1, zorder=2)


def plain_ticks(axis: Any) -> None:
    """Tick labels as ordinary numbers, also on a log axis, where 1, 2 and 5 are named as long as there is room."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if axis.get_scale() == "log":
        low, high = sorted(axis.get_view_interval())
        axis.set_major_locator(LogLocator(subs=(1.0,) if high > 200 * low > 0 else (1.0, 2.0, 5.0)))
        axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
