"""Shared code of the study's figures: small multiples by model, rows of configurations, one style for each of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from servewatt.records import Provider
from servewatt.report.figures.canvas import (
    BLUE,
    CHARACTER,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    QUIET,
    RULE,
    SKY,
    Row,
    Specification,
    broken,
    is_narrow,
    layered,
    legend,
    palette,
    plot,
    side_by_side,
)
from servewatt.report.figures.scales import Extent, extent, ticked
from servewatt.study.data.names import provider_of
from servewatt.study.data.summaries import Summary
from servewatt.study.view import StudyView

if TYPE_CHECKING:
    import altair

ENGINE_COLOURS = {"TORCH": BLUE, "ONNX": ORANGE, "OV": GREEN, "JIT": PURPLE}
OTHER_ENGINE = "other engine"
SMALL = 10
"""Pixels of the labels inside panels."""

ROW = 17
"""Pixels of a row."""

_WIDTHS = {1: 680, 2: 760, 3: 1000, 4: 1200}
"""Columns of panels -> pixels of the figure."""

_HALVES = {"fp16": "top", "int8": "left", "int4": "bottom", "w8a8": "right"}
"""Precision -> the half of its mark that is filled; fp32's is all filled, bf16's is not."""
_PRECISIONS = ("bf16", *_HALVES)
_LOG_FROM = 8.0
"""A span of values by more than this factor is drawn on a logarithmic axis."""

# Paths between -1 and 1; what runs the other way round is a hole.
_OUTLINES = {
    Provider.CPU: "M-.9,-.9H.9V.9H-.9Z M-.62,-.62V.62H.62V-.62Z",
    Provider.CUDA: "M-1,0A1,1,0,1,1,1,0A1,1,0,1,1,-1,0Z M-.7,0A.7,.7,0,1,0,.7,0A.7,.7,0,1,0,-.7,0Z",
}
_WHOLES = {Provider.CPU: "M-.9,-.9H.9V.9H-.9Z", Provider.CUDA: "M-1,0A1,1,0,1,1,1,0A1,1,0,1,1,-1,0Z"}
CIRCLE = _WHOLES[Provider.CUDA]
_HALF_PATHS = {
    (Provider.CPU, "top"): "M-.9,-.9H.9V0H-.9Z",
    (Provider.CPU, "bottom"): "M-.9,0H.9V.9H-.9Z",
    (Provider.CPU, "left"): "M-.9,-.9H0V.9H-.9Z",
    (Provider.CPU, "right"): "M0,-.9H.9V.9H0Z",
    (Provider.CUDA, "top"): "M-1,0A1,1,0,0,1,1,0Z",
    (Provider.CUDA, "bottom"): "M1,0A1,1,0,0,1,-1,0Z",
    (Provider.CUDA, "left"): "M0,1A1,1,0,0,1,0,-1Z",
    (Provider.CUDA, "right"): "M0,-1A1,1,0,0,1,0,1Z",
}


@dataclass(frozen=True)
class Look:
    """How a configuration is drawn: colour by engine, shape by provider, filling by precision."""

    engine: str
    provider: Provider
    precision: str
    """Empty for fp32."""

    @property
    def colour(self) -> str:
        return ENGINE_COLOURS.get(self.engine, SKY)

    @property
    def hollow(self) -> bool:
        """Whether its area is left white, as where there is no room to tell one reduced precision from another."""
        return bool(self.precision)

    @property
    def path(self) -> str:
        """The outline of its mark, filled as its precision is."""
        return mark_path(self.provider, self.precision)

    @property
    def parts(self) -> tuple[str, ...]:
        """The entries of the legend that it belongs to."""
        engine = self.engine if self.engine in ENGINE_COLOURS else OTHER_ENGINE
        return tuple(part for part in (engine, self.provider.value.upper(), self.precision) if part)


@dataclass(frozen=True)
class Grid:
    """Where the panels of a figure stand."""

    columns: int
    inner: float
    """Pixels of a panel's axes."""
    labels: tuple[tuple[str, ...], ...]
    """Those of the rows, in lines."""

    @property
    def beside(self) -> float:
        """Pixels of a panel's axes where each panel names its rows, not only those at the left."""
        longest = max((len(line) for label in self.labels for line in label), default=0)
        return max(80.0, self.inner - (CHARACTER * longest * (self.columns - 1) / self.columns))

    def is_left(self, index: int) -> bool:
        """Whether a panel names its rows: those at the left do."""
        return index % self.columns == 0


