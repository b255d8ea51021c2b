"""Figures for the HTML report, papers and talks: SVG with real text, legible in greyscale, the same bytes every time.

matplotlib is imported only when a figure is drawn.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

from servewatt.errors import InputError
from servewatt.records import Result
from servewatt.report.plain_text import cleaned
from servewatt.stats.records import Analysis
from servewatt.whole_files import write_whole

FORMATS = ("svg", "png", "pdf")

INK = "#22262b"
QUIET = "#6b737c"
RULE = "#c9cdd2"
BLUE = "#0072b2"
SKY = "#56b4e9"
ORANGE = "#e69f00"
GREEN = "#009e73"
PURPLE = "#cc79a7"
"""The palette of Okabe and Ito, which people with any colour vision can tell apart."""

_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial", "sans-serif"],
    "font.size": 10.0,
    "text.color": INK,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": False,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "hatch.linewidth": 0.7,
    "hatch.color": INK,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


@dataclass(frozen=True)
class Figure:
    """A drawn figure."""

    name: str
    """Short and fit for a file name."""
    title: str
    alt: str
    """What it shows, in words, for those who cannot see it."""
    svg: str
    """A whole SVG document."""
    drawing: Any = field(repr=False, compare=False)
    """The matplotlib figure, for other formats."""


def figures(analysis: Analysis, results: Sequence[Result] = ()) -> tuple[Figure, ...]:
    """Every figure that the data allow; those without data are left out."""
    from servewatt.report import batch_figure, comparison_figures, time_figures

    # Trials are found by their configuration, so theirs is cleaned alike.
    analysis = cleaned(analysis)
    results = [replace(r, trial=replace(r.trial, configuration=cleaned(r.trial.configuration))) for r in results]
    drawn: list[Figure | None] = []
    with style():
        drawn.append(comparison_figures.energy_bars(analysis))
        drawn.append(comparison_figures.energy_latency(analysis))
        drawn.append(batch_figure.batch_energy(analysis))
        drawn.append(comparison_figures.ratios(analysis))
        drawn.append(comparison_figures.blocks(analysis))
        drawn.append(time_figures.power(analysis, results))
        drawn.append(time_figures.utilisation(analysis, results))
    return tuple(f for f in drawn if f is not None)


def save(figure: Figure, folder: Path, formats: Sequence[str] = ("svg", "png")) -> tuple[Path, ...]:
    """Write the figure into `folder` (made if need be) as `NAME.FORMAT`; returns the paths."""
    unknown = [f for f in formats if f not in FORMATS]
    if unknown:
        raise InputError(f"cannot write a figure as {unknown[0]}", f"known: {', '.join(FORMATS)}")
    paths = tuple(folder / f"{figure.name}.{kind}" for kind in formats)
    for path, kind in zip(paths, formats, strict=True):
        write_to(figure, path, kind)
    return paths


def write_to(figure: Figure, path: Path, kind: str) -> None:
    """Write the figure as `kind`, one of FORMATS, to `path`, whole or not at all; its folder is made if need be."""
    content = figure.svg if kind == "svg" else _raster(figure, kind)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}", "name another place, or free some space") from error


@contextmanager
def style() -> Iterator[None]:
    """matplotlib's settings for all our figures, while the context lasts."""
    import matplotlib as mpl

    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # A browser shows an SVG's text in fonts of its own; only PNG and PDF lack such a character.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def finished(name: str, title: str, alt: str, drawing: Any) -> Figure:
    """The figure with its SVG; called inside `style()`."""
    return Figure(name, title, alt, _svg(name, title, alt, drawing), drawing)


def _raster(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    dated = {"png": "Software", "pdf": "CreationDate"}[kind]
    with style():
        figure.drawing.savefig(buffer, format=kind, dpi=200, facecolor="white", metadata={dated: None})
    return buffer.getvalue()


def _svg(name: str, title: str, alt: str, drawing: Any) -> str:
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        drawing.savefig(buffer, format="svg", metadata=nothing)
    text = buffer.getvalue()
    # Several figures share a page, so each one's ids carry its name.
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
    text = text.replace("*{stroke-linejoin: round; stroke-linecap: butt}", "")
    head = f'role="img" aria-labelledby="{name}-title {name}-alt" stroke-linejoin="round"'
    words = f'<title id="{name}-title">{escape(title)}</title>\n<desc id="{name}-alt">{escape(alt)}</desc>'
    return re.sub(r"<svg ([^>]*)>", lambda m: f"<svg {head} {m.group(1)}>\n{words}", text, count=1)
