"""Figures of what was measured: every observation by model and configuration, energy against time, size groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from servewatt.errors import counted
from servewatt.records import Grade
from servewatt.report import units
from servewatt.report.figures.canvas import INK, QUIET
from servewatt.report.units import Scale
from servewatt.stats.intervals import percentile
from servewatt.study.data.names import SIZE_GROUPS
from servewatt.study.data.summaries import GroupMean, Measure, Summary, group_means
from servewatt.study.figures.drawing import Drawn, finished
from servewatt.study.figures.panels import (
    SMALL,
    engine_legend,
    finish,
    head,
    light_grid,
    look,
    name_rows,
    row_labels,
    rows_of,
    small_multiples,
    spread_axis,
    tell,
    wants_log,
)
from servewatt.study.view import StudyView, caption, from_the_top, scale_of, variable

_BOTH = ("energy_j_per_token", "s_per_token")
_JITTER = (0.0, -0.16, 0.16, -0.08, 0.08)
"""So that equal values stay apart; the same at every drawing."""


@dataclass(frozen=True)
class Colours:
    """How a row of a box plot is drawn."""

    edge: str
    face: str
    marker: str


def boxes(view: StudyView, name: str, figure: str, title: str) -> Drawn | None:
    """Box plots of one variable, a panel a model and a row a configuration, with every observation as a point."""
    values = [v for s in view.summaries if (m := s.measure(name)) is not None for v in m.values]
    if not values:
        return None
    scale = scale_of(name, [s.estimate(name) for s in view.summaries], view.work)
    keys = tuple(key for key in rows_of(view) if _applies(view, name, key))
    panels = small_multiples(len(view.models), 0.62 + 0.185 * len(keys))
    drawn = [
        [v / scale.divisor for s in view.summaries if s.model == model and (m := s.measure(name)) for v in m.values]
        for model in view.models
    ]
    log = wants_log(drawn)
    for index, (axes, model) in enumerate(zip(panels.axes, view.models, strict=True)):
        rows = _rows(view, model, keys)
        head(axes, model)
        axes.margins(x=0.08)
        light_grid(axes, "x")
        for row, summary in enumerate(rows):
            _box(axes, row, summary, summary.measure(name), scale)
        spread_axis(axes.xaxis, log=log)
        name_rows(axes, rows, view, labelled=index % panels.columns == 0)
    _label_bottom(panels.axes, panels.columns, scale.unit)
    what = f"{variable(name).title}, {scale.unit}; each panel has its own scale{from_the_top(view)}"
    finish(panels, title, f"{what} · {caption(view, (name,))}")
    alt = f"Box plots of {variable(name).title} in {scale.unit}. " + _medians_in_words(view, name, scale)
    return finished(figure, title, alt, panels.drawing)


def energy_time(view: StudyView) -> Drawn | None:
    """Energy against time, a panel a model and a point a configuration."""
    pairs = [_point(s) for s in view.summaries]
    known = [p for p in pairs if p is not None]
    if not known:
        return None
    joule = scale_of("energy_j_per_token", [p[1] for p in known], view.work)
    second = scale_of("s_per_token", [p[0] for p in known], view.work)
    panels = small_multiples(len(view.models), 2.35)
    grouped = [[p for s in view.summaries if s.model == model and (p := _point(s))] for model in view.models]
    log_x = wants_log([[t / second.divisor for t, _ in points] for points in grouped])
    log_y = wants_log([[e / joule.divisor for _, e in points] for points in grouped])
    for index, (axes, model) in enumerate(zip(panels.axes, view.models, strict=True)):
        members = [s for s in view.summaries if s.model == model]
        points = [(s, p) for s in members if (p := _point(s)) is not None]
        head(axes, model)
        light_grid(axes, "both")
        for summary, (time, energy) in points:
            shape = look(summary.configuration)
            axes.plot(
                [time / second.divisor],
                [energy / joule.divisor],
                marker=shape.marker,
                markersize=7,
                markeredgecolor=shape.colour,
                markeredgewidth=1.6,
                **shape.filling,
                alpha=0.85,
                linestyle="",
            )
        axes.margins(0.12)
        spread_axis(axes.xaxis, log=log_x)
        spread_axis(axes.yaxis, log=log_y)
        axes.tick_params(labelsize=SMALL)
        if len(points) < len(members):
            text = f"{len(members) - len(points)} without result"
            axes.text(
                0.98, 0.03, text, transform=axes.transAxes, ha="right", va="bottom", fontsize=SMALL - 0.5, color=QUIET
            )
        if index % panels.columns == 0:
            axes.set_ylabel(joule.unit, fontsize=9)
    _label_bottom(panels.axes, panels.columns, second.unit)
    title = "Energy against time: lower left is better"
    finish(
        panels,
        title,
        f"medians; each panel has its own scales · {caption(view, _BOTH[:1])}",
        engine_legend(view.summaries),
    )
    alt = f"Scatter of energy ({joule.unit}) over execution time ({second.unit}), one panel for each model. "
    return finished("energy-time", title, alt + _medians_in_words(view, "energy_j_per_token", joule), panels.drawing)


def size_groups(view: StudyView) -> Drawn | None:
    """Bars of energy and time by size group: means over models of their medians."""
    means = group_means(view.summaries)
    groups = sorted({m.group for m in means if m.models})
    if not groups:
        return None
    keys = rows_of(view)
    panels = small_multiples(2 * len(groups), 0.62 + 0.2 * len(keys), columns=2)
    scales = [scale_of(n, [f.value for m in means if (f := m.mean(n)) is not None], view.work) for n in _BOTH]
    for index, axes in enumerate(panels.axes):
        group, side = groups[index // 2], index % 2
        members = {(m.source, m.configuration): m for m in means if m.group == group}
        rows = [members[key] for key in keys if key in members]
        size = len({model for m in rows for model in (*m.models, *m.absent)})
        head(axes, f"{SIZE_GROUPS[group]}: {'energy' if side == 0 else 'time'}, {scales[side].unit}")
        for row, mean in enumerate(rows):
            _bar(axes, row, mean, _BOTH[side], scales[side], size)
        # Room for the numbers at the ends of the bars.
        axes.set_xlim(
            0, 1.45 * max((f.value for m in rows if (f := m.mean(_BOTH[side]))), default=1.0) / scales[side].divisor
        )
        spread_axis(axes.xaxis, log=False)
        standing = [Summary(m.source, "", None, None, m.configuration, 0, 0) for m in rows]
        name_rows(axes, standing, view, labelled=side == 0)
    title = "Energy and time by size group"
    finish(
        panels,
        title,
        f"means over the group's models of their medians{from_the_top(view)} · {caption(view, _BOTH[:1])}",
    )
    alt = "Bars of mean energy and mean time for each size group and configuration. "
    words = [
        f"{SIZE_GROUPS[m.group]} {m.configuration} {units.in_unit(f.value, scales[0])}"
        for m in means
        if (f := m.mean("energy_j_per_token")) is not None
    ]
    return finished("size-groups", title, f"{alt}Energy in {scales[0].unit}: {'; '.join(words)}.", panels.drawing)


def _applies(view: StudyView, name: str, key: tuple[str, str]) -> bool:
    """Whether any model has this variable in this configuration, or none has any: a GPU's energy is none on a CPU."""
    members = [s for s in view.summaries if (s.source, s.configuration) == key]
    return any(s.measure(name) is not None for s in members) or not any(s.ok for s in members)


