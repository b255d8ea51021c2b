"""Shared code of all figures: one specification (Vega-Lite) from which every form is made.

A figure is a function from a width in pixels to a chart of Altair. The forms that follow from it:

- `Figure.svg`, `png()`, `pdf()`: files for papers and talks, `WIDE` pixels wide.
- `Figure.for_page()`: SVG in the page's colours, once for wide and once for narrow windows. `templates/figures.js`
  lets a pointer name the marks and the legend filter them.

How to draw one:

1. `plot(rows)` is a chart over rows of values. Numbers are in the units that the axes tell.
2. A mark that a reader may point at is encoded with `described()`: the row's field `said` is what is shown of it, and
   what a screen reader says. `said(...)` joins its parts; a part that equals an entry of the legend makes the mark
   follow that entry. Marks that only decorate get `aria=False`.
3. Colours come from the palette below and nowhere else: a page replaces them by its own, light or dark.
4. `layered(...)` lays marks over one another; `side_by_side(...)` sets panels beside one another. `Figure` adds the
   title, the note and the look.

The library is imported only when a figure is drawn.
"""

from __future__ import annotations

import json
import math
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any

from servewatt.errors import counted
from servewatt.records import Component, Weights
from servewatt.report.view import grade_is_estimated, short_labels
from servewatt.stats.records import Analysis, ConfigurationSummary

if TYPE_CHECKING:
    import altair

Row = Mapping[str, Any]
"""One mark: field -> value, as Vega-Lite takes it."""

Specification = dict[str, Any]
"""Vega-Lite, as the library writes it."""

WIDE, NARROW = 680, 350
"""Pixels that a figure takes: in files and on wide pages; and on a telephone."""

INK = "#22262b"
QUIET = "#6b737c"
RULE = "#c9cdd2"
PAPER = "#ffffff"
BLUE = "#0072b2"
SKY = "#56b4e9"
ORANGE = "#e69f00"
GREEN = "#009e73"
PURPLE = "#cc79a7"
"""The palette of Okabe and Ito, which people with any colour vision can tell apart."""

LINE_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, INK)
SHAPES = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "triangle-right")
COMPONENT_COLOURS = {
    Component.CPU: BLUE,
    Component.DRAM: SKY,
    Component.GPU: ORANGE,
    Component.MACHINE: GREEN,
}

CHARACTER = 6.3
"""Pixels that a character of a label takes, at most; see `LABEL`."""
LABEL = 11
"""Size of the type of labels, in pixels."""
LINE = 14
"""Pixels from one line of labels to the next."""

_THEME = {
    INK: "var(--ink)",
    QUIET: "var(--quiet)",
    RULE: "var(--rule)",
    PAPER: "var(--paper)",
    BLUE: "var(--blue)",
    SKY: "var(--sky)",
    ORANGE: "var(--orange)",
    GREEN: "var(--green)",
    PURPLE: "var(--purple)",
}


_LOOK = {
    "font": "sans-serif",
    "axis": {
        "labelColor": INK,
        "titleColor": INK,
        "domainColor": QUIET,
        "tickColor": QUIET,
        "gridColor": RULE,
        "gridOpacity": 0.5,
        "labelFontSize": LABEL,
        "titleFontSize": LABEL,
        "titleFontWeight": "normal",
    },
    "view": {"stroke": None},
    "legend": {"labelColor": INK, "labelFontSize": LABEL, "symbolStrokeWidth": 1.5},
    "title": {"color": INK, "fontSize": 14, "subtitleColor": QUIET, "subtitleFontSize": LABEL, "subtitlePadding": 4},
    "concat": {"spacing": 18},
}
"""Type and lines of every figure."""

_PLACES = re.compile(r'\b(?:d|transform|[xy][12]?|width|height)="[^"]*"')
"""Attributes that tell places, of which hundredths of a pixel are enough."""

_DATASETS: ContextVar[dict[str, list[Row]]] = ContextVar("rows of the figure that is being drawn")
"""Rows go past the library into the specification: it would copy and check each of them several times."""


