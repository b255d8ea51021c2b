"""Axes whose ends are known before drawing, and names beside the marks, each joined to its own by a line.

A name could stand right beside its mark only where no other mark is near. Names therefore stand in a column at the
right of the axes, in the order of their marks, and a line leads from each mark to its name.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from servewatt.report import units
from servewatt.report.figures.canvas import INK, LABEL, LINE, QUIET, Row, broken, plot
from servewatt.stats.records import Interval

if TYPE_CHECKING:
    import altair

MOST_LABELS = 20
"""More marks than this are not all named."""

_LOG_FROM = 8.0
"""Values that differ by more than this factor are drawn on a logarithmic axis."""
_STEPS = ((1.0, 2.0, 3.0, 5.0), (1.0, 2.0, 5.0), (1.0, 3.0), (1.0,))
"""Where a logarithmic axis may be marked within a decade, finest first."""


@dataclass(frozen=True)
class Extent:
    """One axis: from `low` to `high` over so many pixels, linear or logarithmic."""

    low: float
    high: float
    pixels: float
    log: bool

    def place(self, value: float) -> float:
        """Pixels from the end of the low values."""
        at, low, high = (math.log(v) if self.log else v for v in (value, self.low, self.high))
        return self.pixels * (at - low) / (high - low)

    def value(self, place: float) -> float:
        """The value at so many pixels from the end of the low values."""
        low, high = (math.log(v) if self.log else v for v in (self.low, self.high))
        at = low + (high - low) * place / self.pixels
        return math.exp(at) if self.log else at

    @property
    def scale(self) -> altair.Scale:
        """The same for Altair."""
        import altair as alt

        return alt.Scale(type="log" if self.log else "linear", domain=[self.low, self.high], nice=False, zero=False)

    def ticks(self, most: int) -> list[float] | None:
        """Round numbers to mark a logarithmic axis with; None leaves it to the library, as on a linear one."""
        if not self.log:
            return None
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        found: list[float] = []
        for parts in _STEPS:
            found = [t for d in decades for p in parts if self.low <= (t := p * 10.0**d) <= self.high]
            if len(found) <= most:
                break
        while len(found) > most:
            found = found[::2]
        return found if len(found) > 1 else None


def extent(values: Sequence[float], pixels: float, margin: float = 0.08, log: bool | None = None) -> Extent:
    """An axis that holds all values with `margin` of its length free at both ends; logarithmic where they spread."""
    low, high = min(values), max(values)
    chosen = (low > 0 and high > _LOG_FROM * low) if log is None else log and low > 0
    if chosen:
        a, b = math.log(low), math.log(high)
        room = margin * (b - a) or 0.1
        return Extent(math.exp(a - room), math.exp(b + room), pixels, True)
    room = margin * (high - low) or 0.1 * abs(high) or 1.0
    return Extent(low - room, high + room, pixels, False)


def reach(intervals: Sequence[Interval], divisor: float) -> list[float]:
    """Every value that an axis must hold for these: estimates, and bounds that say something."""
    return [v / divisor for i in intervals for v in (i.estimate, *(units.drawn_bounds(i) or ()))]


@dataclass(frozen=True)
class Named:
    """A mark and its name; `x` and `y` in the units of the axes."""

    x: float
    y: float
    name: str


def beside(marks: Sequence[Named], across: Extent, along: Extent, characters: int) -> list[Row]:
    """One row a mark: where its line begins (`x`, `y`), and where it ends and the name stands (`edge`, `level`).

    The names are broken to `characters`; their lines are the field `lines`.
    """
    texts = [broken(mark.name, characters, lines=2) for mark in marks]
    heights = [float(LINE * len(lines)) for lines in texts]
    places = [along.place(mark.y) for mark in marks]
    order = sorted(range(len(marks)), key=lambda i: (places[i], -marks[i].x))
    centres = spread([places[i] for i in order], [heights[i] for i in order], 0.0, along.pixels)
    levels = dict(zip(order, centres, strict=True))
    return [
        {
            "x": mark.x,
            "y": mark.y,
            "edge": across.high,
            "level": along.value(levels[i]),
            "lines": texts[i],
            "name": mark.name,
        }
        for i, mark in enumerate(marks)
    ]


def names_height(names: Sequence[str], characters: int) -> int:
    """Pixels that these names take above one another."""
    return sum(LINE * len(broken(name, characters, lines=2)) for name in names)


def leaders(rows: Sequence[Row], x: altair.X, y: altair.Y, colour: altair.Color | None = None) -> list[altair.Chart]:
    """The lines from marks to the names beside them, and the names; `rows` come from `beside`."""
    import altair as alt

    # Dotted, so that none is taken for an interval.
    line = plot(rows).mark_rule(strokeWidth=0.9, strokeDash=[1, 2.5], aria=False, color=QUIET)
    text = plot(rows).mark_text(align="left", dx=6, fontSize=LABEL, color=INK, lineHeight=LINE - 1, aria=False)
    return [
        line.encode(x=x, y=y, x2="edge:Q", y2="level:Q", **({"color": colour} if colour else {})),
        text.encode(x=alt.X("edge:Q", scale=x["scale"]), y=alt.Y("level:Q", scale=y["scale"]), text="lines:N"),
    ]


def ticked(values: Sequence[float] | None, count: int, form: str = ",.4~r") -> altair.Axis:
    """An axis marked at `values`, or with about `count` round numbers."""
    import altair as alt

    marked = alt.Undefined if values is None else list(values)
    return alt.Axis(format=form, tickCount=count, labelOverlap=False, grid=True, values=marked)


def spread(wanted: Sequence[float], heights: Sequence[float], low: float, high: float) -> list[float]:
    """Centres of boxes of these heights, in the order given, near `wanted`, without overlap, from `low` to `high`."""
    if not wanted:
        return []
    gaps = [(a + b) / 2 for a, b in pairwise(heights)]
    rising = [wanted[0]]
    for centre, gap in zip(wanted[1:], gaps, strict=True):
        rising.append(max(centre, rising[-1] + gap))
    falling = [wanted[-1]]
    for centre, gap in zip(reversed(wanted[:-1]), reversed(gaps), strict=True):
        falling.append(min(centre, falling[-1] - gap))
    # Both keep the gaps, so their mean does; it leaves a crowd where it is.
    centres = [(a + b) / 2 for a, b in zip(rising, reversed(falling), strict=True)]
    centres[-1] = min(centres[-1], high - heights[-1] / 2)
    for i in range(len(centres) - 2, -1, -1):
        centres[i] = min(centres[i], centres[i + 1] - gaps[i])
    if centres[0] < low + heights[0] / 2:
        centres[0] = low + heights[0] / 2
        for i, gap in enumerate(gaps):
            centres[i + 1] = max(centres[i + 1], centres[i] + gap)
    return centres
