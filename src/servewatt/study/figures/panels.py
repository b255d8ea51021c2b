"""Shared code of the study's figures: small multiples by model, and one style for each configuration."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from servewatt.records import Provider
from servewatt.report.figures.canvas import BLUE, GREEN, INK, ORANGE, PURPLE, QUIET, RULE, SKY
from servewatt.study.data.names import provider_of
from servewatt.study.data.summaries import Summary
from servewatt.study.figures.drawing import blank, titled
from servewatt.study.view import StudyView

ENGINE_COLOURS = {"TORCH": BLUE, "ONNX": ORANGE, "OV": GREEN, "JIT": PURPLE}
SMALL = 8.0
"""Points of the labels inside panels."""

_MARKERS = {Provider.CPU: "s", Provider.CUDA: "o"}
_FILLS = {"bf16": "none", "fp16": "top", "int8": "left", "int4": "bottom", "w8a8": "right"}
"""Precision -> which part of its mark is filled; fp32's is all."""
_LOG_FROM = 8.0
"""A span of values by more than this factor is drawn on a log axis."""

_NOTE_INCHES = 0.071
"""Mean width of a character of the note above a figure."""

_MOST_TICKS = 5
_STEPS = (
    (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0),
    (1.0, 1.5, 2.0, 3.0, 5.0),
    (1.0, 2.0, 5.0),
    (1.0, 3.0),
    (1.0,),
)
"""Within a decade, finest first."""


@dataclass(frozen=True)
class Look:
    """How a configuration is drawn: colour by engine, marker by provider, filling by precision."""

    colour: str
    marker: str
    precision: str
    """Empty for fp32."""

    @property
    def hollow(self) -> bool:
        """Whether its area is left white, as where there is no room to tell one reduced precision from another."""
        return bool(self.precision)

    @property
    def filling(self) -> dict[str, Any]:
        """The filling of its mark, as matplotlib takes it."""
        return _filling(self.precision, self.colour)

    @property
    def face(self) -> str:
        return "#ffffff" if self.hollow else self.colour


@dataclass(frozen=True)
class Panels:
    """A figure of small multiples."""

    drawing: Any
    axes: tuple[Any, ...]
    """One for each panel, row by row."""
    columns: int


def look(configuration: str) -> Look:
    """The look of a configuration, by its label."""
    parts = [p.strip() for p in configuration.strip("<> ").split(",")]
    engine = parts[1] if len(parts) > 1 else ""
    precision = next((p for p in parts[2:] if p in _FILLS), "")
    return Look(ENGINE_COLOURS.get(engine, SKY), _MARKERS[provider_of(configuration)], precision)


def _filling(precision: str, colour: str) -> dict[str, Any]:
    style = _FILLS.get(precision, "full")
    if style == "none":
        return {"markerfacecolor": "#ffffff"}
    return {"fillstyle": style, "markerfacecolor": colour, "markerfacecoloralt": "#ffffff"}


def small_multiples(count: int, panel_height: float, columns: int | None = None, below: float = 0.0) -> Panels:
    """Empty panels, as many as asked for, each `panel_height` inches high, with `below` inches for labels under all."""
    wide = columns or (4 if count > 6 else min(count, 3))
    deep = math.ceil(count / wide)
    width = max(7.0, 1.5 + 2.95 * wide)
    drawing = blank(width, 1.3 + panel_height * deep + below)
    grid = drawing.subplots(deep, wide, squeeze=False)
    axes = [a for row in grid for a in row]
    for unused in axes[count:]:
        unused.set_visible(False)
    return Panels(drawing, tuple(axes[:count]), wide)


def finish(panels: Panels, title: str, note: str, legend: Sequence[tuple[str, Any]] = ()) -> None:
    """Title and note above, the legend beneath."""
    drawing = panels.drawing
    width, height = drawing.get_size_inches()
    lines = textwrap.wrap(note, int(width / _NOTE_INCHES), break_on_hyphens=False)
    titled(drawing, title, "\n".join(lines))
    room = 0.55 + 0.16 * (len(lines) - 1)
    drawing.get_layout_engine().set(rect=(0, 0, 1, 1 - room / height))
    if legend:
        names, handles = [n for n, _ in legend], [h for _, h in legend]
        drawing.legend(
            handles,
            names,
            loc="outside lower left",
            ncols=_legend_columns(names, width),
            fontsize=9,
            handlelength=1.4,
        )


