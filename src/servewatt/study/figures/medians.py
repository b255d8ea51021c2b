"""Figures of medians and means: energy against time, energy and time by size group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
from servewatt.study.data.names import SIZE_GROUPS
from servewatt.study.data.summaries import GroupMean, Summary, group_means
from servewatt.study.figures.boxes import medians_in_words
from servewatt.study.figures.panels import (
    SMALL,
    Grid,
    at,
    boundaries,
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
from servewatt.study.view import StudyView, caption, from_the_top, scale_of

_BOTH = ("energy_j_per_token", "s_per_token")


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
        alt + medians_in_words(view, "energy_j_per_token", joule),
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


def _point(summary: Summary) -> tuple[float, float] | None:
    time, energy = summary.estimate("s_per_token"), summary.estimate("energy_j_per_token")
    return None if time is None or energy is None else (time, energy)
