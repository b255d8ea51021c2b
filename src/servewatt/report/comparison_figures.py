"""Figures that set configurations side by side: energy, energy against latency, ratios to the best."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from servewatt.records import Component, Weights
from servewatt.report import units
from servewatt.report.figures import BLUE, GREEN, INK, ORANGE, PURPLE, QUIET, RULE, SKY, Figure, finished
from servewatt.report.view import grade_is_estimated, short_labels
from servewatt.stats.records import Analysis, ConfigurationSummary, Interval, Verdict

COMPONENT_COLOURS = {
    Component.CPU: BLUE,
    Component.DRAM: SKY,
    Component.GPU: ORANGE,
    Component.MACHINE: GREEN,
}
_PHASES = (("idle", 0.35, ""), ("prefill", 1.0, "////"), ("decode", 1.0, ""))
"""Name, opacity and hatch."""
_WIDTH = 7.0
_LINE_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, INK)
_MARKERS = "osD^vPX"
_MOST_LABELS = 14


def energy_bars(analysis: Analysis) -> Figure | None:
    """Energy per token by phase and component, with the interval of the total."""
    shown = [s for s in analysis.summaries if s.energy_j_per_token is not None]
    if not shown:
        return None
    drawing, axes = canvas(_WIDTH, 1.55 + 0.36 * len(shown))
    totals = [s.energy_j_per_token for s in shown if s.energy_j_per_token is not None]
    scale = units.si([t.estimate for t in totals], "J")
    drawn: dict[tuple[Component | None, str], Any] = {}
    for row, (summary, total) in enumerate(zip(shown, totals, strict=True)):
        left = 0.0
        for name, opacity, hatch in _PHASES:
            for phase in summary.phases:
                width = phase.j_per_token.estimate / scale.divisor
                if phase.phase != name or not width > 0:
                    continue
                bar = axes.barh(
                    row,
                    width,
                    left=left,
                    height=0.62,
                    color=[(*rgb(COMPONENT_COLOURS[phase.component]), opacity)],
                    hatch=hatch,
                    edgecolor=INK,
                    linewidth=0.4,
                )
                drawn[(phase.component, name)] = bar
                left += width
        if not summary.phases:
            drawn[(None, "")] = axes.barh(row, total.estimate / scale.divisor, height=0.62, color=RULE)
        whisker(axes, total, row, scale.divisor)
        sign = "~" if grade_is_estimated(summary.energy_grade) else ""
        end = max(v for v in (total.estimate, total.high) if v is not None and math.isfinite(v)) / scale.divisor
        axes.annotate(
            sign + units.quantity(total, scale).estimate,
            (max(end, left), row),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
        )
    name_rows(axes, shown, analysis)
    axes.set_xlim(left=0)
    axes.margins(x=0.12)
    axes.set_xlabel(f"{scale.unit} per generated token")
    legend = [(_bar_label(c, p), bar) for (c, p), bar in sorted(drawn.items(), key=_legend_order)]
    heads(
        axes,
        "Energy per token, by phase and component",
        caption(analysis, shown),
        [n for n, _ in legend],
        [b for _, b in legend],
    )
    parts = [f"{labelled(s, analysis)} {units.energy(t.estimate)}" for s, t in zip(shown, totals, strict=True)]
    return finished(
        "energy",
        "Energy per token, by phase and component",
        f"Bar chart of energy per generated token, least first: {'; '.join(parts)}. {caption(analysis, shown)}.",
        drawing,
    )


def energy_latency(analysis: Analysis) -> Figure | None:
    """Energy per token against the 95th percentile of request latency, with the Pareto front."""
    points = [
        (s, s.request_p95_s, s.energy_j_per_token)
        for s in analysis.summaries
        if s.energy_j_per_token is not None and s.request_p95_s is not None
    ]
    if not points:
        return None
    drawing, axes = canvas(_WIDTH, 4.4)
    time = units.seconds([p.estimate for _, p, _ in points])
    joule = units.si([e.estimate for _, _, e in points], "J")
    front = sorted((p.estimate, e.estimate) for s, p, e in points if s.on_pareto_front)
    axes.step(
        [p / time.divisor for p, _ in front],
        [e / joule.divisor for _, e in front],
        where="post",
        color=GREEN,
        linewidth=1.4,
        zorder=1,
    )
    for summary, latency, energy in points:
        on = summary.on_pareto_front
        x, y = latency.estimate / time.divisor, energy.estimate / joule.divisor
        error_bar(axes, x, y, latency, time.divisor, horizontal=True)
        error_bar(axes, x, y, energy, joule.divisor, horizontal=False)
        axes.plot(
            [x],
            [y],
            marker="o" if on else "s",
            markersize=8 if on else 6,
            markerfacecolor=GREEN if on else "white",
            markeredgecolor=INK,
            markeredgewidth=0.8,
            linestyle="",
            zorder=3,
        )
    for set_scale, values in (
        (axes.set_xscale, [p.estimate for _, p, _ in points]),
        (axes.set_yscale, [e.estimate for _, _, e in points]),
    ):
        if min(values) > 0 and max(values) / min(values) > 8:
            set_scale("log")
    axes.margins(0.14)
    plain_ticks(axes.xaxis)
    plain_ticks(axes.yaxis)
    axes.set_xlabel(f"request latency, 95th percentile ({time.unit})")
    axes.set_ylabel(f"{joule.unit} per generated token")
    shown = [s for s, _, _ in points]
    heads(axes, "Energy against latency: lower left is better", caption(analysis, shown), [], [])
    named = points if len(points) <= _MOST_LABELS else [p for p in points if p[0].on_pareto_front][:_MOST_LABELS]
    place_labels(
        drawing,
        axes,
        [(p.estimate / time.divisor, e.estimate / joule.divisor) for _, p, e in points],
        [(p.estimate / time.divisor, e.estimate / joule.divisor, labelled(s, analysis)) for s, p, e in named],
    )
    best = ", ".join(labelled(s, analysis) for s in shown if s.on_pareto_front) or "none"
    return finished(
        "latency",
        "Energy against latency",
        f"Scatter of energy per token over 95th-percentile request latency for {len(points)} configurations. "
        f"On the Pareto front (round, green): {best}. {caption(analysis, shown)}.",
        drawing,
    )


def ratios(analysis: Analysis) -> Figure | None:
    """Each configuration's energy relative to the best, paired by block, with anytime-valid intervals."""
    compared = [c for c in analysis.comparisons if c.ratio.estimate > 0]
    if not compared:
        return None
    labels = short_labels([s.configuration for s in analysis.summaries])
    drawing, axes = canvas(_WIDTH, 1.3 + 0.34 * len(compared))
    axes.axvline(1, color=QUIET, linewidth=0.8, zorder=0)
    words = []
    for row, comparison in enumerate(compared):
        times = units.inverse(comparison.ratio)
        decided = comparison.verdict is not Verdict.UNDECIDED
        if times.low is not None and times.high is not None:
            high = times.high if math.isfinite(times.high) else times.estimate * 4
            axes.plot([max(times.low, 1e-9), high], [row, row], color=BLUE, linewidth=2.2, solid_capstyle="butt")
        axes.plot(
            [times.estimate],
            [row],
            marker="o",
            markersize=7,
            markerfacecolor=BLUE if decided else "white",
            markeredgecolor=BLUE,
            linestyle="",
        )
        quantity = units.quantity(times, most=3)
        text = f"{quantity.estimate} {quantity.interval}" + ("" if decided else " undecided")
        axes.text(1.02, row, text, transform=axes.get_yaxis_transform(), va="center")
        words.append(f"{labels.get(comparison.second.key, comparison.second.key)} {text}")
    axes.set_xscale("log")
    plain_ticks(axes.xaxis)
    axes.set_yticks(range(len(compared)), [wrapped(labels.get(c.second.key, c.second.key)) for c in compared])
    axes.set_ylim(len(compared) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    best = labels.get(compared[0].first.key, compared[0].first.key)
    axes.set_xlabel(f"energy per token, times that of {best} (log scale)")
    level = units.percent(analysis.confidence)
    note = f"{caption(analysis, analysis.summaries)} · {level} intervals, valid at every look"
    heads(axes, f"Energy relative to the best, {best}", note, [], [])
    return finished(
        "ratios",
        "Energy relative to the best",
        f"Energy per token of each configuration as a multiple of {best}'s, with {level} intervals: "
        f"{'; '.join(words)}.",
        drawing,
    )


def blocks(analysis: Analysis) -> Figure | None:
    """Energy per token in each block: what the comparisons pair, and how the machine drifted."""
    shown = [s for s in analysis.summaries if s.energy_j_per_token is not None and s.block_energy_j_per_token]
    if len({block for s in shown for block, _ in s.block_energy_j_per_token}) < 2:
        return None
    values = [v for s in shown for _, v in s.block_energy_j_per_token if v > 0]
    scale = units.si(values, "J")
    drawing, axes = canvas(_WIDTH, 3.9)
    ends = []
    for index, summary in enumerate(shown):
        points = sorted(summary.block_energy_j_per_token)
        joules = [v / scale.divisor for _, v in points]
        colour, marker = _LINE_COLOURS[index % len(_LINE_COLOURS)], _MARKERS[index % len(_MARKERS)]
        axes.plot([b for b, _ in points], joules, color=colour, marker=marker, markersize=5, linewidth=1.2)
        ends.append((points[-1][0], joules[-1], labelled(summary, analysis)))
    if values and max(values) / min(values) > 8:
        axes.set_yscale("log")
    plain_ticks(axes.yaxis)
    axes.set_xticks(sorted({b for s in shown for b, _ in s.block_energy_j_per_token}))
    axes.margins(x=0.06, y=0.1)
    axes.set_xlabel("block")
    axes.set_ylabel(f"{scale.unit} per generated token")
    heads(axes, "Energy per token, block by block", caption(analysis, shown), [], [])
    if len(ends) <= _MOST_LABELS:
        place_ends(drawing, axes, ends)
    names = ", ".join(name for _, _, name in ends)
    alt = f"Line chart of energy per token over the blocks of the run, one line a configuration: {names}."
    return finished("blocks", "Energy per token, block by block", alt, drawing)


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
    offsets = ((9, 0), (-9, 0), (0, 10), (0, -10), (9, 9), (9, -9), (-9, 9), (-9, -9), (0, 22), (0, -22))
    for x, y, text in labels:
        best: tuple[float, Any] | None = None
        for dx, dy in offsets:
            align = "left" if dx > 0 else "right" if dx < 0 else "center"
            side = "bottom" if dy > 0 and not dx else "top" if dy < 0 and not dx else "center"
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


def _bar_label(component: Component | None, phase: str) -> str:
    if component is None:
        return "total (phases not told apart)"
    name = component.value if component in {Component.DRAM, Component.MACHINE} else component.value.upper()
    return f"{name} {phase}"


def _legend_order(item: tuple[tuple[Component | None, str], Any]) -> tuple[int, str]:
    (component, phase), _ = item
    order: Callable[[str], int] = [name for name, _, _ in _PHASES].index
    return (order(phase) if phase else 0, component.value if component else "")
