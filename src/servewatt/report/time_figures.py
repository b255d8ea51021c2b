"""Figures over time: power and utilisation of one trial of each configuration."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from servewatt.errors import counted
from servewatt.records import Component, Domain, Grade, Result, Status
from servewatt.report.comparison_figures import COMPONENT_COLOURS
from servewatt.report.drawing import blank, caption, titled
from servewatt.report.figures import BLUE, INK, ORANGE, QUIET, Figure, finished
from servewatt.report.labels import wrapped
from servewatt.report.view import short_labels
from servewatt.stats.records import Analysis

_MOST_PANELS = 12
_MOST_POINTS = 600
_LINES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 3)), (0, (6, 1, 2, 1)))
"""One for each domain of a component: as many as a machine has GPUs."""
_SHADES = {"load": 0.05, "idle": 0.0, "prefill": 0.18, "generate": 0.10}


_Dash = str | tuple[int, tuple[int, ...]]
"""As matplotlib takes it."""


@dataclass(frozen=True)
class _Line:
    name: str
    colour: str
    dash: _Dash
    times: tuple[float, ...]
    values: tuple[float, ...]


def power(analysis: Analysis, results: Sequence[Result]) -> Figure | None:
    """Power over time of one trial of each configuration, its sections shaded."""
    trials = typical_trials(analysis, [r for r in results if r.power])
    domains = {d.name: d for d in analysis.run.environment.domains}

    def lines(result: Result) -> list[_Line]:
        names = sorted({s.domain for s in result.power})
        seen: dict[str, int] = {}
        made = []
        for name in names:
            colour = COMPONENT_COLOURS[_component(name, domains, result)]
            dash = _LINES[seen.get(colour, 0) % len(_LINES)]
            seen[colour] = seen.get(colour, 0) + 1
            samples = [(s.time_s, s.power_w) for s in result.power if s.domain == name]
            made.append(_line(_domain_label(name, domains), colour, dash, samples))
        return made

    return _panels(
        "power",
        "Power over one trial of each configuration",
        "power (W)",
        analysis,
        trials,
        lines,
        height=1.75,
    )


def utilisation(analysis: Analysis, results: Sequence[Result]) -> Figure | None:
    """CPU and GPU use over time of the same trials."""
    trials = typical_trials(analysis, [r for r in results if r.utilisation])

    def lines(result: Result) -> list[_Line]:
        cpu = [(u.time_s, u.system_cpu_percent) for u in result.utilisation]
        gpu = [(u.time_s, u.gpu_percent) for u in result.utilisation]
        both = [_line("CPU, whole machine", BLUE, "-", cpu), _line("GPU", ORANGE, "--", gpu)]
        return [line for line in both if line.times]

    return _panels(
        "utilisation",
        "Utilisation over the same trials",
        "use (%)",
        analysis,
        trials,
        lines,
        height=1.3,
        top=105.0,
    )


def typical_trials(analysis: Analysis, results: Sequence[Result]) -> list[Result]:
    """One valid trial of each configuration, in the order of the ranking: that of the earliest block."""
    chosen = []
    for summary in analysis.summaries:
        own = [r for r in results if r.trial.configuration == summary.configuration and r.status is Status.OK]
        if own:
            chosen.append(min(own, key=lambda r: (r.trial.block, r.trial.attempt)))
    return chosen[:_MOST_PANELS]


def _panels(
    name: str,
    title: str,
    unit: str,
    analysis: Analysis,
    trials: Sequence[Result],
    lines: Callable[[Result], list[_Line]],
    height: float,
    top: float | None = None,
) -> Figure | None:
    drawn = [(result, found) for result in trials if (found := lines(result))]
    if not drawn:
        return None
    columns = 1 if len(drawn) == 1 else 2
    rows = math.ceil(len(drawn) / columns)
    drawing = blank(7.0, 1.1 + height * rows)
    grid = drawing.subplots(rows, columns, squeeze=False, sharey=True)
    labels = short_labels([s.configuration for s in analysis.summaries])
    most = max((v for _, found in drawn for line in found for v in line.values), default=0.0)
    handles: dict[str, Any] = {}
    for index, (result, found) in enumerate(drawn):
        axes = grid[index // columns][index % columns]
        start = _start(result, found)
        for line in found:
            times = [t - start for t in line.times]
            handles[line.name] = axes.plot(times, line.values, color=line.colour, linestyle=line.dash, linewidth=1.3)[0]
        _shade(axes, result, start)
        label = labels[result.trial.configuration.key]
        axes.set_title(wrapped(f"{label}, block {result.trial.block}", 44), loc="left", fontsize=9, pad=13)
        axes.set_ylim(0, top or most * 1.08 or 1.0)
        axes.tick_params(labelsize=8)
    for index in range(len(drawn), rows * columns):
        grid[index // columns][index % columns].set_visible(False)
    for index in range(max(0, len(drawn) - columns), len(drawn)):
        grid[index // columns][index % columns].set_xlabel("seconds since the trial began", fontsize=9)
    drawing.supylabel(unit, fontsize=9)
    left_out = len(analysis.summaries) - len(drawn)
    note = caption(analysis, analysis.summaries)
    if left_out:
        note += f" · {left_out} of {counted(len(analysis.summaries), 'configuration')} not shown"
    titled(drawing, title, note)
    drawing.legend(
        list(handles.values()), list(handles), loc="outside lower left", ncols=min(len(handles), 4), fontsize=9
    )
    shown = ", ".join(labels[r.trial.configuration.key] for r, _ in drawn)
    alt = f"Small line charts, one a configuration ({shown}), of {', '.join(handles)} over time; sections are shaded."
    return finished(name, title, alt, drawing)


def _shade(axes: Any, result: Result, start: float) -> None:
    span = max((s.start_s + s.duration_s for s in result.sections), default=start) - start
    for section in result.sections:
        begin, end = section.start_s - start, section.start_s - start + section.duration_s
        shade = _SHADES.get(section.name, 0.05)
        if shade:
            axes.axvspan(begin, end, color=INK, alpha=shade, linewidth=0)
        wide = section.duration_s > 0.09 * span
        if wide:
            axes.annotate(
                section.name,
                ((begin + end) / 2, 1),
                xycoords=("data", "axes fraction"),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                fontsize=7.5,
                color=QUIET,
            )


def _start(result: Result, lines: Sequence[_Line]) -> float:
    if result.sections:
        return min(s.start_s for s in result.sections)
    return min(line.times[0] for line in lines if line.times)


def _line(name: str, colour: str, dash: _Dash, samples: Sequence[tuple[float, float | None]]) -> _Line:
    known = [(t, v) for t, v in samples if v is not None]
    known = known[:: max(1, len(known) // _MOST_POINTS)]
    return _Line(name, colour, dash, tuple(t for t, _ in known), tuple(v for _, v in known))


def _component(name: str, domains: dict[str, Domain], result: Result) -> Component:
    if name in domains:
        return domains[name].component
    measured = {e.domain: e.component for s in result.sections for e in s.energy}
    return measured.get(name, Component.MACHINE)


def _domain_label(name: str, domains: dict[str, Domain]) -> str:
    estimated = name in domains and domains[name].grade is Grade.ESTIMATED
    return f"~{name} (estimated)" if estimated else name
