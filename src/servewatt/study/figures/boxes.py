"""Box plots of what was measured: every observation by model and configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from servewatt.records import Grade
from servewatt.report import units
from servewatt.report.figures.canvas import (
    INK,
    PAPER,
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
from servewatt.study.data.summaries import Summary
from servewatt.study.figures.panels import (
    Grid,
    at,
    boundaries,
    ended,
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
    alt = f"Box plots of {variable(name).title} in {scale.unit}. " + medians_in_words(view, name, scale)
    return Figure(figure, title, alt, f"{what} · {caption(view, (name,))}", draw, wide_for(len(view.models)))


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


def _applies(view: StudyView, name: str, key: tuple[str, str]) -> bool:
    """Whether any model has this variable in this configuration, or none has any: a GPU's energy is none on a CPU."""
    members = [s for s in view.summaries if (s.source, s.configuration) == key]
    return any(s.measure(name) is not None for s in members) or not any(s.ok for s in members)


def _rows(view: StudyView, model: str, keys: Sequence[tuple[str, str]]) -> list[Summary]:
    """One summary for every row of the study, also those that this model lacks."""
    found = {(s.source, s.configuration): s for s in view.summaries if s.model == model}
    blank = {key: Summary(key[0], model, None, None, key[1], 0, 0, failure="not measured") for key in keys}
    return [found.get(key, blank[key]) for key in keys]


def medians_in_words(view: StudyView, name: str, scale: Scale) -> str:
    """The median of each model and configuration, for those who cannot see the figure."""
    parts = []
    for model in view.models:
        rows = [s for s in view.summaries if s.model == model]
        cells = [
            f"{label} {units.in_unit(s.estimate(name), scale)}"
            for label, s in zip(row_labels([(r.source, r.configuration) for r in rows], view), rows, strict=True)
        ]
        parts.append(f"{model}: {', '.join(cells)}")
    return f"Medians: {'; '.join(parts)}."
