"""Figures of samples: every observation by subject and group, and how much more each group needs than the least."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from servewatt.errors import InputError, nearest
from servewatt.report import units
from servewatt.report.figures import Figure
from servewatt.report.figures.canvas import (
    BLUE,
    INK,
    PAPER,
    Row,
    Specification,
    described,
    drawable,
    layered,
    plot,
    said,
)
from servewatt.report.plain_text import plain
from servewatt.report.units import Scale
from servewatt.stats.records import Interval
from servewatt.study.data.observations import VARIABLES
from servewatt.study.data.samples import title_of
from servewatt.study.figures.boxes import Box, Colours, box_layers, box_of
from servewatt.study.figures.panels import (
    CIRCLE,
    Grid,
    grid,
    marked,
    panels_of,
    row_pixels,
    row_scale,
    value_axis,
    wants_log,
    wide_for,
)
from servewatt.study.tests.examine import Examination
from servewatt.study.view import scale_of

KINDS = ("boxes", "differences")
"""Figures by name; one a variable, with its name behind theirs where there are several."""

EXPLANATIONS = {
    "boxes": "Each dot is one observation, the box spans the quartiles, its line is the median, the whisker the "
    "extremes.",
    "differences": "How much more each group needs than the one of the least median, by geometric means, with the "
    "interval that holds for all pairs together. Hollow: the interval holds 0, so the two are not told apart.",
}

_MOST_PANELS = 24


def sample_figures(examinations: Sequence[Examination], kinds: Sequence[str] = ()) -> tuple[tuple[Figure, str], ...]:
    """The figures of these kinds, or of all, each with how to read it; those that would be empty are left out.

    Raises InputError for a kind that is none.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(f"no figure is called {kind!r}", nearest(kind, KINDS))
    variables = dict.fromkeys(e.battery.variable for e in examinations)
    found = []
    for variable in variables:
        own = [e for e in examinations if e.battery.variable == variable][:_MOST_PANELS]
        end = "" if len(variables) == 1 else f"-{variable}"
        for kind, draw in (("boxes", sample_boxes), ("differences", sample_differences)):
            drawn = draw(own, f"{kind}{end}") if not kinds or kind in kinds else None
            if drawn is not None:
                found.append((drawn, EXPLANATIONS[kind]))
    return tuple(found)


def sample_boxes(examinations: Sequence[Examination], name: str = "boxes") -> Figure | None:
    """Box plots of one variable, a panel a subject and a row a group, with every observation as a point."""
    groups = list(dict.fromkeys(d.group for e in examinations for d in e.descriptions))
    values = [v for e in examinations for d in e.descriptions for v in d.values]
    if not values:
        return None
    scale = _scale(examinations[0].battery.variable, values)
    log = wants_log([[v / scale.divisor for d in e.descriptions for v in d.values] for e in examinations])
    what = title_of(examinations[0].battery.variable)

    def draw(width: int) -> Specification:
        where = grid(width, len(examinations), [plain(group) for group in groups])
        panels = []
        for index, one in enumerate(examinations):
            y = row_scale(where, index, len(groups))
            boxes = _boxes(one, groups, scale)
            layers = box_layers(boxes, y, where, scale.unit or what, log=log)
            height, title = row_pixels(where, len(groups)), plain(one.battery.subject)
            panels.append(layered(*layers, width=where.inner, height=height, title=title))
        return panels_of(panels, where.columns)

    words = "; ".join(
        f"{e.battery.subject}: {', '.join(_median_in_words(d.group, d.median, scale) for d in e.descriptions)}"
        for e in examinations
    )
    return Figure(
        name,
        f"{what[:1].upper()}{what[1:]} by subject and group",
        f"Box plots of {what}. Medians: {words}.",
        f"each panel has its own scale · {len(values)} observations",
        draw,
        wide_for(len(examinations)),
    )


