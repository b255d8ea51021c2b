"""Figures that set configurations side by side: energy, energy against latency, ratios to the best."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from servewatt.errors import counted
from servewatt.records import Component
from servewatt.report import units
from servewatt.report.drawing import (
    canvas,
    caption,
    error_bar,
    heads,
    labelled,
    left_out,
    name_rows,
    plain_ticks,
    rgb,
    whisker,
)
from servewatt.report.figures import BLUE, GREEN, INK, ORANGE, PURPLE, QUIET, RULE, SKY, Figure, finished
from servewatt.report.labels import MOST_LABELS, column_height, place_ends, place_labels, wrapped
from servewatt.report.view import grade_is_estimated, short_labels
from servewatt.stats.records import Analysis, Verdict

COMPONENT_COLOURS = {
    Component.CPU: BLUE,
    Component.DRAM: SKY,
    Component.GPU: ORANGE,
    Component.MACHINE: GREEN,
}
_PHASES = (("idle", 0.35, ""), ("prefill", 1.0, "////"), ("decode", 1.0, ""))
"""Name, opacity and hatch."""
_WIDTH = 7.0
_MOST_ROWS = 60
"""Bars or intervals above one another; those of least energy are drawn."""
_LINE_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, INK)
_MARKERS = "osD^vPX"


def energy_bars(analysis: Analysis) -> Figure | None:
    """Energy per token by phase and component, with the interval of the total."""
    measured = [s for s in analysis.summaries if s.energy_j_per_token is not None]
    shown = measured[:_MOST_ROWS]
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
        end = max((total.estimate, *(units.drawn_bounds(total) or ()))) / scale.divisor
        axes.annotate(
            sign + units.quantity(total, scale).estimate,
            (max(end, left), row),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
        )
    name_rows(axes, shown, analysis)
    axes.margins(x=0.12)
    if all(t.estimate >= 0 for t in totals):
        axes.set_xlim(0, max(axes.get_xlim()[1], 0) or 1)
    axes.set_xlabel(f"{scale.unit} per generated token")
    legend = [(_bar_label(c, p), bar) for (c, p), bar in sorted(drawn.items(), key=_legend_order)]
    heads(
        axes,
        "Energy per token, by phase and component",
        caption(analysis, shown) + left_out(shown, measured),
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
    named = points if len(points) <= MOST_LABELS else [p for p in points if p[0].on_pareto_front][:MOST_LABELS]
    drawing, axes = canvas(_WIDTH, max(4.4, 1.6 + column_height([labelled(s, analysis) for s, _, _ in named])))
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
    note = caption(analysis, shown)
    if len(named) < len(points):
        note += f" · {len(named)} of {counted(len(points), 'configuration')} named, all on the front"
    heads(axes, "Energy against latency: lower left is better", note, [], [])
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
        f"Scatter of energy per token over 95th-percentile request latency of {counted(len(points), 'configuration')}. "
        f"On the Pareto front (round, green): {best}. {caption(analysis, shown)}.",
        drawing,
    )


def ratios(analysis: Analysis) -> Figure | None:
    """Each configuration's energy relative to the best, paired by block, with anytime-valid intervals."""
    positive = [c for c in analysis.comparisons if c.ratio.estimate > 0]
    compared = positive[:_MOST_ROWS]
    if not compared:
        return None
    labels = short_labels([s.configuration for s in analysis.summaries])
    drawing, axes = canvas(_WIDTH, 1.3 + 0.34 * len(compared))
    axes.axvline(1, color=QUIET, linewidth=0.8, zorder=0)
    words = []
    for row, comparison in enumerate(compared):
        times = units.inverse(comparison.ratio)
        decided = comparison.verdict is not Verdict.UNDECIDED
        told = units.compared(times)
        if times.low is not None and times.high is not None and told.estimate != units.TOO_FEW:
            axes.plot([times.low, times.high], [row, row], color=BLUE, linewidth=2.2, solid_capstyle="butt")
        axes.plot(
            [times.estimate],
            [row],
            marker="o",
            markersize=7,
            markerfacecolor=BLUE if decided else "white",
            markeredgecolor=BLUE,
            linestyle="",
        )
        quantity = told if told.estimate == units.TOO_FEW else units.quantity(times, most=3)
        text = f"{quantity.estimate} {quantity.interval}".rstrip() + ("" if decided else ", undecided")
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
    note += left_out(compared, positive)
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
    measured = [s for s in analysis.summaries if s.energy_j_per_token is not None and s.block_energy_j_per_token]
    shown = measured[:MOST_LABELS]
    if len({block for s in shown for block, _ in s.block_energy_j_per_token}) < 2:
        return None
    values = [v for s in shown for _, v in s.block_energy_j_per_token]
    scale = units.si(values, "J")
    drawing, axes = canvas(_WIDTH, max(3.9, 1.6 + column_height([labelled(s, analysis) for s in shown])))
    ends, colours = [], []
    for index, summary in enumerate(shown):
        points = sorted(summary.block_energy_j_per_token)
        joules = [v / scale.divisor for _, v in points]
        colour, marker = _LINE_COLOURS[index % len(_LINE_COLOURS)], _MARKERS[index % len(_MARKERS)]
        axes.plot([b for b, _ in points], joules, color=colour, marker=marker, markersize=5, linewidth=1.2)
        ends.append((points[-1][0], joules[-1], labelled(summary, analysis)))
        colours.append(colour)
    if min(values) > 0 and max(values) / min(values) > 8:
        axes.set_yscale("log")
    plain_ticks(axes.yaxis)
    axes.set_xticks(sorted({b for s in shown for b, _ in s.block_energy_j_per_token}))
    axes.margins(x=0.06, y=0.1)
    axes.set_xlabel("block")
    axes.set_ylabel(f"{scale.unit} per generated token")
    heads(axes, "Energy per token, block by block", caption(analysis, shown) + left_out(shown, measured), [], [])
    place_ends(drawing, axes, ends, colours)
    names = ", ".join(name for _, _, name in ends)
    alt = f"Line chart of energy per token over the blocks of the run, one line a configuration: {names}."
    return finished("blocks", "Energy per token, block by block", alt, drawing)


def _bar_label(component: Component | None, phase: str) -> str:
    if component is None:
        return "total (phases not told apart)"
    name = component.value if component in {Component.DRAM, Component.MACHINE} else component.value.upper()
    return f"{name} {phase}"


def _legend_order(item: tuple[tuple[Component | None, str], Any]) -> tuple[int, str]:
    (component, phase), _ = item
    order: Callable[[str], int] = [name for name, _, _ in _PHASES].index
    return (order(phase) if phase else 0, component.value if component else "")
