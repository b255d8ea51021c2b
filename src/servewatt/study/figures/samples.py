"""Figures of samples: every observation by subject and group, and how much more each group needs than the least."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Sequence
from typing import Any

from servewatt.errors import InputError, nearest
from servewatt.report import units
from servewatt.report.figures.canvas import BLUE, INK
from servewatt.report.plain_text import plain
from servewatt.report.units import Scale
from servewatt.stats.records import Interval
from servewatt.study.data.observations import VARIABLES
from servewatt.study.data.samples import title_of
from servewatt.study.figures.boxes import Colours, draw_box
from servewatt.study.figures.drawing import Drawn, finished, style
from servewatt.study.figures.panels import SMALL, finish, head, light_grid, small_multiples, spread_axis, wants_log
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


def sample_figures(examinations: Sequence[Examination], kinds: Sequence[str] = ()) -> tuple[tuple[Drawn, str], ...]:
    """The figures of these kinds, or of all, each with how to read it; those that would be empty are left out.

    Raises InputError for a kind that is none.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(f"no figure is called {kind!r}", nearest(kind, KINDS))
    variables = dict.fromkeys(e.battery.variable for e in examinations)
    found = []
    with style():
        for variable in variables:
            own = [e for e in examinations if e.battery.variable == variable][:_MOST_PANELS]
            end = "" if len(variables) == 1 else f"-{variable}"
            for kind, draw in (("boxes", sample_boxes), ("differences", sample_differences)):
                drawn = draw(own, f"{kind}{end}") if not kinds or kind in kinds else None
                if drawn is not None:
                    found.append((drawn, EXPLANATIONS[kind]))
    return tuple(found)


def sample_boxes(examinations: Sequence[Examination], name: str = "boxes") -> Drawn | None:
    """Box plots of one variable, a panel a subject and a row a group, with every observation as a point."""
    groups = list(dict.fromkeys(d.group for e in examinations for d in e.descriptions))
    values = [v for e in examinations for d in e.descriptions for v in d.values]
    if not values:
        return None
    scale = _scale(examinations[0].battery.variable, values)
    panels = small_multiples(len(examinations), 0.62 + 0.26 * len(groups))
    log = wants_log([[v / scale.divisor for d in e.descriptions for v in d.values] for e in examinations])
    for index, (axes, one) in enumerate(zip(panels.axes, examinations, strict=True)):
        head(axes, plain(one.battery.subject))
        axes.margins(x=0.08)
        light_grid(axes, "x")
        found = {d.group: d for d in one.descriptions}
        for row, group in enumerate(groups):
            described = found.get(group)
            if described is not None and described.values:
                draw_box(axes, row, [v / scale.divisor for v in described.values], Colours(BLUE, BLUE, "o"))
        spread_axis(axes.xaxis, log=log)
        _rows(axes, groups, labelled=index % panels.columns == 0)
    what = title_of(examinations[0].battery.variable)
    _under(panels.axes, panels.columns, scale.unit or what)
    title = f"{what[:1].upper()}{what[1:]} by subject and group"
    finish(panels, title, f"each panel has its own scale · {len(values)} observations")
    words = "; ".join(
        f"{e.battery.subject}: {', '.join(_median_in_words(d.group, d.median, scale) for d in e.descriptions)}"
        for e in examinations
    )
    return finished(name, title, f"Box plots of {what}. Medians: {words}.", panels.drawing)


def sample_differences(examinations: Sequence[Examination], name: str = "differences") -> Drawn | None:
    """Each group over the one of the least median, in per cent, with its interval; a panel a subject."""
    shown = [(e, rows) for e in examinations if (rows := _over_least(e))]
    if not shown:
        return None
    panels = small_multiples(len(shown), 0.62 + 0.3 * max(len(rows) for _, rows in shown))
    for axes, (one, rows) in zip(panels.axes, shown, strict=True):
        least = one.differences[0].first
        head(axes, plain(f"{one.battery.subject}: over {least}"))
        light_grid(axes, "x")
        axes.axvline(0, color=INK, linewidth=0.8, zorder=1)
        axes.margins(x=0.1)
        for row, (_, share) in enumerate(rows):
            _interval(axes, row, share)
        spread_axis(axes.xaxis, log=False)
        _rows(axes, [group for group, _ in rows], labelled=True)
    _under(panels.axes, panels.columns, "% more")
    what = title_of(shown[0][0].battery.variable)
    how = "paired within blocks" if all(d.paired for e, _ in shown for d in e.differences) else "not paired"
    title = f"{what[:1].upper()}{what[1:]}: how much more than the least"
    level = units.percent(1 - shown[0][0].battery.alpha)
    finish(panels, title, f"{how} · intervals of all pairs of a panel hold together at {level}")
    words = "; ".join(
        f"{e.battery.subject}, over {e.differences[0].first}: "
        + ", ".join(f"{group} {_in_words(share)}" for group, share in rows)
        for e, rows in shown
    )
    return finished(name, title, f"Differences of {what} in per cent. {words}.", panels.drawing)


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


def _interval(axes: Any, row: int, share: Interval) -> None:
    decided = share.low is not None and share.low > 0
    if share.low is not None and share.high is not None:
        axes.plot([100 * share.low, 100 * share.high], [row, row], color=BLUE, linewidth=2, solid_capstyle="butt")
    face = BLUE if decided else "#ffffff"
    axes.plot([100 * share.estimate], [row], marker="o", markersize=6.5, linestyle="", markerfacecolor=face,
              markeredgecolor=BLUE)  # fmt: skip


def _rows(axes: Any, names: Sequence[str], *, labelled: bool) -> None:
    """Groups down the side, the first on top."""
    axes.set_ylim(len(names) - 0.4, -0.6)
    labels = ["\n".join(textwrap.wrap(plain(name), 28)[:3]) for name in names] if labelled else [""] * len(names)
    axes.set_yticks(range(len(names)), labels, fontsize=SMALL)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=SMALL)


def _under(axes: Sequence[Any], columns: int, text: str) -> None:
    """The unit under the lowest panel of each column."""
    for one in axes[-columns:]:
        one.set_xlabel(text, fontsize=9)


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
