"""Figures over time: power and utilisation of one trial of each configuration."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from servewatt.errors import counted
from servewatt.records import Component, Domain, Grade, Result, Status
from servewatt.report import units
from servewatt.report.figures.canvas import (
    BLUE,
    COMPONENT_COLOURS,
    INK,
    ORANGE,
    QUIET,
    Figure,
    Row,
    Specification,
    broken,
    caption,
    described,
    is_narrow,
    labels_of,
    layered,
    legend,
    palette,
    plot,
    said,
    side_by_side,
)
from servewatt.report.figures.scales import ticked
from servewatt.stats.records import Analysis

_MOST_PANELS = 12
_MOST_POINTS = 300
_DASHES: tuple[list[float], ...] = (
    [1, 0],
    [5, 3],
    [1.5, 2],
    [6, 2, 1.5, 2],
    [5, 1, 1, 1],
    [9, 2],
    [1, 3],
    [6, 1, 2, 1],
)
"""One for each domain of a component: as many as a machine has GPUs."""
_SHADES = {"load": 0.05, "idle": 0.0, "prefill": 0.18, "generate": 0.10}


@dataclass(frozen=True)
class _Line:
    name: str
    colour: str
    dash: list[float]
    unit: str
    times: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class _Kind:
    """What is drawn over time."""

    name: str
    title: str
    axis: str
    height: int
    top: float | None
    """The end of the axis; None: the largest value."""


_POWER = _Kind("power", "Power over one trial of each configuration", "power (W)", 120, None)
_USE = _Kind("utilisation", "Utilisation over the same trials", "use (%)", 90, 105.0)


def power(analysis: Analysis, results: Sequence[Result]) -> Figure | None:
    """Power over time of one trial of each configuration, its sections shaded."""
    trials = typical_trials(analysis, [r for r in results if r.power])
    domains = {d.name: d for d in analysis.run.environment.domains}

    def lines(result: Result) -> list[_Line]:
        seen: dict[str, int] = {}
        made = []
        for name in sorted({s.domain for s in result.power}):
            colour = COMPONENT_COLOURS[_component(name, domains, result)]
            dash = _DASHES[seen.get(colour, 0) % len(_DASHES)]
            seen[colour] = seen.get(colour, 0) + 1
            samples = [(s.time_s, s.power_w) for s in result.power if s.domain == name]
            made.append(_line(_domain_label(name, domains), colour, dash, "W", samples))
        return made

    return _panels(_POWER, analysis, trials, lines)


def utilisation(analysis: Analysis, results: Sequence[Result]) -> Figure | None:
    """CPU and GPU use over time of the same trials."""
    trials = typical_trials(analysis, [r for r in results if r.utilisation])

    def lines(result: Result) -> list[_Line]:
        cpu = [(u.time_s, u.system_cpu_percent) for u in result.utilisation]
        gpu = [(u.time_s, u.gpu_percent) for u in result.utilisation]
        both = [_line("CPU, whole machine", BLUE, _DASHES[0], "%", cpu), _line("GPU", ORANGE, _DASHES[1], "%", gpu)]
        return [line for line in both if line.times]

    return _panels(_USE, analysis, trials, lines)


def typical_trials(analysis: Analysis, results: Sequence[Result]) -> list[Result]:
    """One valid trial of each configuration, in the order of the ranking: that of the earliest block."""
    chosen = []
    for summary in analysis.summaries:
        own = [r for r in results if r.trial.configuration == summary.configuration and r.status is Status.OK]
        if own:
            chosen.append(min(own, key=lambda r: (r.trial.block, r.trial.attempt)))
    return chosen[:_MOST_PANELS]


def _panels(
    kind: _Kind, analysis: Analysis, trials: Sequence[Result], lines: Callable[[Result], list[_Line]]
) -> Figure | None:
    drawn = [(result, found) for result in trials if (found := lines(result))]
    if not drawn:
        return None
    labels = labels_of(analysis)
    most = max((v for _, found in drawn for line in found for v in line.values), default=0.0)
    looks = {line.name: line for _, found in drawn for line in found}
    top = kind.top or most * 1.08 or 1.0

    def draw(width: int) -> Specification:
        columns = 1 if is_narrow(width) or len(drawn) == 1 else 2
        inner = width - 58 if columns == 1 else (width - 110) / 2
        panels = [
            _panel(kind, labels[result.trial.configuration.key], result, found, list(looks.values()), inner, top)
            for result, found in drawn
        ]
        return side_by_side(panels, columns)

    left_out = len(analysis.summaries) - len(drawn)
    note = caption(analysis, analysis.summaries)
    if left_out:
        note += f" · {left_out} of {counted(len(analysis.summaries), 'configuration')} not shown"
    shown = ", ".join(labels[r.trial.configuration.key] for r, _ in drawn)
    alt_text = (
        f"Small line charts, one a configuration ({shown}), of {', '.join(looks)} over time; sections are shaded."
    )
    return Figure(kind.name, kind.title, alt_text, note, draw)


def _panel(
    kind: _Kind, label: str, result: Result, found: Sequence[_Line], looks: Sequence[_Line], width: float, top: float
) -> Specification:
    import altair as alt

    start = _start(result, found)
    end = max(t - start for line in found for t in line.times) if any(line.times for line in found) else 1.0
    sections = _sections(result, start, label)
    end = max([end, *(float(s["end"]) for s in sections)])
    names = [line.name for line in looks]
    x_scale = alt.Scale(domain=[0, end], nice=False)
    x = alt.X("x:Q", title="seconds since the trial began", scale=x_scale, axis=ticked(None, 5))
    y = alt.Y("y:Q", title=kind.axis, scale=alt.Scale(domain=[0, top], nice=False), axis=ticked(None, 4))
    key = legend(2 if width < 400 else 4)
    rows: list[Row] = [
        {"x": round(t - start, 3), "y": v, "name": line.name, "said": _told(label, line)}
        for line in found
        for t, v in zip(line.times, line.values, strict=True)
    ]
    shaded = plot(sections)
    layers = [
        shaded.mark_rect(color=INK, clip=True).encode(
            x=alt.X("begin:Q", scale=x_scale),
            x2="end:Q",
            opacity=alt.Opacity("shade:Q", scale=None),
            description=described(),
        ),
        plot([s for s in sections if float(s["end"]) - float(s["begin"]) > 0.12 * end])
        .mark_text(color=QUIET, fontSize=10, baseline="bottom", dy=-3, aria=False)
        .encode(x=alt.X("middle:Q", scale=x_scale), y=alt.value(0), text="name:N"),
        plot(rows)
        .mark_line(strokeWidth=1.4, clip=True)
        .encode(
            x=x,
            y=y,
            detail="name:N",
            color=alt.Color("name:N", scale=palette(names, [line.colour for line in looks]), legend=key),
            strokeDash=alt.StrokeDash("name:N", scale=palette(names, [line.dash for line in looks]), legend=key),
            description=described(),
        ),
    ]
    heading = broken(f"{label}, block {result.trial.block}", int(width / 6))
    made = layered(*layers, width=width, height=kind.height, title=heading)
    made["title"]["offset"] = 16
    return made


def _told(label: str, line: _Line) -> str:
    low, middle, high = min(line.values), statistics.median(line.values), max(line.values)
    return said(
        label,
        line.name,
        f"median {units.number(middle)} {line.unit}, from {units.number(low)} to {units.number(high)} {line.unit}",
    )


def _sections(result: Result, start: float, label: str) -> list[Row]:
    return [
        {
            "begin": section.start_s - start,
            "end": section.start_s - start + section.duration_s,
            "middle": section.start_s - start + section.duration_s / 2,
            "name": section.name,
            "shade": _SHADES.get(section.name, 0.05),
            "said": said(label, section.name, units.duration(section.duration_s)),
        }
        for section in result.sections
    ]


def _start(result: Result, lines: Sequence[_Line]) -> float:
    if result.sections:
        return min(s.start_s for s in result.sections)
    return min(line.times[0] for line in lines if line.times)


def _line(name: str, colour: str, dash: list[float], unit: str, samples: Sequence[tuple[float, float | None]]) -> _Line:
    known = [(t, v) for t, v in samples if v is not None]
    known = known[:: max(1, len(known) // _MOST_POINTS)]
    return _Line(name, colour, dash, unit, tuple(t for t, _ in known), tuple(v for _, v in known))


def _component(name: str, domains: dict[str, Domain], result: Result) -> Component:
    if name in domains:
        return domains[name].component
    measured = {e.domain: e.component for s in result.sections for e in s.energy}
    return measured.get(name, Component.MACHINE)


def _domain_label(name: str, domains: dict[str, Domain]) -> str:
    estimated = name in domains and domains[name].grade is Grade.ESTIMATED
    return f"~{name} (estimated)" if estimated else name