@dataclass(frozen=True)
class Figure:
    """A figure that can be drawn."""

    name: str
    """Short and fit for a file name."""
    title: str
    alt: str
    """What it shows, in words, for those who cannot see it."""
    note: str
    """What must be said wherever it is shown; it stands beneath the title."""
    draw: Callable[[int], Specification] = field(repr=False, compare=False)
    """Width in pixels -> the chart by `layered` or `side_by_side`, without title and look."""
    wide: int = WIDE
    """Pixels that it takes in files and on wide pages."""

    def specification(self, width: int | None = None, *, titled: bool = True) -> Specification:
        """The Vega-Lite specification, with title and note above the figure or without; `wide` where none is given."""
        found = self._as_wide if width in {None, self.wide} else self._specified(width or self.wide)
        return found if titled else {name: part for name, part in found.items() if name != "title"}

    @cached_property
    def _as_wide(self) -> Specification:
        return self._specified(self.wide)

    def _specified(self, width: int) -> Specification:
        rows: dict[str, list[Row]] = {}
        token = _DATASETS.set(rows)
        try:
            drawn = self.draw(width)
        finally:
            _DATASETS.reset(token)
        title = {
            "text": textwrap.wrap(self.title, int(width / 8)),
            "subtitle": textwrap.wrap(self.note, int(width / 5.6), break_on_hyphens=False),
            "anchor": "start",
            "frame": "bounds",
            "offset": 14,
        }
        return {
            "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
            "config": _LOOK,
            "background": None,
            "padding": 4,
            "title": title,
            "datasets": rows,
            **drawn,
        }

    @cached_property
    def svg(self) -> str:
        """A whole SVG document."""
        return self._svg(self.specification(), self.name)

    def inline(self, width: int | None = None) -> str:
        """SVG for a page, `width` pixels wide or as wide as there is room; the page has the title and the note."""
        prefix = self.name if width in {None, self.wide} else f"{self.name}-{width}"
        return themed(self._svg(self.specification(width, titled=False), prefix))

    def for_page(self) -> str:
        """HTML that shows the figure as the window is wide or narrow; to stand in a `<figure class="drawn">`."""
        return f'<div class="at-wide">{self.inline()}</div>\n<div class="at-narrow">{self.inline(NARROW)}</div>'

    def png(self) -> bytes:
        """Two pixels for one, on white."""
        import vl_convert

        made: bytes = vl_convert.vegalite_to_png(self.specification() | {"background": PAPER}, scale=2)
        return made

    def pdf(self) -> bytes:
        """With fonts inside."""
        import vl_convert

        made: bytes = vl_convert.vegalite_to_pdf(self.specification())
        return made

    def _svg(self, specification: Specification, prefix: str) -> str:
        import vl_convert

        text: str = vl_convert.vegalite_to_svg(specification)
        # The library numbers ids through a process. Several figures share a page, so each one's ids carry its name.
        ids = {name: f"{prefix}-{i}" for i, name in enumerate(dict.fromkeys(re.findall(r'\bid="([^"]+)"', text)))}
        text = re.sub(r'\bid="([^"]+)"', lambda m: f'id="{ids[m[1]]}"', text)
        text = re.sub(r'(href="#|url\(#)([^")]+)', lambda m: m[1] + ids.get(m[2], m[2]), text)
        text = _PLACES.sub(lambda m: re.sub(r"\d+\.\d{3,}", lambda n: f"{float(n[0]):.2f}", m[0]), text)
        head = f'role="img" aria-labelledby="{prefix}-title {prefix}-alt"'
        words = f'<title id="{prefix}-title">{escape(self.title)}</title>\n<desc id="{prefix}-alt">'
        words += f"{escape(self.alt)}</desc>"
        text = text.replace(' version="1.1" class="marks"', "", 1)
        return re.sub(r"<svg ([^>]*)>", lambda m: f"<svg {head} {m.group(1)}>\n{words}", text, count=1)


def themed(svg: str) -> str:
    """An SVG element for a page: no namespaces, colours from the page's palette, shrinking with the window."""
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'(<svg [^>]*?)width="([\d.]+)(pt)?" height="[^"]*"', r'\1style="max-width: \2\3"', svg, count=1)
    svg = re.sub(r'style="max-width: ([\d.]+)"', r'style="max-width: \1px"', svg, count=1)
    for colour, variable in _THEME.items():
        svg = svg.replace(colour, variable)
    return svg