def look(configuration: str) -> Look:
    """The look of a configuration, by its label."""
    parts = [p.strip() for p in configuration.strip("<> ").split(",")]
    precision = next((p for p in parts[2:] if p in _PRECISIONS), "")
    return Look(parts[1] if len(parts) > 1 else "", provider_of(configuration), precision)


def mark_path(provider: Provider, precision: str) -> str:
    """An SVG path: a square for a CPU, a circle for a GPU, filled in full, in half or not at all."""
    if not precision:
        return _WHOLES[provider]
    half = _HALVES.get(precision)
    return _OUTLINES[provider] + ("" if half is None else f" {_HALF_PATHS[provider, half]}")


def columns_for(count: int) -> int:
    """Panels beside one another on a wide page."""
    return 4 if count > 6 else max(1, min(count, 3))


def wide_for(count: int, columns: int | None = None) -> int:
    """Pixels of a figure of so many panels on a wide page."""
    return _WIDTHS[columns or columns_for(count)]


def grid(width: int, count: int, labels: Sequence[str], columns: int | None = None) -> Grid:
    """The panels in `width` pixels: one column on a telephone."""
    narrow = is_narrow(width)
    across = 1 if narrow else columns or columns_for(count)
    lines = tuple(tuple(broken(label, 13 if narrow else 26)) for label in labels)
    room = CHARACTER * max((len(part) for label in lines for part in label), default=0) + 14
    return Grid(across, max(90.0, (width - room - 20 - 26 * (across - 1)) / across), lines)


def panels_of(panels: Sequence[Specification], columns: int, key: Specification | None = None) -> Specification:
    """The panels in rows, the legend beneath."""
    rows = side_by_side(panels, columns) | {"align": "each", "spacing": {"row": 14, "column": 14}}
    return rows if key is None else {"vconcat": [rows, key], "spacing": 0}


def row_scale(where: Grid, index: int, count: int) -> altair.Y:
    """Rows down the side, the first on top, at 0, 1, 2 ..; named where the panel stands at the left."""
    import altair as alt

    names = f"{json.dumps(where.labels)}[datum.value]" if where.is_left(index) else "''"
    axis = alt.Axis(
        values=list(range(count)),
        labelExpr=names,
        labelFontSize=SMALL,
        labelLineHeight=SMALL + 1,
        labelLimit=0,
        labelOverlap=False,
        ticks=False,
        domain=False,
        grid=False,
        description="configurations",
    )
    return alt.Y("row:Q", title=None, scale=alt.Scale(domain=[count - 0.4, -0.6], nice=False), axis=axis)


def at(y: altair.Y, name: str) -> altair.Y:
    """Another field on the rows' scale."""
    import altair as alt

    return alt.Y(f"{name}:Q", title=None, scale=y["scale"], axis=y["axis"])


def row_pixels(where: Grid, count: int) -> float:
    """The height of a panel of so many rows."""
    lines = max((len(label) for label in where.labels), default=1)
    return max(ROW, 4 + (SMALL + 1) * lines) * count


def boundaries(rows: Sequence[Summary], y: altair.Y) -> list[altair.Chart]:
    """A line where another campaign begins."""
    at = [{"row": i - 0.5} for i in range(1, len(rows)) if rows[i].source != rows[i - 1].source]
    return [plot(at).mark_rule(color=QUIET, strokeWidth=0.7, strokeDash=[3, 2], aria=False).encode(y=y)] if at else []