def _legend_columns(names: Sequence[str], width: float) -> int:
    """As many columns as fit into `width` inches."""
    room = [0.5 + _NOTE_INCHES * len(name) for name in names]
    if sum(room) < width:
        return len(names)
    rows = 2
    while math.ceil(len(names) / rows) * max(room) > width and rows < len(names):
        rows += 1
    return math.ceil(len(names) / rows)


def head(axes: Any, model: str) -> None:
    """The model's name above its panel, flush left."""
    axes.set_title(model, loc="left", fontsize=9.5, fontweight="bold", pad=4)


def wants_log(panels: Sequence[Sequence[float]]) -> bool:
    """Whether any panel's values span more than a linear axis can show; then all panels get a log axis."""
    return all(v > 0 for values in panels for v in values) and any(
        max(values) > _LOG_FROM * min(values) for values in panels if values
    )


def spread_axis(axis: Any, *, log: bool) -> None:
    """Scale and ticks of one axis, with few enough labels for a panel; call after drawing into it."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator

    if log:
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    ticks = log_ticks(*sorted(axis.get_view_interval())) if log else ()
    axis.set_major_locator(FixedLocator(ticks) if len(ticks) > 1 else MaxNLocator(4))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"))


def log_ticks(low: float, high: float) -> tuple[float, ...]:
    """Round numbers between `low` and `high`, as many as a panel has room for."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for parts in _STEPS:
        ticks = tuple(t for d in decades for p in parts if low <= (t := p * 10.0**d) <= high)
        if len(ticks) <= _MOST_TICKS:
            return ticks
    return tuple(10.0**d for d in decades if low <= 10.0**d <= high)[::2]


def name_rows(axes: Any, rows: Sequence[Summary], view: StudyView, *, labelled: bool) -> None:
    """Configurations down the side, the first on top; a line where another campaign begins."""
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(
        range(len(rows)),
        row_labels([(r.source, r.configuration) for r in rows], view) if labelled else [""] * len(rows),
        fontsize=SMALL,
    )
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=SMALL)
    for index in range(1, len(rows)):
        if rows[index].source != rows[index - 1].source:
            axes.axhline(index - 0.5, color=QUIET, linewidth=0.6, linestyle=(0, (3, 2)))


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


def engine_legend(summaries: Sequence[Summary]) -> list[tuple[str, Any]]:
    """Handles for colours, markers and filling, of those that occur."""
    from matplotlib.lines import Line2D

    labels = list(dict.fromkeys(s.configuration for s in summaries))
    handles: dict[str, Any] = {}
    for engine, colour in ENGINE_COLOURS.items():
        if any(f", {engine}" in label for label in labels):
            handles[engine] = Line2D([], [], color=colour, marker="o", linestyle="", markersize=7)
    if any(look(label).colour == SKY for label in labels):
        handles["other engine"] = Line2D([], [], color=SKY, marker="o", linestyle="", markersize=7)
    for provider, marker in _MARKERS.items():
        if any(provider_of(label) is provider for label in labels):
            name = provider.value.upper()
            handles[name] = Line2D([], [], color=INK, marker=marker, linestyle="", markersize=6)
    for precision in _FILLS:
        if any(look(label).precision == precision for label in labels):
            filling = _filling(precision, INK)
            handles[precision] = Line2D([], [], color=INK, marker="o", linestyle="", markersize=7, **filling)
    return list(handles.items())


def tell(axes: Any, row: int, summary: Summary) -> None:
    """Why a row is empty, written into it."""
    axes.text(
        0.03,
        row,
        ended(summary),
        transform=axes.get_yaxis_transform(),
        va="center",
        fontsize=7,
        color=QUIET,
        bbox={"facecolor": "#ffffff", "edgecolor": "none", "pad": 0.8},
    )


def light_grid(axes: Any, which: str) -> None:
    """Fine lines behind the data."""
    axes.grid(True, axis=which, color=RULE, linewidth=0.5)
    axes.set_axisbelow(True)