def plot(rows: Sequence[Row]) -> altair.Chart:
    """A chart over these rows; called by a figure's `draw`."""
    import altair as alt

    known = _DATASETS.get()
    name = f"rows{len(known)}"
    known[name] = [dict(row) for row in rows]
    return alt.Chart(alt.NamedData(name=name))


def layered(*layers: altair.Chart, width: float, height: float, title: str | Sequence[str] = "") -> Specification:
    """Charts over one another on the same axes, the first at the bottom; `title` stands above a panel."""
    import altair as alt

    found: Specification = alt.layer(*layers).properties(width=width, height=height).to_dict()
    del found["$schema"], found["config"]
    if title:
        found["title"] = {"text": title, "anchor": "start", "fontSize": LABEL, "fontWeight": "normal", "offset": 6}
    return found


def side_by_side(panels: Sequence[Specification], columns: int) -> Specification:
    """Panels in rows of so many."""
    return {"concat": list(panels), "columns": columns}


def said(*parts: str) -> str:
    """What is shown of a mark that is pointed at: its name first, then what it belongs to, then its values."""
    return " · ".join(part for part in parts if part)


def drawable(value: float | None) -> float | None:
    """A number that a figure can show; None for one without end, and where there is none."""
    return value if value is not None and math.isfinite(value) else None


def described() -> altair.Description:
    """The encoding that gives marks the text of their row's field `said`."""
    import altair as alt

    return alt.Description("said:N")


def is_narrow(width: int) -> bool:
    """Whether there is no room beside the axes for more than a few words."""
    return width < 500


def broken(label: str, characters: int, lines: int = 3) -> list[str]:
    """A label over several lines, cut with an ellipsis where they do not suffice."""
    found = textwrap.wrap(label, characters, max_lines=lines, placeholder=" …", break_on_hyphens=False)
    return found or [label]


def row_axis(labels: Sequence[Sequence[str]], title: str | None = None) -> altair.Y:
    """Rows down the side, the first on top; the data's field is `row`, from 0. Labels are in lines."""
    import altair as alt

    # The labels are looked up by the row, so that two that read alike stay two rows.
    axis = alt.Axis(
        labelExpr=f"{json.dumps([list(label) for label in labels])}[datum.value]",
        labelLimit=0,
        labelFontSize=LABEL,
        labelLineHeight=LINE - 1,
        ticks=False,
        domain=False,
        description="configurations",
    )
    return alt.Y("row:O", title=title, axis=axis, scale=alt.Scale(domain=list(range(len(labels)))))


def row_height(labels: Sequence[Sequence[str]]) -> int:
    """Pixels of one row."""
    return max(24, 6 + (LINE - 1) * max(map(len, labels), default=1))


def label_width(labels: Sequence[Sequence[str]]) -> float:
    """Pixels that labels take, with the gap beside them."""
    return 8 + CHARACTER * max((len(line) for label in labels for line in label), default=0)


def legend(columns: int) -> altair.Legend:
    """Beneath the figure, without a title."""
    import altair as alt

    return alt.Legend(
        title=None, orient="bottom", columns=columns, labelLimit=280, symbolSize=90, offset=8, columnPadding=26
    )


def palette(names: Sequence[str], values: Sequence[Any]) -> altair.Scale:
    """One colour, shape, dash or opacity for each name."""
    import altair as alt

    # Without its type, a scale of opacities would put equal steps in place of the values.
    return alt.Scale(type="ordinal", domain=list(names), range=[values[i % len(values)] for i in range(len(names))])


def caption(analysis: Analysis, shown: Sequence[ConfigurationSummary]) -> str:
    """What must be said wherever these results are shown."""
    model = analysis.run.plan.model
    parts = [model.name, f"{analysis.boundary.value} boundary"]
    if model.weights is Weights.RANDOM:
        parts.insert(1, "weights: random")
    if any(grade_is_estimated(s.energy_grade) for s in shown):
        parts.append("~ estimated")
    return " · ".join(parts)


def left_out(shown: Sequence[object], every: Sequence[object]) -> str:
    """What the note says where a figure has no room for all configurations."""
    if len(shown) == len(every):
        return ""
    return f" · {len(shown)} of {counted(len(every), 'configuration')} shown, least energy first"


def labels_of(analysis: Analysis) -> dict[str, str]:
    """Key -> the configuration's short label."""
    return short_labels([s.configuration for s in analysis.summaries])
