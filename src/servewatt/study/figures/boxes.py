"""Figures of what was measured: every observation by model and configuration, energy against time, size groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from servewatt.errors import counted
from servewatt.records import Grade
from servewatt.report import units
from servewatt.report.figures.canvas import (
    INK,
    PAPER,
    QUIET,
    Figure,
    Row,
    Specification,
    described,
    layered,
    plot,
    said,
)
from servewatt.report.units import Scale
from servewatt.stats.intervals import percentile
from servewatt.study.data.names import SIZE_GROUPS
from servewatt.study.data.summaries import GroupMean, Summary, group_means
from servewatt.study.figures.panels import (
    SMALL,
    Grid,
    at,
    boundaries,
    ended,
    engine_legend,
    grid,
    look,
    marked,
    panels_of,
    reasons,
    row_labels,
    row_pixels,
    row_scale,
    rows_of,
    value_axis,
    wants_log,
    wide_for,
)
from servewatt.study.view import StudyView, caption, from_the_top, scale_of, variable

if TYPE_CHECKING:
    import altair

_BOTH = ("energy_j_per_token", "s_per_token")
_JITTER = (0.0, -0.16, 0.16, -0.08, 0.08)
"""So that equal values stay apart; the same at every drawing."""


def boxes(view: StudyView, name: str, figure: str, title: str) -> Figure | None:
    """Box plots of one variable, a panel a model and a row a configuration, with every observation as a point."""
    values = [v for s in view.summaries if (m := s.measure(name)) is not None for v in m.values]
    if not values:
        return None
    scale = scale_of(name, [s.estimate(name) for s in view.summaries], view.work)
    keys = tuple(key for key in rows_of(view) if _applies(view, name, key))
    labels = row_labels(keys, view)
    members = {model: _rows(view, model, keys) for model in view.models}
    inside = [[v for s in rows if (m := s.measure(name)) is not None for v in m.values] for rows in members.values()]
    log = wants_log(inside)

    def draw(width: int) -> Specification:
        where = grid(width, len(view.models), labels)
        panels = [
            _boxes(where, index, model, members[model], _Variable(name, scale, labels, log))
            for index, model in enumerate(view.models)
        ]
        return panels_of(panels, where.columns)

    what = f"{variable(name).title}, {scale.unit}; each panel has its own scale{from_the_top(view)}"
    alt = f"Box plots of {variable(name).title} in {scale.unit}. " + _medians_in_words(view, name, scale)
    return Figure(figure, title, alt, f"{what} · {caption(view, (name,))}", draw, wide_for(len(view.models)))


def energy_time(view: StudyView) -> Figure | None:
    """Energy against time, a panel a model and a point a configuration."""
    known = [p for s in view.summaries if (p := _point(s)) is not None]
    if not known:
        return None
    joule = scale_of("energy_j_per_token", [p[1] for p in known], view.work)
    second = scale_of("s_per_token", [p[0] for p in known], view.work)
    members = {model: [s for s in view.summaries if s.model == model] for model in view.models}
    points = {model: [(s, p) for s in rows if (p := _point(s)) is not None] for model, rows in members.items()}
    log_x = wants_log([[p[0] / second.divisor for _, p in found] for found in points.values()])
    log_y = wants_log([[p[1] / joule.divisor for _, p in found] for found in points.values()])

    def draw(width: int) -> Specification:
        where = grid(width, len(view.models), ["00000"])
        panels = [
            _scatter(where, index, model, found, len(members[model]) - len(found), (second, joule), (log_x, log_y))
            for index, (model, found) in enumerate(points.items())
        ]
        return panels_of(panels, where.columns, engine_legend(view.summaries, width))

    note = f"medians; each panel has its own scales · {caption(view, _BOTH[:1])}"
    alt = f"Scatter of energy ({joule.unit}) over execution time ({second.unit}), one panel for each model. "
    return Figure(
        "energy-time",
        "Energy against time: lower left is better",
        alt + _medians_in_words(view, "energy_j_per_token", joule),
        note,
        draw,
        wide_for(len(view.models)),
    )


def size_groups(view: StudyView) -> Figure | None:
    """Bars of energy and time by size group: means over models of their medians."""
    means = group_means(view.summaries)
    groups = sorted({m.group for m in means if m.models})
    if not groups:
        return None
    keys = rows_of(view)
    labels = row_labels(keys, view)
    scales = [scale_of(n, [f.value for m in means if (f := m.mean(n)) is not None], view.work) for n in _BOTH]

    def draw(width: int) -> Specification:
        where = grid(width, 2, labels, columns=2)
        panels = []
        for group in groups:
            members = {(m.source, m.configuration): m for m in means if m.group == group}
            rows = [members.get(key) for key in keys]
            for side, scale in enumerate(scales):
                panels.append(_bars(where, side, f"{SIZE_GROUPS[group]}", rows, labels, _BOTH[side], scale))
        return panels_of(panels, where.columns)

    words = [
        f"{SIZE_GROUPS[m.group]} {m.configuration} {units.in_unit(f.value, scales[0])}"
        for m in means
        if (f := m.mean("energy_j_per_token")) is not None
    ]
    return Figure(
        "size-groups",
        "Energy and time by size group",
        "Bars of mean energy and mean time for each size group and configuration. "
        f"Energy in {scales[0].unit}: {'; '.join(words)}.",
        f"means over the group's models of their medians{from_the_top(view)} · {caption(view, _BOTH[:1])}",
        draw,
        wide_for(2),
    )


@dataclass(frozen=True)
class _Variable:
    """What the panels of one figure show."""

    name: str
    scale: Scale
    labels: Sequence[str]
    """Those of the rows."""
    log: bool


@dataclass(frozen=True)
class Colours:
    """How a row of a box plot is drawn."""

    edge: str
    face: str
    path: str
    """Of its points."""


def _boxes(where: Grid, index: int, model: str, rows: Sequence[Summary], shown: _Variable) -> Specification:
    y = row_scale(where, index, len(rows))
    name, scale = shown.name, shown.scale
    drawn = []
    empty = []
    for row, summary in enumerate(rows):
        measure = summary.measure(name)
        if measure is None:
            empty.append((row, ended(summary)))
            continue
        shape = look(summary.configuration)
        sign = "~" if measure.grade is Grade.ESTIMATED else ""
        parts = (f"{model} {shown.labels[row]}", *shape.parts)
        colours = Colours(shape.colour, PAPER if shape.hollow else shape.colour, shape.path)
        drawn.append(box_of(row, [v / scale.divisor for v in measure.values], colours, parts, (sign, scale.unit)))
    layers = [*box_layers(drawn, y, where, scale.unit, log=shown.log), *reasons(empty, y), *boundaries(rows, y)]
    return layered(*layers, width=where.inner, height=row_pixels(where, len(rows)), title=model)


Box = tuple[Row, list[Row]]
"""A box and its points."""


def box_of(row: int, values: Sequence[float], colours: Colours, parts: Sequence[str], told: tuple[str, str]) -> Box:
    """The box of a row over its values; `parts` name it, `told` is what stands before a value and behind it."""
    low, first, middle, third, high = (percentile(values, p) for p in (0, 25, 50, 75, 100))
    sign, unit = told
    range_of = f"{units.number(low)} to {units.number(high)}"
    box: Row = {
        "row": row,
        "low": low,
        "first": first,
        "middle": middle,
        "third": third,
        "high": high,
        "top": row - 0.3,
        "bottom": row + 0.3,
        "above": row - 0.36,
        "below": row + 0.36,
        "colour": colours.edge,
        "face": colours.face,
        "said": said(*parts, f"median {sign}{units.number(middle)} {unit}".rstrip() + f", {range_of}"),
    }
    points: list[Row] = [
        {
            "x": value,
            "row": row + _JITTER[i % len(_JITTER)],
            "colour": colours.edge,
            "path": colours.path,
            "said": said(*parts, f"{sign}{units.number(value)} {unit}".rstrip()),
        }
        for i, value in enumerate(values)
    ]
    return box, points


def box_layers(drawn: Sequence[Box], y: altair.Y, where: Grid, title: str, *, log: bool) -> list[altair.Chart]:
    """Whiskers, boxes, points and medians; `title` stands under the axis."""
    import altair as alt

    dots = [point for _, points in drawn for point in points]
    xs = value_axis([float(dot["x"]) for dot in dots], where.inner, log=log)
    x = alt.X("x:Q", title=title, scale=xs.scale, axis=marked(xs))
    data = plot([box for box, _ in drawn])
    return [
        data.mark_rule(aria=False).encode(
            x=alt.X("low:Q", scale=xs.scale), x2="high:Q", y=y, color=alt.Color("colour:N", scale=None)
        ),
        data.mark_rect(fillOpacity=0.35, strokeWidth=1.2, aria=False).encode(
            x=alt.X("first:Q", scale=xs.scale),
            x2="third:Q",
            y=at(y, "top"),
            y2="bottom:Q",
            stroke=alt.Stroke("colour:N", scale=None),
            fill=alt.Fill("face:N", scale=None),
        ),
        plot(dots)
        .mark_point(filled=True, size=16, opacity=1)
        .encode(
            x=x,
            y=y,
            fill=alt.Fill("colour:N", scale=None),
            shape=alt.Shape("path:N", scale=None),
            description=described(),
        ),
        data.mark_rule(color=INK, strokeWidth=2).encode(
            x=alt.X("middle:Q", scale=xs.scale), y=at(y, "above"), y2="below:Q", description=described()
        ),
    ]


def _scatter(
    where: Grid,
    index: int,
    model: str,
    points: Sequence[tuple[Summary, tuple[float, float]]],
    missing: int,
    scales: tuple[Scale, Scale],
    logs: tuple[bool, bool],
) -> Specification:
    import altair as alt

    second, joule = scales
    height = 170.0
    xs = value_axis([p[0] / second.divisor for _, p in points], where.inner, log=logs[0])
    ys = value_axis([p[1] / joule.divisor for _, p in points], height, log=logs[1])
    rows = []
    for summary, (time, energy) in points:
        shape = look(summary.configuration)
        rows.append(
            {
                "x": time / second.divisor,
                "y": energy / joule.divisor,
                "colour": shape.colour,
                "path": shape.path,
                "said": said(
                    f"{model} {summary.configuration}",
                    *shape.parts,
                    f"{units.in_unit(energy, joule)} {joule.unit}",
                    f"{units.in_unit(time, second)} {second.unit}",
                ),
            }
        )
    layers: list[Any] = [
        plot(rows)
        .mark_point(filled=True, size=80, opacity=0.9)
        .encode(
            x=alt.X("x:Q", title=second.unit, scale=xs.scale, axis=marked(xs)),
            y=alt.Y("y:Q", title=joule.unit if where.is_left(index) else None, scale=ys.scale, axis=marked(ys)),
            fill=alt.Fill("colour:N", scale=None),
            shape=alt.Shape("path:N", scale=None),
            description=described(),
        )
    ]
    if missing:
        text = plot([{"text": f"{missing} without result"}]).mark_text(
            align="right", baseline="bottom", fontSize=9, color=QUIET, aria=False
        )
        layers.append(text.encode(x=alt.value(where.inner - 3), y=alt.value(height - 3), text="text:N"))
    return layered(*layers, width=where.inner, height=height, title=model)


def _bars(
    where: Grid,
    side: int,
    group: str,
    rows: Sequence[GroupMean | None],
    labels: Sequence[str],
    name: str,
    scale: Scale,
) -> Specification:
    import altair as alt

    standing = [Summary(m.source if m else "", "", None, None, m.configuration if m else "", 0, 0) for m in rows]
    size = len({model for m in rows if m is not None for model in (*m.models, *m.absent)})
    y = row_scale(where, side, len(standing))
    bars: list[Row] = []
    empty = []
    for row, mean in enumerate(rows):
        found = None if mean is None else mean.mean(name)
        if mean is None or found is None:
            empty.append((row, "no result"))
            continue
        shape = look(mean.configuration)
        sign = "~" if found.grade is Grade.ESTIMATED else ""
        part = f"  ({len(mean.models)}/{counted(size, 'model')})" if len(mean.models) < size else ""
        text = f"{sign}{units.in_unit(found.value, scale)}"
        bars.append(
            {
                "x": found.value / scale.divisor,
                "row": row,
                "top": row - 0.33,
                "bottom": row + 0.33,
                "colour": shape.colour,
                "face": PAPER if shape.hollow else shape.colour,
                "text": text + part,
                "said": said(f"{group} {labels[row]}", *shape.parts, f"{text} {scale.unit}{part}"),
            }
        )
    # Room for the numbers at the ends of the bars.
    most = 1.5 * max((float(b["x"]) for b in bars), default=1.0)
    across = alt.Scale(domain=[0, most], nice=False)
    data = plot(bars)
    axis = alt.Axis(format=",.4~r", tickCount=max(2, int(where.inner / 60)), labelOverlap=True)
    layers = [
        data.mark_rect(strokeWidth=1.2).encode(
            x=alt.X("x:Q", title=scale.unit, scale=across, axis=axis),
            x2=alt.datum(0),
            y=at(y, "top"),
            y2="bottom:Q",
            stroke=alt.Stroke("colour:N", scale=None),
            fill=alt.Fill("face:N", scale=None),
            description=described(),
        ),
        data.mark_text(align="left", dx=5, fontSize=SMALL, color=INK, aria=False).encode(
            x=alt.X("x:Q", scale=across), y=y, text="text:N"
        ),
        *reasons(empty, y),
        *boundaries(standing, y),
    ]
    heading = f"{group}: {'energy' if side == 0 else 'time'}"
    return layered(*layers, width=where.inner, height=row_pixels(where, len(rows)), title=heading)


def _applies(view: StudyView, name: str, key: tuple[str, str]) -> bool:
    """Whether any model has this variable in this configuration, or none has any: a GPU's energy is none on a CPU."""
    members = [s for s in view.summaries if (s.source, s.configuration) == key]
    return any(s.measure(name) is not None for s in members) or not any(s.ok for s in members)


def _rows(view: StudyView, model: str, keys: Sequence[tuple[str, str]]) -> list[Summary]:
    """One summary for every row of the study, also those that this model lacks."""
    found = {(s.source, s.configuration): s for s in view.summaries if s.model == model}
    blank = {key: Summary(key[0], model, None, None, key[1], 0, 0, failure="not measured") for key in keys}
    return [found.get(key, blank[key]) for key in keys]


def _point(summary: Summary) -> tuple[float, float] | None:
    time, energy = summary.estimate("s_per_token"), summary.estimate("energy_j_per_token")
    return None if time is None or energy is None else (time, energy)


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