def _rows(view: StudyView, model: str, keys: Sequence[tuple[str, str]]) -> list[Summary]:
    """One summary for every row of the study, also those that this model lacks."""
    found = {(s.source, s.configuration): s for s in view.summaries if s.model == model}
    blank = {key: Summary(key[0], model, None, None, key[1], 0, 0, failure="not measured") for key in keys}
    return [found.get(key, blank[key]) for key in keys]


def _box(axes: Any, row: int, summary: Summary, measure: Measure | None, scale: Scale) -> None:
    if measure is None:
        tell(axes, row, summary)
        return
    shape = look(summary.configuration)
    draw_box(axes, row, [v / scale.divisor for v in measure.values], Colours(shape.colour, shape.face, shape.marker))


def draw_box(axes: Any, row: int, values: Sequence[float], colours: Colours) -> None:
    """Quartiles, median and extremes of `values`, and each of them as a point, in the given row."""
    from matplotlib.patches import Rectangle

    low, first, middle, third, high = (percentile(values, p) for p in (0, 25, 50, 75, 100))
    edge, face = colours.edge, colours.face
    axes.plot([low, high], [row, row], color=edge, linewidth=1, zorder=2)
    box = Rectangle((first, row - 0.3), third - first, 0.6, facecolor=face, alpha=0.35, edgecolor=edge, zorder=2)
    axes.add_patch(box)
    axes.plot([middle, middle], [row - 0.36, row + 0.36], color=INK, linewidth=1.6, zorder=4)
    places = [row + _JITTER[i % len(_JITTER)] for i in range(len(values))]
    axes.plot(
        values,
        places,
        linestyle="",
        marker=colours.marker,
        markersize=3.2,
        markerfacecolor=face,
        markeredgecolor=edge,
        markeredgewidth=0.8,
        zorder=3,
    )


def _bar(axes: Any, row: int, mean: GroupMean, name: str, scale: Scale, size: int) -> None:
    found = mean.mean(name)
    if found is None:
        axes.annotate(
            "no result", (0, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=SMALL, color=QUIET
        )
        return
    shape = look(mean.configuration)
    value = found.value / scale.divisor
    axes.barh(
        row,
        value,
        height=0.66,
        facecolor=shape.face,
        edgecolor=shape.colour,
        linewidth=1.2,
        hatch="////" if shape.hollow else "",
    )
    sign = "~" if found.grade is Grade.ESTIMATED else ""
    part = f"  ({len(mean.models)}/{counted(size, 'model')})" if len(mean.models) < size else ""
    axes.annotate(
        f"{sign}{units.in_unit(found.value, scale)}{part}",
        (value, row),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontsize=SMALL,
    )


def _point(summary: Summary) -> tuple[float, float] | None:
    time, energy = summary.estimate("s_per_token"), summary.estimate("energy_j_per_token")
    return None if time is None or energy is None else (time, energy)


def _label_bottom(axes: Sequence[Any], columns: int, text: str) -> None:
    """The unit under the lowest panel of each column."""
    for one in axes[-columns:]:
        one.set_xlabel(text, fontsize=9)


def _medians_in_words(view: StudyView, name: str, scale: Scale) -> str:
    parts = []
    for model in view.models:
        rows = [s for s in view.summaries if s.model == model]
        cells = [
            f"{label} {units.in_unit(s.estimate(name), scale)}"
            for label, s in zip(row_labels([(r.source, r.configuration) for r in rows], view), rows, strict=True)
        ]
        parts.append(f"{model}: {', '.join(cells)}")
    return f"Medians: {'; '.join(parts)}."