def reasons(found: Sequence[tuple[int, str]], y: altair.Y) -> list[altair.Chart]:
    """Why rows are empty, written into them."""
    import altair as alt

    rows: list[Row] = [{"row": row, "text": text} for row, text in found]
    text = plot(rows).mark_text(align="left", fontSize=9, color=QUIET, aria=False)
    return [text.encode(y=y, x=alt.value(5), text="text:N")] if rows else []


def wants_log(panels: Sequence[Sequence[float]]) -> bool:
    """Whether any panel's values span more than a linear axis can show; then all panels get a logarithmic one."""
    return all(v > 0 for values in panels for v in values) and any(
        max(values) > _LOG_FROM * min(values) for values in panels if values
    )


def value_axis(values: Sequence[float], pixels: float, *, log: bool) -> Extent:
    """The axis of one panel, with few enough labels for it."""
    return extent(values or [1.0], pixels, log=log)


def marked(one: Extent) -> altair.Axis:
    """The marks of a panel's axis: as many as there is room for."""
    most = max(2, int(one.pixels / 46))
    return ticked(one.ticks(most), most)


def row_labels(keys: Sequence[tuple[str, str]], view: StudyView) -> list[str]:
    """Labels of (campaign, configuration), with the campaign where several measured the same configuration."""
    known = [configuration for _, configuration in rows_of(view)]
    return [label + (f" {source}" if known.count(label) > 1 else "") for source, label in keys]


def rows_of(view: StudyView) -> tuple[tuple[str, str], ...]:
    """Every (campaign, configuration) of the study, in the order of rows."""
    return tuple(
        dict.fromkeys(
            (source, s.configuration) for source in view.sources for s in view.summaries if s.source == source
        )
    )


def ended(summary: Summary) -> str:
    """Why a cell is empty, in a few words; the tables give the whole reason."""
    first = summary.failure.split(";")[0].split(" (")[0]
    return first or "not metered"


def engine_legend(summaries: Sequence[Summary], width: int, *extra: tuple[str, str, str]) -> Specification:
    """Colours, shapes and fillings of those that occur; `extra` are further names with their colour and path."""
    looks = [look(s.configuration) for s in summaries]
    engines = [
        (name, ENGINE_COLOURS.get(name, SKY), _WHOLES[Provider.CUDA])
        for name in (*ENGINE_COLOURS, OTHER_ENGINE)
        if any(name in one.parts for one in looks)
    ]
    providers = [(p.value.upper(), INK, path) for p, path in _WHOLES.items() if any(o.provider is p for o in looks)]
    precisions = [
        (p, INK, mark_path(Provider.CUDA, p)) for p in _PRECISIONS if any(one.precision == p for one in looks)
    ]
    return key_of([*engines, *providers, *precisions, *extra], width)


def key_of(names: Sequence[tuple[str, str, str]], width: int) -> Specification:
    """A legend alone: a name, the colour and the path of its mark."""
    import altair as alt

    words, key = [name for name, _, _ in names], _key([name for name, _, _ in names], width)
    hidden = (
        plot([])
        .mark_point(strokeWidth=0)
        .encode(
            fill=alt.Fill("name:N", scale=palette(words, [colour for _, colour, _ in names]), legend=key),
            shape=alt.Shape("name:N", scale=palette(words, [path for _, _, path in names]), legend=key),
        )
    )
    return layered(hidden, width=1, height=1)


def shades_of(names: Sequence[tuple[str, str, float]], width: int) -> Specification:
    """A legend alone: a name, the colour of its square and how much of it covers the paper."""
    import altair as alt

    words, key = [name for name, _, _ in names], _key([name for name, _, _ in names], width)
    hidden = (
        plot([])
        .mark_bar(stroke=RULE, strokeWidth=0.8)
        .encode(
            color=alt.Color("name:N", scale=palette(words, [colour for _, colour, _ in names]), legend=key),
            opacity=alt.Opacity("name:N", scale=palette(words, [share for _, _, share in names]), legend=key),
        )
    )
    return layered(hidden, width=1, height=1)


def _key(words: Sequence[str], width: int) -> altair.Legend:
    most = CHARACTER * max(map(len, words), default=1) + 50
    return legend(max(1, min(len(words), int(width / most))))