def sample_differences(examinations: Sequence[Examination], name: str = "differences") -> Figure | None:
    """Each group over the one of the least median, in per cent, with its interval; a panel a subject."""
    shown = [(e, rows) for e in examinations if (rows := _over_least(e))]
    if not shown:
        return None
    what = title_of(shown[0][0].battery.variable)
    how = "paired within blocks" if all(d.paired for e, _ in shown for d in e.differences) else "not paired"
    level = units.percent(1 - shown[0][0].battery.alpha)

    def draw(width: int) -> Specification:
        panels = []
        for one, rows in shown:
            # Each panel names its own groups.
            where = grid(width, len(shown), [plain(group) for group, _ in rows])
            panels.append(_differences(where, one, rows))
        return panels_of(panels, grid(width, len(shown), []).columns)

    words = "; ".join(
        f"{e.battery.subject}, over {e.differences[0].first}: "
        + ", ".join(f"{group} {_in_words(share)}" for group, share in rows)
        for e, rows in shown
    )
    return Figure(
        name,
        f"{what[:1].upper()}{what[1:]}: how much more than the least",
        f"Differences of {what} in per cent. {words}.",
        f"{how} · intervals of all pairs of a panel hold together at {level}",
        draw,
        wide_for(len(shown)),
    )


def _over_least(examination: Examination) -> list[tuple[str, Interval]]:
    """Group -> its share above the group of the least median, 0.1 for 10 % more."""
    if not examination.differences:
        return []
    least = examination.differences[0].first
    found = []
    for one in examination.differences:
        if one.first == least and one.ratio is not None:
            times = units.inverse(one.ratio)
            low, high = (None if bound is None else bound - 1 for bound in (times.low, times.high))
            found.append((one.second, Interval(times.estimate - 1, low, high, times.n)))
    return found


def _boxes(one: Examination, groups: Sequence[str], scale: Scale) -> list[Box]:
    found = {d.group: d for d in one.descriptions}
    boxes = []
    for row, group in enumerate(groups):
        description = found.get(group)
        if description is not None and description.values:
            values = [v / scale.divisor for v in description.values]
            parts = (f"{plain(one.battery.subject)}, {plain(group)}",)
            boxes.append(box_of(row, values, Colours(BLUE, BLUE, CIRCLE), parts, ("", scale.unit)))
    return boxes


def _differences(where: Grid, one: Examination, rows: Sequence[tuple[str, Interval]]) -> Specification:
    """A panel of the groups over the least one."""
    import altair as alt

    least = plain(one.differences[0].first)
    y = row_scale(where, 0, len(rows))
    xs = value_axis(
        [
            0.0,
            *(
                p
                for _, share in rows
                for v in (share.low, share.estimate, share.high)
                if (p := _per_cent(v)) is not None
            ),
        ],
        where.beside,
        log=False,
    )
    x = alt.X("x:Q", title="% more", scale=xs.scale, axis=marked(xs))
    marks: list[Row] = [
        {
            "row": row,
            "x": 100 * share.estimate,
            "low": _per_cent(share.low),
            "high": _per_cent(share.high),
            "face": BLUE if share.low is not None and share.low > 0 else PAPER,
            "said": said(plain(group), f"{_in_words(share)} more than {least}"),
        }
        for row, (group, share) in enumerate(rows)
    ]
    data = plot(marks).encode(y=y)
    bounded = plot([mark for mark in marks if mark["low"] is not None and mark["high"] is not None]).encode(y=y)
    layers = [
        plot([{"x": 0.0}]).mark_rule(color=INK, strokeWidth=0.8, aria=False).encode(x=x),
        bounded.mark_rule(color=BLUE, strokeWidth=2, aria=False).encode(x=alt.X("low:Q", scale=xs.scale), x2="high:Q"),
        data.mark_point(filled=True, size=60, stroke=BLUE, strokeWidth=1.3, opacity=1).encode(
            x=x, fill=alt.Fill("face:N", scale=None), description=described()
        ),
    ]
    title = f"{plain(one.battery.subject)}: over {least}"
    return layered(*layers, width=where.beside, height=row_pixels(where, len(rows)), title=title)


def _per_cent(share: float | None) -> float | None:
    known = drawable(share)
    return None if known is None else 100 * known


def _scale(name: str, values: Sequence[float]) -> Scale:
    if not any(v.name == name for v in VARIABLES):
        return units.PLAIN
    return scale_of(name, [statistics.median(values)], "token" if "per_token" in name else "")


def _median_in_words(group: str, median: Interval | None, scale: Scale) -> str:
    return f"{group} {units.in_unit(median.estimate, scale)}" if median is not None else f"{group} none"


def _in_words(share: Interval) -> str:
    told = f"{100 * share.estimate:.3g} %"
    if share.low is None or share.high is None:
        return told
    return f"{told} [{100 * share.low:.3g}, {100 * share.high:.3g}]"
