"""A figure read back from its SVG: marks, names and the lines between them, where a browser puts them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from xml.etree import ElementTree

SVG = "{http://www.w3.org/2000/svg}"
Point = tuple[float, float]


@dataclass
class Drawing:
    """What stands where, in pixels from the upper left."""

    width: float
    height: float
    marks: list[tuple[str, Point]] = field(default_factory=list)
    """What each mark says, and its centre."""
    texts: list[tuple[str, Point]] = field(default_factory=list)
    """Each text and where its first line begins."""
    lines: list[tuple[Point, Point]] = field(default_factory=list)
    """Dotted lines, from the mark to the name."""
    legend: list[str] = field(default_factory=list)

    @property
    def words(self) -> str:
        return "\n".join(text for text, _ in self.texts)

    def mark(self, *parts: str) -> Point:
        """The only mark that says all of these."""
        (found,) = [at for said, at in self.marks if set(parts) <= set(said.split(" · "))]
        return found


def read(svg: str) -> Drawing:
    root = ElementTree.fromstring(svg)
    _, _, width, height = map(float, root.get("viewBox", "").split())
    drawing = Drawing(width, height)
    _walk(root, (0.0, 0.0), drawing, inside_legend=False)
    return drawing


def text_of(element: ElementTree.Element) -> str:
    """Its lines joined by a space."""
    lines = [element.text or "", *((span.text or "") for span in element)]
    return " ".join(line.strip() for line in lines if line.strip())


def _walk(element: ElementTree.Element, origin: Point, drawing: Drawing, *, inside_legend: bool) -> None:
    moved = re.match(r"translate\(([-\d.e]+),([-\d.e]+)\)", element.get("transform", ""))
    if moved:
        origin = (origin[0] + float(moved[1]), origin[1] + float(moved[2]))
    inside_legend = inside_legend or "role-legend" in element.get("class", "").split()
    tag, label = element.tag.removeprefix(SVG), element.get("aria-label", "")
    if (
        element.get("role") == "graphics-symbol"
        and " · " in label
        and element.get("aria-roledescription")
        not in {
            "legend",
            "axis",
            "title",
            "subtitle",
        }
    ):
        drawing.marks.append((label, origin))
    if tag == "text":
        drawing.texts.append((text_of(element), origin))
        drawing.legend += [text_of(element)] if inside_legend else []
    if tag == "line" and element.get("stroke-dasharray") == "1,2.5":
        end = (origin[0] + float(element.get("x2", "0")), origin[1] + float(element.get("y2", "0")))
        drawing.lines.append((origin, end))
    for child in element:
        _walk(child, origin, drawing, inside_legend=inside_legend)
