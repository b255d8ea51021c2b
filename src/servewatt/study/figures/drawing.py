"""Shared code of the study's figures: matplotlib's canvas, type and colours, and SVG with real text."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from typing import Any

from servewatt.report.figures.canvas import INK, QUIET, themed

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
class Drawn:
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

    def png(self) -> bytes:
        return _raster(self, "png")

    def pdf(self) -> bytes:
        return _raster(self, "pdf")

    def inline(self) -> str:
        """SVG for a page: no prolog or namespaces, colours from the page's palette."""
        return themed(self.svg[self.svg.index("<svg") :])


@contextmanager
def style() -> Iterator[None]:
    """matplotlib's settings for these figures, while the context lasts."""
    import matplotlib as mpl

    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # A browser shows an SVG's text in fonts of its own; only PNG and PDF lack such a character.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def finished(name: str, title: str, alt: str, drawing: Any) -> Drawn:
    """The figure with its SVG; called inside `style()`."""
    return Drawn(name, title, alt, _svg(name, title, alt, drawing), drawing)


def blank(width: float, height: float) -> Any:
    """An empty figure of `width` x `height` inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Drawing

    drawing = Drawing(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(drawing)
    return drawing


def titled(figure: Any, title: str, note: str) -> None:
    """Title, and beneath it what must be said wherever these results are shown, flush left."""
    height = figure.get_size_inches()[1]
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - 0.55 / height))
    figure.text(0.008, 1 - 0.06 / height, title, va="top", fontsize=12, fontweight="bold", in_layout=False)
    figure.text(0.008, 1 - 0.31 / height, note, va="top", fontsize=9, color=QUIET, in_layout=False)


def rgb(colour: str) -> tuple[float, float, float]:
    """A hex colour as three numbers from 0 to 1."""
    return (int(colour[1:3], 16) / 255, int(colour[3:5], 16) / 255, int(colour[5:7], 16) / 255)


def _raster(figure: Drawn, kind: str) -> bytes:
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
